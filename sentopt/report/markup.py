"""Texts of a bundle or of data inside Markdown, where nothing in them is markup."""

from __future__ import annotations

import re

from sentopt.runtime.names import printable

_MARKUP = re.compile(r"[\\`*_\[\]<>&~#$]")  # `|` is escaped where a table is written
_IN_CELLS = re.compile(r"[\\`*_\[\]<>&~#$|!]")
_LONGEST_RUN = re.compile("`+")


def in_markdown(text: object) -> str:
    """`text` in a sentence, a heading or a cell of a table, as it stands."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def text_in_cell(text: str) -> str:
    """A text of any length in a cell of a table, in one line; nothing in it is markup or fetched."""
    return _IN_CELLS.sub(r"\\\g<0>", " ".join(text.split()))


def as_code(text: object) -> str:
    """`text` as code. The fence is longer than any run of backticks in it (CommonMark, "Code spans")."""
    shown = printable(text)
    fence = "`" * (1 + max(map(len, _LONGEST_RUN.findall(shown)), default=0))
    space = " " if shown[:1] in ("`", " ") or shown[-1:] in ("`", " ") else ""
    return f"{fence}{space}{shown}{space}{fence}"
