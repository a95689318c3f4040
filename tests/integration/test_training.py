"""What training does beyond the Trainer: calibration, class weights, little disk, other protocols of evaluation."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from csv_files import read_csv, write_csv
from sklearn.utils.class_weight import compute_class_weight

from sentopt import Classifier, cli, manifest
from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.errors import BackboneError
from sentopt.measure.confidence import expected_calibration_error, temperature
from sentopt.report import sections
from sentopt.results import PrepareResult, TrainResult
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import softmax
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints, fit


def train(options: list[str], root: Path, *settings: str) -> TrainResult:
    extra = [argument for setting in settings for argument in ("--set", setting)]
    assert cli.main(["train", *options, "--run-dir", str(root), *extra]) == 0
    return manifest.read(root / "run.json").result("train", TrainResult)


def test_the_temperature_is_in_the_model(finished_run: Path) -> None:
    run_dir = RunDir(finished_run)
    found = manifest.read(run_dir.manifest).result("train", TrainResult).confidence
    assert found.temperature != 1.0
    checkpoint = Classifier(
        TorchEngine.load(run_dir.checkpoint), TextEncoder.load(run_dir.checkpoint, max_length=48), ("a", "b", "c")
    )
    validation = store.read_split(run_dir, "validation")
    again = temperature(checkpoint.logits([e.text for e in validation]), np.array([e.label for e in validation]))
    assert again == pytest.approx(1.0, abs=1e-3)  # nothing is left to divide by

    logits = np.load(run_dir.reference)
    truth = np.array([e.label for e in store.read_split(run_dir, "test")])
    assert found.error == pytest.approx(expected_calibration_error(softmax(logits), truth))
    before = expected_calibration_error(softmax(logits * found.temperature), truth)
    assert found.error_before == pytest.approx(before, abs=1e-4)
    bundled = json.loads((run_dir.bundle / "sentopt.json").read_text())["confidence"]
    assert bundled["temperature"] == found.temperature


def test_validation_is_scored_with_the_weights_that_are_saved(finished_run: Path) -> None:
    run_dir = RunDir(finished_run)
    trained = manifest.read(run_dir.manifest).result("train", TrainResult)
    checkpoint = Classifier(
        TorchEngine.load(run_dir.checkpoint), TextEncoder.load(run_dir.checkpoint, max_length=48), ("a", "b", "c")
    )
    validation = store.read_split(run_dir, "validation")
    answers = checkpoint.logits([e.text for e in validation]).argmax(axis=1)
    accuracy = np.mean(answers == np.array([e.label for e in validation]))
    assert trained.validation.accuracy == pytest.approx(accuracy)
    assert f"accuracy in FP32 {accuracy:.4f} of {len(validation)} texts" in sections.training(trained)


def test_a_seed_of_its_own_draws_order_and_dropout_alone(tiny_options: list[str], tmp_path: Path) -> None:
    for name, seeds in {"run": "run.seed=7", "train": "train.seed=7", "neither": "train.seed=0"}.items():
        train(tiny_options, tmp_path / name, seeds, "train.max_steps=3")
    logits = {name: np.load(tmp_path / name / "reference.npy") for name in ("run", "train", "neither")}
    assert np.array_equal(logits["run"], logits["train"])  # the head is the backbone's, the splits are files
    assert not np.array_equal(logits["train"], logits["neither"])


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="mapped files are seen in /proc")
def test_no_file_of_a_finished_training_stays_mapped(tiny_options: list[str], tmp_path: Path) -> None:
    """A network file system would not let its folder be removed."""
    assert cli.main(["train", *tiny_options, "--run-dir", str(tmp_path / "run")]) == 0
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_calibration_can_be_left_out(tiny_options: list[str], tmp_path: Path) -> None:
    plain = train(tiny_options, tmp_path / "plain", "train.calibrate=false", "train.max_steps=3").confidence
    assert plain.temperature == 1.0
    assert plain.error == plain.error_before


@pytest.mark.filterwarnings("ignore:`torch.jit.script")  # of DeBERTa
@pytest.mark.parametrize("family", {**tiny_models.FAMILIES, **tiny_models.TRACED})
def test_logits_of_every_family_can_be_divided(family: str) -> None:
    model = tiny_models.build(family)
    ids = torch.tensor(tiny_models.texts([12]))
    with torch.inference_mode():
        before = model(input_ids=ids).logits
        checkpoints.divide_logits(model, 2.5)
        assert torch.allclose(model(input_ids=ids).logits, before / 2.5, atol=1e-5)


def test_a_model_whose_logits_are_no_product_is_refused() -> None:
    model = tiny_models.build("bert")
    model.classifier = torch.nn.Sequential(model.classifier, torch.nn.Tanh())
    with pytest.raises(BackboneError, match=r"train\.calibrate=false"):
        checkpoints.divide_logits(model, 2.0)


def test_class_weights_are_those_of_scikit_learn(
    tiny_options: list[str], reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(reviews, tmp_path / "data")
    counts = {"negative": 14, "neutral": 4, "positive": 22}
    rows = [(f"{label} text {i}", label) for label, count in counts.items() for i in range(count)]
    write_csv(folder / "train.csv", rows)
    options = [*tiny_options, "--data", str(folder)]
    used, loss = list[torch.Tensor | None](), torch.nn.functional.cross_entropy

    def watched(*arguments: Any, weight: torch.Tensor | None = None, **settings: Any) -> torch.Tensor:
        used.append(weight)
        return loss(*arguments, weight=weight, **settings)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", watched)
    train(options, tmp_path / "plain", "train.max_steps=1")
    assert used[0] is None
    used.clear()
    train(options, tmp_path / "balanced", "train.max_steps=1", "train.class_weights=balanced")
    labels = [i for i, count in enumerate(counts.values()) for _ in range(count)]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    weights = [weight for weight in used if weight is not None]  # those of the rehearsal come first, of its batches
    assert weights[-1].tolist() == pytest.approx(expected.tolist())


def test_balanced_weights_find_more_of_a_rare_label(backbone: Path, tmp_path: Path) -> None:
    """Texts that cannot be told apart: unweighted, the frequent label is always the better answer."""
    folder = tmp_path / "rare"
    folder.mkdir()
    for split, count in (("train", 300), ("validation", 100), ("test", 100)):
        rows = [(f"{split} {i} nothing tells", "rare" if i % 5 == 0 else "frequent") for i in range(count)]
        write_csv(folder / f"{split}.csv", rows)
    options = ["--data", str(folder), "--model", str(backbone)]
    for key in ("train.precision=fp32", "train.epochs=2", "train.batch_size=8", "train.learning_rate=0.002"):
        options += ["--set", key]
    plain = train(options, tmp_path / "plain")
    balanced = train(options, tmp_path / "balanced", "train.class_weights=balanced", "train.calibrate=false")
    scores = softmax(np.load(tmp_path / "plain" / "reference.npy")).mean(axis=0)
    weighted = softmax(np.load(tmp_path / "balanced" / "reference.npy")).mean(axis=0)
    assert scores[1] == pytest.approx(0.2, abs=0.1)
    assert weighted[1] == pytest.approx(0.5, abs=0.1)
    assert not plain.beats_majority
    assert not balanced.beats_majority


def test_training_in_fp32_is_the_same_after_one_in_bf16(tiny_options: list[str], tmp_path: Path) -> None:
    short = ("train.max_steps=6", "train.ema_decay=0")
    train(tiny_options, tmp_path / "first", *short)
    train(tiny_options, tmp_path / "bf16", *short, "train.precision=bf16")
    train(tiny_options, tmp_path / "again", *short)
    first, bf16, again = (np.load(tmp_path / name / "reference.npy") for name in ("first", "bf16", "again"))
    assert not np.array_equal(bf16, first)
    assert np.array_equal(again, first)


def test_adversarial_training_learns_another_model(tiny_options: list[str], tmp_path: Path) -> None:
    plain = train(tiny_options, tmp_path / "plain")
    adversarial = train(tiny_options, tmp_path / "adversarial", "train.adversarial=0.1")
    assert adversarial.beats_majority
    assert (adversarial.steps, adversarial.epochs) == (plain.steps, plain.epochs)  # a text learnt twice counts once
    kept = [np.load(tmp_path / name / "reference.npy") for name in ("plain", "adversarial")]
    assert not np.allclose(*kept, atol=1e-3)


def test_only_the_newest_checkpoint_keeps_its_optimizer(
    tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    on_save = fit.DropOldCheckpoints.on_save

    def watched(self: object, args: object, state: object, control: object, **kwargs: object) -> None:
        on_save(self, args, state, control, **kwargs)  # type: ignore[arg-type]
        folder = tmp_path / "run" / "trainer"
        seen.append((len(list(folder.glob("checkpoint-*"))), len(list(folder.glob("*/optimizer.pt")))))

    monkeypatch.setattr(fit.DropOldCheckpoints, "on_save", watched)
    train(tiny_options, tmp_path / "run")
    assert [optimizers for _, optimizers in seen] == [1, 1, 1]
    assert max(checkpoints for checkpoints, _ in seen) == 2


def test_evaluating_on_test_while_training_is_possible_and_said(
    tiny_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny_options, tmp_path / "run", "data.validation=test", "train.max_steps=2")
    run_dir = RunDir(tmp_path / "run")
    assert store.read_split(run_dir, "validation") == store.read_split(run_dir, "test")
    left_aside, notice = manifest.read(run_dir.manifest).result("prepare", PrepareResult).notices
    assert left_aside == "other files in the same folder are not read: validation.csv"
    assert "flatters the test figures" in notice
    assert notice in capsys.readouterr().err


def test_abstaining(fp32_bundle: Path) -> None:
    texts = ["a great day", "terrible", "the"]
    certain = Classifier.load(fp32_bundle, abstain_below=0.0).predict(texts)
    never = Classifier.load(fp32_bundle, abstain_below=1.0).predict(texts)
    assert not any(p.abstained for p in certain)
    assert all(p.abstained for p in never if p.score < 1.0)
    assert [p.label for p in certain] == [p.label for p in never]
    with pytest.raises(TypeError, match=r"from 0 to 1, found 1\.5"):
        Classifier.load(fp32_bundle, abstain_below=1.5)


def test_abstaining_on_the_command_line(fp32_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict = ["predict", "--bundle", str(fp32_bundle), "--abstain-below", "1"]
    assert cli.main([*predict, "a great day"]) == 0
    assert capsys.readouterr().out.startswith("?\t")
    write_csv(tmp_path / "in.csv", [("a great day", "1"), ("terrible", "2")], header=("text", "id"))
    columns = ["--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv"), "--no-progress"]
    assert cli.main([*predict, *columns]) == 0
    assert "2 row(s) scored below 1 and got no label" in capsys.readouterr().err
    assert [(row["id"], row["label"]) for row in read_csv(tmp_path / "out.csv")] == [("1", ""), ("2", "")]
