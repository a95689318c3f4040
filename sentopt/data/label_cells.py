"""The columns of a table that hold labels, and what a row has there: one label, or the names of its labels.

Columns of 0 and 1 (`data.label_columns`) become a tuple of the names of those that are 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentopt.data import fields
from sentopt.errors import DataError

_HAS = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


@dataclass(frozen=True)
class LabelCells:
    """Where the labels of a row are: in one column, or in `flags`, a column for each label."""

    column: str
    flags: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The columns that are read."""
        return self.flags or (self.column,)

    @property
    def key(self) -> str:
        """The recipe key that names them."""
        return "data.label_columns" if self.flags else "data.label_column"

    def of(self, row: Mapping[str, Any], where: str) -> Any:
        """The label of a row as it is written, or the names of its labels; None where all of their cells are empty.

        Raises:
            DataError: see `flagged`.
        """
        if not self.flags:
            return fields.get(row, self.column)
        return flagged([fields.get(row, name) for name in self.flags], self.flags, where)


def flagged(cells: Sequence[Any], names: Sequence[str], where: str) -> tuple[str, ...] | None:
    """The names whose cells are 1; None where all cells are empty.

    Raises:
        DataError: a cell is neither 0 nor 1, nor true nor false, or some cells are empty.
    """
    given = [_flag(cell) for cell in cells]
    if all(flag is None and _is_empty(cell) for flag, cell in zip(given, cells, strict=True)):
        return None
    for name, flag, cell in zip(names, given, cells, strict=True):
        if flag is None:
            found = "nothing" if _is_empty(cell) else f"{str(cell)[:60]!r}"
            raise DataError(
                f"{where}: the column {name!r} has {found}, expected 1 where the text has this label, else 0 "
                "(data.label_columns). Correct the row, or leave the column out"
            )
    return tuple(name for name, flag in zip(names, given, strict=True) if flag)


def _flag(cell: Any) -> bool | None:
    if isinstance(cell, bool):
        return cell
    return _HAS.get(str(cell).strip().lower())


def _is_empty(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell)) or not str(cell).strip()
