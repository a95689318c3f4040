"""`sentopt average`: one model from several trainings."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from csv_files import read_csv, write_csv
from safetensors.numpy import load_file, save_file

from sentopt import cli
from sentopt.backends.torch import TorchEngine
from sentopt.calibration import temperature
from sentopt.data import store
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.tokenization import TextEncoder


def train(options: list[str], root: Path, *settings: str) -> Path:
    extra = [argument for setting in settings for argument in ("--set", setting)]
    assert cli.main(["train", *options, "--run-dir", str(root), *extra]) == 0
    return root


def weights(run: Path) -> dict[str, np.ndarray]:
    return load_file(run / "checkpoint" / "model.safetensors")


def loaded(checkpoint: Path) -> Classifier:
    return Classifier(TorchEngine.load(checkpoint), TextEncoder.load(checkpoint, max_length=48), ("a", "b", "c"))


@pytest.fixture(scope="module")
def start(tiny_options: list[str], finished_run: Path) -> list[str]:
    """Options of trainings that start from a tuned classifier."""
    at = tiny_options.index("--model") + 1
    options = [*tiny_options[:at], str(finished_run / "checkpoint"), *tiny_options[at + 1 :]]
    return [*options, "--set", "train.max_steps=20", "--set", "train.calibrate=false"]


@pytest.fixture(scope="module")
def runs(start: list[str], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    root = tmp_path_factory.mktemp("average")
    return [
        train(start, root / "first"),
        train(start, root / "second", "run.seed=7"),
        train(start, root / "third", "train.adversarial=0.1", "train.learning_rate=0.001"),
    ]


def test_the_weights_are_the_mean_and_the_scores_those_of_the_models(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "averaged"
    assert cli.main(["average", *map(str, runs), "--output", str(output), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    parts = [weights(run) for run in runs]
    assert not np.array_equal(parts[0]["classifier.weight"], parts[1]["classifier.weight"])
    for name, value in load_file(output / "model.safetensors").items():
        np.testing.assert_allclose(value, np.mean([part[name] for part in parts], axis=0), atol=1e-6)

    validation = store.read_split(RunDir(runs[0]), "validation")
    truth = np.array([e.label for e in validation])
    checkpoints = [*(run / "checkpoint" for run in runs), output]
    for checkpoint, score in zip(checkpoints, [*said["runs"], said["average"]], strict=True):
        answers = loaded(checkpoint).logits([e.text for e in validation]).argmax(axis=1)
        recall = [(answers[truth == label] == label).mean() for label in range(3)]
        precision = [(truth[answers == label] == label).mean() if (answers == label).any() else 0 for label in range(3)]
        f1 = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)]
        assert score == pytest.approx(np.mean(f1))


def test_the_average_is_calibrated_and_goes_on_to_a_bundle(
    start: list[str], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated = [*start, "--set", "train.calibrate=true"]
    runs = [train(calibrated, tmp_path / name, f"run.seed={seed}") for seed, name in enumerate("ab")]
    output = tmp_path / "averaged"
    capsys.readouterr()
    assert cli.main(["average", *map(str, runs), "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert f"sentopt export --model {output} --data {reviews}" in printed
    assert "their average" in printed
    validation = store.read_split(RunDir(runs[0]), "validation")
    logits = loaded(output).logits([e.text for e in validation])
    assert temperature(logits, np.array([e.label for e in validation])) == pytest.approx(1.0, abs=1e-3)

    quick = ("bench.rounds=1", "bench.texts=2", "bench.throughput_texts=4", "verify.margin=5", "verify.cpu_texts=0")
    settings = [argument for key in (*quick, "export.variants=['lean-int8']") for argument in ("--set", key)]
    export = ["export", "--model", str(output), "--data", str(reviews), "--run-dir", str(tmp_path / "run"), *settings]
    assert cli.main(export) == 0
    assert Classifier.load(tmp_path / "run" / "bundle")("great great").label == "positive"


def test_an_average_that_is_worse_is_said_to_be(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(runs[1], damaged)
    changed = weights(damaged)
    changed["classifier.bias"][0] += 100.0  # always the first label, and half of it is enough
    save_file(changed, damaged / "checkpoint" / "model.safetensors", metadata={"format": "pt"})
    capsys.readouterr()
    assert cli.main(["average", str(runs[0]), str(damaged), "--output", str(tmp_path / "out")]) == 0
    assert "best single run scores higher" in capsys.readouterr().out


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    capsys.readouterr()
    assert cli.main(["average", *arguments, "--output", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    return capsys.readouterr().err


def test_heads_that_were_drawn_apart_are_not_averaged(
    tiny_options: list[str], backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    headless = tmp_path / "headless"
    shutil.copytree(backbone, headless)
    encoder = load_file(backbone / "model.safetensors")
    encoder = {name: value for name, value in encoder.items() if not name.startswith("classifier")}
    save_file(encoder, headless / "model.safetensors", metadata={"format": "pt"})
    tiny_options = [*tiny_options, "--model", str(headless)]
    short = "train.max_steps=3"
    first = train(tiny_options, tmp_path / "first", short)
    other_seed = train(tiny_options, tmp_path / "other-seed", short, "run.seed=7")
    other_rate = train(tiny_options, tmp_path / "other-rate", short, "train.learning_rate=0.001")
    error = refused([str(first), str(other_seed)], capsys, tmp_path)
    assert "classifier.weight" in error
    assert "run.seed" in error
    assert cli.main(["average", str(first), str(other_rate), "--output", str(tmp_path / "out")]) == 0


def test_what_cannot_be_averaged(
    runs: list[Path],
    start: list[str],
    reviews: Path,
    backbone_without_lean_graph: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = str(runs[0])
    assert cli.main(["average", first, str(runs[1]), "--output", first]) == 1
    assert "is there already" in capsys.readouterr().err
    assert "two or more runs" in refused([first], capsys, tmp_path)
    assert "two or more runs" in refused([first, f"{first}/"], capsys, tmp_path)
    assert "holds no tuned model" in refused([first, str(tmp_path)], capsys, tmp_path)
    longer = train(start, tmp_path / "longer", "model.max_length=40", "train.max_steps=1")
    assert "model.max_length" in refused([first, str(longer)], capsys, tmp_path)

    shutil.copytree(reviews, tmp_path / "reviews")
    validation = tmp_path / "reviews" / "validation.csv"
    write_csv(validation, [(row["text"], row["label"]) for row in read_csv(validation)[1:]])
    fewer = train([*start, "--data", str(tmp_path / "reviews")], tmp_path / "fewer", "train.max_steps=1")
    assert "differ in their validation texts" in refused([first, str(fewer)], capsys, tmp_path)
    albert = train([*start, "--model", str(backbone_without_lean_graph)], tmp_path / "albert", "train.max_steps=1")
    assert "models of different shape" in refused([first, str(albert)], capsys, tmp_path)
