"""How the page says that variants agree or not."""

from sentopt.demo.comparison import VariantAnswer, disagreement
from sentopt.runtime.classifier import Prediction


def answer(variant: str, label: str, score: float) -> VariantAnswer:
    probabilities = {"bad": 1.0 - score, "good": score} if label == "good" else {"bad": score, "good": 1.0 - score}
    return VariantAnswer(variant, "", Prediction(label, score, probabilities, truncated=False), 1.0)


def test_they_say_and_one_says() -> None:
    said = disagreement(
        [answer("lean-int8", "bad", 0.9), answer("torch", "bad", 0.9), answer("onnx-int8", "good", 0.6)]
    )
    assert said == "They disagree: lean-int8, torch say bad; onnx-int8 says good."


def test_where_they_agree_the_scores_are_compared() -> None:
    assert disagreement([answer("a", "bad", 0.9), answer("b", "bad", 0.95)]) == (
        "All variants agree; their scores differ by at most 0.0500."
    )
    assert disagreement([answer("a", "bad", 0.9)]) == ""
