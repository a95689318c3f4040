"""The pages that people read, cut into their blocks of code."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = tuple(
    str(path.relative_to(ROOT))
    for path in (
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted(ROOT.glob("benchmarks/README.md")),
        *(path for path in sorted((ROOT / "demo").rglob("*.md")) if "node_modules" not in path.parts),
    )
)
REASONS = {
    "account": "needs an account on the Hugging Face Hub",
    "docker": "needs Docker",
    "extra": "needs an extra that is not part of every environment; tests of its own run it",
    "install": "installs packages or sets up an environment",
    "listed by --help": "examples of the generated page of the command line",
    "minutes": "trains or exports for minutes; the commands of one run stand for all",
    "notebook": "continues the notebook, which a test of its own executes",
    "processes": "starts several processes that work for long",
    "server": "serves until it is stopped, or asks such a server",
    "toolchain": "needs npm or a C compiler; tests/embedding runs it",
}
"""Why a block is not executed: `<!-- not run: REASON -->` before it. There are no others."""
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^>]*?) -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """One fenced block: its page, line, language, why it is not run (empty where it is), and its text."""

    page: str
    line: int
    language: str
    reason: str
    code: str

    def __str__(self) -> str:
        return f"{self.page}, line {self.line}"

    @property
    def commands(self) -> list[str]:
        """Each command of a shell block, without comments; parts of `a && b` are two."""
        lines = re.sub(r"\\\n", " ", self.code).splitlines()
        parts = [part.strip() for line in lines for part in re.sub(r"(^|\s)#\s.*", "", line).split("&&")]
        return [part for part in parts if part]


def read(page: str) -> str:
    """The text of a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    text = read(page)
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("language")) + 1
        yield Block(page, line, match["language"], match["reason"] or "", match["code"])


def arguments(command: str) -> list[str] | None:
    """What a command gives to sentopt, without redirections; None for a command of another program."""
    if match := re.match(r"(?:torchrun .* -m )?sentopt (.*)", command):
        return shlex.split(re.split(r" [<>|] ", match[1])[0])
    return [] if command == "sentopt" else None
