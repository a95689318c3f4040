"""Names of files in a bundle: relative, inside the folder, and the same file on every system.

A name that is harmless on one system is an absolute path, a device or another file on the next. So names are refused
everywhere that mean something else anywhere.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_DEVICES = frozenset(("CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$")) | {
    f"{port}{number}" for port in ("COM", "LPT") for number in "0123456789¹²³"
}
_LONGEST_PART = 255
_FORBIDDEN = frozenset('<>"|?*\x7f').union(map(chr, range(32)))


def refusal(name: str) -> str:
    """Why a bundle, or a model, may not have a file of this name; empty if it may.

    The rules of Windows are those of "Naming Files, Paths, and Namespaces" in Microsoft's documentation.
    """
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        return "lies outside the folder"
    if "\\" in name or ":" in name:
        return "has a backslash or a colon, which lead out of the folder on Windows"
    if "" in parts or "." in parts:
        return "is not a plain relative path"
    if not _FORBIDDEN.isdisjoint(name):
        return "has a character that file names cannot have on Windows"
    if any(len(part.encode("utf-8", "surrogatepass")) > _LONGEST_PART for part in parts):
        return f"has a part of more than {_LONGEST_PART} bytes, which file systems do not take"
    if any(part.endswith((".", " ")) for part in parts):
        return "has a part that ends in a dot or a space, which Windows drops"
    if any(part.partition(".")[0].rstrip(" ").upper() in _DEVICES for part in parts):
        return "is the name of a device on Windows"
    return ""


def same_file(names: Iterable[str]) -> tuple[str, str] | None:
    """Two of the names that are one file where case does not count, as on Windows and macOS; None if there are none."""
    seen: dict[str, str] = {}
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            return seen[key], name
        seen[key] = name
    return None
