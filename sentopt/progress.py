"""What a person is told while a run goes on: lines, and bars of things that are counted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

Advance = Callable[[int], None]


class Progress(Protocol):
    """Where a run reports to."""

    def say(self, line: str) -> None:
        """One line worth telling."""

    def count(self, what: str, total: int) -> contextlib.AbstractContextManager[Advance]:
        """Of `total` things named `what`; the function that it gives is called with how many more are done."""


@dataclass(frozen=True)
class Lines:
    """Progress as lines that go to `write`; nothing is counted."""

    write: Callable[[str], None] = lambda line: None

    def say(self, line: str) -> None:
        """Write the line."""
        self.write(line)

    @contextlib.contextmanager
    def count(self, what: str, total: int) -> Iterator[Advance]:
        """Write nothing."""
        yield lambda more: None


SILENT = Lines()
