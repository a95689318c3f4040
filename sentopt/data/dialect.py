"""Detect the dialect of a CSV or TSV file: its delimiter, and whether quotes enclose fields or are ordinary characters.

Both are detected from the beginning of the file. A result that differs from what the file name implies is reported.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sentopt.data.options import TableOptions, delimiter_character

_OTHERS = ",;\t|"
_MOST_VALUES = 100
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}


@dataclass(frozen=True)
class Dialect:
    """`quote` is empty if quotes are ordinary characters. `first_line`: the first line is Excel's `sep=`, not a row."""

    delimiter: str
    quote: str = '"'
    escape: str = ""
    first_line: bool = False
    skip_blanks: bool = False

    def reader(self, lines: Iterable[str]) -> Any:
        """A strict `csv.reader` with this dialect."""
        csv.field_size_limit(2**31 - 1)
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quotechar=self.quote or None,
            quoting=csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            escapechar=self.escape or None,
            doublequote=not self.escape,
            skipinitialspace=self.skip_blanks,
            strict=True,
        )


@dataclass(frozen=True)
class Record:
    """The fields of one row, its lines in the file, and the number of the first line."""

    fields: list[str]
    lines: tuple[str, ...]
    line: int


class LineBuffer:
    """An iterator of lines that remembers the lines since the last `take`."""

    def __init__(self, lines: Iterable[str]) -> None:
        self._lines = iter(lines)
        self._pending: list[str] = []
        self.line = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.line += 1
        self._pending.append(line)
        return line

    @property
    def first(self) -> int:
        """The number of the first line since the last `take`."""
        return self.line - len(self._pending) + 1

    def take(self) -> tuple[str, ...]:
        """The lines since the last call."""
        lines = tuple(self._pending)
        self._pending.clear()
        return lines


class Categories:
    """The values of each column with few distinct values, such as a column of labels."""

    def __init__(self, columns: int) -> None:
        self._values: list[set[str] | None] = [set() for _ in range(columns)]
        self._rows = 0

    def add(self, fields: Sequence[str]) -> None:
        """Add a row that is one line long."""
        self._rows += 1
        for i, (values, field) in enumerate(zip(self._values, fields, strict=False)):
            if values is not None:
                values.add(field)
                if len(values) > _MOST_VALUES:
                    self._values[i] = None

    @property
    def known(self) -> bool:
        """Whether any column has few distinct values."""
        return bool(self._columns())

    def _columns(self) -> list[tuple[int, set[str]]]:
        return [(i, v) for i, v in enumerate(self._values) if v and 2 * len(v) <= self._rows]

    def fit(self, rows: Iterable[Sequence[str]]) -> bool:
        """Whether all `rows` have known values in every column with few distinct values, and there is such a column."""
        columns = self._columns()
        return bool(columns) and all(row[i] in values for row in rows for i, values in columns)


def records(dialect: Dialect, lines: LineBuffer) -> Iterator[Record]:
    """The rows of a file.

    Raises:
        csv.Error: quotes are not balanced.
    """
    for fields in dialect.reader(lines):
        first = lines.first
        yield Record(fields, lines.take(), first)


def are_rows(lines: Sequence[str], dialect: Dialect, columns: int, categories: Categories) -> bool:
    """Whether lines that quotes merge into one row are complete rows, which means that a quote is a stray character.

    In text with commas, a sentence may look like a row by chance. Unless the delimiter is a tab, the fields must
    therefore be known values in columns with few distinct values, such as labels.
    """
    rows = [line.rstrip("\r\n").split(dialect.delimiter) for line in lines]
    if columns < 2 or any(len(row) != columns for row in rows):
        return False
    return dialect.delimiter == "\t" or categories.fit(rows)


def detect(sample: str, *, complete: bool, usual: str, options: TableOptions, name: str) -> tuple[Dialect, list[str]]:
    """The dialect of the file `name`, which begins with `sample`, and notices about it.

    `usual` is the delimiter that the name implies; `complete` means that the sample is the whole file.

    Raises:
        DataError: the stated delimiter or quote is none.
    """
    options.check()
    notices: list[str] = []
    lines = [line for line in io.StringIO(sample, newline="") if line.strip("\r\n")]
    stated = re.match(r"sep=(.)\r?\n?$", lines[0], re.IGNORECASE) if lines else None
    lines = lines[1:] if stated else lines
    delimiter = _delimiter(lines, usual, stated.group(1) if stated else "", options)
    if delimiter != usual and not options.delimiter and not stated:
        notices.append(
            f"{name}: the fields are separated by {_called(delimiter)}; {options.how('delimiter', repr(usual))} "
            "if that is wrong"
        )
    dialect = Dialect(delimiter, first_line=bool(stated))
    if options.quote != "auto":
        return replace(dialect, quote=options.quote), notices
    return _with_quotes(dialect, lines, complete, options, name, notices), notices


def _called(delimiter: str) -> str:
    return f"{_NAMES[delimiter]}s ({delimiter!r})" if delimiter in _NAMES else repr(delimiter)


def _delimiter(lines: Sequence[str], usual: str, stated: str, options: TableOptions) -> str:
    if options.delimiter or stated:
        return delimiter_character(options.delimiter) or stated
    if not lines:
        return usual
    scores = {d: _consistency(lines[:500], d) for d in dict.fromkeys(usual + _OTHERS)}
    best = max(scores, key=lambda d: scores[d])
    enough = 0.9 if scores[usual] else 0.5
    return usual if scores[usual] >= 0.5 or scores[best] < enough else best


def _consistency(lines: Sequence[str], delimiter: str) -> float:
    """The share of rows with as many fields as the header, with or without quotes; 0 if the header has one field."""
    shares = [0.0]
    for dialect in (Dialect(delimiter), Dialect(delimiter, quote="")):
        rows = [record.fields for record in _parsed(dialect, lines)[0]]
        if rows and len(rows[0]) > 1:
            same = sum(len(row) == len(rows[0]) for row in rows)
            shares.append(same / len(rows))
    return max(shares)


def _parsed(dialect: Dialect, lines: Sequence[str]) -> tuple[list[Record], bool]:
    """The rows up to the first unbalanced quote, and whether all quotes were balanced."""
    parsed: list[Record] = []
    try:
        for record in records(dialect, LineBuffer(lines)):
            parsed.append(record)
    except csv.Error:
        return parsed, False
    return parsed, True


def _with_quotes(
    dialect: Dialect, lines: Sequence[str], complete: bool, options: TableOptions, name: str, notices: list[str]
) -> Dialect:
    if not lines or not any('"' in line for line in lines):
        return dialect
    if sum(f'{dialect.delimiter} "' in line for line in lines) > len(lines) / 2:
        dialect = replace(dialect, skip_blanks=True)  # some programs write a blank before a quoted field
    parsed, balanced = _parsed(dialect, lines)
    balanced = balanced or (not complete and _ends_within(dialect, lines))
    columns = len(parsed[0].fields) if parsed else 0
    plain = [line.rstrip("\r\n").split(dialect.delimiter) for line in lines]
    if len(plain[0]) > 1 and all(len(row) == len(plain[0]) for row in plain):
        stray = _stray(parsed, dialect, columns)
        if stray or not balanced:
            count = sum(line.count('"') % 2 for line in lines)
            notices.append(
                f"{name}: quotes are read as ordinary characters, because every line is a row of its own"
                f"{f' and {count} line(s) hold a quote without its pair' if count else ''}; "
                f"{options.how('quote', repr(chr(34)))} if quotes enclose fields"
            )
            return replace(dialect, quote="")
    if not balanced and any('\\"' in line for line in lines):
        escaped = replace(dialect, escape="\\")
        rows, balanced = _parsed(escaped, lines)
        if balanced and all(len(row.fields) == len(rows[0].fields) for row in rows):
            notices.append(f'{name}: a quote within a quoted field is written \\" in it, and read as a quote')
            return escaped
    return dialect


def _ends_within(dialect: Dialect, lines: Sequence[str]) -> bool:
    """Whether quotes are unbalanced only because the sample ends within a quoted field."""
    return _parsed(dialect, [*lines, dialect.quote])[1]


def _stray(parsed: Sequence[Record], dialect: Dialect, columns: int) -> bool:
    """Whether quotes merge rows, in a sample in which every line looks like a row."""
    categories = Categories(columns)
    for record in parsed:
        if len(record.lines) == 1:
            categories.add(record.fields)
    merged = [record.lines for record in parsed if len(record.lines) > 1]
    enough = len(parsed) - len(merged) >= 20
    if enough and not categories.known and any(len(lines) > 2 for lines in merged):
        return True  # three or more lines that look like rows, as all other lines do
    return any(are_rows(lines, dialect, columns, categories) for lines in merged)
