"""JSON documents of a bundle, read strictly: bounded in size, no duplicate keys, no NaN or Infinity, typed values.

Python's `json` accepts all of these, and a lenient reader turns them into wrong answers later: NaN as a tolerance makes
every comparison pass.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from sentopt.runtime.names import fault_of_name, printable

_SHOWN = 60
_BOM = b"\xef\xbb\xbf"


def parse(content: bytes) -> Any:
    """The document.

    Raises:
        ValueError: it is no JSON in UTF-8, is nested too deep, repeats a key, or holds a number that is not finite.
    """
    try:
        return json.loads(  # a text, because from bytes it would guess at UTF-16 and UTF-32
            content.removeprefix(_BOM).decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite_number,
        )
    except RecursionError:
        raise ValueError("its values are nested too deep") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"the key {shown(first_repeated(key for key, _ in pairs))} occurs twice in one object")
    return found


def first_repeated(texts: Iterable[str]) -> str:
    """The first of `texts` that occurred before; an empty string where each is another."""
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return ""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _finite_number(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits:.{_SHOWN}} is too large")
    return number


def shown(value: object) -> str:
    """A value as messages show it: escaped, and cut where it is long."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} with {len(value)} entries"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        return f"an integer of {value.bit_length()} bits"
    return printable(repr(value[:_SHOWN] + "…" if isinstance(value, str) and len(value) > _SHOWN else value))


class Fields:
    """An object of a document, whose values are taken by key with their type checked.

    `where` is the path of the object in the document, such as "golden[3]."; messages begin with it. All methods raise
    ValueError if the value is missing or is not what is expected.
    """

    def __init__(self, values: dict[str, Any], where: str = "") -> None:
        self.values = values
        self.where = where

    @classmethod
    def of(cls, value: object, where: str = "") -> Fields:
        """The object `value`."""
        if not isinstance(value, dict):  # callers tell malformed documents by ValueError
            raise ValueError(  # noqa: TRY004
                f"{where.rstrip('.') or 'the document'} must be an object, found {shown(value)}"
            )
        return cls(value, where)

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def fault(self, key: str, expected: str) -> ValueError:
        """What is wrong with the value of `key`."""
        if key not in self.values:
            return ValueError(f"{self.where}{key} is missing, expected {expected}")
        return ValueError(f"{self.where}{key} must be {expected}, found {shown(self.values[key])}")

    def text(self, key: str) -> str:
        """Any text."""
        value = self.values.get(key)
        if not isinstance(value, str):
            raise self.fault(key, "a text")
        return value

    def name(self, key: str) -> str:
        """A text that `fault_of_name` accepts."""
        value = self.text(key)
        if fault := fault_of_name(value):
            raise ValueError(f"{self.where}{key} cannot be {shown(value)}: {fault}")
        return value

    def integer(self, key: str, lowest: int, highest: int) -> int:
        """A whole number within bounds; no boolean."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise self.fault(key, f"an integer from {lowest:,} to {highest:,}")
        return value

    def number(self, key: str, lowest: float, highest: float) -> float:
        """A number within finite bounds; no boolean."""
        value = self.values.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise self.fault(key, f"a number from {lowest:g} to {highest:g}")
        return float(value)

    def boolean(self, key: str) -> bool:
        """True or false."""
        value = self.values.get(key)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false")
        return value

    def inner(self, key: str) -> Fields:
        """The object of `key`."""
        if not isinstance(self.values.get(key), dict):
            raise self.fault(key, "an object")
        return Fields(self.values[key], f"{self.where}{key}.")

    def items(self, key: str) -> list[Any]:
        """The list of `key`."""
        value = self.values.get(key)
        if not isinstance(value, list):
            raise self.fault(key, "a list")
        return value

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of a list."""
        for i, item in enumerate(self.items(key)):
            yield Fields.of(item, f"{self.where}{key}[{i}].")

    def texts(self, key: str) -> list[str]:
        """A list of texts."""
        values = self.items(key)
        if not all(isinstance(value, str) for value in values):
            raise self.fault(key, "a list of texts")
        return values

    def probabilities(self, key: str, count: int) -> tuple[float, ...]:
        """A list of `count` numbers from 0 to 1."""
        values = self.items(key)
        right = [not isinstance(v, bool) and isinstance(v, int | float) and 0 <= v <= 1 for v in values]
        if len(values) != count or not all(right):
            raise self.fault(key, f"{count} numbers from 0 to 1, one for each label")
        return tuple(float(value) for value in values)
