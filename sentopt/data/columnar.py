"""Read Parquet, Arrow and Feather files, and the label names that `datasets` stores in them. Needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sentopt._optional import require
from sentopt.errors import DataError

_BATCH = 1024
Numbered = tuple[str, dict[str, Any]]


def read(path: Path, kind: str, columns: Sequence[str] | None = None) -> Iterator[Numbered]:
    """Each row of a `parquet` or `arrow` file with its place, such as `row 7`.

    `columns` restricts the columns to read; names that the file lacks are ignored. Other columns may hold values that
    Python cannot represent.

    Raises:
        DataError: the file is of another format or damaged, or Python cannot represent a value.
    """
    number = 0
    pyarrow = require("pyarrow", extra="train")
    try:
        names = list(_schema(path, kind).names)
        if twice := [name for name in names if names.count(name) > 1 and (columns is None or name in columns)]:
            raise DataError(f"{path}: the column {twice[0]!r} occurs twice in the schema; rename or remove one")
        wanted = names if columns is None else [name for name in names if name in columns]
        for batch in _batches(path, kind, None if columns is None else wanted):
            batch.validate(full=True)  # offsets of a damaged file may point outside its buffers
            for row in _values(path, batch, number):
                number += 1
                yield f"row {number}", row
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a readable {kind.capitalize()} file: {error}") from error


def names(path: Path, kind: str) -> tuple[str, ...]:
    """The names of the columns.

    Raises:
        DataError: the file is of another format or damaged.
    """
    pyarrow = require("pyarrow", extra="train")
    try:
        return tuple(_schema(path, kind).names)
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a readable {kind.capitalize()} file: {error}") from error


def row_count(path: Path) -> int:
    """Number of rows of a Parquet file."""
    return int(require("pyarrow.parquet", extra="train").ParquetFile(path).metadata.num_rows)


def class_names(path: Path, kind: str, column: str) -> tuple[str, ...]:
    """The label names of `column` that `datasets` stored in the file (`ClassLabel`); empty if there are none."""
    pyarrow = require("pyarrow", extra="train")
    try:
        metadata = _schema(path, kind).metadata or {}
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        feature = features[column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else ()
    except (KeyError, TypeError, ValueError):
        return ()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a readable {kind.capitalize()} file: {error}") from error
    return tuple(str(name) for name in names)


def _schema(path: Path, kind: str) -> Any:
    if kind == "parquet":
        return require("pyarrow.parquet", extra="train").read_schema(path)
    with path.open("rb") as stream:
        is_first_feather = stream.read(4) == b"FEA1"
    if is_first_feather:
        return require("pyarrow.feather", extra="train").read_table(path).schema
    with _opened(path) as reader:
        return reader.schema


def _values(path: Path, batch: Any, before: int) -> list[dict[str, Any]]:
    """The rows of a batch; `before` rows of the file precede it.

    pyarrow raises various exceptions for dates, times and time zones that Python cannot represent.
    """
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except Exception as error:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            for row, value in enumerate(column, before + 1):
                try:
                    value.as_py()
                except Exception as cause:
                    raise DataError(
                        f"{path}, row {row}: the column {name!r} ({column.type}) holds a value that Python cannot "
                        f"represent ({type(cause).__name__}: {cause}); leave the column out, or write it as text"
                    ) from cause
        raise DataError(f"{path}: rows from {before + 1} cannot be read: {type(error).__name__}: {error}") from error
    return rows


def _batches(path: Path, kind: str, columns: list[str] | None) -> Iterator[Any]:
    if kind == "parquet":
        file = require("pyarrow.parquet", extra="train").ParquetFile(path)
        yield from _selected(file.iter_batches(batch_size=_BATCH, columns=columns), columns)
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
