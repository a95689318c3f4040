"""The runtime of models that are given two texts, and of models that give a text any number of labels."""

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tokenizers import BertWordPieceTokenizer, Tokenizer

from sentopt import Classifier
from sentopt.errors import BundleError, BundleVersionError, InputError
from sentopt.runtime import comparison, description
from sentopt.runtime.classifier import sigmoid
from sentopt.runtime.description import Side
from sentopt.runtime.options import Options
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import Batch, TextEncoder

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", *(f"##{c}" for c in "abcdefgh"), "."]
LABELS = ("anger", "joy", "fear")


def tokenizer() -> Tokenizer:
    return BertWordPieceTokenizer(vocab={word: i for i, word in enumerate(VOCABULARY)})._tokenizer


def encoder(max_length: int, side: Side = "right", *, pairs: bool = True) -> TextEncoder:
    return TextEncoder(tokenizer(), max_length=max_length, pad_token_id=0, side=side, pairs=pairs)


class Fixed:
    """An engine with the same logits for each text."""

    def __init__(self, *logits: float) -> None:
        self.logits = logits

    def run(self, batch: Batch) -> FloatArray:
        return np.array([self.logits] * len(batch.input_ids), dtype=np.float32)


def words(count: int, source: random.Random) -> str:
    return " ".join("".join(source.choices("abcdefgh.", k=source.randint(1, 6))) for _ in range(count))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [8, 9, 16, 17])
def test_parts_of_long_pairs_have_the_tokens_of_whole_ones(side: Side, max_length: int) -> None:
    source = random.Random(max_length)
    ours, whole = encoder(max_length, side), tokenizer()
    whole.no_padding()
    whole.enable_truncation(max_length, strategy="longest_first", direction=side)
    for _ in range(40):
        first, second = (words(source.choice((0, 1, 3, 30, 90)), source) for _ in range(2))
        expected = whole.encode(first, second)
        (found,) = ours.encode([(first, second)])
        assert found.ids == tuple(expected.ids)
        assert found.type_ids == tuple(expected.type_ids)
        assert found.truncated == bool(expected.overflowing)


def test_two_long_texts_take_no_more_time_than_their_tokens() -> None:
    long = words(40_000, random.Random(1))
    (tokens,) = encoder(17).encode([(long, long + " a")])
    assert len(tokens.ids) == 17
    assert sum(tokens.type_ids) == 8  # the second, which is longer, has the odd token; and the last [SEP]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["a b"], "text 0 is str, expected a pair of texts"),
        ([("a", "b"), ("a",)], "text 1 is 1 values, expected a pair"),
        ([("a", None)], "text 0 is a pair of str and NoneType, expected a pair"),
        ([("a", "b", "c")], "text 0 is 3 values"),
    ],
)
def test_what_is_no_pair_is_refused(texts: list[Any], found: str) -> None:
    classifier = Classifier(Fixed(0, 1, 2), encoder(8), LABELS)
    with pytest.raises(InputError, match=found):
        classifier.predict(texts)


def test_a_pair_for_a_model_of_one_text_is_refused() -> None:
    classifier = Classifier(Fixed(0, 1, 2), encoder(8, pairs=False), LABELS)
    with pytest.raises(InputError, match="text 0 is tuple, expected str"):
        classifier.predict([("a", "b")])
    with pytest.raises(InputError, match=r"expected one text \(str\), found tuple"):
        classifier(("a", "b"))


def test_a_pair_is_answered_alone_and_among_others() -> None:
    classifier = Classifier(Fixed(0, 1, 2), encoder(8), LABELS)
    assert classifier(("a", "b")) == classifier.predict([("c", "d"), ["a", "b"]])[1]
    assert classifier(("a", "b")).labels == ("fear",)


def label_sets(*logits: float, thresholds: Sequence[float], abstain_below: float = 0.0) -> Classifier:
    options = Options(abstain_below=abstain_below)
    return Classifier(Fixed(*logits), encoder(8, pairs=False), LABELS, thresholds=thresholds, options=options)


def test_a_text_has_the_labels_that_reach_their_thresholds() -> None:
    answer = label_sets(0.0, 2.0, -2.0, thresholds=(0.5, 0.9, 0.1))("a")
    assert answer.labels == ("anger", "fear")
    assert (answer.label, answer.score) == ("joy", pytest.approx(1 / (1 + np.exp(-2.0))))
    assert sum(answer.probabilities.values()) == pytest.approx(1.5)
    assert label_sets(-9.0, -9.0, -9.0, thresholds=(0.5, 0.5, 0.5))("a").labels == ()


def test_the_most_probable_label_comes_first() -> None:
    assert label_sets(1.0, 3.0, 2.0, thresholds=(0.5, 0.5, 0.5))("a").labels == ("joy", "fear", "anger")


def test_a_doubtful_label_makes_an_answer_abstain() -> None:
    thresholds = (0.5, 0.5, 0.5)
    assert not label_sets(-9.0, -9.0, -9.0, thresholds=thresholds, abstain_below=0.9)("a").abstained
    assert label_sets(9.0, -0.5, 9.0, thresholds=thresholds, abstain_below=0.9)("a").abstained
    assert not label_sets(9.0, -0.5, 9.0, thresholds=thresholds)("a").abstained


def test_the_logistic_function_does_not_overflow() -> None:
    with np.errstate(over="raise"):
        found = sigmoid(np.array([[-1e4, 0.0, 1e4]], dtype=np.float32))
    assert found.tolist() == [[0.0, 0.5, 1.0]]


def test_golden_texts_compare_sets_of_labels() -> None:
    recorded, answered = [[0.6, 0.2, 0.3]], np.array([[0.6, 0.29, 0.31]], dtype=np.float32)
    assert comparison.compare(recorded, answered, thresholds=(0.5, 0.25, 0.5)).changed == 1
    assert comparison.compare(recorded, answered, thresholds=(0.5, 0.15, 0.5)).changed == 0
    assert comparison.compare(recorded, answered).changed == 0


FACTS: dict[str, Any] = {
    "schema_version": 3,
    "name": "toy",
    "variant": "lean-fp32",
    "labels": list(LABELS),
    "max_length": 8,
    "pad_token_id": 0,
    "model_file": "model.onnx",
    "output": "logits",
    "files": {name: {"bytes": 1, "sha256": "0" * 64} for name in ("model.onnx", "tokenizer.json")},
    "golden": [],
    "golden_tolerance": 0.1,
}
SETS = {"problem_type": "multi_label_classification", "thresholds": [0.5, 0.4, 0.3]}


def described(**changes: Any) -> description.BundleDescription:
    return description.read_description({"sentopt.json": json.dumps({**FACTS, **changes}).encode()})


def test_the_description_says_what_a_model_is_given_and_gives() -> None:
    plain = described()
    assert (plain.pair, plain.thresholds) == (None, ())
    golden = [{"text": "a", "pair": "b", "probabilities": [0.1, 0.2, 0.7]}]
    both = described(pair=["text", "aspect"], golden=golden, **SETS)
    assert both.pair == ("text", "aspect")
    assert both.thresholds == (0.5, 0.4, 0.3)
    assert both.golden[0].text == ("a", "b")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({**SETS, "problem_type": "regression"}, "problem_type must be 'multi_label_classification'"),
        ({**SETS, "thresholds": [0.5, 0.5]}, "thresholds must be 3 numbers from 0 to 1"),
        ({"problem_type": SETS["problem_type"]}, "thresholds is missing"),
        ({"pair": ["text"]}, "pair must be the two different names"),
        ({"pair": ["text", "text"]}, "pair must be the two different names"),
        ({"pair": ["text", "a\nb"]}, "pair must be the two different names"),
        ({"pair": ["text", "b"], "golden": [{"text": "a", "probabilities": [0, 0, 1]}]}, r"golden\[0\].pair"),
    ],
)
def test_a_wrong_description_is_refused(changes: dict[str, Any], fault: str) -> None:
    with pytest.raises(BundleError, match=fault):
        described(**changes)


def test_an_older_runtime_refuses_what_it_would_misread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert description.schema_of("right", multi_label=True) == description.schema_of("left", pairs=True) == 3
    monkeypatch.setattr(description, "SCHEMA_VERSION", 2)
    with pytest.raises(BundleVersionError, match="schema 3, this sentopt reads up to 2"):
        described(**SETS)
