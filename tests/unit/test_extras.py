"""What the extras bring, what the two pinned environments hold, and which extras messages name."""

import re
from pathlib import Path

import pytest
import pythons
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
EXTRAS: dict[str, list[str]] = pythons.PROJECT["optional-dependencies"]


def brought_by(*extras: str) -> dict[str, Requirement]:
    return {found.name: found for found in map(Requirement, pythons.requirements(*extras))}


def pinned(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_training_and_export_bring_transformers_5_and_no_optimum() -> None:
    brought = brought_by("train", "export")
    assert not [name for name in brought if name.startswith("optimum")]
    assert brought["transformers"].specifier.contains("5.24.0")
    assert brought["transformers"].specifier.contains("4.57.6")
    assert {"torch", "onnx"} < set(brought)


@pytest.mark.parametrize("extra", ["optimum", "all", "dev"])
def test_optimum_is_an_extra_and_part_of_everything(extra: str) -> None:
    assert {"optimum", "optimum-onnx", "transformers", "onnx"} < set(brought_by(extra))


@pytest.mark.parametrize("extra", ["demo", "hub"])
def test_what_neither_trains_nor_exports_brings_neither_package(extra: str) -> None:
    assert not {"torch", "transformers", "optimum-onnx"} & set(brought_by(extra))


def test_each_pinned_environment_has_what_its_extras_require() -> None:
    with_optimum, without = pinned("constraints.txt"), pinned("constraints-transformers5.txt")
    for pins, extras in (
        (with_optimum, ("all", "dev")),
        (without, ("export", "bench", "demo", "hub", "openvino", "test")),
    ):
        versions = {name.lower().replace("_", "-"): version for name, version in pins.items()}
        for name, requirement in brought_by(*extras).items():
            assert requirement.specifier.contains(versions[name.lower().replace("_", "-")]), name
    assert with_optimum["transformers"].startswith("4.57.")
    assert without["transformers"].startswith("5.")
    assert not [name for name in without if name.startswith("optimum")]
    assert with_optimum["torch"] == without["torch"]


def named_extras(text: str) -> set[str]:
    return {extra for names in re.findall(r"sentopt\[([\w,]+)\]", text) for extra in names.split(",")}


@pytest.mark.parametrize("folder", ["sentopt", "docs", "demo"])
def test_extras_that_are_named_exist(folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.suffix in (".py", ".md", ".txt")]
    said = set().union(
        *(named_extras(path.read_text(encoding="utf-8")) for path in files if "node_modules" not in path.parts)
    )
    assert said
    assert said <= set(EXTRAS)


def test_no_message_names_a_file_of_the_repository_for_pip() -> None:
    said = [path.name for path in (ROOT / "sentopt").rglob("*.py") if "constraints" in path.read_text(encoding="utf-8")]
    assert said == []
