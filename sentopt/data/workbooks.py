"""Read the first sheet of an Excel workbook. Needs openpyxl."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sentopt._optional import require
from sentopt.errors import DataError
from sentopt.runtime.batching import batched

R = TypeVar("R")
_BATCH = 1024
_ROWS = 1_048_576
Numbered = tuple[str, dict[str, Any]]


def read(path: Path, notify: Callable[[str], None], header: Callable[[Sequence[str]], None]) -> Iterator[Numbered]:
    """Each row of the first sheet with its place, such as `row 7` (as Excel counts them).

    `header` receives the names of the columns before the first row.

    Raises:
        DataError: not a workbook; or the sheet has no header, a duplicate column, or values outside its columns.
    """
    openpyxl = require("openpyxl", extra="train")
    try:
        with path.open("rb") as stream:
            book = _quietly(lambda: openpyxl.load_workbook(stream, read_only=True, data_only=True))
            rows = _rows(path, book, notify, header)
            batches = batched(rows, _BATCH)
            while batch := _quietly(lambda: next(batches, None)):
                yield from batch
    except DataError:
        raise
    except Exception as error:  # damaged files raise many exceptions of zipfile, zlib, the XML parser and openpyxl
        raise DataError(
            f"{path} is not a readable Excel workbook ({error}); save it as .xlsx again, without a password"
        ) from error


def _quietly(work: Callable[[], R]) -> R:
    """Call `work` without openpyxl's warnings about styles and validations, which are not needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return work()


def _rows(
    path: Path, book: Any, notify: Callable[[str], None], header: Callable[[Sequence[str]], None]
) -> Iterator[Numbered]:
    if not book.worksheets:
        raise DataError(f"{path} has no sheet with cells")
    sheet = book.worksheets[0]
    if len(book.worksheets) > 1:
        others = ", ".join(repr(other.title) for other in book.worksheets[1:])
        notify(f"{path.name}: the first sheet {sheet.title!r} is read, not {others}")
    sheet.reset_dimensions()  # some programs store wrong dimensions
    rows = _numbered(path, sheet)
    filled = ((number, cells) for number, cells in rows if any(cell is not None for cell in cells))
    number, cells = next(filled, (0, []))
    if not cells:
        raise DataError(f"{path}, sheet {sheet.title!r} is empty: expected a row with the names of the columns")
    names = _header(path, number, cells)
    if unnamed := [name for name, cell in zip(names, cells, strict=False) if cell is None]:
        notify(f"{path.name}: columns without a name are called {', '.join(unnamed)}")
    header(names)
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


def _numbered(path: Path, sheet: Any) -> Iterator[tuple[int, list[Any]]]:
    """Each row with its number. openpyxl gives the rows between two that are stored, which may be far from each other.

    Raises:
        DataError: there are more rows than Excel has.
    """
    for number, cells in enumerate(sheet.iter_rows(values_only=True), 1):
        if number > _ROWS:
            raise DataError(f"{path}: a row beyond {_ROWS:,}, the last one of Excel; remove it and save the file again")
        yield number, list(cells)


def _check_formulas(path: Path, title: str) -> None:
    """Refuse formulas without a stored value, which are read as empty cells. Programs other than Excel write them.

    Raises:
        DataError: the sheet has such a formula.
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
                f"{path}, row {number}: the column {name!r} occurs twice in the header; rename or remove one"
            )
    return [name or _free_name(i, names) for i, name in enumerate(names, 1)]


def _free_name(number: int, names: Sequence[str]) -> str:
    name = f"column {number}"
    return name if name not in names else f"column {number} without a name"
