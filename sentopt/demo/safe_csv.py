"""CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r" *[-+]\d[\d.,]*(?:[eE][-+]?\d+|%)?")  # which is no formula, and must stay what it is


def to_csv(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Comma-separated, every cell quoted, none of them a formula; numbers stay as they are: OWASP, "CSV injection"."""
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
    writer.writerows([[_harmless(cell) for cell in row] for row in (headings, *rows)])
    return stream.getvalue()


def _harmless(cell: str) -> str:
    is_formula = cell.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(cell)
    return "'" + cell if is_formula else cell
