"""What the data package hands around: rows as found, and texts with a label."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sentopt.errors import DataError
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


@contextmanager
def explained_by(notices: Sequence[str]) -> Iterator[None]:
    """An error in this context also tells `notices`: how a file was read may be why it is not understood."""
    try:
        yield
    except DataError as error:
        told = "".join(f"\nnote: {notice}" for notice in notices if notice not in str(error))
        raise DataError(f"{error}{told}") from error


def as_text(value: Any, where: str) -> str:
    """A text as a table holds it: a cell without a value is an empty text, a number is written out.

    Raises:
        DataError: a list, an object, or bytes that are not UTF-8.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: the text is bytes that are not UTF-8 ({value[:20]!r})") from error
    if isinstance(value, list | tuple | dict):
        kind = "an object" if isinstance(value, dict) else "a list"
        raise DataError(f"{where}: the text is {kind} ({str(value)[:60]}), expected one text; is it the right column?")
    return str(value)
