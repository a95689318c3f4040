"""Write Parquet files batch by batch, in row groups of a sensible size. Needs pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentopt._optional import require
from sentopt.data import arrow_types
from sentopt.errors import DataError

_MOST_ROWS = 1 << 17
_MOST_BYTES = 32 << 20
_CODECS = ("snappy", "gzip", "brotli", "zstd", "lz4")
USUAL = "snappy"


class GroupWriter:
    """Collects record batches and writes a row group when there are enough of them."""

    def __init__(self, path: Path, target: Path, schema: Any, compression: str = USUAL) -> None:
        """`path` is the file to write; `target` is its later name, for messages.

        Raises:
            DataError: Parquet has no type for a column.
        """
        self._pyarrow = require("pyarrow", extra="train")
        self._target, self._schema = target, schema
        _check(schema, target)
        writer = require("pyarrow.parquet", extra="train").ParquetWriter
        self._writer = writer(path, schema, compression=compression)
        self._batches: list[Any] = []
        self._rows = self._bytes = 0

    def write(self, batch: Any) -> None:
        """Append a batch of the schema."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _MOST_ROWS or self._bytes >= _MOST_BYTES:
            self._write_group()

    def finish(self) -> None:
        """Write what is left, and the end of the file."""
        if self._rows:
            self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        """Close the file, which is not complete."""
        self._writer.close()

    def _write_group(self) -> None:
        table = self._pyarrow.Table.from_batches(self._batches, schema=self._schema)
        try:
            self._writer.write_table(table, row_group_size=self._rows)
        except (self._pyarrow.ArrowNotImplementedError, self._pyarrow.ArrowInvalid) as error:
            raise DataError(
                f"{self._target} cannot be written: Parquet cannot hold these values ({error}); write a .jsonl file"
            ) from error
        self._batches = []
        self._rows = self._bytes = 0


def compression(path: Path) -> str:
    """The compression of a Parquet file, as far as it can be written; the usual one for a file without rows."""
    return compression_of(require("pyarrow.parquet", extra="train").read_metadata(path))


def compression_of(metadata: Any) -> str:
    """`compression` of the file with this metadata."""
    if not metadata.num_row_groups or not metadata.num_columns:
        return USUAL
    codec = str(metadata.row_group(0).column(0).compression).lower().removesuffix("_raw")
    return "none" if codec == "uncompressed" else codec if codec in _CODECS else USUAL


def _check(schema: Any, target: Path) -> None:
    if arrow_types.can_be_stored(*schema.types):
        return
    for field in schema:
        if not arrow_types.can_be_stored(field.type):
            raise DataError(
                f"{target}: the column {field.name!r} has the type {field.type}, which Parquet cannot hold; "
                "write a .jsonl or .csv file, or leave the column out"
            )
