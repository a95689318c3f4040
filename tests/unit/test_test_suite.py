"""Tests use what users may use: no test reads or replaces a private name of sentopt."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
NOT_SENTOPTS = {
    "os._exit",
    "sys._getframe",
    "shutil._use_fd_functions",
    "pointer._obj",
    "BertWordPieceTokenizer._tokenizer",
    "my_sentiment._sentopt",
}
PROTOCOLS = {"_repr_html_", "_repr_markdown_"}  # what notebooks call


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PROTOCOLS


def private_names(source: str) -> Iterator[str]:
    """Attributes of anything but self and cls, names imported from sentopt, and names given to patches as strings."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name("self" | "cls")):
                continue
            case ast.Attribute(value=value, attr=attribute) if is_private(attribute):
                owner = value.func if isinstance(value, ast.Call) else value
                yield f"{ast.unparse(owner)}.{attribute}"
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("sentopt"):
                yield from (f"{module}.{alias.name}" for alias in names if is_private(alias.name))
            case ast.Call(func=function, args=[_, ast.Constant(value=str(name)), *_]) if is_private(name):
                if ast.unparse(function).endswith(("setattr", "delattr", "getattr")):
                    yield name
            case ast.Constant(value=str(text)):
                yield from re.findall(r"\b[a-z]\w*\._[A-Za-z]\w*", text)


def uses(path: Path) -> list[str]:
    return [name for name in private_names(path.read_text(encoding="utf-8")) if name not in NOT_SENTOPTS]


@pytest.mark.parametrize(
    "path", sorted(set(TESTS.rglob("*.py")) - {Path(__file__)}), ids=lambda path: str(path.relative_to(TESTS))
)
def test_nothing_private_is_used(path: Path) -> None:
    assert uses(path) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("verify._answer(1)", ["verify._answer"]),
        ("make()._service.full = True", ["make._service"]),
        ("from sentopt.graph import lean, _hidden", ["sentopt.graph._hidden"]),
        ("patch.setattr(rates, '_ADDRESSES', 1)", ["_ADDRESSES"]),
        ("patch.setattr('sentopt.report.plots._save', fails)", ["plots._save"]),
        ("code = 'from a import fit; fit._Trainer.step()'", ["fit._Trainer"]),
        ("self._answer(); cls._made; row._replace.__name__; item.__dict__", ["row._replace"]),
        ("from sentopt import __version__\nfrom sentopt._optional import require", []),
    ],
)
def test_private_uses_are_recognized(source: str, expected: list[str]) -> None:
    assert list(private_names(source)) == expected
