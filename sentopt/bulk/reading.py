"""The rows of units, a few thousand at a time, with their texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sentopt._optional import require
from sentopt.bulk import places, units
from sentopt.bulk.inputs import Source
from sentopt.bulk.units import Unit
from sentopt.data import columnar, fields, tables
from sentopt.data.examples import as_texts
from sentopt.data.options import TableOptions
from sentopt.errors import DataError
from sentopt.runtime.description import Text

WINDOW = 4_096
"""Rows that are in memory at a time; the runtime sorts them by length and answers them together."""


@dataclass(frozen=True)
class Window:
    """Consecutive rows in the form that a writer takes, and their texts: None where there is something else."""

    rows: Any
    texts: list[Text | None]


class Reader:
    """Reads units. The rows of a text file are read once if its units come in their order."""

    def __init__(self, texts: Sequence[str], options: TableOptions) -> None:
        """`texts` is the column of the texts, or those of both texts of pairs."""
        self._texts, self._options = tuple(texts), options
        self._source: Source | None = None
        self._rows: Iterator[tuple[str, tables.Row]] = iter(())
        self._position = 0

    def windows(self, unit: Unit) -> Iterator[Window]:
        """The rows of a unit, in their order.

        Raises:
            DataError: the file cannot be read.
        """
        return self._of_row_groups(unit) if unit.source.kind == "parquet" else self._of_rows(unit)

    def _of_row_groups(self, unit: Unit) -> Iterator[Window]:
        pyarrow = require("pyarrow", extra=places.EXTRA)
        place, groups = Path(unit.source.place), list(range(unit.start, unit.start + unit.count))
        before = 0
        with units.opened(unit.source) as file:
            try:
                for some in columnar.readable_together(file.schema_arrow, groups):
                    for batch in file.iter_batches(batch_size=WINDOW, row_groups=some, use_threads=False):
                        batch.validate(full=True)
                        columns = (columnar.values(place, batch, name, before) for name in self._texts)
                        found = [_text(values) for values in zip(*columns, strict=True)]
                        before += batch.num_rows
                        yield Window([batch], found)
            except (pyarrow.ArrowException, OSError) as error:
                raise DataError(f"{unit.source.place} is damaged: {error}") from error

    def _of_rows(self, unit: Unit) -> Iterator[Window]:
        if self._source != unit.source or self._position > unit.start:
            self._rows = tables.read_numbered(Path(unit.source.place), self._options)
            self._source, self._position = unit.source, 0
        end = unit.start + unit.count
        while self._position < unit.start:
            self._position += len(list(islice(self._rows, min(WINDOW, unit.start - self._position)))) or end
        while self._position < end:
            rows = [row for _, row in islice(self._rows, min(WINDOW, end - self._position))]
            self._position += len(rows) or end
            if rows:
                yield Window(rows, [_text([fields.get(row, name) for name in self._texts]) for row in rows])


def _text(values: Sequence[Any]) -> Text | None:
    """The text of a cell, or the pair of two; empty where there is none, None where a cell has something else."""
    try:
        return as_texts(values, "")
    except DataError:
        return None
