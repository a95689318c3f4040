"""Repeated texts: what counts as one, where it is kept, and what is said."""

import pytest
from test_splits import cleaned, numbered, raw, sizes

from sentopt.data.duplicates import Repeats, normal_form, notices, without_repeats
from sentopt.data.examples import Example
from sentopt.errors import DataError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Good\t Movie \n", "good movie"),
        ("GOOD\u00a0MOVIE", "good movie"),
        ("go\u200bod mo\u00advie\ufeff", "good movie"),
        ("\uff27\uff2f\uff2f\uff24 movie", "good movie"),
        ("STRASSE", "strasse"),
        ("Stra\u00dfe", "strasse"),
        ("cafe\u0301", "caf\u00e9"),
        ("CAF\u00c9", "caf\u00e9"),
        ("\u200b \u2060", ""),
        ("good, movie!", "good, movie!"),
    ],
)
def test_normal_form(text: str, expected: str) -> None:
    assert normal_form(text) == expected
    assert normal_form(expected) == expected


def test_a_text_is_kept_in_test_before_validation_before_train() -> None:
    splits = {
        "train": [Example("A", 0), Example("b", 0), Example("c", 0), Example(" C ", 1)],
        "validation": [Example("B", 1), Example("a ", 1)],
        "test": [Example("a", 1), Example("d", 0), Example("D", 0)],
    }
    kept, found = without_repeats(splits)  # type: ignore[arg-type]
    assert kept == {
        "train": [Example("c", 0)],
        "validation": [Example("B", 1)],
        "test": [Example("a", 1), Example("d", 0)],
    }
    assert found == Repeats(
        rows=9,
        repeated={"test": 1, "validation": 0, "train": 1},
        leaked={"test": 0, "validation": 1, "train": 2},
        conflicting=1,
    )


def test_the_most_frequent_label_is_kept_and_the_first_of_equals() -> None:
    train = [Example("x", 0), Example("X", 1), Example("x ", 1), Example("y", 1), Example("Y", 0)]
    kept, _ = without_repeats({"train": train})
    assert kept == {"train": [Example("X", 1), Example("y", 1)]}


@pytest.mark.parametrize(
    ("rows", "expected", "said"),
    [
        (
            [*[("good", "yes")] * 200, *numbered(59, "a")],
            {"train": 43, "validation": 5, "test": 12},
            "more than half of the data is repeats: 199 of 259 rows repeat another text (ignoring case, blanks and "
            "Unicode form); each of the 60 distinct texts is kept once",
        ),
        (
            numbered(60, "a") * 20,
            {"train": 43, "validation": 5, "test": 12},
            "nearly all of the data is repeats: 1,140 of 1,200 rows repeat another text (ignoring case, blanks and "
            "Unicode form); each of the 60 distinct texts is kept once",
        ),
        (
            numbered(400, "a") * 10,
            {"train": 288, "validation": 32, "test": 80},
            "nearly all of the data is repeats: 3,600 of 4,000 rows repeat another text (ignoring case, blanks and "
            "Unicode form); each of the 400 distinct texts is kept once",
        ),
        (
            numbered(1998, "a") + numbered(1998, "a") + numbered(4, "a"),
            {"train": 1438, "validation": 160, "test": 400},
            "half of the data is repeats: 2,002 of 4,000 rows repeat another text (ignoring case, blanks and Unicode "
            "form); each of the 1,998 distinct texts is kept once",
        ),
    ],
    ids=["one text 200 times", "60 texts 20 times", "400 texts 10 times", "half of 4,000"],
)
def test_one_file_is_split_after_its_repeats_are_gone(
    rows: list[tuple[object, object]], expected: dict[str, int], said: str
) -> None:
    data = cleaned(raw(train=rows))
    assert sizes(data) == expected
    assert data.notices[0] == said
    forms = [normal_form(e.text) for examples in data.splits.values() for e in examples]
    assert len(forms) == len(set(forms))


def test_a_test_split_of_repeats_counts_each_text_once() -> None:
    data = cleaned(raw(train=numbered(200, "a"), test=numbered(20, "b") * 20))
    assert sizes(data) == {"train": 180, "validation": 20, "test": 20}
    assert data.notices[:2] == (
        "more than half of the data is repeats: 380 of 600 rows repeat another text (ignoring case, blanks and Unicode "
        "form); each of the 220 distinct texts is kept once",
        "test: dropped 380 repeated text(s)",
    )


def test_validation_within_test_is_split_off_train_instead() -> None:
    data = cleaned(raw(train=numbered(100, "a"), validation=numbered(5, "b"), test=numbered(10, "b")))
    assert sizes(data) == {"train": 90, "validation": 10, "test": 10}
    assert "validation: all of its texts are also in test; it is split off train instead" in data.notices


def test_validation_that_is_not_used_takes_nothing_from_train() -> None:
    data = cleaned(
        raw(train=numbered(40, "a"), validation=numbered(10, "a"), test=numbered(10, "b")), validation="test"
    )
    assert sizes(data) == {"train": 40, "validation": 10, "test": 10}


def test_train_within_the_others() -> None:
    with pytest.raises(DataError, match="every training text is also in validation and test; nothing is left"):
        cleaned(raw(train=numbered(20, "a"), validation=numbered(10, "a"), test=numbered(20, "a")[10:]))


def test_nothing_is_said_where_nothing_repeats() -> None:
    assert notices(without_repeats({"train": [Example("a", 0), Example("b", 1)]})[1], dropped=True) == []


def test_labels_of_few_texts_are_in_train_and_splits_have_every_label() -> None:
    """Twelve labels of five texts: a tenth of them would not hold one text of each."""
    rows = numbered(60, "a", tuple(f"l{i}" for i in range(12)))
    data = cleaned(raw(train=rows))
    assert sizes(data) == {"train": 36, "validation": 12, "test": 12}
    assert data.notices == (
        "test: split off train, 12 texts (20%, stratified, seed 1)",
        "validation: split off train, 12 texts (25%, one for each label at least, stratified, seed 1)",
        "12 label(s) have fewer than 10 training texts ('l0': 3, 'l1': 3, 'l10': 3, 'l11': 3, 'l2': 3 and 7 more): "
        "add texts, such labels are hardly learned",
    )
    assert {e.label for e in data.splits["train"]} == set(range(12))


def test_a_label_with_one_text_left_stays_in_train() -> None:
    rows = [*numbered(90, "a"), ("x", "rare"), ("y", "rare"), ("z", "rare")]
    data = cleaned(raw(train=rows), test_fraction=0.45, validation_fraction=0.45)
    rare = data.labels.index("rare")
    assert any(e.label == rare for e in data.splits["train"])
