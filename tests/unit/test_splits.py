import math
from collections import Counter
from dataclasses import replace

import pytest

from sentopt.data.sources import RawData, RawRow
from sentopt.data.splits import CleanData, clean
from sentopt.errors import DataError
from sentopt.recipe import DataSection
from sentopt.run_dir import Split


def raw(labels: tuple[str, ...] = (), **splits: list[tuple[object, object]]) -> RawData:
    rows = {
        split: [RawRow(t, y, f"{split} row {i}") for i, (t, y) in enumerate(pairs, 1)]
        for split, pairs in splits.items()
    }
    return RawData(rows, labels, "test")  # type: ignore[arg-type]


def numbered(count: int, split: str, labels: tuple[str, ...] = ("no", "yes")) -> list[tuple[object, object]]:
    return [(f"{split} text {i}", labels[i % len(labels)]) for i in range(count)]


def cleaned(data: RawData, **changes: object) -> CleanData:
    return clean(data, replace(DataSection(dataset="files", train="x"), **changes), seed=1)  # type: ignore[arg-type]


def sizes(data: CleanData) -> dict[Split, int]:
    return {split: len(examples) for split, examples in data.splits.items()}


def test_missing_splits_are_stratified_and_repeatable() -> None:
    data = raw(train=numbered(100, "a", ("no", "no", "no", "yes")))
    first, second = cleaned(data), cleaned(data)
    assert first == second
    assert sizes(first) == {"train": 72, "validation": 8, "test": 20}
    assert Counter(e.label for e in first.splits["test"]) == {0: 15, 1: 5}
    assert sum("split off train" in notice for notice in first.notices) == 2
    everything = [e.text for split in first.splits.values() for e in split]
    assert len(set(everything)) == 100


def test_numbers_become_names_in_the_given_order() -> None:
    data = cleaned(raw(("bad", "good"), train=[(f"t{i}", i % 2) for i in range(40)]))
    assert data.labels == ("bad", "good")
    assert {e.label for e in data.splits["train"]} == {0, 1}


@pytest.mark.parametrize("values", [("0", "1"), (0, 1), (0.0, 1.0), ("0.0", "1.0")])
def test_numeric_labels_without_names_are_noticed(values: tuple[object, object]) -> None:
    data = cleaned(raw(train=[(f"t{i}", values[i % 2]) for i in range(40)]))
    assert data.labels == ("0", "1")
    assert any("give them names" in notice for notice in data.notices)


def test_empty_texts_are_dropped_and_counted() -> None:
    pairs = [*numbered(40, "a"), ("", "no"), ("  \n", "yes"), (None, "no"), (math.nan, "no")]
    data = cleaned(raw(train=pairs))
    assert sum(sizes(data).values()) == 40
    assert "train: dropped 4 empty texts" in data.notices


@pytest.mark.parametrize("missing", [None, math.nan, "", "NaN"])
def test_missing_labels_are_an_error_that_names_the_row(missing: object) -> None:
    with pytest.raises(DataError, match="train row 41: no label"):
        cleaned(raw(("no", "yes"), train=[*numbered(40, "a"), ("text", missing)]))


def test_wrong_labels_are_listed_with_the_nearest() -> None:
    with pytest.raises(DataError, match=r"2 row\(s\).*train row 41: 'yess' \(did you mean 'yes'\?\)"):
        cleaned(raw(("no", "yes"), train=[*numbered(40, "a"), ("text", "yess"), ("text", "??")]))


def test_one_class_only() -> None:
    with pytest.raises(DataError, match=r"one class only \(no\)"):
        cleaned(raw(("no", "yes"), train=[(f"t{i}", "no") for i in range(10)]))


def test_a_label_without_training_texts() -> None:
    with pytest.raises(DataError, match="no training text has the label maybe"):
        cleaned(raw(("no", "yes", "maybe"), train=numbered(40, "a")))


@pytest.mark.parametrize("pairs", [[], [("", "no"), (None, "yes")]])
def test_nothing_to_train_on(pairs: list[tuple[object, object]]) -> None:
    with pytest.raises(DataError, match="no text to train on"):
        cleaned(raw(("no", "yes"), train=pairs))


def test_too_few_texts_to_split() -> None:
    with pytest.raises(DataError, match="too few texts"):
        cleaned(raw(train=[("a", "no"), ("b", "yes")]))


def test_repeats_are_kept_once_and_leaks_dropped_from_train() -> None:
    train = [*numbered(30, "a"), ("a text 0", "no"), ("a text 1 ", "no"), ("leaked", "yes")]
    test = [*numbered(10, "b"), ("leaked", "yes"), ("leaked", "yes")]
    data = raw(train=train, validation=numbered(10, "c"), test=test)
    kept = cleaned(data)
    assert sizes(kept) == {"train": 30, "validation": 10, "test": 11}
    assert kept.notices == (
        "4 of 55 rows repeat another text (ignoring case, blanks and Unicode form); "
        "each of the 51 distinct texts is kept once",
        "train: dropped 1 text(s) that are also in validation or test",
        "train: dropped 2 repeated text(s)",
        "test: dropped 1 repeated text(s)",
        "1 text(s) repeat with different labels: the most frequent label is kept, "
        "the first where they are equally frequent",
    )
    everything = cleaned(data, duplicates="keep")
    assert sizes(everything) == {"train": 33, "validation": 10, "test": 12}
    assert everything.notices == (
        "4 of 55 rows repeat another text (ignoring case, blanks and Unicode form), and data.duplicates=keep keeps "
        "them: training sees them several times, and texts of the test split may be in train; "
        "verification judges distinct texts",
    )


def test_hidden_test_labels_are_replaced_by_validation() -> None:
    data = cleaned(
        raw(("no", "yes"), train=numbered(50, "a"), validation=numbered(20, "b"), test=[("x", -1), ("y", -1)])
    )
    assert sizes(data) == {"train": 45, "validation": 5, "test": 20}
    assert any("hidden" in notice for notice in data.notices)


def test_limits_take_a_repeatable_sample() -> None:
    data = raw(train=numbered(100, "a"), validation=numbered(20, "b"), test=numbered(20, "c"))
    limited = cleaned(data, train_limit=10, test_limit=5)
    assert sizes(limited) == {"train": 10, "validation": 20, "test": 5}
    assert limited == cleaned(data, train_limit=10, test_limit=5)


@pytest.mark.parametrize("own", [{}, {"validation": numbered(10, "v")}], ids=["none", "of its own"])
def test_the_test_split_serves_as_validation_if_asked_for(own: dict[str, list[tuple[object, object]]]) -> None:
    data = cleaned(raw(train=numbered(40, "a"), test=numbered(12, "b"), **own), validation="test")
    assert data.splits["validation"] == data.splits["test"]
    assert sizes(data) == {"train": 40, "validation": 12, "test": 12}
    assert any("flatters the test figures" in notice for notice in data.notices)


def test_hidden_test_labels_and_the_test_split_as_validation() -> None:
    hidden: list[tuple[object, object]] = [(f"h{i}", -1) for i in range(9)]
    labelled = [(f"v{i}", i % 2) for i in range(8)]
    source = raw(("no", "yes"), train=[(f"t{i}", i % 2) for i in range(40)], validation=labelled, test=hidden)
    data = cleaned(source, validation="test")
    assert [e.text for e in data.splits["validation"]] == [e.text for e in data.splits["test"]]
    assert sizes(data) == {"train": 40, "validation": 8, "test": 8}


ONE_LABEL = (
    "WARNING: the {split} split has one label only ('negative'): its figures say nothing about 'positive', and a model "
    "that always answers 'negative' is right everywhere. Correct its labels, or split it off train with "
    "--set data.{split}="
)
POLES = ("negative", "positive")


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_split_that_is_empty_without_rare_labels_is_split_off_train(split: Split) -> None:
    given: dict[str, list[tuple[object, object]]] = {split: numbered(15, "b", ("neg", "pos"))}
    data = cleaned(raw(train=numbered(100, "a", POLES), **given), rare_labels="drop")
    assert data.labels == POLES
    assert sizes(data) == {"train": 72, "validation": 8, "test": 20}
    assert data.notices[:2] == (
        f"{split}: none of its 15 text(s) has a label that is kept (it has 'neg', 'pos'); "
        "it is split off train instead",
        "left out 2 label(s) that no training text has ('neg', 'pos')",
    )


def test_no_split_is_left_where_every_text_has_a_label_that_train_lacks() -> None:
    others = {split: numbered(15, split, ("neg", "pos")) for split in ("test", "validation")}
    data = cleaned(raw(train=numbered(100, "a", POLES), **others), rare_labels="drop")
    assert sizes(data) == {"train": 72, "validation": 8, "test": 20}


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_split_with_one_label_left_is_a_warning(split: Split) -> None:
    given: dict[str, list[tuple[object, object]]] = {split: numbered(30, "b", ("negative", "pos"))}
    data = cleaned(raw(train=numbered(100, "a", POLES), **given), rare_labels="drop")
    assert len(data.splits[split]) == 15
    assert data.notices[:2] == (
        f"left out 1 label(s) that occur in {split} only ('pos'): 15 text(s)",
        ONE_LABEL.format(split=split),
    )


def test_a_test_split_that_lacks_a_label_of_train_is_a_warning() -> None:
    data = cleaned(raw(train=numbered(90, "a", ("x", "y", "z")), test=numbered(30, "b", ("x", "y"))))
    assert data.notices[0] == (
        "WARNING: the test split has no text of 1 label(s) of train ('z'): its figures say nothing about them"
    )


def test_labels_of_the_test_split_alone_are_named_with_the_label_that_is_meant() -> None:
    with pytest.raises(DataError) as caught:
        cleaned(raw(train=numbered(60, "a", POLES), test=numbered(15, "b", ("neg", "pos"))))
    assert str(caught.value) == (
        "label 'neg' has no training text, test row 1 (did you mean 'negative'?); "
        "label 'pos' has no training text, test row 2 (did you mean 'positive'?). "
        "A label needs at least 2 distinct text(s), because train, validation and test each need one. "
        "Correct the label, add texts, or leave such rows out with --set data.rare_labels=drop"
    )


def test_a_refusal_tells_what_was_merged_and_dropped_before() -> None:
    with pytest.raises(DataError) as caught:
        cleaned(raw(train=[*numbered(60, "a", ("A", "a")), ("", "B")]))
    assert str(caught.value) == (
        "the train split has one class only (A); at least two are needed to learn a difference\n"
        "note: train: dropped 1 empty text\n"
        "note: the label(s) 'a' (30) are taken as 'A' (30): they differ only in case, blanks and Unicode form; "
        'to keep them apart: --set \'data.labels=["A", "a"]\''
    )
    kept = cleaned(raw(("A", "a"), train=numbered(60, "a", ("A", "a"))))
    assert kept.labels == ("A", "a")
