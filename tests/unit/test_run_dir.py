"""Which run is the newest, and the newest with a bundle."""

import json
import os
from pathlib import Path

import pytest

from sentopt import run_dir
from sentopt.errors import RunDirError
from sentopt.run_dir import RunDir


def make(exports: Path, name: str, *, age: int, bundle: bool = False, stages: bool = True) -> RunDir:
    """A run whose manifest was written `age` seconds ago."""
    made = RunDir(exports / name)
    made.root.mkdir(parents=True)
    document = {"schema_version": 1, "name": name, "versions": {}, "hardware": {}, "stages": {}}
    made.manifest.write_text(json.dumps({**document, "stages": {"train": {}} if stages else {}}))
    os.utime(made.manifest, (1_000_000 - age, 1_000_000 - age))
    if bundle:
        made.bundle.mkdir()
        (made.bundle / "sentopt.json").write_text("{}")
    return made


def test_the_newest_run_and_the_newest_with_a_bundle(tmp_path: Path) -> None:
    old = make(tmp_path, "old", age=30, bundle=True)
    bundled = make(tmp_path, "bundled", age=20, bundle=True)
    training = make(tmp_path, "training", age=10)
    make(tmp_path, "empty", age=0, stages=False)
    assert run_dir.runs(tmp_path) == [training, bundled, old]
    assert run_dir.latest(tmp_path) == training
    assert run_dir.latest(tmp_path, with_bundle=True) == bundled
    assert run_dir.newer_than(bundled) == [training]
    assert run_dir.newer_than(training) == []


def test_a_folder_that_is_no_bundle_is_not_taken_for_one(tmp_path: Path) -> None:
    make(tmp_path, "bundled", age=20, bundle=True)
    make(tmp_path, "half", age=10).bundle.mkdir()
    assert run_dir.latest(tmp_path, with_bundle=True).root.name == "bundled"


def test_where_no_run_has_a_bundle_the_runs_are_named(tmp_path: Path) -> None:
    for age in range(7):
        make(tmp_path, f"run{age}", age=age)
    with pytest.raises(RunDirError) as caught:
        run_dir.latest(tmp_path, with_bundle=True)
    message = str(caught.value)
    assert "has a bundle" in message
    assert f"{tmp_path / 'run0'}, {tmp_path / 'run1'}" in message
    assert "run5" not in message
    assert f"sentopt export --run-dir {tmp_path / 'run0'}" in message


@pytest.mark.parametrize("with_bundle", [False, True])
def test_without_runs_the_error_says_how_to_start_one(tmp_path: Path, with_bundle: bool) -> None:
    with pytest.raises(RunDirError, match="no run found"):
        run_dir.latest(tmp_path, with_bundle=with_bundle)
