"""Training by torchrun: two processes on this machine take the steps that one process takes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

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
    """Without dropout in the encoder: masks are drawn in each process, so that the head's alone still differ."""
    return [*tiny_options, "--set", "train.encoder_dropout=false"]


def test_two_processes_give_what_one_gives(options: list[str], tmp_path: Path) -> None:
    assert cli.main(["train", *options, "--run-dir", str(tmp_path / "one")]) == 0
    done = torchrun("train", *options, "--run-dir", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("beats the majority baseline") == 1  # only the first process speaks
    one, two = (manifest.read(tmp_path / name / "run.json").result("train", TrainResult) for name in ("one", "two"))
    assert (one.processes, two.processes) == (1, 2)
    assert one.steps == two.steps
    assert [p.loss for p in two.loss[:3]] == pytest.approx([p.loss for p in one.loss[:3]], rel=0.02)
    assert abs(two.test.accuracy - one.test.accuracy) < 0.05

    again = torchrun("train", *options, "--run-dir", str(tmp_path / "two"))
    assert again.returncode == 0, again.stderr
    assert "train ..." not in again.stderr  # unchanged, and nobody waits for it


def test_two_processes_learn_the_same_adapters_as_one(options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("peft")
    lora = ["--set", "train.peft=lora", "--set", "train.learning_rate=0.003", "--set", "train.ema_decay=0"]
    assert cli.main(["train", *options, *lora, "--run-dir", str(tmp_path / "one")]) == 0
    done = torchrun("train", *options, *lora, "--run-dir", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    one, two = (manifest.read(tmp_path / name / "run.json").result("train", TrainResult) for name in ("one", "two"))
    assert two.processes == 2
    assert one.parameters == two.parameters
    assert one.steps == two.steps
    assert [p.loss for p in two.loss[:3]] == pytest.approx([p.loss for p in one.loss[:3]], rel=0.02)
    assert two.test.accuracy > 0.9
    assert abs(two.test.accuracy - one.test.accuracy) < 0.05
    assert not list((tmp_path / "two" / "checkpoint").glob("adapter*")), "LoRA is merged"


def test_what_goes_wrong_is_said_once_and_ends_all_processes(options: list[str], tmp_path: Path) -> None:
    done = torchrun("train", *options, "--run-dir", str(tmp_path / "x"), "--set", "data.labels=['a', 'b']")
    assert done.returncode != 0
    assert done.stderr.count("sentopt: ") == 1
    assert "have a label that is not one of a, b" in done.stderr


def test_a_batch_that_cannot_be_shared_out_is_refused(options: list[str], tmp_path: Path) -> None:
    done = torchrun("train", *options, "--run-dir", str(tmp_path / "x"), "--set", "train.batch_size=7")
    assert done.returncode != 0
    assert "cannot be shared out evenly among 2 processes" in done.stderr


def test_a_backbone_is_tuned_and_teaches_in_two_processes(options: list[str], backbone: Path, tmp_path: Path) -> None:
    """Three trainings, one after the other: the teacher's, the model's, and that without a teacher."""
    other = shutil.copytree(backbone, tmp_path / "other")
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    (other / "config.json").write_text(json.dumps({**config, "architectures": ["BertModel"]}), encoding="utf-8")
    root = tmp_path / "two"
    settings = ["--set", f"train.teacher={other}", "--set", "train.teacher_copies=1"]
    done = torchrun("train", *options, *settings, "--run-dir", str(root))
    assert done.returncode == 0, done.stderr
    (teacher,) = (root / "teachers").iterdir()
    trained = [
        manifest.read(of / "run.json").result("train", TrainResult) for of in (teacher, root, root / "without-teacher")
    ]
    assert [one.processes for one in trained] == [2, 2, 2]
    assert trained[1].steps == 2 * trained[2].steps
    assert "gain" in manifest.read(root / "run.json").stages
