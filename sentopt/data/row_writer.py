"""Write rows to a CSV, TSV, JSON Lines or Parquet file that appears when it is complete.

Texts of CSV files stay as they are, and so does each line of a JSON Lines file. An Arrow table keeps its schema.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from sentopt._optional import require
from sentopt.data import arrow_types, formats, row_groups
from sentopt.data.arrow_types import TEXT
from sentopt.data.documents import ObjectLine
from sentopt.errors import DataError
from sentopt.files import durable

Row = Mapping[str, Any]


class _Writer:
    """A file that appears when it is complete, written by a sink."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._partial = durable.temporary(path)
        self._sink: Any = None

    def _open(self) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._sink = self._open()
        except BaseException as failure:
            self._partial.unlink(missing_ok=True)
            durable.blame_full_disk(failure, self.path)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is not None:
                self._sink.abandon()
                return
            self._sink.finish()
            durable.fsync(self._partial)
            self._partial.replace(self.path)
        except Exception as failure:
            durable.blame_full_disk(failure, self.path)
            raise
        finally:
            self._partial.unlink(missing_ok=True)


class RowWriter(_Writer):
    """Writes rows to a file whose format its name says. The file appears when it is complete."""

    def __init__(self, path: Path, columns: Sequence[str], types: Mapping[str, Any] | None = None) -> None:
        """`types` are the Arrow types of the columns of a Parquet file, or `TEXT`; else those of the first rows."""
        super().__init__(path)
        self.columns = list(columns)
        self._types = dict(types or {})
        self._kind = formats.table_format(path)

    def write(self, rows: Sequence[Row], added: Iterable[Row] | None = None) -> None:
        """Append rows; `added` are further columns of each.

        A row of JSON Lines keeps its own keys, and its line if it was read from such a file. Keys that are not columns
        are ignored elsewhere.

        Raises:
            DataError: values do not fit into one type of Parquet.
        """
        self._sink.write(zip(rows, repeat({}) if added is None else added, strict=False))

    def _open(self) -> Any:
        if self._kind == "parquet":
            return _ParquetSink(self._partial, self.path, self.columns, self._types)
        stream = _opened(self._partial, compressed=self.path.suffix.lower() == ".gz")
        if self._kind == "jsonl":
            return _JsonLinesSink(stream)
        return _DelimitedSink(stream, self.columns, "\t" if self._kind == "tsv" else ",")


class BatchWriter(_Writer):
    """Writes record batches to a Parquet file with their own schema and further columns at its end."""

    def __init__(self, path: Path, schema: Any, added: Mapping[str, Any], compression: str) -> None:
        """`added` maps each further column to its Arrow type.

        Raises:
            DataError: Parquet has no type for a column.
        """
        super().__init__(path)
        self._added, self._compression = added, compression
        pyarrow = require("pyarrow", extra="train")
        self._schema = pyarrow.schema(
            [*schema, *(pyarrow.field(name, kind) for name, kind in added.items())], metadata=schema.metadata
        )

    def write(self, batches: Sequence[Any], added: Sequence[Row]) -> None:
        """Append batches; `added` are the further columns of each of their rows."""
        pyarrow = require("pyarrow", extra="train")
        start = 0
        for batch in batches:
            rows = added[start : start + batch.num_rows]
            more = [pyarrow.array([row[name] for row in rows], type=kind) for name, kind in self._added.items()]
            self._sink.write(pyarrow.RecordBatch.from_arrays([*batch.columns, *more], schema=self._schema))
            start += batch.num_rows

    def _open(self) -> Any:
        return row_groups.GroupWriter(self._partial, self.path, self._schema, self._compression)


class _JsonLinesSink:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.finish = self.abandon = stream.close

    def write(self, rows: Iterable[tuple[Row, Row]]) -> None:
        for row, more in rows:
            if isinstance(row, ObjectLine):
                self._stream.write(f"{_extended(row, more)}\n")
            else:
                self._stream.write(f"{arrow_types.as_strict_json({**row, **more})}\n")


def _extended(row: ObjectLine, more: Row) -> str:
    """The line of a row as it was read, with further keys at its end."""
    if not more:
        return row.line
    return f"{row.line[:-1].rstrip()}{', ' if row else ''}{arrow_types.as_strict_json(more)[1:]}"


class _DelimitedSink:
    def __init__(self, stream: TextIO, columns: Sequence[str], delimiter: str) -> None:
        self._stream, self._columns = stream, columns
        self.finish = self.abandon = stream.close
        # The writer quotes fields that hold a character of its line end: both, so that lone carriage returns are safe.
        self._csv = csv.writer(_LineEnds(stream), delimiter=delimiter, lineterminator="\r\n")
        self._csv.writerow(columns)

    def write(self, rows: Iterable[tuple[Row, Row]]) -> None:
        for row, more in rows:
            self._csv.writerow([_as_field(more[c] if c in more else row.get(c)) for c in self._columns])


class _LineEnds:
    """A stream for `csv.writer` whose rows end with a line feed alone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, row: str) -> int:
        return self._stream.write(f"{row[:-2]}\n")


def _as_field(value: Any) -> Any:
    return arrow_types.as_text(value) if isinstance(value, list | dict | tuple | bytes) else value


class _ParquetSink:
    """Rows as record batches; columns without a type get that of the first rows."""

    def __init__(self, partial: Path, target: Path, columns: Sequence[str], types: Mapping[str, Any]) -> None:
        self._partial, self._target, self._columns = partial, target, columns
        self._types = dict(types)
        self._writer: Any = None
        if set(columns) <= set(types):
            self._open([self._arrow_type(column) for column in columns])

    def write(self, rows: Iterable[tuple[Row, Row]]) -> None:
        pyarrow = require("pyarrow", extra="train")
        merged = [{**row, **more} for row, more in rows]
        arrays = [self._array(column, [row.get(column) for row in merged]) for column in self._columns]
        if self._writer is None:
            self._open([array.type for array in arrays])
        self._writer.write(pyarrow.RecordBatch.from_arrays(arrays, names=self._columns))

    def finish(self) -> None:
        if self._writer is None:
            self._open([require("pyarrow", extra="train").string() for _ in self._columns])
        self._writer.finish()

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()

    def _open(self, types: Sequence[Any]) -> None:
        schema = require("pyarrow", extra="train").schema(list(zip(self._columns, types, strict=True)))
        self._writer = row_groups.GroupWriter(self._partial, self._target, schema)

    def _arrow_type(self, column: str) -> Any:
        kind = self._types.get(column)
        return require("pyarrow", extra="train").string() if kind == TEXT else kind

    def _array(self, column: str, values: list[Any]) -> Any:
        pyarrow = require("pyarrow", extra="train")
        if self._types.get(column) == TEXT:
            values = [arrow_types.as_text(value) for value in values]
        try:
            array = pyarrow.array(values, type=self._arrow_type(column))
        except (pyarrow.ArrowException, TypeError, OverflowError, ValueError) as error:
            raise DataError(
                f"{self._target}: the values of column {column!r} do not fit into one type of Parquet ({error}); "
                "write a .csv or .jsonl file"
            ) from error
        self._types.setdefault(column, array.type)
        return array


def _opened(path: Path, *, compressed: bool) -> TextIO:
    opener: Any = gzip.open if compressed else open
    stream: TextIO = opener(path, "xt", encoding="utf-8", newline="")
    return stream
