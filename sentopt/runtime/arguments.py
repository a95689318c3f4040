"""What callers pass to the runtime: numbers, paths and texts, checked in one place.

A wrong argument must not look like an answer. A `DataFrame` is an iterable of its column names, a dict of its keys; a
negative batch size makes no batches at all.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentopt.errors import InputError

if TYPE_CHECKING:
    from sentopt.runtime.description import Text


def whole_number(name: str, value: Any, *, least: int = 1, most: int | None = None, hint: str = "") -> int:
    """`value` as an int; numpy's integers are taken, truth values and floats are not.

    Raises:
        InputError: it is no whole number, or is not between `least` and `most`. The message ends with `hint`.
    """
    expected = f"at least {least}" if most is None else f"from {least} to {most}"
    ending = f"; {hint}" if hint else ""
    try:
        number = None if _is_truth_value(value) else operator.index(value)
    except TypeError:
        number = None
    if number is None:
        raise InputError(f"{name} must be a whole number, {expected}, found {_described(value)}{ending}")
    if number < least or (most is not None and number > most):
        raise InputError(f"{name} must be {expected}, found {number}{ending}")
    return number


def path(name: str, value: Any) -> Path:
    """`value` as a path.

    Raises:
        InputError: it is none, or is empty: that would be the current folder.
    """
    try:
        named = os.fspath(value)
    except TypeError:
        named = b""
    if not isinstance(named, str) or not named:
        raise InputError(f"{name} must be a path, found {_described(value)}")
    return Path(named)


def probability(name: str, value: Any) -> float:
    """`value` as a float from 0 to 1.

    Raises:
        InputError: it is no number, or is not between 0 and 1.
    """
    try:
        number = math.nan if isinstance(value, str | bytes) or _is_truth_value(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0.0 <= number <= 1.0:
        raise InputError(f"{name} must be a probability from 0 to 1, found {_described(value)}")
    return number


def flag(name: str, value: Any) -> bool:
    """`value` as a truth value; text is refused, because "no" and "false" are true in Python.

    Raises:
        InputError: it is no truth value.
    """
    if isinstance(value, bool) or _is_truth_value(value):
        return bool(value)
    raise InputError(f"{name} must be True or False, found {_described(value)}")


def text_list(texts: Any) -> list[Text]:
    """The elements of `texts`, in order. They are checked one by one when they are encoded.

    Raises:
        InputError: `texts` is one text, or its elements are not what a caller means: the keys of a mapping, the
            columns of a table, or a set, which has no order.
    """
    check_texts(texts)
    return list(texts)


def check_texts(texts: Any) -> None:
    """Refuse what is no iterable of texts, without reading any.

    Raises:
        InputError: as `text_list`.
    """
    if type(texts) is list or type(texts) is tuple:  # the commonest, and one text has little time
        return
    kind = type(texts).__name__
    if isinstance(texts, str | bytes | bytearray | memoryview):
        raise InputError(
            f"expected an iterable of texts, found one text ({kind}); call the classifier itself for one text"
        )
    if isinstance(texts, Mapping):
        raise InputError(
            f"expected an iterable of texts, found a mapping ({kind}), whose elements are its keys; "
            "pass list(mapping.values()), or the values of one key"
        )
    if _is_table(texts):
        raise InputError(
            f"expected an iterable of texts, found a table ({kind}), whose elements are no texts; "
            "pass its column of texts, such as table['text']"
        )
    if isinstance(texts, Set) and not hasattr(texts, "mapping"):  # a view of a dict's keys is in their order
        raise InputError(
            f"expected an iterable of texts, found a {kind}, which has no order; pass a list, such as sorted(texts)"
        )
    try:
        iter(texts)
    except TypeError as error:  # an array without dimensions, for one
        raise InputError(f"expected an iterable of texts, found {_described(texts)}") from error


def _is_table(value: Any) -> bool:
    """A table of pandas, polars, pyarrow or datasets. Such packages need not be installed, so nothing is imported."""
    return any(hasattr(value, name) for name in ("columns", "column_names")) and hasattr(value, "__getitem__")


def _is_truth_value(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")  # numpy's


def _described(value: Any) -> str:
    """The value with its type; long ones are cut."""
    return "None" if value is None else f"{value!r:.80} ({type(value).__name__})"
