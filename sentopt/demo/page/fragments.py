"""Pieces of HTML that several tabs show."""

from __future__ import annotations

import html
from collections.abc import Sequence

from sentopt.demo.selection import NO_LABEL

_QUOTED = 5  # parts of a text that are shown


def bar(label: str, value: str, share: float, mark: float | None = None) -> str:
    """An item of a list with the class `bars`: a label and its value, with a bar as long as a share of the width.

    `mark` is another share, at which a line stands.
    """
    marked = "" if mark is None else "<b></b>"
    at = "" if mark is None else f"; --mark: {mark:.4f}"
    return (
        f"<li><span class=name>{html.escape(label)}</span><span class=count>{value}</span>"
        f'<i aria-hidden=true style="--part: {share:.4f}{at}">{marked}</i></li>'
    )


def named(labels: Sequence[str]) -> str:
    """Labels as plain text, of which there may be none."""
    return ", ".join(labels) or NO_LABEL


def quoted(parts: Sequence[str], *, longest: int = 40) -> str:
    """The first parts in quotation marks, each cut at so many characters, and how many more there are."""
    shown = ", ".join(f"“{html.escape(part[:longest])}”" for part in parts[:_QUOTED])
    return f"{shown} and {len(parts) - _QUOTED} more" if len(parts) > _QUOTED else shown
