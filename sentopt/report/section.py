"""A part of a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sentopt.report.tables import Table

Page = tuple[str, str]
"""A page of the documentation: its title, and its path below `docs/`."""


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs, a list, a second list of next steps, tables, then plots (paths of PNG files).

    Paragraphs and lists may hold `code`, **bold** and [links](relative/path), as in Markdown. Each plot has a text that
    says what it shows. `pages` of the documentation say more; only written reports link to them.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    images: tuple[tuple[str, Path], ...] = ()
    pages: tuple[Page, ...] = ()

    @property
    def text(self) -> str:
        """Everything that is said in words or in a table."""
        cells = [cell for t in self.tables for row in ((t.title,), t.headings, *t.rows) for cell in row]
        return "\n".join([self.title, *self.paragraphs, *self.items, *self.steps, *cells])


def picked(images: Mapping[str, Path], name: str, alt: str) -> tuple[tuple[str, Path], ...]:
    """The plot of that name with its description, if it was drawn."""
    return ((alt, images[name]),) if name in images else ()
