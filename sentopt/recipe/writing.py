"""Recipes as TOML with comments, and the list of all keys, all generated from the declarations of the fields."""

from __future__ import annotations

import itertools
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sentopt.recipe import reading
from sentopt.recipe.fields import REQUIRED, Key, kind_in_words
from sentopt.recipe.sections import KEYS, Recipe

_COLUMNS = 100  # of generated comments
_SHORT = 16  # characters of a list that the columns of keys have room for


def to_toml(recipe: Recipe, comments: bool = False) -> str:
    """The recipe as TOML with every value explicit; `load` of the result gives an equal recipe.

    With `comments`, each section and each key has its help above it, each key also its bounds and its default.
    """
    return _render(recipe, KEYS, comments=comments)


def shown(name_or_path: str) -> str:
    """A recipe for reading: the comment at the top of its file, then every key with its value, below its help.

    `load` of the result gives an equal recipe.

    Raises:
        RecipeError: see `load`.
    """
    return _introduction(reading.find(name_or_path)) + to_toml(reading.load(name_or_path), comments=True)


def annotated(name_or_path: str) -> str:
    """A recipe file with only the keys that it states, each below its help. Of its own comments, those at the top stay.

    Raises:
        RecipeError: see `load`.
    """
    path = reading.find(name_or_path)
    stated = reading.stated(path)
    return _introduction(path) + _render(
        reading.load(name_or_path), [key for key in KEYS if key.path in stated], comments=True
    )


def _introduction(path: Path) -> str:
    """The comment at the top of a recipe file that an empty line follows, with that line; nothing without one."""
    found = re.match(r"(#.*\n)+\n", path.read_text(encoding="utf-8"))
    return found[0] if found else ""


def _render(recipe: Recipe, keys: Iterable[Key], *, comments: bool) -> str:
    lines = []
    for section, group in itertools.groupby(keys, key=lambda key: key.section):
        lines.extend(_comment(_summary(section)) if comments else [])
        lines.append(f"[{section}]")
        for key in group:
            value = getattr(getattr(recipe, section), key.name)
            lines.extend(_comment(_explanation(key, value)) if comments else [])
            lines.extend(_assignment(key.name, value, wrapped=comments))
        lines.append("")
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _COLUMNS, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


def _explanation(key: Key, value: Any) -> str:
    """Help, bounds, and the default where `value` is another one."""
    allowed = ", ".join(map(repr, key.choices)) or key.declaration.bounds
    differs = key.default is not REQUIRED and value != key.default
    return " ".join(
        [
            key.declaration.help,
            *([f"Allowed: {allowed}."] if allowed else []),
            *([f"Default: {_toml_value(key.default)}."] if differs else []),
        ]
    )


def _assignment(name: str, value: Any, *, wrapped: bool) -> list[str]:
    line = f"{name} = {_toml_value(value)}"
    if not wrapped or not isinstance(value, tuple) or len(line) <= _COLUMNS:
        return [line]
    return [f"{name} = [", *(f"    {_toml_value(item)}," for item in value), "]"]


def _summary(section: str) -> str:
    return (KEYS.sections[section].__doc__ or "").partition("\n")[0]


def help_lines(word: str = "") -> list[str]:
    """Every key with its default and its help, in columns; only those that `word` occurs in, in whatever case.

    A word also finds a key by the other names that it accepts, or that it is suggested for.
    """
    rows = [(key.path, _default(key), key.declaration.help) for key in KEYS if _mentions(key, word.lower())]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return [f"{path.ljust(widths[0])}  {default.ljust(widths[1])}  {text}" for path, default, text in rows]


def _mentions(key: Key, word: str) -> bool:
    names = [spelling.name for spelling in key.declaration.also]
    return any(word in text.lower() for text in (key.path, key.declaration.help, *names, *key.declaration.like))


def _default(key: Key) -> str:
    """The default as TOML, long lists by their length."""
    if key.default is REQUIRED:
        return "(required)"
    text = _toml_value(key.default)
    return text if len(text) <= _SHORT or not isinstance(key.default, tuple) else f"[{len(key.default)} values]"


def reference() -> str:
    """All shipped recipes, sections and keys as Markdown tables, under headings of the second level."""
    rows = []
    for name in reading.builtin_names():
        shipped = reading.load(name)
        rows.append([f"`{name}`", shipped.run.description, f"`{shipped.data.dataset}`", f"`{shipped.model.backbone}`"])
    parts = ["## Shipped recipes", _table(["recipe", "task", "data", "backbone"], rows)]
    for section in KEYS.sections:
        keys = [key for key in KEYS if key.section == section]
        rows = [[f"`{key.path}`", _type(key), f"`{_default(key)}`", _meaning(key)] for key in keys]
        parts += [f"## `[{section}]`", _summary(section), _table(["key", "value", "default", "meaning"], rows)]
    return "\n\n".join(parts) + "\n"


def _type(key: Key) -> str:
    bounds = key.declaration.bounds
    return ", ".join(filter(None, [kind_in_words(key.kind), bounds]))


def _meaning(key: Key) -> str:
    names = [f"`{spelling.name}`" for spelling in key.declaration.also if spelling.name != key.name]
    return f"{key.declaration.help} Also accepted: {', '.join(names)}." if names else key.declaration.help


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # JSON's string escapes are TOML's, except DEL, which JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)
