"""A run directory that an older sentopt left goes on: keys that it did not know do not make its checkpoint another."""

import tomllib
from pathlib import Path

import pytest

from sentopt import manifest, recipe
from sentopt.errors import RunDirError
from sentopt.files import journal
from sentopt.manifest import Manifest
from sentopt.pipeline import continuation
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir

LATER = [key for key in recipe.KEYS if key.added_later]


@pytest.fixture
def older_run(tmp_path: Path) -> RunDir:
    """A finished run of the quickstart, as a sentopt without the later keys left it."""
    run_dir = RunDir(tmp_path / "run")
    manifest.claim(run_dir)
    run_dir.checkpoint.mkdir()
    saved = recipe.to_toml(recipe.load("quickstart"))
    lines = [line for line in saved.splitlines() if line.partition(" ")[0] not in {key.name for key in LATER}]
    run_dir.recipe.write_text("\n".join(lines), encoding="utf-8")
    continuation.remember(run_dir, recipe.load(str(run_dir.recipe)))
    trained = journal.facts(run_dir.root)["trained"]
    keys = {path: value for path, value in trained["keys"].items() if path not in {key.path for key in LATER}}
    journal.remember(run_dir.root, trained={**trained, "keys": keys})
    return run_dir


def check(run_dir: RunDir, settings: Recipe) -> None:
    continuation.check(run_dir, Manifest(), settings)
    continuation.check_trained(run_dir, Manifest(), settings)


def test_there_are_later_keys() -> None:
    of_teachers = ["teacher", "teacher_weight", "teacher_temperature", "teacher_copies"]
    expected = [
        "data.unlabelled_limit",
        "data.corrections",
        "data.label_columns",
        "data.label_separator",
        "data.pair_column",
        "train.min_steps",
        "train.report_to",
        "train.peft",
        *(f"train.lora_{name}" for name in ("rank", "alpha", "dropout", "target_modules")),
        *(f"train.{name}" for name in of_teachers),
        "train.without_teacher",
        "export.exporter",
        "export.full_graph",
        "select.percentile",
    ]
    assert [key.path for key in LATER] == expected


def test_an_older_run_goes_on_with_its_own_recipe(older_run: RunDir) -> None:
    assert "min_steps" not in tomllib.loads(older_run.recipe.read_text(encoding="utf-8"))["train"]
    check(older_run, recipe.load(str(older_run.recipe)))


def test_an_older_run_goes_on_with_the_shipped_recipe(older_run: RunDir) -> None:
    check(older_run, recipe.load("quickstart"))


def test_a_later_key_that_changes_the_training_is_noticed(older_run: RunDir) -> None:
    with pytest.raises(RunDirError, match=r"train\.min_steps: 0 -> 300"):
        check(older_run, recipe.load("quickstart", {"train.min_steps": 300}))


def test_fingerprints_of_older_runs_stay_what_they_are(older_run: RunDir) -> None:
    saved = tomllib.loads(older_run.recipe.read_text(encoding="utf-8"))["train"]
    same, other = recipe.load("quickstart").train, recipe.load("quickstart", {"train.min_steps": 300}).train
    assert manifest.fingerprint(recipe.identity(same)) == manifest.fingerprint(saved)
    assert manifest.fingerprint(recipe.identity(other)) != manifest.fingerprint(saved)
    saved_data = tomllib.loads(older_run.recipe.read_text(encoding="utf-8"))["data"]
    assert manifest.fingerprint(recipe.identity(recipe.load("quickstart").data)) == manifest.fingerprint(saved_data)
