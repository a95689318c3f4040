"""Half characters (lone surrogates) in documents of JSON: each becomes U+FFFD, as in the runtime."""

from __future__ import annotations

import re
from typing import Any

from sentopt.runtime.surrogates import repaired

_ESCAPED = re.compile(r"\\u[dD][89a-fA-F]")


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
