"""Data that a Python program hands over: datasets, data frames, lists. Nothing here is imported for it.

A recipe names such data by its SHA-256, so that a run knows whether it was given the same rows again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sentopt import records
from sentopt.data import fields, folders, pairs, stored_names
from sentopt.data.examples import RawData, RawRow
from sentopt.data.label_cells import flagged
from sentopt.data.rows import Rows, RowsBuilder
from sentopt.errors import DataError
from sentopt.run_dir import SPLITS, Split
from sentopt.runtime.surrogates import repaired

MEMORY = "memory"
_EXPECTED = (
    "a datasets.DatasetDict or Dataset, a pandas or polars DataFrame, a pyarrow Table, (texts, labels), "
    "a list of {text, label} rows, or a dict of these by split"
)


def is_data(data: object) -> bool:
    """Whether `data` holds rows, and is not the name of something."""
    return not isinstance(data, str | bytes) and not hasattr(data, "__fspath__")


def read(
    data: object,
    *,
    text_column: str = "text",
    label_column: str = "label",
    label_columns: Sequence[str] = (),
    pair_column: str = "",
    all_labelled: bool = False,
) -> RawData:
    """The rows of `data` by split, texts and labels as they are.

    Args:
        data: see `sentopt.train`. What is not divided into splits is the train split.
        text_column: name of the column of texts, where there are columns.
        label_column: name of the column of labels.
        label_columns: columns of 0 and 1 in its place, one for each label.
        pair_column: name of the column of second texts, where rows are pairs of texts. Where there are no columns, each
            text is a tuple of two.
        all_labelled: whether a test split must have labels, too, and names of labels are kept that no row has: the
            data are for a tuned model, whose outputs they may name.

    Raises:
        DataError: it is none of the kinds that are understood, or lacks a column.
    """
    columns = _Columns(
        (text_column, pair_column) if pair_column else (text_column,), label_column, tuple(label_columns)
    )
    tables = _by_split(data, columns)
    splits: dict[Split, Rows] = {}
    stored: dict[stored_names.Names, str] = {}
    notices: list[str] = []
    for split, table in tables.items():
        may_lack = split == "test" and not all_labelled
        rows = _rows(table, columns, split, notices if may_lack else None)
        names = () if label_columns else _class_names(table, label_column)
        splits[split] = stored_names.named(rows, names)
        if names:
            stored.setdefault(names, "the features of the dataset")
    declared = next(iter(stored)) if all_labelled and len(stored) == 1 else ()
    labels, named = stored_names.apply(splits, columns.flags or declared, stored, notices)
    described = ", ".join(f"{split}: {len(rows)} rows" for split, rows in named.items())
    return RawData(named, labels, f"given from Python ({described})", tuple(notices), by_position=True)


def with_labels(data: RawData, labels: Sequence[str]) -> RawData:
    """The same rows; `labels` are the names that numbers among the labels stand for, counted from 0."""
    splits = {split: Rows.of(rows).relabelled(_whole) for split, rows in data.splits.items()}
    return replace(data, splits=splits, labels=tuple(labels), by_position=True)


def has_numbers(data: RawData) -> bool:
    """Whether every label is a whole number."""
    labels = [label for rows in data.splits.values() for label in Rows.of(rows).distinct() if label is not None]
    return bool(labels) and all(isinstance(_whole(label), int) and not isinstance(label, bool) for label in labels)


def has_lists_of_numbers(data: RawData) -> bool:
    """Whether every label is a list of whole numbers, and not every one a list of one."""
    labels = [label for rows in data.splits.values() for label in Rows.of(rows).distinct() if label is not None]
    lists = [label for label in labels if isinstance(label, list | tuple)]
    numbers = [_whole(one) for listed in lists for one in listed]
    are_numbers = all(isinstance(one, int) and not isinstance(one, bool) for one in numbers)
    return len(lists) == len(labels) and are_numbers and bool(numbers) and any(len(listed) != 1 for listed in lists)


def as_one_table(data: RawData) -> RawData:
    """The same data, divided into splits later if all that there is is a test split."""
    return replace(data, splits={"train": data.splits["test"]}) if set(data.splits) == {"test"} else data


def digests(data: RawData) -> dict[Split, str]:
    """SHA-256 of the rows of each split, label names included."""
    return {split: _digest(rows, data.labels) for split, rows in data.splits.items()}


def overrides(data: RawData) -> dict[str, Any]:
    """The recipe keys that say which data this is."""
    found = digests(data)
    return {"data.dataset": MEMORY, "data.labels": [], **{f"data.{split}": found.get(split, "") for split in SPLITS}}


def _digest(rows: Iterable[RawRow], labels: Sequence[str]) -> str:
    digest = hashlib.sha256(json.dumps(list(labels)).encode())
    for row in rows:
        digest.update(
            json.dumps([row.text, row.label], default=repr, ensure_ascii=False).encode("utf-8", "surrogatepass")
        )
        digest.update(b"\n")
    return f"sha256:{digest.hexdigest()}"


@dataclass(frozen=True)
class _Columns:
    """Those of the texts, of which a pair has two, and that of the labels; or `flags`, of 0 and 1, one for each."""

    texts: tuple[str, ...]
    label: str
    flags: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """Those of the labels."""
        return self.flags or (self.label,)

    @property
    def all(self) -> tuple[str, ...]:
        """Those of the texts first."""
        return (*self.texts, *self.labels)

    @property
    def are_pairs(self) -> bool:
        """Whether a text is a pair of two."""
        return len(self.texts) > 1

    def keyword(self, column: str) -> str:
        """The argument that names a column."""
        if column in self.texts:
            return ("text_column", "pair_column")[self.texts.index(column)]
        return "label_columns" if self.flags else "label_column"


def _by_split(data: object, columns: _Columns) -> dict[Split, object]:
    if isinstance(data, Mapping) and not all(fields.column_of(data, column) for column in columns.all):
        return _named_splits(data)
    return {"train": data}


def _named_splits(data: Mapping[Any, object]) -> dict[Split, object]:
    tables: dict[Split, object] = {}
    for name, table in data.items():
        split = folders.SPLIT_NAMES.get(str(name).lower())
        if split is None:
            if str(name).lower() == "unsupervised":
                continue  # texts without labels, which some datasets of the hub carry along
            raise DataError(
                f"the data has a part named {name!r}{records.nearest(str(name), SPLITS)}; expected splits named "
                "train, validation and test, or columns named as text_column= and label_column= say"
            )
        if split in tables:
            raise DataError(f"the data has two parts for the {split} split; keep one")
        tables[split] = table
    if not tables:
        raise DataError(f"the data is empty; expected {_EXPECTED}")
    return tables


def _whole(label: object) -> object:
    """An integer for a float without a fraction: pandas makes them where a label is missing."""
    if isinstance(label, list | tuple):
        return [_whole(one) for one in label]
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _rows(table: object, columns: _Columns, split: Split, unlabelled: list[str] | None) -> Rows:
    """The rows of a table. It may lack labels where there is a list `unlabelled`, which then gets a notice."""
    texts, labels = _texts_and_labels(table, columns, unlabelled)
    if len(texts) != len(labels):
        raise DataError(f"{split}: {len(texts)} texts, but {len(labels)} labels; expected as many of both")
    builder = RowsBuilder(pairs=columns.are_pairs)
    for number, (text, label) in enumerate(zip(texts, labels, strict=True), 1):
        where = f"{split} row {number}"
        builder.add(_pair(text, where) if columns.are_pairs else _plain(text), _flags_of(label, columns, where), where)
    return builder.finish()


def _flags_of(cells: object, columns: _Columns, where: str) -> object:
    """The label of a row, or the names of those of its labels that are 1.

    Raises:
        DataError: there are not as many cells as labels, or one is neither 0 nor 1.
    """
    if not columns.flags or cells is None:
        return _plain(cells)
    row = _column(cells)
    if len(row) != len(columns.flags):
        raise DataError(
            f"{where} has {len(row)} labels of 0 and 1; expected {len(columns.flags)}, one for each of label_columns="
        )
    return flagged([_plain(cell) for cell in row], columns.flags, where)


def _pair(text: object, where: str) -> tuple[object, object]:
    """
    Raises:
        DataError: it is no pair.
    """
    if not isinstance(text, tuple | list) or len(text) != 2:
        raise DataError(f"{where}: expected a pair of texts, as pair_column= says, found {text!r:.80}")
    return _plain(text[0]), _plain(text[1])


def _texts_and_labels(
    table: object, columns: _Columns, unlabelled: list[str] | None
) -> tuple[Sequence[object], Sequence[object]]:
    if isinstance(table, tuple) and len(table) == 2:
        return _column(table[0]), _column(table[1])
    if isinstance(table, list):
        return _of_rows(table, columns)
    names, take = _with_fields(*_columns_of(table), columns.all)
    missing = [column for column in columns.all if column not in names]
    near = any(records.nearest(column, names) for column in columns.labels)
    if tuple(missing) == columns.labels and unlabelled is not None and not near:
        unlabelled.append(f"the test split has no column {', '.join(map(repr, columns.labels))}")
        texts = _taken(take, columns.texts)
        return texts, [None] * len(texts)
    if missing:
        raise DataError(
            f"the data has no column {missing[0]!r}{records.nearest(missing[0], names)}; it has "
            f"{', '.join(map(repr, names[:20]))}. Name the right one with {columns.keyword(missing[0])}="
        )
    for column in columns.all:
        if names.count(column) > 1:
            raise DataError(f"the data has {names.count(column)} columns named {column!r}; keep one of them")
    if columns.flags:
        return _taken(take, columns.texts), _side_by_side(take, columns.flags)
    return _taken(take, columns.texts), _column(take(columns.label))


def _taken(take: Callable[[str], object], texts: Sequence[str]) -> Sequence[object]:
    """The column of the texts, or both columns of pairs row by row."""
    return _side_by_side(take, texts) if len(texts) > 1 else _column(take(texts[0]))


def _side_by_side(take: Callable[[str], object], names: Sequence[str]) -> list[tuple[object, ...]]:
    """What each row has in these columns.

    Raises:
        DataError: one is longer than another.
    """
    cells = [_column(take(name)) for name in names]
    for name, column in zip(names, cells, strict=True):
        if len(column) != len(cells[0]):
            raise DataError(
                f"the column {names[0]!r} has {len(cells[0])} rows, and {name!r} has {len(column)}; expected as many "
                "of both"
            )
    return list(zip(*cells, strict=True))


def _with_fields(
    names: list[str], take: Callable[[str], object], columns: Sequence[str]
) -> tuple[list[str], Callable[[str], object]]:
    """The columns, and those of `columns` that are fields inside of one."""
    inner: dict[str, list[object]] = {}
    for column in columns:
        outer = fields.column_of(names, column)
        if outer and outer != column:
            values = [fields.find({outer: value}, column) for value in _column(take(outer))]
            if any(value is not fields.MISSING for value in values):
                inner[column] = [None if value is fields.MISSING else value for value in values]
    return [*names, *inner], lambda name: inner[name] if name in inner else take(name)


def _of_rows(rows: list[Any], columns: _Columns) -> tuple[Sequence[object], Sequence[object]]:
    """Rows that are dicts, or pairs."""
    if not rows:
        raise DataError(f"the data is empty; expected {_EXPECTED}")
    if all(isinstance(row, Mapping) for row in rows):
        for column in columns.all:
            lacking = next((i for i, row in enumerate(rows, 1) if fields.find(row, column) is fields.MISSING), None)
            if lacking is not None:
                has = ", ".join(fields.names(rows[lacking - 1]))
                raise DataError(f"row {lacking} of the data has no {column!r}; it has {has}")
        text_of = pairs.getter(columns.texts)
        found = [[fields.find(row, column) for column in columns.labels] for row in rows]
        return [text_of(row) for row in rows], found if columns.flags else [cells[0] for cells in found]
    if all(isinstance(row, tuple | list) and len(row) == 2 for row in rows):
        return [row[0] for row in rows], [row[1] for row in rows]
    raise DataError(f"a list of {type(rows[0]).__name__} is no labelled data; expected {_EXPECTED}")


def _columns_of(table: object) -> tuple[list[str], Callable[[str], object]]:
    """The names of the columns, and what gives one of them."""
    if isinstance(table, Mapping):
        return [str(name) for name in table], lambda name: table[name]
    names: Any = getattr(table, "column_names", None)  # datasets, pyarrow
    if names is None:
        names = getattr(table, "columns", None)  # pandas, polars
    if names is None or not hasattr(table, "__getitem__") or not hasattr(table, "__len__"):
        what = f"{type(table).__module__.partition('.')[0]}.{type(table).__name__}"
        streamed = " A streamed dataset must be read first: Dataset.from_list(list(ds))." if _is_streamed(table) else ""
        raise DataError(f"data of the type {what} is not understood; expected {_EXPECTED}.{streamed}")
    by_text = {str(name): name for name in names}
    return [str(name) for name in names], lambda name: table[by_text[name]]


def _is_streamed(table: object) -> bool:
    return type(table).__name__ == "IterableDataset"


def _column(values: object) -> Sequence[object]:
    """A column as a list."""
    if hasattr(values, "toarray"):  # a sparse matrix of SciPy, as MultiLabelBinarizer can make one
        values = values.toarray()
    for name in ("to_pylist", "to_list", "tolist"):  # pyarrow; pandas, polars; numpy
        method = getattr(values, name, None)
        if method is not None:
            return list(method())
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise DataError(f"expected a sequence of texts or labels, found {type(values).__name__} ({values!r:.60})")
    return list(values)


def _plain(value: Any) -> object:
    """The Python value of a scalar of numpy and the like; missing values are None."""
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item() if getattr(value, "size", 1) == 1 and not getattr(value, "ndim", 0) else value.tolist()
    if isinstance(value, str):
        return repaired(value)
    missing = type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    return None if missing else value


def _class_names(table: object, label_column: str) -> tuple[str, ...]:
    """The names that `datasets` keeps beside the numbers of a column."""
    features = getattr(table, "features", None)
    feature = fields.get(features, label_column) if isinstance(features, Mapping) else None
    return stored_names.of_feature(feature)
