"""Repair half characters: JSON and Excel can escape a lone surrogate such as `\\ud83d`; no UTF-8 file can hold it."""

from __future__ import annotations


def repaired(text: str) -> str:
    """The text, with U+FFFD for each lone surrogate, as in any UTF-8 decoder."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
