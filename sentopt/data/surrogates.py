"""Repair half characters: JSON and Excel can escape a lone surrogate such as `\\ud83d`, but no UTF-8 file can hold it.

Each becomes U+FFFD, as in the runtime and in any UTF-8 decoder.
"""

from __future__ import annotations

import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


def repaired(text: str) -> str:
    """The text, with U+FFFD for each lone surrogate."""
    if text.isascii() or not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def repaired_value(value: Any) -> Any:
    """A value of JSON with all of its texts repaired.

    Raises:
        RecursionError: the value is nested too deeply.
    """
    if isinstance(value, dict):
        return {repaired_value(key): repaired_value(item) for key, item in value.items()}
    if isinstance(value, list):
        return [repaired_value(item) for item in value]
    return repaired(value) if isinstance(value, str) else value


def may_occur(document: str) -> bool:
    """Whether a JSON document holds an escape that may be half a character; such documents are rare."""
    return "\\" in document and _ESCAPED.search(document) is not None
