"""Read and write table files row by row, so that files larger than memory can be scored.

CSV, TSV and JSON (plain or .gz) need the standard library only; Parquet, Arrow and Excel need packages of the extras.
"""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from sentopt._optional import require
from sentopt.data import columnar, delimited, documents, encodings, formats, workbooks
from sentopt.data.options import TableOptions
from sentopt.errors import DataError
from sentopt.files import durable

FORMATS = ".csv, .tsv, .jsonl, .ndjson (each also .gz) or .parquet"
Row = Mapping[str, Any]
DETECTED = TableOptions()
MIXED = "mixed"


def table_format(path: Path) -> str:
    """The format to write: `csv`, `tsv`, `jsonl` or `parquet`, by the file name.

    Raises:
        DataError: the suffix is not supported.
    """
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    kind = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(
        suffix.lower()
    )
    if kind is None:
        raise DataError(f"{path}: cannot tell the format from the name; expected {FORMATS}")
    return kind


def read_rows(
    path: Path, options: TableOptions = DETECTED, notify: Callable[[str], None] = lambda notice: None
) -> Iterator[Row]:
    """Yield each row as a mapping from column name to value.

    `notify` receives notices about how the file was read, at the latest with the last row.

    Raises:
        DataError: the file is missing, malformed, or has another format than its name; the message says where.
    """
    return (row for _, row in read_numbered(path, options, notify))


def read_numbered(
    path: Path, options: TableOptions = DETECTED, notify: Callable[[str], None] = lambda notice: None
) -> Iterator[tuple[str, Row]]:
    """Like `read_rows`, with the place of each row in the file, such as `line 7`."""
    formats.check_file(path)
    kind = formats.reading_format(path)
    if kind in ("parquet", "arrow"):
        yield from columnar.read(path, kind)
    elif kind == "xlsx":
        yield from workbooks.read(path, notify)
    else:
        yield from _read_text(path, kind, options, notify)


def read_lines(
    path: Path, options: TableOptions = DETECTED, notify: Callable[[str], None] = lambda notice: None
) -> Iterator[str]:
    """Each line of a text file, without its line end.

    Raises:
        DataError: the file is missing, has another format than its name, or cannot be decoded.
    """
    formats.check_file(path)
    with path.open("rb") as stream:
        formats.check_is_text(path, stream.read(512), packed=False)
    encoding = encodings.detect(path, options)
    if encoding.notice:
        notify(encoding.notice)
    try:
        with path.open(encoding=encoding.codec) as lines:
            for line in lines:
                yield line.rstrip("\n")
    except UnicodeDecodeError as error:
        raise encodings.wrong_byte(path, encoding.codec, error, options) from error


def count_rows(path: Path) -> int | None:
    """Number of rows for a progress bar; None if counting would cost as much as reading the file."""
    return columnar.row_count(path) if formats.reading_format(path) == "parquet" else None


def class_names(path: Path, column: str) -> tuple[str, ...]:
    """The label names of `column` that `datasets` stored in the file; empty if there are none."""
    kind = formats.reading_format(path)
    return columnar.class_names(path, kind, column) if kind in ("parquet", "arrow") else ()


def _read_text(
    path: Path, kind: str, options: TableOptions, notify: Callable[[str], None]
) -> Iterator[tuple[str, Row]]:
    try:
        with path.open("rb") as stream:
            packed = path.suffix.lower() == ".gz"
            formats.check_is_text(path, b"" if packed else stream.read(512), packed=False)
        if packed:
            with encodings.open_bytes(path) as unpacked:
                formats.check_is_text(path, unpacked.read(512), packed=True)
        if kind == "json":
            yield from documents.read_document(path, options, notify)
        elif kind == "jsonl":
            yield from documents.read_lines(path, options, notify)
        else:
            yield from delimited.read(path, "\t" if kind == "tsv" else ",", options, notify)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is malformed: {error}") from error


class RowWriter:
    """Writes a CSV, TSV, JSON Lines or Parquet file, depending on its name. The file appears when it is complete."""

    def __init__(self, path: Path, columns: Sequence[str], types: Mapping[str, Any] | None = None) -> None:
        """`types` maps columns of a Parquet file to Arrow types; a column of type `mixed` is stored as text or JSON."""
        self.path = path
        self.columns = list(columns)
        self._types = dict(types or {})
        self._kind = table_format(path)
        self._partial = durable.temporary(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._kind == "parquet":
            self._parquet: Any = None
        else:
            self._stream = _open_text(self._partial, "x", compressed=path.suffix == ".gz")
            if self._kind != "jsonl":
                self._csv = csv.writer(
                    self._stream, delimiter="\t" if self._kind == "tsv" else ",", lineterminator="\n"
                )
                self._csv.writerow(self.columns)

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; keys that are not columns are ignored."""
        if self._kind == "parquet":
            self._write_parquet(rows)
        elif self._kind == "jsonl":
            for row in rows:
                self._stream.write(
                    json.dumps({c: row.get(c) for c in self.columns}, ensure_ascii=False, default=str) + "\n"
                )
        else:
            self._csv.writerows([row.get(c) for c in self.columns] for row in rows)

    def _write_parquet(self, rows: Sequence[Row]) -> None:
        pyarrow = require("pyarrow", extra="train")
        arrays = {}
        for column in self.columns:
            values, kind = [row.get(column) for row in rows], self._types.get(column)
            if kind == MIXED:
                values, kind = [_as_json(value) for value in values], pyarrow.string()
            try:
                arrays[column] = pyarrow.array(values, type=kind)
            except (pyarrow.ArrowException, TypeError, OverflowError) as error:
                raise DataError(
                    f"{self.path}: the values of column {column!r} do not fit into one type of Parquet ({error}); "
                    "write a .csv or .jsonl file"
                ) from error
            self._types.setdefault(column, arrays[column].type)
        table = pyarrow.table(arrays)
        if self._parquet is None:
            self._parquet = require("pyarrow.parquet", extra="train").ParquetWriter(self._partial, table.schema)
        self._parquet.write_table(table)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._kind != "parquet":
                self._stream.close()
            elif self._parquet is not None:
                self._parquet.close()
            if kind is None and self._partial.exists():
                durable.fsync(self._partial)
                self._partial.replace(self.path)
        except Exception as failure:
            durable.blame_full_disk(failure, self.path)
            raise
        finally:
            self._partial.unlink(missing_ok=True)


def arrow_types(rows: Iterable[Row]) -> dict[str, Any]:
    """The Arrow type of each column, in order of first occurrence; `mixed` if its values have several types."""
    pyarrow = require("pyarrow", extra="train")
    kinds: dict[str, set[type]] = {}
    examples: dict[str, Any] = {}
    for row in rows:
        for column, value in row.items():
            value_types = kinds.setdefault(column, set())
            if value is not None:
                value_types.add(type(value))
                examples.setdefault(column, value)
    types: dict[str, Any] = {}
    for column, value_types in kinds.items():
        if value_types == {int, float}:
            types[column] = pyarrow.float64()
        elif len(value_types) > 1:
            types[column] = MIXED
        else:
            types[column] = pyarrow.infer_type([examples[column]]) if value_types else pyarrow.string()
    return types


def _as_json(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _open_text(path: Path, mode: str = "r", *, compressed: bool | None = None) -> TextIO:
    opener: Any = gzip.open if (path.suffix == ".gz" if compressed is None else compressed) else open
    encoding = "utf-8-sig" if mode == "r" else "utf-8"
    stream: TextIO = opener(path, f"{mode}t", encoding=encoding, newline="")
    return stream
