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


def protected(text: str) -> str:
    """The text as a cell that is no formula, from which `restored` makes it again."""
    return "'" + text if _is_formula(text.lstrip("'")) else text


def restored(cell: str) -> str:
    """The text that `protected` made this cell of."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell.lstrip("'")) else cell


def _harmless(cell: str) -> str:
    return "'" + cell if _is_formula(cell) else cell


def _is_formula(cell: str) -> bool:
    return cell.lstrip(" ").startswith(_FORMULA) and not _NUMBER.fullmatch(cell)
