"""Rows, texts and examples without an object for each: they behave as lists of such objects do."""

import math
import random
from pathlib import Path

import numpy as np
import pytest

from sentopt.data import rows as columns
from sentopt.data.examples import Example, RawRow
from sentopt.data.rows import Examples, Rows, RowsBuilder, Texts
from sentopt.errors import DataError

TEXTS = ["a", "", "é 😀", "x" * 50, "tab\tand\nline", "last"]
LABELS = ["good", 1, 1.0, True, "1", None]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "CHUNK_ROWS", 4)


def raw(count: int) -> list[RawRow]:
    return [RawRow(f"text {i}", LABELS[i % len(LABELS)], f"file {i % 2}.csv line {i}") for i in range(count)]


def same(one: object, other: object) -> bool:
    """Equal, and of one type: 1, 1.0 and True are equal."""
    return repr(one) == repr(other)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize("count", [0, 1, 4, 5, 23])
def test_rows_are_those_that_were_added(tmp_path: Path, count: int, in_file: bool) -> None:
    builder = RowsBuilder(tmp_path / "texts" if in_file else None)
    for row in raw(count):
        builder.add(row.text, row.label, row.where)
    rows = builder.finish()
    assert same(list(rows), raw(count))
    assert same([rows[i] for i in range(len(rows))], raw(count))
    chosen = random.Random(count).sample(range(count), count // 2)
    assert same(list(rows.take(chosen)), [raw(count)[i] for i in chosen])
    assert same(
        list(rows.take(chosen).take(range(len(chosen) // 2))), [raw(count)[i] for i in chosen[: len(chosen) // 2]]
    )


@pytest.mark.usefixtures("small_chunks")
def test_parts_are_joined_in_order_with_their_places_and_labels() -> None:
    whole = raw(30)
    parts = [Rows.of(whole[:7]), Rows.of(whole[:20]).take(range(7, 20)), Rows.of(whole[20:])]
    assert same(list(Rows.joined(parts)), whole)


@pytest.mark.parametrize("where", ["data.csv line 12", "data.csv", "7", "a 007", "file 3.csv", "x -1", "x ²"])
def test_places_stay_as_they_are(where: str) -> None:
    assert Rows.of([RawRow("a", "b", where)])[0].where == where


def test_labels_are_one_only_if_value_and_type_are() -> None:
    given = [1, "1", 1.0, True, math.nan, float("nan"), None, [1], [1], "nan"]
    rows = Rows.of(RawRow("t", label, "x 1") for label in given)
    assert same(rows.distinct(), [1, "1", 1.0, True, math.nan, None, [1], "nan"])
    assert same([row.label for row in rows.relabelled(str)], [str(label) for label in given])


def test_what_is_no_text_is_refused_when_texts_are_asked_for() -> None:
    rows = Rows.of(RawRow(text, "y", f"line {i}") for i, text in enumerate(["a", 5, None, b"b", b"\xff", ["c"]], 1))
    assert list(rows.take(range(4)).checked_texts()) == ["a", "5", "", "b"]
    for taken, place in (([0, 5], "line 6: the text is a list"), ([4, 5], "line 5: the text is bytes")):
        with pytest.raises(DataError, match=place):
            rows.take(taken).checked_texts()
    assert rows[5].text == ["c"]


@pytest.mark.usefixtures("small_chunks")
def test_texts_are_a_sequence() -> None:
    texts = Texts.of(TEXTS)
    assert texts == TEXTS
    assert Texts.of(TEXTS[::-1]) == TEXTS[::-1]
    assert texts != TEXTS[1:]
    assert texts[-1] == "last"
    assert texts[1:5:2] == TEXTS[1:5:2]
    assert texts[::-1][1:] == TEXTS[::-1][1:]
    with pytest.raises(IndexError):
        texts[6]


@pytest.mark.usefixtures("small_chunks")
def test_examples_are_a_sequence_and_count_their_labels() -> None:
    listed = [Example(text, i % 3) for i, text in enumerate(TEXTS)][1:]
    examples = Examples.of(listed)
    assert examples == listed
    assert examples[2] == listed[2]
    assert examples[1:3] == listed[1:3]
    assert list(examples.counts().items()) == [(1, 2), (2, 2), (0, 1)]
    assert examples.majority() == 0.4
    assert [e.label for e in examples.relabelled({0: 5, 1: 0, 2: 1})] == [0, 1, 5, 0, 1]
    assert Examples.of(examples) is examples
    assert Examples.of([]).counts() == {}
    assert examples.take(np.array([], dtype=np.int64)) == []
