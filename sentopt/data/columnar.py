"""Rows of Parquet, Arrow and Feather files, and the label names that `datasets` keeps in them. Needs pyarrow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentopt._optional import require
from sentopt.errors import DataError

_BATCH = 1024
Numbered = tuple[str, dict[str, Any]]


def read(path: Path, kind: str) -> Iterator[Numbered]:
    """Each row of a `parquet` or `arrow` file with its place, such as `row 7`.

    Raises:
        DataError: the file is not of that kind, or damaged.
    """
    number = 0
    pyarrow = require("pyarrow", extra="train")
    try:
        for batch in _batches(path, kind):
            names = batch.schema.names
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise DataError(f"{path}: the column {twice!r} stands twice in the schema; rename or remove one")
            batch.validate(full=True)  # a damaged file may point outside of its memory
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a readable {kind.capitalize()} file: {error}") from error


def row_count(path: Path) -> int:
    """How many rows a Parquet file has."""
    return int(require("pyarrow.parquet", extra="train").ParquetFile(path).metadata.num_rows)


def class_names(path: Path, kind: str, column: str) -> tuple[str, ...]:
    """The names that `datasets` gave to the numbers of `column` (its `ClassLabel`), or none."""
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
    with _opened(path) as reader:
        return reader.schema


def _batches(path: Path, kind: str) -> Iterator[Any]:
    if kind == "parquet":
        yield from require("pyarrow.parquet", extra="train").ParquetFile(path).iter_batches(batch_size=_BATCH)
        return
    with path.open("rb") as stream:
        first = stream.read(6)
    if first.startswith(b"FEA1"):
        yield from require("pyarrow.feather", extra="train").read_table(path).to_batches(max_chunksize=_BATCH)
        return
    with _opened(path) as reader:
        batches = reader if not first.startswith(b"ARROW1") else map(reader.get_batch, range(reader.num_record_batches))
        for batch in batches:
            for start in range(0, batch.num_rows, _BATCH):
                yield batch.slice(start, _BATCH)


def _opened(path: Path) -> Any:
    """A reader of the file format (Feather) or of the streaming format that `datasets` writes."""
    ipc = require("pyarrow.ipc", extra="train")
    with path.open("rb") as stream:
        is_file = stream.read(6) == b"ARROW1"
    source = require("pyarrow", extra="train").OSFile(str(path))  # a mapped file that changes ends the process
    return (ipc.open_file if is_file else ipc.open_stream)(source)
