"""Python values of Arrow arrays, with the nanoseconds of times of day, which pyarrow leaves out. Needs pyarrow."""

from __future__ import annotations

import datetime
from typing import Any

from sentopt._optional import require


class NanosecondTime(datetime.time):
    """A time of day whose text has nanoseconds, as that of a `pandas.Timestamp` has."""

    nanosecond = 0

    def isoformat(self, timespec: str = "auto") -> str:
        """The time with nine digits after the seconds."""
        return f"{super().isoformat('microseconds')}{self.nanosecond:03}"


def values(array: Any) -> list[Any]:
    """The items of an array as `to_pylist` gives them, and times of day in nanoseconds as they are."""
    kind, types = array.type, require("pyarrow.types", extra="train")
    if not _has_nanoseconds(kind):
        return list(array.to_pylist())
    if types.is_time64(kind):
        counts = array.cast(require("pyarrow", extra="train").int64()).to_pylist()
        return [None if count is None else _time(count) for count in counts]
    if types.is_dictionary(kind):
        return values(array.dictionary_decode())
    if types.is_struct(kind):
        return _records(array)
    if types.is_map(kind):
        return [_pairs(item.values) if item.is_valid else None for item in array]
    return [values(item.values) if item.is_valid else None for item in array]


def _has_nanoseconds(kind: Any) -> bool:
    """Whether a type is, or has inside, times of day in nanoseconds."""
    types = require("pyarrow.types", extra="train")
    if types.is_time64(kind):
        return bool(kind.unit == "ns")
    if types.is_dictionary(kind):
        return _has_nanoseconds(kind.value_type)
    is_extension = isinstance(kind, require("pyarrow", extra="train").BaseExtensionType)
    if is_extension or types.is_union(kind) or types.is_run_end_encoded(kind):
        return False  # these are left to pyarrow
    return any(_has_nanoseconds(kind.field(i).type) for i in range(kind.num_fields))


def _time(count: int) -> datetime.time:
    seconds, rest = divmod(count, 10**9)
    (minutes, second), (microsecond, nanosecond) = divmod(seconds, 60), divmod(rest, 1000)
    if not nanosecond:
        return datetime.time(minutes // 60, minutes % 60, second, microsecond)
    exact = NanosecondTime(minutes // 60, minutes % 60, second, microsecond)
    exact.nanosecond = nanosecond
    return exact


def _records(array: Any) -> list[Any]:
    names = [array.type.field(i).name for i in range(array.type.num_fields)]
    if len(set(names)) < len(names):
        return list(array.to_pylist())  # pyarrow refuses these
    columns = [values(column) for column in array.flatten()]
    rows = zip(*columns, strict=True)
    return [
        dict(zip(names, row, strict=True)) if valid else None
        for row, valid in zip(rows, array.is_valid().to_pylist(), strict=True)
    ]


def _pairs(entries: Any) -> list[tuple[Any, Any]]:
    keys, items = (values(column) for column in entries.flatten())
    return list(zip(keys, items, strict=True))
