"""Rows of the first sheet of an Excel workbook. Needs openpyxl."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sentopt._optional import require
from sentopt.errors import DataError

R = TypeVar("R")
_WINDOW = 1024
Numbered = tuple[str, dict[str, Any]]


def read(path: Path, say: Callable[[str], None]) -> Iterator[Numbered]:
    """Each row of the first sheet with its place, such as `row 7` (as Excel counts them).

    Raises:
        DataError: not a workbook, or a sheet without a header, with a column twice, or with values beside its columns.
    """
    openpyxl = require("openpyxl", extra="train")
    try:
        with path.open("rb") as stream:
            book = _quietly(lambda: openpyxl.load_workbook(stream, read_only=True, data_only=True))
            rows = _rows(path, book, say)
            while window := _quietly(lambda: list(islice(rows, _WINDOW))):
                yield from window
    except DataError:
        raise
    except Exception as error:  # of zipfile, zlib, the XML parser and openpyxl: damaged files raise a dozen classes
        raise DataError(
            f"{path} is not a readable Excel workbook ({error}); save it as .xlsx again, without a password"
        ) from error


def _quietly(work: Callable[[], R]) -> R:
    """Without openpyxl's warnings of styles and validations, which are not read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work()


def _rows(path: Path, book: Any, say: Callable[[str], None]) -> Iterator[Numbered]:
    if not book.worksheets:
        raise DataError(f"{path} has no sheet with cells")
    sheet = book.worksheets[0]
    if len(book.worksheets) > 1:
        others = ", ".join(repr(other.title) for other in book.worksheets[1:])
        say(f"{path.name}: the first sheet {sheet.title!r} is read, not {others}")
    sheet.reset_dimensions()  # some programs write wrong ones
    rows = ((number, list(cells)) for number, cells in enumerate(sheet.iter_rows(values_only=True), 1))
    filled = ((number, cells) for number, cells in rows if any(cell is not None for cell in cells))
    number, cells = next(filled, (0, []))
    if not cells:
        raise DataError(f"{path}, sheet {sheet.title!r} is empty: expected a row with the names of the columns")
    names = _header(path, number, cells)
    if unnamed := [name for name, cell in zip(names, cells, strict=False) if cell is None]:
        say(f"{path.name}: columns without a name are called {', '.join(unnamed)}")
    empty = False
    for number, cells in filled:
        beside = [str(cell) for cell in cells[len(names) :] if cell is not None]
        if beside:
            raise DataError(
                f"{path}, row {number}: a value beside the named columns ({beside[0][:60]!r}); "
                f"name its column in row 1, or remove it"
            )
        cells += [None] * (len(names) - len(cells))
        empty = empty or None in cells
        yield f"row {number}", dict(zip(names, cells, strict=False))
    if empty:
        _check_formulas(path, sheet.title)


def _check_formulas(path: Path, title: str) -> None:
    """Refuse formulas whose value the file does not hold: they were read as empty cells.

    Raises:
        DataError: there is one; programs other than Excel write such files.
    """
    openpyxl = require("openpyxl", extra="train")
    with path.open("rb") as formulas, path.open("rb") as values:
        both = [openpyxl.load_workbook(s, read_only=True, data_only=d) for s, d in ((formulas, False), (values, True))]
        for book in both:
            book[title].reset_dimensions()
        pairs = zip(*(book[title].iter_rows(values_only=True) for book in both), strict=False)
        for number, (written, stored) in enumerate(pairs, 1):
            for formula, value in zip(written, stored, strict=False):
                if value is None and isinstance(formula, str) and formula.startswith("="):
                    raise DataError(
                        f"{path}, row {number}: the value of the formula {formula[:40]} is not stored in the file; "
                        "open the file in Excel or LibreOffice and save it"
                    )


def _header(path: Path, number: int, cells: Sequence[Any]) -> list[str]:
    names = ["" if cell is None else str(cell).strip() for cell in cells]
    while names and not names[-1]:
        names.pop()
    for i, name in enumerate(names):
        if name and name in names[:i]:
            raise DataError(
                f"{path}, row {number}: the column {name!r} stands twice in the header; rename or remove one"
            )
    return [name or _free_name(i, names) for i, name in enumerate(names, 1)]


def _free_name(number: int, names: Sequence[str]) -> str:
    name = f"column {number}"
    return name if name not in names else f"column {number} without a name"
