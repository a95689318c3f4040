"""Answers beside the labels that a list brings."""

from sentopt.demo.own_labels import mark, mark_sets

LABELS = ("bad", "good")


def test_answers_are_counted_against_labels() -> None:
    answers = [("good", 0.9), ("good", 0.6), ("bad", 0.8), None, ("bad", 0.7), ("good", 0.95)]
    found = mark(["good", "BAD", "bad", "good", "", "bad"], answers, LABELS)
    assert found.confusion == ((1, 2), (0, 1))
    assert (found.right, found.texts) == (2, 4)
    assert found.wrong == ((5, "bad"), (1, "bad"))
    assert found.blank == 1
    assert found.unknown == ()


def test_values_that_are_no_labels_are_told_once_each() -> None:
    found = mark(["mixed", "good", "mixed", "odd"], [("good", 0.9)] * 4, LABELS)
    assert found.unknown == ("mixed", "odd")
    assert (found.right, found.texts) == (1, 1)


def test_nothing_to_compare() -> None:
    found = mark(["", ""], [("good", 0.9), None], LABELS)
    assert (found.right, found.texts, found.blank) == (0, 0, 1)


def test_numbers_that_count_labels_are_told() -> None:
    answers = [("bad", 0.9), ("good", 0.9)]
    assert mark(["0", "1"], answers, LABELS).by_position
    assert not mark(["bad", "good"], answers, LABELS).by_position
    assert not mark(["1", "2"], [("1", 0.9), ("2", 0.9)], ("1", "2")).by_position


def test_sets_of_labels_are_compared_label_by_label() -> None:
    values = ["joy; anger", "", "joy", "sad", "joy", '["fear"]']
    answers = [("anger", "joy"), (), ("fear",), ("joy",), None, ("fear", "joy")]
    found = mark_sets(values, answers, ("anger", "joy", "fear"))
    assert (found.texts, found.right) == (4, 2)
    assert found.counts == ((1, 0, 0), (1, 1, 1), (1, 1, 0))
    assert found.wrong == ((2, ("joy",)), (5, ("fear",)))
    assert found.unknown == ("sad",)
