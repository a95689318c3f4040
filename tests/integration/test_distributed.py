"""Training by torchrun: two processes on this machine take the steps that one process takes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sentopt import cli, manifest
from sentopt.results import TrainResult


def torchrun(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sentopt"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    return subprocess.run(
        [*command, *arguments], capture_output=True, text=True, timeout=300, check=False, env=environment
    )


@pytest.fixture(scope="module")
def options(tiny_options: list[str]) -> list[str]:
    """Without dropout, which draws other masks in each process."""
    return [*tiny_options, "--set", "train.encoder_dropout=false"]


def test_two_processes_give_what_one_gives(options: list[str], tmp_path: Path) -> None:
    assert cli.main(["train", *options, "--run-dir", str(tmp_path / "one")]) == 0
    done = torchrun("train", *options, "--run-dir", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("beats the majority-class baseline") == 1  # only the first process speaks
    one, two = (manifest.read(tmp_path / name / "run.json").result("train", TrainResult) for name in ("one", "two"))
    assert (one.processes, two.processes) == (1, 2)
    assert (one.steps, one.best_step) == (two.steps, two.best_step)
    assert [e.accuracy for e in two.evals] == pytest.approx([e.accuracy for e in one.evals], abs=0.05)
    assert abs(two.test.accuracy - one.test.accuracy) < 0.05
    logits = [np.load(tmp_path / name / "reference.npy") for name in ("one", "two")]
    assert np.abs(logits[0] - logits[1]).max() < 0.5 * np.abs(logits[0]).max()

    again = torchrun("train", *options, "--run-dir", str(tmp_path / "two"))
    assert again.returncode == 0, again.stderr
    assert "train ..." not in again.stderr  # unchanged, and nobody waits for it


def test_what_goes_wrong_is_said_once_and_ends_all_processes(options: list[str], tmp_path: Path) -> None:
    done = torchrun("train", *options, "--run-dir", str(tmp_path / "x"), "--set", "data.labels=['a', 'b']")
    assert done.returncode != 0
    assert done.stderr.count("sentopt: ") == 1
    assert "have a label that is not one of a, b" in done.stderr


def test_a_batch_that_cannot_be_shared_out_is_refused(options: list[str], tmp_path: Path) -> None:
    done = torchrun("train", *options, "--run-dir", str(tmp_path / "x"), "--set", "train.batch_size=7")
    assert done.returncode != 0
    assert "cannot be shared out evenly among 2 processes" in done.stderr
