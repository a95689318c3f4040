"""Find the Arrow types of the columns of rows without a schema, such as those of JSON and Excel files.

The types are those that pyarrow infers from windows of rows, merged. Values that no type of Parquet holds unchanged are
kept as text instead: integers of many digits, values of several kinds, objects without a field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sentopt._optional import require

TEXT = "text"
"""Instead of a type: the values are written as text, those that are no texts as JSON."""
_MOST_FIELDS = 1000  # an object with more of them is used as a map, not as a record
_DEEPEST = 64


class TypeSurvey:
    """Collects the types of columns from all rows of a file, a window at a time."""

    def __init__(self) -> None:
        self._pyarrow = require("pyarrow", extra="train")
        self._types: dict[str, Any] = {}
        self._seen: dict[str, list[Any]] = {}

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Merge in the types of a window of rows."""
        for column in dict.fromkeys(name for row in rows for name in row):
            if self._types.get(column) != TEXT:
                kind = self._inferred([row.get(column) for row in rows])
                seen = self._seen.setdefault(column, [])
                if kind not in seen:
                    seen.append(kind)
                self._types[column] = self._merged(self._types[column], kind) if column in self._types else kind

    def types(self) -> dict[str, Any]:
        """The type of each column, in order of first occurrence; `TEXT` where no type of Parquet fits."""
        return {name: self._stored(kind) for name, kind in self._types.items()}

    def _stored(self, kind: Any) -> Any:
        if kind == TEXT or kind == self._pyarrow.null():
            return kind if kind == TEXT else self._pyarrow.string()
        return kind if can_be_stored(kind) else TEXT

    def widened(self) -> list[str]:
        """The columns whose type is not that of every window: their values may not fit into it."""
        null = self._pyarrow.null()
        return [
            name
            for name, kind in self._types.items()
            if kind != TEXT and any(other not in (kind, null) for other in self._seen[name])
        ]

    def check(self, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
        """Write a column as `TEXT` whose values in these rows do not fit its type."""
        for column in columns:
            kind = self._types[column]
            if kind != TEXT and not self._fits([row.get(column) for row in rows], kind):
                self._types[column] = TEXT

    def _inferred(self, values: Sequence[Any]) -> Any:
        for kind in (None, self._pyarrow.uint64()):
            try:
                array = self._pyarrow.array(values, type=kind)
            except (self._pyarrow.ArrowException, OverflowError, TypeError, ValueError):
                continue
            return array.type if _is_record(array.type) else TEXT
        return TEXT

    def _merged(self, one: Any, other: Any) -> Any:
        if one == other or other == TEXT:
            return other
        schemas = [self._pyarrow.schema([("column", kind)]) for kind in (one, other)]
        try:
            merged = self._pyarrow.unify_schemas(schemas, promote_options="permissive").field(0).type
        except (self._pyarrow.ArrowException, TypeError):
            return TEXT
        return merged if _is_record(merged) else TEXT

    def _fits(self, values: Sequence[Any], kind: Any) -> bool:
        try:
            self._pyarrow.array(values, type=kind)
        except (self._pyarrow.ArrowException, OverflowError, TypeError, ValueError):
            return False
        return True


def can_be_stored(*kinds: Any) -> bool:
    """Whether a Parquet file can hold values of these types."""
    pyarrow = require("pyarrow", extra="train")
    schema = pyarrow.schema([(f"column {i}", kind) for i, kind in enumerate(kinds)])
    try:
        with require("pyarrow.parquet", extra="train").ParquetWriter(pyarrow.BufferOutputStream(), schema) as writer:
            writer.write_table(schema.empty_table())
            with suppress(pyarrow.ArrowInvalid):  # fields inside of a column may not be null, which is no fault of it
                # Some types are refused with the first row only, such as dictionaries of lists.
                writer.write_table(pyarrow.table([pyarrow.nulls(1, kind) for kind in kinds], schema=schema))
    except (pyarrow.ArrowException, OSError):
        return False
    return True


def as_text(value: Any) -> str | None:
    """A value of a column that is written as text."""
    if value is None or isinstance(value, str):
        return value
    return as_json(value) if isinstance(value, bool | int | float | list | tuple | dict) else _as_plain(value)


def as_json(value: Any) -> str:
    """JSON of a value; bytes and other types without a form in JSON are written as text.

    NaN and infinity are kept under these names, which many readers of JSON refuse: see `as_strict_json`.
    """
    return _dumped(value, allow_nan=True)


def as_strict_json(value: Any) -> str:
    """Like `as_json`; NaN and infinity are null."""
    try:
        return _dumped(value, allow_nan=False)
    except ValueError:  # read and written again, because the numbers may be anywhere inside
        return _dumped(json.loads(as_json(value), parse_constant=lambda name: None), allow_nan=False)


def _dumped(value: Any, *, allow_nan: bool) -> str:
    return json.dumps(value, ensure_ascii=False, default=_as_plain, allow_nan=allow_nan)


def _as_plain(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _is_record(kind: Any) -> bool:
    """Whether the fields in a type, and those inside of them, are few and not nested deeply."""
    level, fields = [kind], 0
    for _ in range(_DEEPEST):
        level = [outer.field(i).type for outer in level for i in range(outer.num_fields)]
        fields += len(level)
        if not level or fields > _MOST_FIELDS:
            break
    return not level
