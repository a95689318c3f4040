"""Hosts without a home folder and an entry for the user, and caches that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sentopt import environment
from sentopt.api import machine
from sentopt.errors import OutputError

NO_HOME = """
import os, sys
os.path.expanduser = lambda path: path  # as without HOME and without an entry in passwd
from sentopt import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def without_home(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")}
    environment.pop("SENTOPT_CACHE_DIR", None)
    command = [sys.executable, "-c", NO_HOME, *map(str, words)]
    return subprocess.run(
        command, capture_output=True, text=True, env={**environment, **variables}, timeout=300, check=False
    )


def test_texts_are_answered_without_a_home_folder(fp32_bundle: Path) -> None:
    done = without_home("predict", "--bundle", fp32_bundle, "great great")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("positive\t")


def test_the_environment_is_told_without_a_home_folder() -> None:
    done = without_home("env")
    assert (done.returncode, done.stderr) == (0, "")
    assert "cache    none: there is no folder for the cache: this user has no home folder" in done.stdout


def test_tune_says_what_to_set_before_it_measures(fp32_bundle: Path, tmp_path: Path) -> None:
    done = without_home("tune", fp32_bundle)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(
        "HOME is not set. Set SENTOPT_CACHE_DIR to a folder that can be written"
    )
    (tmp_path / "file").write_text("no folder")
    done = without_home("tune", fp32_bundle, SENTOPT_CACHE_DIR=str(tmp_path / "file"))
    assert done.returncode == 1
    assert f"cannot be stored in {tmp_path / 'file' / 'tuning'}" in done.stderr.splitlines()[-1]
    done = without_home("tune", fp32_bundle, SENTOPT_CACHE_DIR=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == 1


def test_the_environment_says_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path))
    assert environment().cache == str(tmp_path)

    def none() -> Path:
        raise OutputError("there is no folder for the cache")

    monkeypatch.setattr(machine, "cache_folder", none)
    assert environment().cache == "none: there is no folder for the cache"
