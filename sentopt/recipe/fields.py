"""Keys of a recipe: default, bounds, help and accepted spellings, declared once at the field.

A section declares a key as `epochs: float = option(3.0, above=0, help="...")`. The checks of values, the names that are
accepted or suggested, the comments of recipe files and the reference are all derived from that declaration.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import os
import types
import typing
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from sentopt import records

T = TypeVar("T")
REQUIRED = dataclasses.MISSING
_METADATA = "sentopt.option"
_SURE, _LIKELY = 0.6, 0.75  # least similarity of a suggested name: within the given section, and in any section


@dataclass(frozen=True)
class Spelling:
    """Another accepted name of a key. `values` translates values that the key itself does not know."""

    name: str
    values: Mapping[Any, Any] = field(default_factory=dict)

    def translate(self, value: Any) -> Any:
        """The key's value for `value`; the same one where there is no translation."""
        return self.values.get(value, value) if isinstance(value, Hashable) else value


@dataclass(frozen=True)
class Declaration:
    """What a field says about its key; see `option`."""

    help: str
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    below: float | None = None
    valid: Callable[[Any], bool] | None = None
    expected: str = ""
    also: tuple[Spelling, ...] = ()
    like: tuple[str, ...] = ()
    added_later: bool = False
    qualified: bool = False

    @property
    def bounds(self) -> str:
        """The values that are allowed, in words; empty where every value of the type is."""
        if self.expected:
            return self.expected
        low, above = _number(self.at_least), _number(self.above)
        high, below = _number(self.at_most), _number(self.below)
        if low and high:
            text = f"{low} to {high}"
        else:
            lower = f"{low} or more" if low else f"more than {above}" if above else ""
            upper = f"at most {high}" if high else f"less than {below}" if below else ""
            text = " and ".join(part for part in (lower, upper) if part)
        return f"{text} {self.unit}".strip() if text else ""

    def allows(self, value: Any) -> bool:
        """Whether `value`, which has the right type, is within the bounds."""
        return (
            (self.valid is None or self.valid(value))
            and (self.at_least is None or value >= self.at_least)
            and (self.at_most is None or value <= self.at_most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )


def declared(
    *,
    help: str,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    valid: Callable[[Any], bool] | None = None,
    expected: str = "",
    also: tuple[str | Spelling, ...] = (),
    like: tuple[str, ...] = (),
    added_later: bool = False,
    qualified: bool = False,
) -> dict[str, Declaration]:
    """Metadata of a field that has no default; arguments as in `option`."""
    spellings = tuple(name if isinstance(name, Spelling) else Spelling(name) for name in also)
    return {
        _METADATA: Declaration(
            help, unit, at_least, at_most, above, below, valid, expected, spellings, like, added_later, qualified
        )
    }


def option(
    default: T,
    *,
    help: str,
    unit: str = "",
    at_least: float | None = None,
    at_most: float | None = None,
    above: float | None = None,
    below: float | None = None,
    valid: Callable[[Any], bool] | None = None,
    expected: str = "",
    also: tuple[str | Spelling, ...] = (),
    like: tuple[str, ...] = (),
    added_later: bool = False,
    qualified: bool = False,
) -> T:
    """A field of a section: its default, and everything that is known about its key.

    Args:
        default: immutable; for a key without a default, use `dataclasses.field(metadata=declared(...))`.
        help: what the key does, in one or two plain sentences, with its unit.
        unit: the unit of the bounds, as in "expected 8 to 8192 tokens".
        at_least: the smallest value; `at_most`, `above` and `below` bound the value likewise.
        valid: a further check of a value of the right type; needs `expected`.
        expected: the allowed values in words, in place of the bounds.
        also: other names that are accepted, without a section or after that of the key.
        like: names that are not accepted, but for which this key is suggested.
        added_later: the key is younger than the first release; see `Key.added_later`.
        qualified: the key answers only to its full name: the bare one is that of another section's key.
    """
    metadata = declared(
        help=help,
        unit=unit,
        at_least=at_least,
        at_most=at_most,
        above=above,
        below=below,
        valid=valid,
        expected=expected,
        also=also,
        like=like,
        added_later=added_later,
        qualified=qualified,
    )
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Key:
    """One key of a recipe. `kind` is its type; `default` is `REQUIRED` where a recipe must state it."""

    section: str
    name: str
    kind: Any
    default: Any
    declaration: Declaration

    @property
    def path(self) -> str:
        """The full name, such as `train.epochs`."""
        return f"{self.section}.{self.name}"

    @property
    def added_later(self) -> bool:
        """Whether fingerprints leave the key out at its default, because older runs were made without it."""
        return self.declaration.added_later

    @property
    def is_qualified(self) -> bool:
        """Whether only the full name stands for the key."""
        return self.declaration.qualified

    @property
    def is_text(self) -> bool:
        """Whether every value is a string, so that a bare word needs no quotes."""
        return self.kind is str

    @property
    def choices(self) -> tuple[Any, ...]:
        """The allowed values of a key that has a fixed list of them."""
        return typing.get_args(self.kind) if typing.get_origin(self.kind) is Literal else ()

    def problem(self, value: Any) -> str:
        """What is wrong with a value that has the right type; empty where it is within its bounds."""
        if self.declaration.allows(value):
            return ""
        return f"{self.path}: expected {self.declaration.bounds}, found {records.to_json(value)!r}"


class UnknownKeyError(LookupError):
    """No key has this name; the message says which one may be meant."""


class Keys:
    """The keys of all sections of a recipe class, in order, and the names they answer to."""

    def __init__(self, recipe_class: type) -> None:
        self.sections: dict[str, type] = typing.get_type_hints(recipe_class)
        self.all = tuple(key for section, kind in self.sections.items() for key in _keys_of(section, kind))
        self._named: dict[str, list[Key]] = {}
        self._also: dict[str, list[Key]] = {}
        self._like: dict[str, list[Key]] = {}
        for key in self.all:
            self._named.setdefault(key.name, []).append(key)
            for spelling in key.declaration.also:
                self._also.setdefault(spelling.name, []).append(key)
            for name in key.declaration.like:
                self._like.setdefault(name, []).append(key)

    def __iter__(self) -> Iterator[Key]:
        return iter(self.all)

    def find(self, name: str) -> Key:
        """The key that `name` stands for: `train.epochs`, `epochs`, `num_train_epochs` or `train.num_train_epochs`.

        Raises:
            UnknownKeyError: none, or more than one.
        """
        section, _, last = name.rpartition(".")
        for table in (self._also, self._named):
            keys = [key for key in table.get(last, []) if section == key.section or not (section or key.is_qualified)]
            if len(keys) == 1 and name not in self.sections:
                return keys[0]
        raise UnknownKeyError(f"{name}: {self._reason(section, last)}")

    def translate(self, name: str, value: Any) -> tuple[Key, Any]:
        """The key that `name` stands for, and its value where `value` is given under that name.

        One string or whole number, where a list of such is expected, is a list of that one.

        Raises:
            UnknownKeyError: see `find`.
        """
        key = self.find(name)
        value = _plain(value)
        for spelling in key.declaration.also:
            if spelling.name == name.rpartition(".")[2]:
                value = spelling.translate(value)
        return key, [value] if _is_one_of_a_list(key.kind, value) else value

    def _reason(self, section: str, last: str) -> str:
        meant = self._meant(section, last.strip().lower().replace("-", "_"))
        if not section and last in self.sections:
            reason = f"names a section; a key such as {last}.{self._first(last)} is expected"
        elif not section and len(meant) > 1:
            return f"ambiguous: write {' or '.join(meant)}"
        else:
            reason = "unknown key"
        return f"{reason} (did you mean {' or '.join(map(repr, meant))}?)" if meant else reason

    def _first(self, section: str) -> str:
        return next(key.name for key in self.all if key.section == section)

    def _meant(self, section: str, last: str) -> list[str]:
        """Paths of the keys that an unknown name may stand for: by meaning first, then by similar letters."""
        for table in (self._named, self._also, self._like):
            if keys := table.get(last, []):
                return _likely(keys, section)
        names = {**self._like, **self._also, **self._named}
        within = {name for name, keys in names.items() if any(key.section == section for key in keys)}
        close = difflib.get_close_matches(last, within, n=1, cutoff=_SURE)
        close = close or difflib.get_close_matches(last, names, n=1, cutoff=_LIKELY)
        if close:
            return _likely(names[close[0]], section)
        return difflib.get_close_matches(section, self.sections, n=1, cutoff=_SURE)


def _likely(keys: Sequence[Key], section: str) -> list[str]:
    """Paths of the keys of this section; if there is none, of those that a bare name can stand for; else of all."""
    here = [key.path for key in keys if key.section == section]
    return here or [key.path for key in keys if not key.is_qualified] or [key.path for key in keys]


def _keys_of(section: str, kind: type) -> Iterator[Key]:
    hints = typing.get_type_hints(kind)
    for each in dataclasses.fields(kind):
        yield Key(section, each.name, hints[each.name], each.default, each.metadata[_METADATA])


def _plain(value: Any) -> Any:
    """Members of an enum (as TrainingArguments has them) and paths as the plain values that a TOML file would hold."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return str(value) if isinstance(value, int) else f"{value:g}"


def kind_in_words(kind: Any) -> str:
    """A type as the reference calls it: "whole number", "list of strings"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(repr(choice) for choice in arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        return f"list of {_PLURALS.get(arguments[0]) or kind_in_words(arguments[0])}"
    if origin is tuple:
        return "[" + ", ".join(kind_in_words(item) for item in arguments) + "]"
    if isinstance(kind, types.GenericAlias) or kind not in _WORDS:
        raise TypeError(f"a recipe key cannot have the type {kind}")
    return _WORDS[kind]


def _is_one_of_a_list(kind: Any, value: Any) -> bool:
    """Whether `value` is a string or a whole number, and `kind` a list of such."""
    of, more = (*typing.get_args(kind), None, None)[:2]
    if typing.get_origin(kind) is not tuple or more is not Ellipsis:
        return False
    kinds = {type(choice) for choice in typing.get_args(of)} if typing.get_origin(of) is Literal else {of}
    return type(value) in kinds & {str, int}


_WORDS: dict[Any, str] = {str: "string", int: "whole number", float: "number", bool: "true or false"}
_PLURALS: dict[Any, str] = {
    str: "strings",
    int: "whole numbers",
    float: "numbers",
    tuple[int, int]: "[whole number, whole number]",
}
