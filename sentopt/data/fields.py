"""Name a column, or a field inside of one: `data.text` is the field `text` of the column `data`.

A column whose own name has the dots comes before a field. A number selects an item of a list: `messages.0.text`.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

MISSING: Any = object()
"""What `find` returns where there is no such field."""
_MOST_INNER = 50
_MOST_DIGITS = 18


def find(row: Any, name: str) -> Any:
    """The value of a column or of a field inside of one; `MISSING` where the row has none of that name."""
    if isinstance(row, Mapping):
        if name in row:
            return row[name]
        for head, rest in splits(name):
            if head in row and (value := find(row[head], rest)) is not MISSING:
                return value
        return MISSING
    return _of_list(row, name) if isinstance(row, list) else MISSING


def get(row: Mapping[str, Any], name: str) -> Any:
    """Like `find`; None where there is no such field."""
    return row[name] if name in row else None if (value := find(row, name)) is MISSING else value


def column_of(names: Container[str], name: str) -> str:
    """The column that holds a field, or may hold it; empty if none does."""
    return name if name in names else next((head for head, _ in splits(name) if head in names), "")


def splits(name: str) -> Iterator[tuple[str, str]]:
    """The ways to take a dotted name apart, the longest first part first."""
    at = name.rfind(".")
    while at >= 0:
        yield name[:at], name[at + 1 :]
        at = name.rfind(".", 0, at)


def names(row: Mapping[str, Any]) -> list[str]:
    """The columns of a row, then the names of fields inside of them; at most 50 of these."""
    return [*map(str, row), *islice(_inner(row, ""), _MOST_INNER)]


def _inner(value: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            path = f"{prefix}{name}."
            yield from (f"{path}{inner}" for inner in item)
            yield from _inner(item, path)


def _of_list(values: Sequence[Any], name: str) -> Any:
    """An item of a list by its number, or a value of a map, which pyarrow gives as a list of pairs."""
    if values and all(isinstance(item, tuple) and len(item) == 2 for item in values):
        return find({str(key): item for key, item in values}, name)
    head, _, rest = name.partition(".")
    # Python refuses to convert thousands of digits.
    if not (head.isascii() and head.isdecimal() and len(head) <= _MOST_DIGITS and int(head) < len(values)):
        return MISSING
    item = values[int(head)]
    return find(item, rest) if rest else item
