"""A part of a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sentopt.report.tables import Table


@dataclass(frozen=True)
class Section:
    """A part of the report: paragraphs, a list, a second list of next steps, tables, then plots (paths of PNG files).

    Paragraphs and lists may hold `code`, **bold** and [links](relative/path), as in Markdown.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    images: tuple[tuple[str, Path], ...] = ()

    @property
    def text(self) -> str:
        """Everything that is said in words or in a table."""
        cells = [cell for t in self.tables for row in ((t.title,), t.headings, *t.rows) for cell in row]
        return "\n".join([self.title, *self.paragraphs, *self.items, *self.steps, *cells])
