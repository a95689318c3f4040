"""Tables of strings, for a terminal, in Markdown and in HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from sentopt.measure.stats import wilson_interval
from sentopt.report.markup import text_in_cell

_VERDICTS = {"pass": "good", "pass*": "good", "refused": "bad", "untested": "bad", "fail": "bad"}
_VERDICT_COLUMNS = ("verdict", "outcome")
_CONFIDENCE = 0.95
_SHORT = 24  # characters that stay in one line of a page


@dataclass(frozen=True)
class Table:
    """A table of strings; `mark` is the row to emphasize, `title` says what it shows where it is not alone.

    `holds_texts`: its cells hold texts of the data, in which nothing is markup.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    mark: int | None = None
    title: str = ""
    holds_texts: bool = False


class WithTexts(Protocol):
    """What has a text, or the two texts of a pair."""

    @property
    def text(self) -> str:
        """The first one of a pair."""

    @property
    def pair(self) -> str:
        """The second one; empty where the text stands alone."""


def second_heading(rows: Sequence[WithTexts]) -> tuple[str, ...]:
    """The heading of a column for second texts; none where there are none."""
    return ("pair",) if any(row.pair for row in rows) else ()


def texts_of(row: WithTexts, pair: tuple[str, ...]) -> tuple[str, ...]:
    """The cells with its texts, two where there is a column for second texts."""
    return (row.text, row.pair) if pair else (row.text,)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 text, 2 texts, 1,200 texts."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """One name or more: a, b and c."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def share(right: int, texts: int) -> str:
    """A share with its 95 % interval: 0.9033 (0.885-0.919); "-" where there are no texts."""
    if not texts:
        return "-"
    low, high = wilson_interval(right, texts, _CONFIDENCE)
    return f"{right / texts:.4f} ({low:.3f}-{high:.3f})"


def as_text(table: Table) -> str:
    """Aligned columns for a terminal, words to the left, numbers to the right; the marked row gets an arrow."""
    widths = [max(len(row[i]) for row in (table.headings, *table.rows)) for i in range(len(table.headings))]
    words = _holds_words(table)

    def line(cells: Sequence[str], mark: str) -> str:
        padded = [
            cell.ljust(width) if left else cell.rjust(width)
            for cell, width, left in zip(cells, widths, words, strict=True)
        ]
        return f"{mark} " + "  ".join(padded).rstrip()

    lines = [line(table.headings, " "), "  " + "  ".join("-" * w for w in widths)]
    lines += [line(row, ">" if i == table.mark else " ") for i, row in enumerate(table.rows)]
    return "\n".join(lines)


def as_markdown(table: Table) -> str:
    """A pipe table, numbers to the right; the marked row is bold."""
    rule = "|" + "|".join("---" if words else "---:" for words in _holds_words(table)) + "|"
    lines = ["| " + " | ".join(map(_cell, table.headings)) + " |", rule]
    cell = text_in_cell if table.holds_texts else _cell
    for i, row in enumerate(table.rows):
        lines.append("| " + " | ".join(f"**{cell(c)}**" if i == table.mark else cell(c) for c in row) + " |")
    return "\n".join(lines)


def as_html(table: Table) -> str:
    """A table that scrolls; the marked row has the class `chosen`, cells of words `words`, those of one line `short`,
    verdicts `good` or `bad`."""
    words = _holds_words(table)
    head = "".join(_html_cell("th", h, [w]) for h, w in zip(table.headings, words, strict=True))
    body = "".join(
        f"<tr{' class=chosen' if i == table.mark else ''}>"
        + "".join(
            _html_cell("td", cell, [w, _verdict(heading, cell)])
            for heading, cell, w in zip(table.headings, row, words, strict=True)
        )
        + "</tr>"
        for i, row in enumerate(table.rows)
    )
    return scrolling(head, body, table.title, f"Table: {', '.join(table.headings)}")


def scrolling(head: str, body: str, title: str, name: str = "") -> str:
    """A table in a region that scrolls where the table is wider than the page.

    The region has a name and takes the focus, because without a mouse only what has the focus can be scrolled (WCAG
    2.2, criterion 2.1.1).

    Args:
        head: cells of the headings, as HTML.
        body: rows, as HTML.
        title: the caption, as text; empty for none.
        name: of the region, as text, where there is no caption.
    """
    caption = f"<caption>{html.escape(title)}</caption>" if title else ""
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{html.escape(title or name)}"><table>{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _holds_words(table: Table) -> list[str]:
    """For each column `words`, or an empty string where it holds numbers."""
    columns = range(len(table.headings))
    texts = [table.holds_texts and heading == "text" for heading in table.headings]
    return ["words" if i == 0 or texts[i] or any(row[i][:1].isalpha() for row in table.rows) else "" for i in columns]


def _verdict(heading: str, cell: str) -> str:
    return _VERDICTS.get(cell.lower(), "") if heading in _VERDICT_COLUMNS else ""


def _html_cell(tag: str, content: str, classes: Sequence[str]) -> str:
    short = "short" if tag == "td" and len(content) <= _SHORT else ""
    names = " ".join(filter(None, [*classes, short]))
    attribute = f' class="{names}"' if names else ""
    scope = " scope=col" if tag == "th" else ""
    return f"<{tag}{scope}{attribute}>{html.escape(content)}</{tag}>"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
