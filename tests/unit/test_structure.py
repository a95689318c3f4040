"""The house stays what it is: few doors, thin verbs, a short pipeline, and stages that type checkers see."""

import ast
from pathlib import Path

import sentopt
from sentopt.cli import parser
from sentopt.pipeline import order

PACKAGE = Path(sentopt.__file__).parent


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_top_level_has_few_doors() -> None:
    modules = [path for path in PACKAGE.glob("*.py") if not path.name.startswith("__")]
    assert len(modules) <= 13


def test_the_command_line_is_thin() -> None:
    assert sum(lines(path) for path in (PACKAGE / "cli").glob("*.py")) <= 60 * len(parser.VERBS)


def test_the_pipeline_is_read_at_once() -> None:
    tree = ast.parse(Path(order.__file__).read_text(encoding="utf-8"))
    (pipeline,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Pipeline")
    assert pipeline.end_lineno is not None
    assert pipeline.end_lineno - pipeline.lineno + 1 < 200


def test_own_modules_are_imported_where_type_checkers_see_it() -> None:
    """`require` gives a ModuleType, whose calls nobody checks: it is for modules of other projects."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
                "require",
                "import_module",
            ):
                named = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                own = [name for name in named if name.startswith("sentopt")]
                assert not own or path == PACKAGE / "__init__.py", f"{path}: {own}"
