"""Answers to golden texts beside what a bundle records."""

import numpy as np
import pytest

from sentopt.runtime.comparison import Comparison, compare

RECORDED = [(0.75, 0.25), (0.5, 0.5), (0.125, 0.875)]


def test_changed_labels_and_the_largest_difference_are_counted() -> None:
    answered = np.array([[0.5, 0.25], [0.25, 0.75], [0.125, 0.875]], dtype=np.float32)
    assert compare(RECORDED, answered) == Comparison(changed=1, largest_difference=0.25, texts=3)


def test_the_tolerance_itself_is_within() -> None:
    assert Comparison(0, 0.25, 1).is_within(0.25)
    assert not Comparison(0, 0.25, 1).is_within(0.24)
    assert not Comparison(1, 0.25, 1).is_within(1.0)


@pytest.mark.parametrize("row", [0, 2])
def test_what_is_no_number_is_within_no_tolerance(row: int) -> None:
    answered = np.array(RECORDED, dtype=np.float32)
    answered[row] = np.nan
    assert not compare(RECORDED, answered).is_within(1.0)
