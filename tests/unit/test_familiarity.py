"""How far a text is from the training texts."""

import pytest

from sentopt.measure.familiarity import Familiarity, measure


def test_pieces_of_the_training_texts_are_seen_and_others_are_not() -> None:
    found = measure([[1, 5, 2], [1, 9, 2]], [[1, 5, 2]], 20)
    assert found is not None
    assert found.is_seen([1, 2, 5, 9, 3, 19, 20, -1]) == [True] * 4 + [False] * 4


def test_lengths_and_new_pieces_are_those_of_nearly_all_texts() -> None:
    train = [[1] * length for length in range(5, 205)]
    test = [[1] * 9 + [7]] * 98 + [[7] * 10] * 2
    found = measure(train, test, 10)
    assert found is not None
    assert (found.shortest, found.longest) == (5, 204)
    assert found.new == 1.0
    fewer = measure(train, test[:98], 10)
    assert fewer is not None
    assert fewer.new == pytest.approx(0.1)


def test_a_text_is_new_with_three_new_pieces_that_are_more_than_usual() -> None:
    usual = Familiarity(1, 9, 0.25, "", 5)
    assert not usual.is_new([True] * 2 + [False] * 2)
    assert usual.is_new([True] * 8 + [False] * 3)
    assert not usual.is_new([True] * 9 + [False] * 3)


def test_without_training_texts_nothing_is_usual() -> None:
    assert measure([], [[1]], 5) is None


def test_bits_that_are_no_bits_are_an_error() -> None:
    with pytest.raises(ValueError, match="not base64"):
        Familiarity(1, 2, 0.1, "%%", 5).is_seen([0])
