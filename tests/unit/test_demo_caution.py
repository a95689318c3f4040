"""What the page says where an answer should not be trusted."""

from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")

from sentopt.demo.page import caution

BANDS = [
    {"least": 0.4, "texts": 6, "mean_score": 0.45, "right": 1},
    {"least": 0.5, "texts": 10, "mean_score": 0.55, "right": 4},
    {"least": 0.6, "texts": 30, "mean_score": 0.65, "right": 20},
    {"least": 0.7, "texts": 30, "mean_score": 0.75, "right": 21},
    {"least": 0.9, "texts": 500, "mean_score": 0.96, "right": 490},
]
ORIGIN = {"dataset": "sst2", "backbone": "minilm", "texts": {"train": 1_000, "test": 100}}


def description(**given: Any) -> Any:
    return SimpleNamespace(name="x", facts={"score_bands": BANDS, **given})


@pytest.mark.parametrize(
    ("score", "words"),
    [
        (0.30, ""),
        (0.45, ""),  # six texts say nothing
        (0.55, "4 of 10 test texts with such a score (0.5 to 0.6)"),
        (0.69, "20 of 30 test texts with such a score (0.6 to 0.7)"),
        (0.70, ""),  # 21 of 30 are more than two of three
        (0.85, ""),  # no test text had such a score
        (0.99, ""),
    ],
)
def test_an_answer_is_unsure_where_answers_with_such_scores_are_often_wrong(score: float, words: str) -> None:
    said = caution.in_words(caution.bands(description()), score)
    assert words in said
    assert bool(said) == bool(words)


@pytest.mark.parametrize(
    "given", [None, SimpleNamespace(name="x", facts={}), description(score_bands=[{"least": "low"}])]
)
def test_without_a_table_that_can_be_read_no_answer_is_unsure(given: Any) -> None:
    assert caution.in_words(caution.bands(given), 0.1) == ""


def test_what_it_was_trained_on_stands_beside_the_box() -> None:
    assert caution.scope(description(made_from=ORIGIN)).startswith(
        "Trained on 1,000 texts of the dataset sst2. Texts of"
    )
    assert caution.scope(description(made_from={**ORIGIN, "dataset": "files"})).startswith("Trained on 1,000 texts. Te")


def test_nothing_is_said_of_a_training_that_is_not_known() -> None:
    """The texts of a model that was tuned elsewhere calibrated its INT8."""
    assert caution.scope(description(made_from={**ORIGIN, "tuned_elsewhere": True})) == ""
    assert caution.scope(description()) == ""
    assert caution.scope(None) == ""


def test_of_a_set_the_most_probable_label_is_unsure() -> None:
    said = caution.in_words(caution.bands(description()), 0.55, sets=True)
    assert "4 of 10 test texts whose most probable label has such a probability (0.5 to 0.6) have it" in said
