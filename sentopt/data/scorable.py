"""A table whose rows get further columns: its rows in windows with their texts, and the writer of the longer rows.

An Arrow table that becomes a Parquet file is passed on as it is. Rows whose columns no format states are read twice:
the keys of JSON may differ from row to row, and a Parquet file needs a type for each column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sentopt import records
from sentopt._optional import require
from sentopt.data import columnar, fields, formats, row_groups, tables
from sentopt.data.arrow_types import TEXT, TypeSurvey
from sentopt.data.examples import as_texts
from sentopt.data.options import TableOptions
from sentopt.data.row_writer import BatchWriter, RowWriter
from sentopt.errors import DataError
from sentopt.runtime.batching import batched
from sentopt.runtime.description import Text

_WINDOW = 512
_SHOWN = 20
Added = Mapping[str, type[str] | type[float] | type[list[str]]]
"""The columns to add, with the type of their values; a list holds strings."""


@dataclass(frozen=True)
class Window:
    """Consecutive rows in the form that the writer takes, and their texts, which are empty where there is none."""

    rows: Any
    texts: list[Text]


@dataclass(frozen=True)
class Scorable:
    """A table: its columns, the number of its rows if that is known, its windows, and what opens the writer.

    The windows can be iterated once.
    """

    columns: Sequence[str]
    count: int | None
    windows: Iterator[Window]
    writer: Callable[[Added], RowWriter | BatchWriter]


def opened(
    source: Path, target: Path, texts: Sequence[str], options: TableOptions, notify: Callable[[str], None]
) -> Scorable:
    """The table at `source`, whose rows are to be written to `target`.

    `texts` is a column, or a field inside of one (see `fields`); two of them where texts are pairs.

    Raises:
        DataError: the file cannot be read, has no such column, or no columns at all.
    """
    formats.check_file(source)
    kind = formats.reading_format(source)
    if kind in ("parquet", "arrow"):
        check_columns(source, columnar.names(source, kind, texts), texts)
        if formats.table_format(target) == "parquet":
            return _arrow_table(source, kind, target, texts)
    survey = _survey(source, kind, target, texts, options)
    for name in survey.as_text:
        notify(
            f"{source.name}: the column {name!r} is written as text, because no type of Parquet holds all of its "
            "values unchanged"
        )
    columns: list[str] = []
    numbered = tables.read_numbered(source, options, notify, columns.extend)
    first = next(batched(numbered, 1), [])  # the names of the columns come before the first row
    columns = columns or list(survey.columns)
    if kind in ("csv", "tsv", "xlsx"):
        check_columns(source, columns, texts)

    def writer(added: Added) -> RowWriter:
        names = list(dict.fromkeys([*columns, *added]))
        is_parquet = formats.table_format(target) == "parquet"
        return RowWriter(target, names, {**_types(survey, columns), **arrow_types(added)} if is_parquet else None)

    return Scorable(columns, survey.rows, _windows(source, chain(first, numbered), texts), writer)


def _arrow_table(source: Path, kind: str, target: Path, texts: Sequence[str]) -> Scorable:
    schema = columnar.schema(source, kind)

    def windows() -> Iterator[Window]:
        before, batches, found = 0, [], list[Text]()
        for batch in columnar.batches(source, kind):
            values = zip(*(columnar.values(source, batch, name, before) for name in texts), strict=True)
            found += [as_texts(some, f"{source}, row {row}") for row, some in enumerate(values, before + 1)]
            batches.append(batch)
            before += batch.num_rows
            if len(found) >= _WINDOW:
                yield Window(batches, found)
                batches, found = [], []
        if found:
            yield Window(batches, found)

    def writer(added: Added) -> BatchWriter:
        compression = row_groups.compression(source) if kind == "parquet" else row_groups.USUAL
        return BatchWriter(target, schema, arrow_types(added), compression)

    return Scorable(schema.names, tables.count_rows(source), windows(), writer)


def _windows(source: Path, numbered: Iterable[tuple[str, tables.Row]], texts: Sequence[str]) -> Iterator[Window]:
    for window in batched(numbered, _WINDOW):
        found = [as_texts([fields.get(row, name) for name in texts], f"{source}, {place}") for place, row in window]
        yield Window([row for _, row in window], found)


@dataclass(frozen=True)
class _Survey:
    """What a first pass over the rows tells; nothing where it is not needed."""

    columns: Sequence[str] = ()
    types: Mapping[str, Any] | None = None
    rows: int | None = None

    @property
    def as_text(self) -> list[str]:
        return [name for name, kind in (self.types or {}).items() if kind == TEXT]


def _types(survey: _Survey, columns: Sequence[str]) -> Mapping[str, Any]:
    """The Arrow types of the columns; those of a file without types are texts."""
    return dict.fromkeys(columns, TEXT) if survey.types is None else survey.types


def _survey(source: Path, kind: str, target: Path, texts: Sequence[str], options: TableOptions) -> _Survey:
    needs_types = formats.table_format(target) == "parquet" and kind not in ("csv", "tsv")
    if kind not in ("json", "jsonl") and not needs_types:
        return _Survey(rows=tables.count_rows(source))
    columns: dict[str, None] = {}
    inner: dict[str, None] = {}
    found, rows = set[str](), 0
    survey = TypeSurvey() if needs_types else None
    for window in batched(tables.read_rows(source, options), _WINDOW):
        for row in window:
            columns |= dict.fromkeys(row)
            found |= {name for name in texts if name not in found and fields.find(row, name) is not fields.MISSING}
        if not inner:
            inner = dict.fromkeys(fields.names(window[0]))
        if survey:
            survey.add(window)
        rows += len(window)
    if kind in ("json", "jsonl"):
        if not columns:
            raise DataError(f"{source} has no rows")
        check_columns(source, [*columns, *inner, *found], texts)
    if survey and (widened := survey.widened()):
        for window in batched(tables.read_rows(source, options), _WINDOW):
            survey.check(window, widened)
    return _Survey(list(columns), survey.types() if survey and rows else None, rows)


def check_columns(source: Path | str, columns: Iterable[str], texts: Sequence[str]) -> None:
    """That a table has the column with the texts, or both columns of pairs.

    Raises:
        DataError: it has not; the message names those that are there.
    """
    names = list(dict.fromkeys(columns))
    for column, option in zip(texts, ("--text-column", "--pair-column"), strict=False):
        if column not in names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise DataError(
                f"{source} has no column {column!r}{records.nearest(column, names)}; "
                f"it has {', '.join(map(repr, names[:_SHOWN]))}{more}. Name it with {option}"
            )


def arrow_types(added: Added) -> dict[str, Any]:
    """The Arrow types of added columns."""
    pyarrow = require("pyarrow", extra="train")
    types = {str: pyarrow.string(), float: pyarrow.float64(), list[str]: pyarrow.list_(pyarrow.string())}
    return {name: types[kind] for name, kind in added.items()}
