"""What the README tells people to type is what the program takes, and its Python runs."""

import re
import shlex
from pathlib import Path

import pytest

from sentopt.cli import parser

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
COMMANDS = [
    part.strip()
    for language, block in BLOCKS
    if language == "sh"
    for line in block.splitlines()
    for part in line.partition(" # ")[0].split("&&")
    if part.strip().startswith("sentopt ")
]


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_valid(command: str) -> None:
    parser.build().parse_args(shlex.split(re.split(r" [<>|] ", command)[0])[1:])


@pytest.mark.usefixtures("in_folder")
def test_python_runs(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = (block for language, block in BLOCKS if language == "python")
    exec(compile(code.replace("exports/quickstart", str(finished_run)), "README.md", "exec"), {})
    assert capsys.readouterr().out.strip()


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (Path(__file__).parents[2] / target).exists(), target
