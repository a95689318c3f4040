"""Parses pasted lines and tables; writes CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

from sentopt.errors import InputError

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_DELIMITERS = "\t,;"
_BLANK_LINES = re.compile(r"\A(?:[ \t]*\r?\n)+")
_QUOTED = re.compile(r'"[^"]*"')


def lines(pasted: str) -> list[str]:
    """The lines that are not blank."""
    return [line.strip() for line in pasted.splitlines() if line.strip()]


def column(pasted: str, name: str) -> list[str]:
    """One column of a table with a header line; the delimiter is a tab, a comma or a semicolon.

    Raises:
        InputError: there is no such column, or a line that cannot be read.
    """
    pasted = _BLANK_LINES.sub("", pasted).rstrip()
    head = _QUOTED.sub("", pasted).partition("\n")[0]
    delimiter = max(_DELIMITERS, key=head.count)
    table = csv.DictReader(io.StringIO(pasted), delimiter=delimiter, strict=True)
    try:
        columns = [key for key in table.fieldnames or () if key.strip()]
        rows = list(table)
    except csv.Error as error:
        raise InputError(f"the pasted table cannot be read: {error}") from error
    if name not in columns:
        raise InputError(f"the table has no column {name!r}; its first line names: {', '.join(columns) or 'nothing'}")
    return [row[name].strip() for row in rows if (row[name] or "").strip()]


def to_csv(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Comma-separated, every cell quoted, none of them a formula: OWASP, "CSV injection"."""
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerows([[_harmless(cell) for cell in row] for row in (headings, *rows)])
    return stream.getvalue()


def _harmless(cell: str) -> str:
    return "'" + cell if cell.lstrip(" ").startswith(_FORMULA) else cell
