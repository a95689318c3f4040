"""Rows of CSV, TSV, JSON Lines and Parquet files, one at a time, so that a file larger than memory can be scored.

CSV and JSON Lines (plain or .gz) need the standard library only; Parquet needs pyarrow, which the extras bring.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from sentopt import durable
from sentopt._optional import require
from sentopt.errors import DataError

FORMATS = ".csv, .tsv, .jsonl, .ndjson (each also .gz) or .parquet"
Row = Mapping[str, Any]


def table_format(path: Path) -> str:
    """`csv`, `tsv`, `jsonl` or `parquet`, by the file's name.

    Raises:
        DataError: the name ends otherwise.
    """
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    kind = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}.get(
        suffix.lower()
    )
    if kind is None:
        raise DataError(f"{path}: cannot tell the format from the name; expected {FORMATS}")
    return kind


def read_rows(path: Path) -> Iterator[Row]:
    """Yield each row as a mapping from column name to value.

    Raises:
        DataError: the file is missing, not UTF-8, or malformed; the message says where.
    """
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    kind = table_format(path)
    if kind == "parquet":
        yield from _read_parquet(path)
        return
    try:
        with _open_text(path) as stream:
            yield from (
                _read_jsonl(path, stream)
                if kind == "jsonl"
                else _read_csv(path, stream, "\t" if kind == "tsv" else ",")
            )
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} {_position(path, error)}. "
            f"Convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 {path.name}"
        ) from error
    except (csv.Error, gzip.BadGzipFile, EOFError) as error:
        raise DataError(f"{path} is malformed: {error}") from error


def count_rows(path: Path) -> int | None:
    """How many rows a progress bar should expect, or None where finding out costs as much as reading the file."""
    if table_format(path) == "parquet":
        return int(require("pyarrow.parquet", extra="train").ParquetFile(path).metadata.num_rows)
    return None


class RowWriter:
    """Writes rows to a CSV, TSV, JSON Lines or Parquet file; the name says which. The file appears when complete."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self.path = path
        self.columns = list(columns)
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
        """Append rows; keys that are not columns are left out."""
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
        table = pyarrow.Table.from_pylist([{c: row.get(c) for c in self.columns} for row in rows])
        if self._parquet is None:
            self._parquet = require("pyarrow.parquet", extra="train").ParquetWriter(self._partial, table.schema)
        self._parquet.write_table(table.cast(self._parquet.schema))

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


def _read_csv(path: Path, stream: TextIO, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.DictReader(stream, delimiter=delimiter, restkey="\0extra", strict=True)
    for row in reader:
        if "\0extra" in row:
            raise DataError(
                f"{path}, line {reader.line_num}: more fields than the header has columns; "
                f"quote fields that hold {delimiter!r}"
            )
        yield row


def _read_jsonl(path: Path, stream: TextIO) -> Iterator[Row]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}")
        yield row


def _read_parquet(path: Path) -> Iterator[Row]:
    parquet = require("pyarrow.parquet", extra="train")
    try:
        for batch in parquet.ParquetFile(path).iter_batches(batch_size=1024):
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is not a readable Parquet file: {error}") from error


def _open_text(path: Path, mode: str = "r", *, compressed: bool | None = None) -> TextIO:
    opener: Any = gzip.open if (path.suffix == ".gz" if compressed is None else compressed) else open
    encoding = "utf-8-sig" if mode == "r" else "utf-8"
    stream: TextIO = opener(path, f"{mode}t", encoding=encoding, newline="")
    return stream


def _position(path: Path, error: UnicodeDecodeError) -> str:
    """The line of the first undecodable byte; the codec only knows its place within one buffer."""
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return f"in line {number}"
    return f"at position {error.start}"
