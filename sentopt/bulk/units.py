"""Pieces of a file, each of which gives one output file.

Row groups of a Parquet file; blocks of rows of a CSV, TSV or JSON Lines file, whose rows have to be counted first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentopt._optional import require
from sentopt.bulk import places
from sentopt.bulk.inputs import Source
from sentopt.data import columnar, fields, scorable, tables
from sentopt.data.options import TableOptions


@dataclass(frozen=True)
class Unit:
    """Rows of a file.

    Attributes:
        source: the file.
        columns: of the file.
        index: of the unit in the file.
        start: the row group, or the row, that it begins with.
        count: how many row groups, or rows.
        rows: how many rows.
    """

    source: Source
    columns: tuple[str, ...]
    index: int
    start: int
    count: int
    rows: int

    @property
    def name(self) -> str:
        """That of its output file."""
        return f"{self.source.key}-{self.index:06d}{self.source.suffix}"


def of(
    source: Source, texts: Sequence[str], options: TableOptions, unit_rows: int, notify: Callable[[str], None]
) -> list[Unit]:
    """The units of a file, in the order of its rows: at least one, which may have none.

    Blocks have `unit_rows` rows; row groups that have fewer are put together.

    Raises:
        DataError: it cannot be read, or has no such columns of texts.
    """
    if source.kind == "parquet":
        return list(_row_groups(source, texts, unit_rows))
    columns, rows = _surveyed(source, texts, options, notify)
    counts = [(start, min(unit_rows, rows - start)) for start in range(0, rows, unit_rows)] or [(0, 0)]
    return [Unit(source, columns, index, start, count, count) for index, (start, count) in enumerate(counts)]


def _row_groups(source: Source, texts: Sequence[str], unit_rows: int) -> Iterator[Unit]:
    with opened(source) as file:
        schema = file.schema_arrow
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    scorable.check_columns(source.place, columnar.names_in(schema, texts), texts)
    columnar.check_once(source.place, schema.names)
    if not sum(sizes):
        yield Unit(source, tuple(schema.names), 0, 0, 0, 0)
    start = rows = index = 0
    for group, size in enumerate(sizes):
        rows += size
        if rows >= unit_rows or (rows and group == len(sizes) - 1):
            yield Unit(source, tuple(schema.names), index, start, group + 1 - start, rows)
            start, rows, index = group + 1, 0, index + 1


def _surveyed(
    source: Source, texts: Sequence[str], options: TableOptions, notify: Callable[[str], None]
) -> tuple[tuple[str, ...], int]:
    """The columns of a text file, and the number of its rows."""
    header: list[str] = []
    keys: dict[str, None] = {}
    rows, found = 0, set[str]()
    for _, row in tables.read_numbered(Path(source.place), options, notify, header.extend):
        rows += 1
        if source.kind == "jsonl":
            keys |= dict.fromkeys(row)
            found |= {name for name in texts if name not in found and fields.find(row, name) is not fields.MISSING}
    columns = tuple(header or keys)
    if columns:
        scorable.check_columns(source.place, [*columns, *found], texts)
    return columns, rows


def opened(source: Source) -> Any:
    """A `pyarrow.parquet.ParquetFile`, to be closed by the caller.

    Raises:
        DataError: it cannot be read.
    """
    parquet = require("pyarrow.parquet", extra=places.EXTRA)
    with columnar.readable(source.place, source.kind):
        if not source.is_remote:
            return parquet.ParquetFile(source.place)
        system, path = places.filesystem(source.place)
        return parquet.ParquetFile(system.open_input_file(path))
