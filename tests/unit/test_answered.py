"""What is wrong, lost, gained and in doubt, for the stage that examines and for the page that lists."""

import numpy as np
import pytest

from sentopt.data import answered
from sentopt.data.answered import Answered, Answers


def both(*rows: tuple[int, int, float, int, float]) -> Answered:
    """Of rows of: label in the data, answer and score of the variant, answer and score of PyTorch."""
    truth, own, scores, reference, reference_scores = zip(*rows, strict=True)
    return Answered(
        np.array(truth),
        Answers(np.array(own), np.array(scores, dtype=np.float32)),
        Answers(np.array(reference), np.array(reference_scores, dtype=np.float32)),
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ((0, 0, 0.9, 0, 0.9), {"right", "reference_right"}),
        ((0, 1, 0.9, 0, 0.9), {"reference_right", "lost"}),
        ((0, 0, 0.9, 1, 0.9), {"right", "gained"}),
        ((0, 1, 0.95, 1, 0.95), {"doubtful"}),
        ((0, 1, 0.94, 1, 0.99), set()),
        ((0, 1, 0.99, 1, 0.94), set()),
        ((0, 1, 0.99, 2, 0.99), set()),
        ((0, 0, 0.99, 0, 0.99), {"right", "reference_right"}),
    ],
)
def test_each_text_is_what_it_is(row: tuple[int, int, float, int, float], expected: set[str]) -> None:
    one = both(row)
    names = ("right", "reference_right", "lost", "gained", "doubtful")
    assert {name for name in names if getattr(one, name).tolist() == [True]} == expected


def test_the_order_is_that_of_scores_and_ties_stay() -> None:
    one = both((0, 0, 0.7, 0, 1.0), (0, 0, 0.9, 0, 1.0), (0, 0, 0.7, 0, 1.0), (0, 0, 0.8, 0, 1.0))
    assert one.by_score(np.array([0, 1, 2, 3])).tolist() == [1, 3, 0, 2]
    assert one.by_score(np.array([2, 1]), surest_first=False).tolist() == [2, 1]
    assert one.by_score(np.array([], dtype=np.int64)).tolist() == []


def test_bands_of_lengths_hold_every_text_once() -> None:
    tokens = np.array([5, 3, 9, 9, 30, 12, 7, 4])
    bands = answered.length_bands(tokens)
    assert len(bands) == 4
    assert bands[0][0] == 3
    assert bands[-1][1] == 30
    assert [sum(least <= t <= most for least, most in bands) for t in tokens] == [1] * len(tokens)
    assert answered.length_bands(np.array([6] * 20)) == [(6, 6)]
    assert answered.length_bands(np.array([], dtype=np.int64)) == []
