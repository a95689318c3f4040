"""How many texts each split takes that is split off train."""

import pytest

from sentopt import gate
from sentopt.data.shares import sizes
from sentopt.gate import Rules
from sentopt.recipe import DataSection
from sentopt.run_dir import Split

BOTH: tuple[Split, ...] = ("test", "validation")
RULES = Rules(margin=0.01, recall_margin=0.03, max_changed=0.05, confidence=0.95, macro_f1=False)


@pytest.mark.parametrize(
    ("texts", "test", "validation"),
    [(100, 20, 8), (400, 80, 32), (640, 128, 52), (700, 280, 42), (1000, 400, 60), (1500, 445, 106), (1998, 400, 160)],
)
def test_the_test_share_grows_where_that_lets_verification_decide(texts: int, test: int, validation: int) -> None:
    assert sizes({"train": texts}, BOTH, DataSection(), tuned=False) == {"test": test, "validation": validation}


@pytest.mark.parametrize("texts", [700, 1000, 1500, 2000, 2500])
def test_more_than_a_fifth_always_decides_something(texts: int) -> None:
    found = sizes({"train": texts}, BOTH, DataSection(), tuned=False)
    notices = gate.foresee({"a": found["test"]}, {"a": found["validation"]}, RULES, unlabelled=False)
    assert not any("only exact" in notice for notice in notices)


@pytest.mark.parametrize(("texts", "train"), [(60, 32), (400, 60), (2000, 300), (5000, 512)])
def test_a_tuned_model_needs_training_texts_for_calibration_alone(texts: int, train: int) -> None:
    found = sizes({"train": texts}, BOTH, DataSection(), tuned=True)
    assert texts - sum(found.values()) == pytest.approx(train, abs=1)


def test_a_large_file_of_a_tuned_model_keeps_verification_in_bounds() -> None:
    assert sizes({"train": 40_000}, BOTH, DataSection(), tuned=True)["test"] == 10_000


def test_stated_fractions_are_what_is_taken() -> None:
    data = DataSection(test_fraction=0.25, validation_fraction=0.2)
    for tuned in (False, True):
        assert sizes({"train": 1000}, BOTH, data, tuned=tuned) == {"test": 250, "validation": 150}


def test_splits_that_are_given_count() -> None:
    assert sizes({"train": 1500, "validation": 500}, ("test",), DataSection(), tuned=False) == {"test": 300}
    assert sizes({"train": 1500, "test": 500}, ("validation",), DataSection(), tuned=False) == {"validation": 150}
