"""Read Parquet, Arrow and Feather files, and the label names that `datasets` stores in them. Needs pyarrow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, repeat
from pathlib import Path
from typing import Any

from sentopt._optional import require
from sentopt.data import fields, nanoseconds
from sentopt.errors import DataError
from sentopt.runtime.surrogates import repaired

_BATCH = 1024
_MOST_NAMES = 1000
Numbered = tuple[str, dict[str, Any]]


def read(path: Path, kind: str, columns: Sequence[str] | None = None) -> Iterator[Numbered]:
    """Each row of a `parquet` or `arrow` file with its place, such as `row 7`.

    `columns` restricts what is read: columns, or fields inside of them (see `fields`), as keys of the rows. Names that
    the file lacks are ignored. Other columns may hold values that Python cannot represent.

    Raises:
        DataError: the file is of another format or damaged, or Python cannot represent a value.
    """
    number = 0
    for batch in batches(path, kind, columns):
        rows = _rows(path, batch, number) if columns is None else _fields(path, batch, columns, number)
        for row in rows:
            number += 1
            yield f"row {number}", row


def batches(path: Path, kind: str, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """The record batches of a file, at most 1,024 rows each; `columns` as for `read`.

    Raises:
        DataError: the file is of another format or damaged, or a column occurs twice.
    """
    with readable(path, kind):
        schema = _schema(path, kind)
        wanted = None if columns is None else {name for column in columns for name in _path(schema, column)[:1]}
        check_once(path, [name for name in schema.names if wanted is None or name in wanted])
        chosen = None if wanted is None else [name for name in schema.names if name in wanted]
        for batch in _batches(path, kind, chosen):
            batch.validate(full=True)  # offsets of a damaged file may point outside its buffers
            yield batch


def check_once(path: Path | str, names: Iterable[str]) -> None:
    """That no column has the name of another one.

    Raises:
        DataError: two have.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(f"{path}: the column {twice[0]!r} occurs twice in the schema; rename or remove one")


def schema(path: Path, kind: str) -> Any:
    """The Arrow schema of a file, with its metadata.

    Raises:
        DataError: the file is of another format or damaged.
    """
    with readable(path, kind):
        return _schema(path, kind)


def names_in(schema: Any, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of the columns, of the fields of structs inside of them, and those of the `wanted` ones there are."""
    inner = islice((name for field in schema for name in _inner(field)), _MOST_NAMES)
    return tuple(dict.fromkeys([*schema.names, *inner, *(name for name in wanted if _path(schema, name))]))


def names(path: Path, kind: str, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """`names_in` the schema of a file.

    Raises:
        DataError: the file is of another format or damaged.
    """
    return names_in(schema(path, kind), wanted)


def values(path: Path, batch: Any, name: str, before: int) -> list[Any]:
    """The values of a column, or of a field inside of one; `before` rows of the file precede the batch.

    Raises:
        DataError: there is no such column, or Python cannot represent a value.
    """
    column, *structs, rest = _path(batch.schema, name) or (name, "")
    if column not in batch.schema.names:
        raise DataError(f"{path} has no column {name!r}")
    array = batch.column(column)
    compute = require("pyarrow.compute", extra="train")
    for field in structs:  # other fields may hold values that Python cannot represent
        array = compute.struct_field(array, [field])
    found = _as_python(path, name, array, before)
    return (
        [None if (value := fields.find(item, rest)) is fields.MISSING else value for item in found] if rest else found
    )


@contextmanager
def readable(path: Path | str, kind: str) -> Iterator[None]:
    """Around what reads a `parquet` or `arrow` file.

    Raises:
        DataError: the file is of another format or damaged.
    """
    pyarrow = require("pyarrow", extra="train")
    try:
        yield
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a readable {kind.capitalize()} file: {error}") from error


def _path(schema: Any, name: str) -> tuple[str, ...]:
    """A column, the structs inside of it that lead to a field, and what is left of the name; empty if there is none."""
    if name in schema.names:
        return (name, "")
    for head, rest in fields.splits(name):
        if head in schema.names and (path := _path_in(schema.field(schema.names.index(head)).type, rest)):
            return (head, *path)
    return ()


def _path_in(kind: Any, name: str) -> tuple[str, ...]:
    types = require("pyarrow.types", extra="train")
    if not types.is_struct(kind):
        return (name,) if types.is_nested(kind) else ()  # items of lists and maps differ from row to row
    inner = [kind.field(i).name for i in range(kind.num_fields)]
    if name in inner:
        return (name, "") if inner.count(name) == 1 else ()
    for head, rest in fields.splits(name):
        if inner.count(head) == 1 and (path := _path_in(kind.field(inner.index(head)).type, rest)):
            return (head, *path)
    return ()


def _inner(field: Any) -> Iterator[str]:
    """The dotted names of the fields inside of a struct."""
    if require("pyarrow.types", extra="train").is_struct(field.type):
        for i in range(field.type.num_fields):
            inner = field.type.field(i)
            yield f"{field.name}.{inner.name}"
            yield from (f"{field.name}.{name}" for name in _inner(inner))


def _fields(path: Path, batch: Any, columns: Sequence[str], before: int) -> Iterator[dict[str, Any]]:
    there = [name for name in columns if _path(batch.schema, name)]
    lists = [values(path, batch, name, before) for name in there]
    cells = zip(*lists, strict=True) if lists else repeat((), batch.num_rows)
    return (dict(zip(there, row, strict=True)) for row in cells)


def row_count(path: Path) -> int:
    """Number of rows of a Parquet file."""
    return int(require("pyarrow.parquet", extra="train").read_metadata(path).num_rows)


def class_names(path: Path, kind: str, column: str) -> tuple[str, ...]:
    """The label names of `column` that `datasets` stored in the file (`ClassLabel`).

    Empty if there are none, or if the metadata is not as `datasets` writes it.
    """
    metadata = schema(path, kind).metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        feature = _of_items(fields.find(features, column))
        names = feature["names"] if feature["_type"] == "ClassLabel" else []
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    usable = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return tuple(repaired(name) for name in names) if usable else ()


def _of_items(feature: Any) -> Any:
    """The feature of the items where `feature` is that of a list, however its version of `datasets` writes it."""
    if isinstance(feature, list) and len(feature) == 1:
        return _of_items(feature[0])
    is_list = isinstance(feature, dict) and feature.get("_type") in ("Sequence", "List", "LargeList")
    return _of_items(feature["feature"]) if is_list else feature


def _schema(path: Path, kind: str) -> Any:
    if kind == "parquet":
        return require("pyarrow.parquet", extra="train").read_schema(path)
    with path.open("rb") as stream:
        is_first_feather = stream.read(4) == b"FEA1"
    if is_first_feather:
        return require("pyarrow.feather", extra="train").read_table(path).schema
    with _opened(path) as reader:
        return reader.schema


def _rows(path: Path, batch: Any, before: int) -> list[dict[str, Any]]:
    """The rows of a batch; `before` rows of the file precede it."""
    try:
        rows: list[dict[str, Any]] = nanoseconds.values(batch.to_struct_array())
    except Exception:  # see _as_python, which says where
        lists = [
            _as_python(path, name, column, before)
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        ]
        rows = [dict(zip(batch.schema.names, row, strict=True)) for row in zip(*lists, strict=True)]
    return rows


def _as_python(path: Path, name: str, column: Any, before: int) -> list[Any]:
    """The values of a column.

    pyarrow raises various exceptions for dates, times and time zones that Python cannot represent.
    """
    try:
        return nanoseconds.values(column)
    except Exception as error:
        for row, value in enumerate(column, before + 1):
            try:
                value.as_py()
            except Exception as cause:
                raise DataError(
                    f"{path}, row {row}: the column {name!r} ({column.type}) holds a value that Python cannot "
                    f"represent ({type(cause).__name__}: {cause}); leave the column out, or write it as text"
                ) from cause
        raise DataError(f"{path}: rows from {before + 1} cannot be read: {type(error).__name__}: {error}") from error


def _batches(path: Path, kind: str, columns: list[str] | None) -> Iterator[Any]:
    if kind == "parquet":
        with require("pyarrow.parquet", extra="train").ParquetFile(path) as file:
            for groups in readable_together(file.schema_arrow, range(file.num_row_groups)):
                yield from _selected(file.iter_batches(_BATCH, row_groups=groups, columns=columns), columns)
        return
    with path.open("rb") as stream:
        first = stream.read(6)
    if first.startswith(b"FEA1"):
        table = require("pyarrow.feather", extra="train").read_table(path)
        yield from _selected(table.to_batches(max_chunksize=_BATCH), columns)
        return
    with _opened(path) as reader:
        batches = reader if not first.startswith(b"ARROW1") else map(reader.get_batch, range(reader.num_record_batches))
        for batch in _selected(batches, columns):
            for start in range(0, batch.num_rows, _BATCH):
                yield batch.slice(start, _BATCH)


def readable_together(schema: Any, groups: Sequence[int]) -> list[list[int]]:
    """Row groups of a Parquet file, as they can be read: pyarrow cannot join the dictionaries of several of them inside
    of a nested column."""
    by_one = any(_is_dictionary(inner) for field in schema for inner in _inside(field.type))
    return [[group] for group in groups] if by_one else [list(groups)]


def _inside(kind: Any) -> Iterator[Any]:
    """The types inside of a nested one."""
    for i in range(kind.num_fields):
        yield kind.field(i).type
        yield from _inside(kind.field(i).type)


def _is_dictionary(kind: Any) -> bool:
    return bool(require("pyarrow.types", extra="train").is_dictionary(kind))


def _selected(batches: Iterable[Any], columns: list[str] | None) -> Iterator[Any]:
    for batch in batches:
        yield batch if columns is None else batch.select(columns)


def _opened(path: Path) -> Any:
    """A reader of the Arrow file format (Feather) or of the Arrow streaming format (written by `datasets`)."""
    ipc = require("pyarrow.ipc", extra="train")
    with path.open("rb") as stream:
        is_file = stream.read(6) == b"ARROW1"
    # Not memory-mapped: a mapped file that changes crashes the process.
    source = require("pyarrow", extra="train").OSFile(str(path))
    return (ipc.open_file if is_file else ipc.open_stream)(source)
