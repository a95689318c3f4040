"""The types of the data package: raw rows, and texts with a label."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sentopt.errors import DataError
from sentopt.run_dir import Split
from sentopt.runtime.description import Text
from sentopt.runtime.surrogates import repaired


@dataclass(frozen=True)
class RawRow:
    """Text and label as read, and their place for error messages. A pair of texts is a tuple of two."""

    text: Any
    label: Any
    where: str


@dataclass(frozen=True)
class RawData:
    """Rows by split, the label names that the source declares, a description of the source in one line, and notices.

    With `by_position`, a number among the labels is a position in `labels`, counted from 0. With `multi_label`, a label
    is a list of labels.
    """

    splits: Mapping[Split, Sequence[RawRow]]
    labels: tuple[str, ...]
    description: str
    notices: tuple[str, ...] = ()
    by_position: bool = False
    multi_label: bool = False


@dataclass(frozen=True)
class Example:
    """A text and the position of its label in the list of labels."""

    text: Text
    label: int


@contextmanager
def explained_by(notices: Sequence[str]) -> Iterator[None]:
    """Append `notices` to a DataError raised in this context: how a file was read may explain the error."""
    try:
        yield
    except DataError as error:
        notes = "".join(f"\nnote: {notice}" for notice in notices if notice not in str(error))
        raise DataError(f"{error}{notes}") from error


def as_texts(values: Sequence[Any], where: str) -> Text:
    """The text of a cell, or of two cells as a pair; see `as_text`."""
    first, *second = (as_text(value, where) for value in values)
    return (first, second[0]) if second else first


def as_text(value: Any, where: str) -> str:
    """The text of a table cell. A missing value is an empty text; a number is converted to text.

    Half characters (lone surrogates) become U+FFFD.

    Raises:
        DataError: the value is a list, an object, or bytes that are not UTF-8.
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
    return repaired(str(value))
