"""When two texts count as one."""

from __future__ import annotations

import unicodedata


def normal_form(text: str) -> str:
    """The same for texts that differ in case, blanks or Unicode form alone."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
