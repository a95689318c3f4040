"""The files that keep the project: workflows, templates, hooks, the changelog, the Makefile."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
Requirement = pytest.importorskip("packaging.requirements").Requirement

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", ())]


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.lower().split("==") for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_those_of_others_by_hash(path: Path) -> None:
    used = [step["uses"] for step in steps(read(path)) if "uses" in step]
    assert used
    for action in used:
        name, _, version = action.partition("@")
        assert re.fullmatch(r"v\d+" if name.startswith("actions/") else r"[0-9a-f]{40}", version), action


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_nothing_else(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    more = {name: job["permissions"] for name, job in workflow["jobs"].items() if "permissions" in job}
    assert more == ({"publish": {"id-token": "write"}} if path.stem == "release" else {})
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
        assert "${{ github" not in step.get("run", "")  # a name of a branch or tag could hold shell code


def test_nothing_is_published_that_was_not_tested_and_built() -> None:
    jobs = read(GITHUB / "workflows" / "release.yml")["jobs"]
    assert set(jobs["publish"]["needs"]) == {"tests", "build"}
    assert jobs["tests"]["uses"] == "./.github/workflows/tests.yml"
    assert jobs["publish"]["environment"]["name"] == "pypi"


def test_every_supported_python_is_tested_on_every_system() -> None:
    classifiers = "\n".join(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"])
    jobs = read(GITHUB / "workflows" / "tests.yml")["jobs"]
    assert set(jobs) == {"everything", "platforms", "image"}
    matrix = jobs["platforms"]["strategy"]["matrix"]
    assert matrix["python"] == re.findall(r"Python :: (3\.\d+)", classifiers)
    assert [name.partition("-")[0] for name in matrix["system"]] == ["ubuntu", "ubuntu", "macos", "windows"]
    assert any(name.endswith("-arm") for name in matrix["system"])
    assert all(
        f"Operating System :: {name}" in classifiers for name in ("POSIX :: Linux", "MacOS", "Microsoft :: Windows")
    )


@pytest.mark.parametrize(("language", "command"), [("sh", ". .venv/bin/activate"), ("powershell", "Activate.ps1")])
def test_workflows_install_by_the_commands_that_the_readme_gives(language: str, command: str) -> None:
    blocks = re.findall(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if command in block)
    documented = [line.partition("   #")[0].strip() for line in block.splitlines()]
    assert len(documented) == 2
    runs = [step.get("run", "") for step in read(GITHUB / "workflows" / "tests.yml")["jobs"]["platforms"]["steps"]]
    assert any(run.splitlines()[:2] == documented for run in runs)


def test_types_are_checked_for_every_system() -> None:
    (checked,) = (line for line in recipe("lint") if "mypy-" in line)
    assert re.findall(r"mypy-(\w+)", checked) == ["linux", "win32", "darwin"]
    assert recipe("mypy-%") == ["$(BIN)/mypy --platform $* --cache-dir .mypy_cache/$*"]


def test_what_windows_lacks_is_not_installed_there() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (uvloop,) = (need for needs in extras.values() for need in needs if need.startswith("uvloop"))
    marker = Requirement(uvloop).marker
    assert marker
    assert [marker.evaluate({"sys_platform": name}) for name in ("linux", "darwin", "win32")] == [True, True, False]


def test_files_that_workflows_name_are_there() -> None:
    named = [path for workflow in WORKFLOWS for step in steps(read(workflow)) for path in paths(step.get("run", ""))]
    assert "tests/integration/test_pipeline.py" in named
    assert [path for path in named if not (ROOT / path).exists()] == []


def paths(command: str) -> list[str]:
    return re.findall(r"(?:\.ci|tests)/[\w/.]+", command)


def test_the_hook_formats_as_the_linter_does() -> None:
    hooks = {repo["repo"]: repo for repo in read(ROOT / ".pre-commit-config.yaml")["repos"]}
    assert hooks["https://github.com/astral-sh/ruff-pre-commit"]["rev"] == f"v{constraints()['ruff']}"
    local = {hook["entry"] for hook in hooks["local"]["hooks"]}
    commands = {*recipe("lint"), *(line.replace("$*", "linux") for line in recipe("mypy-%"))}
    assert {entry.replace(".venv/bin", "$(BIN)") for entry in local} < commands


def recipe(target: str) -> list[str]:
    """The commands of a target of the Makefile."""
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    return [line.strip() for line in found.splitlines()]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "RELEASING.md", ".github/PULL_REQUEST_TEMPLATE.md"])
def test_targets_that_are_documented_exist(page: str) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    said = re.findall(r"(?:^|`|&& )make ([a-z][\w-]*)", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert set(said) <= targets


def test_the_changelog_has_the_sections_of_keep_a_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", version) for version in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.+)$", text, re.MULTILINE)) <= kinds
    for version in versions:
        assert re.search(rf"^{re.escape(version.partition(' - ')[0])}: https://", text, re.MULTILINE), version


def test_a_report_of_a_bug_has_what_is_needed() -> None:
    form = read(GITHUB / "ISSUE_TEMPLATE" / "bug.yml")
    needed = {field["id"]: field for field in form["body"] if field["validations"]["required"]}
    assert set(needed) == {"command", "output", "expected", "environment"}
    assert "`sentopt env`" in needed["environment"]["attributes"]["label"]
