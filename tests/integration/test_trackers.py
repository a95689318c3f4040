"""Trackers: what they are told, where it is kept, and that no weights depend on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

import sentopt
from sentopt import cli, errors
from sentopt.files import journal

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:mlflow", "ignore::DeprecationWarning:tensorboard")
CHECKPOINT = Path("checkpoint") / "model.safetensors"
REPORTS = ("--set", "train.report_to=['tensorboard', 'mlflow']")


@pytest.fixture
def options(tiny_options: list[str]) -> list[str]:
    return [*tiny_options, "--set", "train.epochs=1", "--set", "run.name=reported"]


def test_a_reported_training_has_the_weights_of_another_and_stays_current_without(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "store").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database needs more than mlflow-skinny
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "reviews")
    plain, root = tmp_path / "plain", tmp_path / "reported"
    assert cli.main(["train", *options, "--run-dir", str(plain)]) == 0
    assert cli.main(["train", *options, *REPORTS, "--run-dir", str(root)]) == 0
    assert (root / CHECKPOINT).read_bytes() == (plain / CHECKPOINT).read_bytes()

    (run,) = mlflow.search_runs(experiment_names=["reviews"], output_format="list")
    assert run.info.run_name == "reported"
    assert run.info.status == "FINISHED"
    assert run.data.params["train.learning_rate"] == "0.003"
    assert run.data.params["data.dataset"] == "files"
    assert {"loss", "eval_loss", "eval_macro_f1"} <= run.data.metrics.keys()

    (events,) = (root / "tensorboard").rglob("events.out.tfevents.*")
    assert scalars(events) >= {"train/loss", "eval/macro_f1"}
    assert journal.foreign(root / "tensorboard") == []
    mine = events.with_name("mine.txt")
    mine.touch()
    assert journal.foreign(root / "tensorboard") == [mine]

    capsys.readouterr()
    assert cli.main(["train", *options, "--run-dir", str(root)]) == 0
    assert "train ..." not in capsys.readouterr().err
    assert cli.main(["train", *options, *REPORTS, "--run-dir", str(plain)]) == 0
    assert "train ..." not in capsys.readouterr().err
    assert not (plain / "tensorboard").exists()


def test_each_training_of_a_process_is_a_run_of_weights_and_biases(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("first", "second"):
        assert cli.main(["train", *options, "--set", "train.report_to=wandb", "--run-dir", str(tmp_path / name)]) == 0
    assert wandb.run is None
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2


def scalars(events: Path) -> set[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(events))
    read.Reload()
    return set(read.Tags()["scalars"])


def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_prepared(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *of: None if name == "mlflow" else find(name, *of))
    with pytest.raises(errors.MissingExtraError, match=r'names mlflow.*\n.*pip install "sentopt\[trackers\]"'):
        sentopt.train(options[1], model=options[3], run_dir=tmp_path / "run", report_to="mlflow", progress=False)
    assert not (tmp_path / "run" / "data").exists()


def test_an_unknown_tracker_is_refused_with_the_nearest(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = ["--set", "train.report_to=['tensorbord']"]
    assert cli.main(["train", *options, *unknown, "--run-dir", str(tmp_path / "run")]) == 2
    assert "did you mean 'tensorboard'?" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
