"""Read CSV and TSV files row by row, with the line number of each row.

An unusual delimiter, an unusual encoding and fields that span lines are reported as notices. Rows that do not fit the
header, and quotes that merge complete rows, are errors with the line number.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from sentopt.data import dialect as dialects
from sentopt.data import encodings
from sentopt.data.dialect import Categories, Dialect, LineBuffer, Record
from sentopt.data.options import TableOptions
from sentopt.errors import DataError

_SAMPLE = 1 << 20
Numbered = tuple[str, dict[str, str]]


def read(
    path: Path,
    usual: str,
    options: TableOptions,
    notify: Callable[[str], None],
    header: Callable[[Sequence[str]], None],
) -> Iterator[Numbered]:
    """Each row with its place in the file, such as `line 7`. `usual` is the delimiter that the file name implies.

    `header` receives the names of the columns before the first row.

    Raises:
        DataError: the file is empty, cannot be decoded, or has rows that do not fit the header.
    """
    encoding = encodings.detect(path, options)
    if encoding.notice:
        notify(encoding.notice)
    try:
        with io.TextIOWrapper(encodings.open_bytes(path), encoding=encoding.codec, newline="") as stream:
            sample = stream.read(_SAMPLE)
            complete = len(sample) < _SAMPLE
            sample += stream.readline()  # the sample ends with a complete line
            dialect, notices = dialects.detect(sample, complete=complete, usual=usual, options=options, name=path.name)
            for notice in notices:
                notify(notice)
            lines = LineBuffer(chain(io.StringIO(sample, newline=""), stream))
            yield from _rows(path, lines, dialect, options, notify, header)
    except UnicodeError as error:
        raise encodings.wrong_byte(path, encoding.codec, error, options) from error


def _rows(
    path: Path,
    lines: LineBuffer,
    dialect: Dialect,
    options: TableOptions,
    notify: Callable[[str], None],
    header: Callable[[Sequence[str]], None],
) -> Iterator[Numbered]:
    if dialect.first_line:
        next(lines)
        lines.take()
    records = _guarded(path, lines, dialect, options)
    first = next((record for record in records if not _is_blank(record)), None)
    if first is None:
        raise DataError(f"{path} is empty: expected a line with the names of the columns, then a line for each text")
    columns = _Columns(path, first)
    header(columns.names)
    check = _Check(path, columns, dialect, options)
    for record in records:
        if _is_blank(record) and len(record.fields) < len(columns.names):
            check.blank(record)
            continue
        check.record(record)
        yield f"line {record.line}", columns.row(record, dialect)
    for notice in [*columns.notices, *check.notices()]:
        notify(notice)


def _guarded(path: Path, lines: LineBuffer, dialect: Dialect, options: TableOptions) -> Iterator[Record]:
    try:
        yield from dialects.records(dialect, lines)
    except csv.Error as error:
        first, last = lines.first, lines.line
        text = next(iter(lines.take()), "").strip()
        cure = f"If quotes mean nothing in this file: {options.how('quote', chr(34) * 2)}"
        if "end of data" in str(error):
            raise DataError(
                f"{path}, line {first}: a quote opens and never closes (the file ends in line {last}): {text[:60]!r}. "
                f"Close it, or write a quote within a quoted field twice. {cure}"
            ) from error
        raise DataError(
            f"{path}, line {first}: a quote closes in the middle of a field ({error}): {text[:60]!r}. "
            f"Write a quote within a quoted field twice. {cure}"
        ) from error


def _is_blank(record: Record) -> bool:
    return not any(field.strip() for field in record.fields)


class _Columns:
    """The column names of the header; converts rows to mappings."""

    def __init__(self, path: Path, header: Record) -> None:
        self._path = path
        self.notices: list[str] = []
        fields = [field.strip() for field in header.fields]
        while len(fields) > 1 and not fields[-1]:
            fields.pop()
        self.names = [name if name else header.fields[i] for i, name in enumerate(fields)]
        self._check(header)
        self._extra = 0

    def _check(self, header: Record) -> None:
        for name, count in Counter(self.names).items():
            if count > 1:
                places = " and ".join(str(i) for i, other in enumerate(self.names, 1) if other == name)
                what = f"the column {name!r} occurs {count} times" if name else f"{count} columns have no name"
                raise DataError(
                    f"{self._path}, line {header.line}: {what} in the header (columns {places}); "
                    "rename or remove all but one"
                )

    def row(self, record: Record, dialect: Dialect) -> dict[str, str]:
        fields, width = record.fields, len(self.names)
        if len(fields) > width and not any(field.strip() for field in fields[width:]):
            self._note_extra(record)
            fields = fields[:width]
        if len(fields) != width:
            raise DataError(self._misfit(record, dialect))
        return dict(zip(self.names, fields, strict=True))

    def _note_extra(self, record: Record) -> None:
        if not self._extra:
            self._extra = record.line
            self.notices.append(
                f"{self._path.name}: rows end with empty fields that have no column, first in line {record.line}; "
                "they are left out"
            )

    def _misfit(self, record: Record, dialect: Dialect) -> str:
        more = len(record.fields) > len(self.names)
        cure = (
            f"quote fields that hold {dialect.delimiter!r}"
            if more
            else "add what is missing, or delete the line; a text that spans lines must be in quotes"
        )
        return (
            f"{self._path}, line {record.line}: {'more' if more else 'fewer'} fields than the header has columns "
            f"({len(record.fields)}, expected {len(self.names)}: {', '.join(self.names)}); {cure}"
        )


class _Check:
    """Collects notices for the end of the file, and refuses rows that quotes merge."""

    def __init__(self, path: Path, columns: _Columns, dialect: Dialect, options: TableOptions) -> None:
        self._path, self._dialect, self._options = path, dialect, options
        self._width = len(columns.names)
        self._categories = Categories(self._width)
        self._spanning = self._spanned = self._first = self._longest = self._longest_at = 0
        self._blank = self._first_blank = 0

    def blank(self, record: Record) -> None:
        self._blank += 1
        self._first_blank = self._first_blank or record.line

    def record(self, record: Record) -> None:
        if len(record.lines) == 1:
            self._categories.add(record.fields)
            return
        if self._options.quote == "auto" and dialects.are_rows(
            record.lines, self._dialect, self._width, self._categories
        ):
            last = record.line + len(record.lines) - 1
            raise DataError(
                f"{self._path}, line {record.line}: a quote opens a field that closes in line {last}, and each of "
                f"these {len(record.lines)} lines is a complete row of its own. "
                f"If quotes mean nothing in this file: {self._options.how('quote', chr(34) * 2)}; "
                f"if they enclose fields: {self._options.how('quote', repr(chr(34)))}"
            )
        self._spanning += 1
        self._spanned += len(record.lines)
        self._first = self._first or record.line
        if len(record.lines) > self._longest:
            self._longest, self._longest_at = len(record.lines), record.line

    def notices(self) -> list[str]:
        notices = []
        if self._spanning:
            notices.append(
                f"{self._path.name}: {self._spanning} row(s) span several lines by their quotes, first in line "
                f"{self._first}; the longest has {self._longest} lines, from line {self._longest_at}. "
                f"If each line is a row: {self._options.how('quote', chr(34) * 2)}"
            )
        if self._blank and self._width == 1:
            notices.append(f"{self._path.name}: {self._blank} blank line(s) left out, first line {self._first_blank}")
        return notices
