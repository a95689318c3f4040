"""Typed dataclasses to and from plain JSON or TOML values.

People edit recipes and run manifests, older versions wrote them, and a killed process may have truncated them. Decoding
therefore checks every key and every type, collects *all* problems, and suggests the nearest valid key.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union

R = TypeVar("R")

FORMERLY = "formerly"
"""In the metadata of a field: the name that it had in records of earlier versions, which are still read."""


ONE_OR_MANY = "one_or_many"
"""In the metadata of a tuple field: none, one and more items are written as null, the item itself, and a list.

So a record of an earlier version, which had room for one item, is still read, and is written as it was.
"""

ADDED_LATER = "added_later"
"""In the metadata of a field with a default: it is written only where it has another value.

So a record of an earlier version, which did not have the field, is written as it was, and fingerprints stay the same.
"""


def to_json(record: object) -> Any:
    """Dicts, lists and scalars that hold the same values as a dataclass instance, nested ones included."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {
            field.name: _field_to_json(record, field)
            for field in dataclasses.fields(record)
            if not field.metadata.get(ADDED_LATER) or getattr(record, field.name) != field.default
        }
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    return record


def _field_to_json(record: object, field: dataclasses.Field[Any]) -> Any:
    value = to_json(getattr(record, field.name))
    if field.metadata.get(ONE_OR_MANY) and len(value) < 2:
        return value[0] if value else None
    return value


def from_json(kind: type[R], value: object) -> R:
    """An instance of the dataclass `kind` from what `to_json` returned.

    Raises:
        ValueError: unknown or missing keys, or values of the wrong type; the message lists every problem.
    """
    problems: list[str] = []
    record = decode(kind, value, "", problems)
    if problems:
        raise ValueError("; ".join(problems))
    return typing.cast(R, record)


def decode(kind: Any, value: object, where: str, problems: list[str]) -> Any:
    """`value` converted to the type `kind`.

    Args:
        kind: a dataclass, a scalar type, `Literal`, `X | None`, `tuple[...]` or `dict[str, ...]`.
        value: plain JSON or TOML.
        where: dotted path of the value, for messages; empty at the top.
        problems: every problem is appended, with its path. If there is a new one, the returned value is unusable.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _decode_dataclass(typing.cast(type, kind), value, where, problems)
    if origin in (Union, types.UnionType):
        return _decode_optional(arguments, value, where, problems)
    if origin is Literal:
        return _decode_choice(arguments, value, where, problems)
    if origin is tuple:
        return _decode_tuple(arguments, value, where, problems)
    if origin is dict:
        return _decode_dict(arguments[1], value, where, problems)
    return _decode_scalar(kind, value, where, problems)


def nearest(word: str, choices: Iterable[str]) -> str:
    """`" (did you mean 'x'?)"` for the most similar of `choices`; an empty string where none is similar."""
    close = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _decode_dataclass(kind: type, value: object, where: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        problems.append(f"{where or kind.__name__}: expected a table, found {_describe(value)}")
        return None
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}
    former = {field.metadata.get(FORMERLY, name): name for name, field in fields.items()}
    value = {former.get(str(key), str(key)): item for key, item in value.items()}
    found = len(problems)
    for key in value:
        if key not in fields:
            problems.append(f"{_join(where, key)}: unknown key{nearest(str(key), fields)}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            item = value[name]
            if field.metadata.get(ONE_OR_MANY) and not isinstance(item, list | tuple):
                item = [] if item is None else [item]
            arguments[name] = decode(hints[name], item, _join(where, name), problems)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            problems.append(f"{_join(where, name)}: missing")
    return None if len(problems) > found else kind(**arguments)


def _decode_optional(arguments: tuple[Any, ...], value: object, where: str, problems: list[str]) -> Any:
    if value is None and type(None) in arguments:
        return None
    (kind,) = [argument for argument in arguments if argument is not type(None)]
    return decode(kind, value, where, problems)


def _decode_choice(choices: tuple[Any, ...], value: object, where: str, problems: list[str]) -> Any:
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        hint = nearest(value, [str(choice) for choice in choices]) if isinstance(value, str) else ""
        problems.append(f"{where}: expected one of {listed}, found {_describe(value)}{hint}")
    return value


def _decode_tuple(arguments: tuple[Any, ...], value: object, where: str, problems: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        problems.append(f"{where}: expected a list, found {_describe(value)}")
        return None
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        kinds = [arguments[0]] * len(value)
    else:
        kinds = list(arguments)
        if len(kinds) != len(value):
            problems.append(f"{where}: expected {len(kinds)} values, found {len(value)}")
            return None
    return tuple(
        decode(kind, item, f"{where}[{i}]", problems) for i, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _decode_dict(kind: Any, value: object, where: str, problems: list[str]) -> Any:
    if not isinstance(value, Mapping):
        problems.append(f"{where}: expected a table, found {_describe(value)}")
        return None
    return {str(key): decode(kind, item, _join(where, str(key)), problems) for key, item in value.items()}


def _decode_scalar(kind: Any, value: object, where: str, problems: list[str]) -> Any:
    if kind is Any:
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        problems.append(f"{where}: expected {_NAMES.get(kind, kind.__name__)}, found {_describe(value)}")
    elif kind is float and not math.isfinite(typing.cast(float, value)):
        problems.append(f"{where}: expected a finite number, found {value}")
    return value


_NAMES: dict[Any, str] = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else str(key)


def _describe(value: object) -> str:
    return f"{value!r} ({type(value).__name__})"
