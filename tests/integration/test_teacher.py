"""A stronger model teaches the one that ships: from `sentopt train` to the report, with models of two layers."""

import itertools
import json
import re
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_files import read_csv, write_csv

import sentopt
from sentopt import cli, manifest, recipe
from sentopt.data import store
from sentopt.errors import BackboneError, DataError, RecipeError, RunDirError
from sentopt.results import TeachingGain, TeachResult, TrainResult
from sentopt.run_dir import RunDir
from sentopt.training import lessons


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own for each test: answers are kept there."""
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def train(options: list[str], run_dir: Path, *settings: str) -> int:
    given = [argument for setting in settings for argument in ("--set", setting)]
    return cli.main(["train", *options, "--run-dir", str(run_dir), *given])


def taught(run_dir: Path) -> TeachResult:
    return manifest.read(RunDir(run_dir).manifest).result("teach", TeachResult)


def gain(run_dir: Path) -> TeachingGain:
    return manifest.read(RunDir(run_dir).manifest).result("gain", TeachingGain)


def weights(run_dir: Path) -> bytes:
    return (run_dir / "checkpoint" / "model.safetensors").read_bytes()


def database(cache: Path) -> list[Path]:
    return sorted((cache / "answers").glob("*.sqlite"))


@pytest.fixture(scope="session")
def teacher(finished_run: Path) -> str:
    return f"train.teacher={finished_run}"


QUICK = ("train.epochs=1", "train.without_teacher=false")


def test_a_run_teaches_by_its_fastest_verified_graph(
    tiny_options: list[str], finished_run: Path, teacher: str, tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture
) -> None:
    root = tmp_path / "student"
    settings = (teacher, "train.teacher_copies=1", "train.epochs=1")
    assert train(tiny_options, root, *settings) == 0
    printed = capfd.readouterr()
    assert "forecast: teach" in printed.err
    assert "without teacher: train ..." in printed.err
    assert "With the teacher, test accuracy is" in printed.out
    result = taught(root)
    assert (result.texts, result.copies, result.unlabelled) == (240, 240, 0)
    (told,) = result.teachers
    verdicts = json.loads((finished_run / "run.json").read_text(encoding="utf-8"))["stages"]["verify"]["result"]
    passed = {verdict["variant"] for verdict in verdicts["verdicts"] if verdict["passed"]}
    assert told.variant in passed - {"torch"}
    assert told.answered > 400
    found = lessons.read(root / "taught")
    assert len(found.texts) == 240
    assert found.logits.shape == (480, 3)
    reference = np.load(finished_run / "reference.npy")
    assert np.abs(lessons.on_test(root / "taught") - reference).max() < 0.1 * np.abs(reference).max()
    assert manifest.read(root / "run.json").result("train", TrainResult).steps == 480 / 8
    compared = gain(root)
    assert compared.texts == compared.against_teacher.n == 120
    assert compared.against_untaught is not None
    without = RunDir(root).without_teacher
    assert np.load(without.reference).shape == (120, 3)
    assert weights(root) != weights(without.root)
    report = (root / "report.md").read_text(encoding="utf-8")
    assert "## The teacher" in report
    assert "this model without the teacher" in report

    before = (root / "run.json").read_bytes()
    assert train(tiny_options, root, *settings) == 0
    assert not re.search(r"^(teach|train|without.*) \.\.\.", capfd.readouterr().err, re.MULTILINE)
    assert (root / "run.json").read_bytes() == before

    # A text is answered once, whatever run asks.
    assert train(tiny_options, tmp_path / "other", teacher, *QUICK) == 0
    assert taught(tmp_path / "other").teachers[0].answered == 0
    assert not RunDir(tmp_path / "other").without_teacher.root.exists()
    assert gain(tmp_path / "other").untaught is None
    assert len(database(cache)) == 1


def test_a_backbone_is_tuned_first_on_the_same_splits(
    tiny_options: list[str], backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    other = shutil.copytree(backbone, tmp_path / "strong")
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertModel"]
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    root = tmp_path / "student"
    assert train(tiny_options, root, f"train.teacher={other}", *QUICK) == 0
    assert f"teach: {other}: train ..." in capfd.readouterr().err
    (nested,) = (root / "teachers").iterdir()
    assert store.read_split(RunDir(nested), "train") == store.read_split(RunDir(root), "train")
    assert store.read_split(RunDir(nested), "test") == store.read_split(RunDir(root), "test")
    assert recipe.load(str(nested / "recipe.toml")).train.learning_rate == 3e-5
    assert taught(root).teachers[0].variant == "lean-fp32"  # 240 answers are not worth the verification of INT8
    assert np.allclose(lessons.on_test(root / "taught"), np.load(nested / "reference.npy"), atol=1e-4)


def test_labels_are_matched_by_name(finished_run: Path, tiny_options: list[str], tmp_path: Path) -> None:
    """A classifier that has the labels in another order and case, and several teachers as one."""
    import torch
    from safetensors.torch import load_file, save_file

    turned = shutil.copytree(finished_run / "checkpoint", tmp_path / "turned")
    config = json.loads((turned / "config.json").read_text(encoding="utf-8"))
    names = [config["id2label"][str(i)] for i in (2, 0, 1)]
    config["id2label"] = {str(i): name.upper() for i, name in enumerate(names)}
    config["label2id"] = {name.upper(): i for i, name in enumerate(names)}
    (turned / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(turned / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][torch.tensor([2, 0, 1])].contiguous()
    save_file(tensors, turned / "model.safetensors", metadata={"format": "pt"})
    straight, both = tmp_path / "straight", tmp_path / "both"
    assert train(tiny_options, straight, f"train.teacher={turned}", *QUICK) == 0
    answers = lessons.on_test(straight / "taught")
    assert np.allclose(answers, np.load(finished_run / "reference.npy"), atol=1e-4)
    assert train(tiny_options, both, f"train.teacher=['{turned}', '{finished_run / 'checkpoint'}']", *QUICK) == 0
    mean = lessons.on_test(both / "taught")
    assert np.allclose(np.exp(mean).sum(axis=1), 1.0, atol=1e-3)
    assert np.array_equal(mean.argmax(axis=1), answers.argmax(axis=1))
    assert [one.variant for one in taught(both).teachers] == ["lean-fp32", "lean-fp32"]

    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(3)}
    (turned / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BackboneError, match="have no names"):
        sentopt.train(**arguments(tiny_options), run_dir=tmp_path / "x", teacher=turned, progress=False)
    config["id2label"] = {"0": "bad", "1": "so-so", "2": "positive"}
    (turned / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(DataError, match="without a match: 'negative'"):
        sentopt.train(**arguments(tiny_options), run_dir=tmp_path / "y", teacher=turned, progress=False)


def arguments(options: list[str]) -> dict[str, Any]:
    """The command's options as those of `sentopt.train`."""
    settings = [value for name, value in itertools.pairwise(options) if name == "--set"]
    return {"data": options[1], "model": options[3], "overrides": recipe.parse_settings(settings)}


def test_a_run_that_saw_test_texts_does_not_teach(
    tiny_options: list[str], teacher: str, reviews: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    mixed = shutil.copytree(reviews, tmp_path / "mixed")
    rows = [(row["text"], row["label"]) for row in read_csv(reviews / "test.csv")]
    seen = [(row["text"].upper(), row["label"]) for row in read_csv(reviews / "train.csv")[:3]]
    write_csv(mixed / "test.csv", [*rows, *seen])
    options = ["--data", str(mixed), *tiny_options[2:]]
    assert train(options, tmp_path / "x", teacher) == 1
    assert "was trained on 3 of the 123 test texts" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mpnett", "no known backbone 'mpnett' (did you mean 'mpnet'?)"),
        ("./missing", "train.teacher: there is no folder"),
        ("owner/model", "owner/model@COMMIT_HASH"),
        (f"owner/model@{40 * 'a'}", "train.teacher: "),
    ],
)
def test_what_is_no_teacher_is_said_before_anything_is_trained(
    tiny_options: list[str], tmp_path: Path, name: str, message: str, capfd: pytest.CaptureFixture
) -> None:
    assert train(tiny_options, tmp_path / "x", f"train.teacher={name}") != 0
    error = capfd.readouterr().err
    assert message in error
    assert "train ..." not in error


def test_a_tuned_model_has_no_teacher(tiny_options: list[str], finished_run: Path, tmp_path: Path) -> None:
    given = arguments(tiny_options)
    with pytest.raises(RecipeError, match="not trained again"):
        sentopt.optimize(
            finished_run / "checkpoint", given["data"], run_dir=tmp_path / "x", overrides={"train.teacher": ["mpnet"]}
        )


def test_texts_without_labels_are_taught_and_are_no_evidence(
    tiny_options: list[str], finished_run: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more.txt"
    more.write_text("".join(f"great great film number {i}\n" for i in range(50)), encoding="utf-8")
    given = arguments(tiny_options)
    teacher = sentopt.open(finished_run)
    root = tmp_path / "student"
    given["overrides"] = {**given["overrides"], "train.without_teacher": False}
    again = {**given, "run_dir": root, "teacher": teacher, "unlabelled": more, "progress": False}
    run = sentopt.train(**again)
    assert (taught(root).unlabelled, len(lessons.read(root / "taught").texts)) == (50, 50)
    assert run.teaching is not None
    assert run.teaching.untaught is None
    result = run.optimize(variants=["lean-int8"], progress=False).manifest.stages["verify"].result
    assert result["unlabelled_texts"] == 0
    more.write_text("another text\n", encoding="utf-8")
    with pytest.raises(RunDirError, match=r"data\.unlabelled has changed"):
        sentopt.train(**again)


def test_a_training_that_was_stopped_goes_on_with_the_same_lessons(
    tiny_options: list[str], teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentopt.training.callbacks import StopOnSignal

    settings = (teacher, "train.teacher_copies=1", *QUICK)
    assert train(tiny_options, tmp_path / "whole", *settings) == 0
    on_step_end = StopOnSignal.on_step_end

    def stop(self: StopOnSignal, args: object, state: object, control: object, **given: object) -> None:
        self.requested = self.requested or state.global_step == 20  # type: ignore[attr-defined]
        on_step_end(self, args, state, control, **given)

    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "on_step_end", stop)
        assert train(tiny_options, tmp_path / "parts", *settings) == 130
    assert train(tiny_options, tmp_path / "parts", *settings) == 0
    trained = manifest.read(tmp_path / "parts" / "run.json").result("train", TrainResult)
    assert trained.resumed_from_step == 20
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_another_teacher_replaces_no_checkpoint(
    tiny_options: list[str], teacher: str, finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    root = tmp_path / "student"
    assert train(tiny_options, root, teacher, *QUICK) == 0
    assert train(tiny_options, root, *QUICK) == 1
    assert "train.teacher:" in capfd.readouterr().err
    assert train(tiny_options, root, f"train.teacher={root}", *QUICK) == 1
    assert "which the run is to read" in capfd.readouterr().err


def test_a_damaged_store_of_answers_costs_time_only(
    tiny_options: list[str], teacher: str, tmp_path: Path, cache: Path
) -> None:
    assert train(tiny_options, tmp_path / "a", teacher, *QUICK) == 0
    (path,) = database(cache)
    with sqlite3.connect(path) as stored:
        (rows,) = stored.execute("SELECT COUNT(*) FROM answers").fetchone()
    assert rows == 360
    path.write_bytes(b"no database")
    assert train(tiny_options, tmp_path / "b", teacher, *QUICK) == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_taught_runs_can_be_averaged(tiny_options: list[str], teacher: str, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        assert train(tiny_options, tmp_path / name, teacher, *QUICK, f"train.seed={seed}") == 0
    runs = [str(tmp_path / name) for name in ("a", "b")]
    assert cli.main(["average", *runs, "--run-dir", str(tmp_path / "mean")]) == 0
    assert recipe.load(str(tmp_path / "mean" / "recipe.toml")).train.teacher == ()
