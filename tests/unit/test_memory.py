"""Data that a program hands over: what is understood, how it is identified, and how the rest is refused."""

from typing import Any

import datasets
import numpy as np
import pandas
import polars
import pyarrow
import pytest

from sentopt import recipe
from sentopt.data import memory, sources, splits
from sentopt.data.examples import RawData
from sentopt.errors import DataError

ROWS = [("fine", "good"), ("awful", "bad"), ("so so", "good")]
TEXTS, LABELS = (list(column) for column in zip(*ROWS, strict=True))
TABLE = {"text": TEXTS, "label": LABELS}


def rows(data: RawData, split: str = "train") -> list[tuple[object, object]]:
    return [(row.text, row.label) for row in data.splits[split]]  # type: ignore[index]


KINDS = {
    "lists": lambda: (TEXTS, LABELS),
    "arrays": lambda: (np.array(TEXTS), np.array(LABELS)),
    "series": lambda: (pandas.Series(TEXTS), pandas.Series(LABELS, dtype="category")),
    "columns": lambda: TABLE,
    "pandas": lambda: pandas.DataFrame(TABLE),
    "polars": lambda: polars.DataFrame(TABLE),
    "pyarrow": lambda: pyarrow.table(TABLE),
    "dataset": lambda: datasets.Dataset.from_dict(TABLE),
    "dicts": lambda: [{"text": text, "label": label, "more": 1} for text, label in ROWS],
    "pairs": lambda: list(ROWS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_rows_and_the_same_identity(kind: str) -> None:
    data = memory.read(KINDS[kind]())
    assert rows(data) == ROWS
    assert memory.digests(data) == memory.digests(memory.read((TEXTS, LABELS)))
    assert list(memory.digests(data)) == ["train"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_may_be_a_split(kind: str) -> None:
    data = memory.read({"train": KINDS[kind](), "dev": (["x"], ["bad"])})
    assert (rows(data), rows(data, "validation")) == (ROWS, [("x", "bad")])


def test_a_dataset_dict_keeps_the_names_of_its_labels() -> None:
    features = datasets.Features(
        {"sentence": datasets.Value("string"), "target": datasets.ClassLabel(names=["bad", "good", "unused"])}
    )
    table = datasets.Dataset.from_dict({"sentence": ["a", "b"], "target": [0, 1]}, features=features)
    given = datasets.DatasetDict({"train": table, "test": table, "unsupervised": table})
    data = memory.read(given, text_column="sentence", label_column="target")
    assert (data.labels, rows(data), sorted(data.splits)) == (
        ("bad", "good"),
        [("a", "bad"), ("b", "good")],
        ["test", "train"],
    )


def test_numbers_stand_for_the_outputs_of_a_model() -> None:
    data = memory.read((["a", "b"], np.array([1, 0])))
    assert memory.has_numbers(data)
    assert memory.with_labels(data, ["bad", "good"]).labels == ("bad", "good")
    assert not memory.has_numbers(memory.read((["a", "b"], [True, False])))


def test_other_labels_texts_or_order_are_another_identity() -> None:
    same = memory.digests(memory.read((TEXTS, LABELS)))
    for other in (
        (TEXTS, LABELS[1:] + LABELS[:1]),
        (TEXTS[::-1], LABELS),
        ([*TEXTS, "x"], [*LABELS, "bad"]),
        (TEXTS, [1, 0, 1]),
    ):
        assert memory.digests(memory.read(other)) != same
    assert memory.digests(memory.read((["a", "b"], [1, 1]))) != memory.digests(memory.read((["ab"], [1])))


def test_a_missing_text_is_empty_and_a_missing_label_none() -> None:
    frame = pandas.DataFrame({"text": ["a", None, "c"], "label": pandas.array([1, None, 2], dtype="Int64")})
    assert rows(memory.read(frame)) == [("a", 1), ("", None), ("c", 2)]


def test_a_test_split_may_lack_labels() -> None:
    data = memory.read({"train": (TEXTS, LABELS), "test": pandas.DataFrame({"text": ["x"]})})
    assert rows(data, "test") == [("x", None)]
    assert data.notices == ("the test split has no column 'label'",)


@pytest.mark.parametrize(("column", "all_labelled"), [("labels", False), ("stars", True)])
def test_a_label_column_of_another_name_is_no_lack_of_labels(column: str, all_labelled: bool) -> None:
    data = {"train": (TEXTS, LABELS), "test": pandas.DataFrame({"text": ["x"], column: ["good"]})}
    with pytest.raises(DataError, match="no column 'label'"):
        memory.read(data, all_labelled=all_labelled)


def test_declared_labels_name_the_numbers_of_data_in_memory() -> None:
    given = memory.read((["a", "b", "c"], [1, 0, 1]))
    section = recipe.DataSection(dataset=memory.MEMORY, labels=("bad", "good"))
    data = splits.clean(
        sources.load(section, memory.read(([f"text {i}" for i in range(60)], [0, 1, 0] * 20))), section, seed=1
    )
    assert data.labels == ("bad", "good")
    assert sources.load(section, given).labels == ("bad", "good")
    assert sources.load(recipe.DataSection(dataset=memory.MEMORY), given) == given


def test_floats_without_a_fraction_are_numbers_of_outputs() -> None:
    data = memory.read(pandas.DataFrame({"text": ["a", "b", "c"], "label": [1, 0, None]}))
    assert memory.has_numbers(data)
    assert rows(memory.with_labels(data, ["bad", "good"])) == [("a", 1), ("b", 0), ("c", None)]


def test_columns_may_have_numbers_as_names() -> None:
    frame = pandas.DataFrame([list(row) for row in ROWS])
    assert rows(memory.read(frame, text_column="0", label_column="1")) == ROWS


@pytest.mark.parametrize("labels", [[np.array([1, 0])] * 3, [[0], [1], [0]]])
def test_lists_of_labels_are_told_as_such(labels: Any) -> None:
    data = memory.read((TEXTS, labels))
    assert not memory.has_numbers(data)
    with pytest.raises(DataError, match="list"):
        splits.clean(data, recipe.DataSection(dataset=memory.MEMORY), seed=1)


def test_a_lone_test_split_is_all_the_data_of_a_tuned_model() -> None:
    assert list(memory.as_one_table(memory.read({"test": (TEXTS, LABELS)})).splits) == ["train"]
    both = memory.read({"train": (TEXTS, LABELS), "test": (["x"], ["bad"])})
    assert memory.as_one_table(both) == both


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            pandas.DataFrame({"review": ["a"], "label": [1]}),
            r"no column 'text'; it has 'review', 'label'.*text_column=",
        ),
        (
            pandas.DataFrame({"text": ["a"], "labels": [1]}),
            r"no column 'label' \(did you mean 'labels'\?\).*label_column=",
        ),
        ((["a", "b"], [1]), "train: 2 texts, but 1 labels"),
        (("one text", [1]), "expected a sequence of texts or labels, found str"),
        ({"train": (TEXTS, LABELS), "holdout": (TEXTS, LABELS)}, "a part named 'holdout'; expected splits named"),
        ({"validation": (TEXTS, LABELS), "dev": (TEXTS, LABELS)}, "two parts for the validation split"),
        (pandas.DataFrame([["a", "b", 1]], columns=["text", "text", "label"]), "2 columns named 'text'"),
        ({}, "the data is empty"),
        ([{"text": "a", "label": 1}, {"text": "b"}], "row 2 of the data has no 'label'"),
        (["a", "b"], "a list of str is no labelled data"),
        ([], "the data is empty"),
        (3, r"data of the type builtins.int is not understood; expected a datasets.DatasetDict"),
        (datasets.Dataset.from_dict(TABLE).to_iterable_dataset(), "A streamed dataset must be read first"),
    ],
)
def test_what_is_not_understood_is_explained(data: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        memory.read(data)


def test_names_of_things_are_not_data(tmp_path: Any) -> None:
    assert [memory.is_data(given) for given in ("sst2", tmp_path, (TEXTS, LABELS))] == [False, False, True]


NESTED = [{"data": {"text": text, "tags": [label]}, "n": 1} for text, label in ROWS]
NESTED_KINDS = {
    "dicts": lambda: NESTED,
    "columns": lambda: {"data": [row["data"] for row in NESTED], "n": [1, 2, 3]},
    "pandas": lambda: pandas.DataFrame(NESTED),
    "polars": lambda: polars.DataFrame(NESTED),
    "pyarrow": lambda: pyarrow.Table.from_pylist(NESTED),
    "dataset": lambda: datasets.Dataset.from_list(NESTED),
}


@pytest.mark.parametrize("kind", NESTED_KINDS)
def test_fields_inside_of_columns_are_named_with_dots(kind: str) -> None:
    given = NESTED_KINDS[kind]()
    assert rows(memory.read(given, text_column="data.text", label_column="data.tags.0")) == ROWS
    both = memory.read({"train": given, "test": given}, text_column="data.text", label_column="data.tags.0")
    assert rows(both, "test") == ROWS
    with pytest.raises(DataError, match=r"has no (column )?'data\.other'"):
        memory.read({"train": given}, text_column="data.other", label_column="n")


def test_half_characters_become_whole_ones() -> None:
    data = memory.read((["cut \ud83d", "b"], ["\udfff", "b"]))
    assert rows(data) == [("cut \ufffd", "\ufffd"), ("b", "b")]
