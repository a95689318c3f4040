"""What README and docs say: short enough, complete, current, and parsed by the program that they describe."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from typing import Any

import pytest
from pages import PAGES, REASONS, ROOT, Block, arguments, blocks, read

from sentopt import recipe
from sentopt.cli import parser

BLOCKS = [block for page in PAGES for block in blocks(page)]
LANGUAGES = {
    *("sh", "python", "text", "toml", "json", "dockerfile", "js", "powershell"),
    *("nginx", "caddyfile", "yaml"),
}
QUESTIONS = (
    *("time-and-memory", "own-model", "stars", "platforms", "bulk-scoring", "metrics", "lean", "refused"),
    *("retraining", "training-curves", "other-cpus", "cascade", "teacher", "labels"),
)


def test_the_readme_is_read_in_two_minutes() -> None:
    """Every word and every number of the file counts, those of tables and of code, too."""
    readme = read("README.md")
    numbers = re.findall(r"(?<!\w)\d[\d.,]*", readme)
    assert len(readme.split()) <= 1_100
    assert len(numbers) <= 60, numbers


def test_its_code_is_on_the_first_screen() -> None:
    first = next(blocks("README.md"))
    assert first.language == "python"
    assert first.line + first.code.count("\n") < 25
    assert len(first.code.strip().splitlines()) <= 7


@pytest.mark.parametrize("name", QUESTIONS)
def test_every_question_has_a_page(name: str) -> None:
    page = read(f"docs/questions/{name}.md")
    assert len(page.split()) > 100
    assert f"({name}.md)" in read("docs/questions/index.md")
    assert f"questions/{name}.md" in read("mkdocs.yml")


def test_generated_pages_are_what_the_code_says() -> None:
    assert _generate().stale() == []


def test_the_page_of_the_command_line_has_every_verb_and_option() -> None:
    page = _generate().cli()
    for verb in ("train", "average", "export", "bench", "run", "report", "predict", "demo", "check", "tune", "pack"):
        assert f"## sentopt {verb}\n" in page
    assert "`--abstain-below SCORE`" in page
    assert "`--port PORT`" in page
    assert page.count("```sh\n") >= 10


def test_blocks_name_their_language_and_a_known_reason() -> None:
    assert len(BLOCKS) > 60
    assert [str(block) for block in BLOCKS if block.language not in LANGUAGES] == []
    assert [f"{block}: {block.reason}" for block in BLOCKS if block.reason and block.reason not in REASONS] == []


def test_no_reason_stands_where_no_block_follows() -> None:
    assert {page: count for page in PAGES if (count := _stray_reasons(page))} == {}


def _stray_reasons(page: str) -> int:
    return read(page).count("<!-- not run:") - sum(bool(block.reason) for block in blocks(page)) - _quoted(page)


def _quoted(page: str) -> int:
    """CONTRIBUTING says how such a comment looks."""
    return read(page).count("`<!-- not run:")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "sh"], ids=str)
def test_commands_are_valid(block: Block) -> None:
    for command in block.commands:
        given = arguments(command)
        if given is None:
            continue
        options = parser.build().parse_args(given)
        settings = recipe.parse_settings(getattr(options, "set", None) or [])
        recipe.resolve({"run": {"name": "docs"}}, settings, source=str(block))


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "python"], ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.code, str(block), "exec")


def test_the_picture_of_the_layers_is_the_contract() -> None:
    contracts = tomllib.loads(read("pyproject.toml"))["tool"]["importlinter"]["contracts"]
    layers = contracts[0]["layers"]
    (picture,) = (block.code for block in blocks("CONTRIBUTING.md") if block.code.startswith(layers[0] + " "))
    shown = [re.split(r"\s{2,}", line)[0] for line in picture.splitlines()]
    assert shown == layers


def test_linked_files_of_the_readme_exist() -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read("README.md"))
    assert len(targets) > 20
    assert [target for target in targets if not (ROOT / target).exists()] == []


def _generate() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs/generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
