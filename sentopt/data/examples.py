"""What the data package hands around: rows as found, and texts with a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sentopt.run_dir import Split


@dataclass(frozen=True)
class RawRow:
    """Text and label exactly as found, and where, for error messages."""

    text: Any
    label: Any
    where: str


@dataclass(frozen=True)
class RawData:
    """Rows per split that the source has, the label names it declares, a line that describes it, and notices.

    `by_position` says that a number among the labels is a position in `labels`, counted from 0.
    """

    splits: dict[Split, list[RawRow]]
    labels: tuple[str, ...]
    description: str
    notices: tuple[str, ...] = ()
    by_position: bool = False


@dataclass(frozen=True)
class Example:
    """One text and the position of its label in the label list."""

    text: str
    label: int
