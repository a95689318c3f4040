"""Tables of strings, for a terminal, in Markdown and in HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """A titled table of strings; `mark` is the row to emphasize."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    mark: int | None = None


def as_text(table: Table) -> str:
    """Aligned columns for a terminal, words to the left, numbers to the right; the marked row gets an arrow."""
    widths = [max(len(row[i]) for row in (table.headings, *table.rows)) for i in range(len(table.headings))]
    words = [i == 0 or any(row[i][:1].isalpha() for row in table.rows) for i in range(len(table.headings))]

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
    """A pipe table; the marked row is bold."""
    lines = ["| " + " | ".join(table.headings) + " |", "|" + "---|" * len(table.headings)]
    for i, row in enumerate(table.rows):
        cells = [cell.replace("|", "\\|").replace("\n", " ") for cell in row]
        lines.append("| " + " | ".join(f"**{cell}**" if i == table.mark else cell for cell in cells) + " |")
    return "\n".join(lines)


def as_html(table: Table) -> str:
    """A table element; the marked row has the class `chosen`."""
    head = "".join(f"<th>{html.escape(h)}</th>" for h in table.headings)
    body = "".join(
        f"<tr{' class=chosen' if i == table.mark else ''}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
        + "</tr>"
        for i, row in enumerate(table.rows)
    )
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
