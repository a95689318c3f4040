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
from sentopt.data import store
from sentopt.measure.confidence import temperature_that_helps
from sentopt.run_dir import SPLITS, RunDir
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
    output = tmp_path / "average"
    assert cli.main(["average", *map(str, runs), "--run-dir", str(output), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    parts = [weights(run) for run in runs]
    assert not np.array_equal(parts[0]["classifier.weight"], parts[1]["classifier.weight"])
    for name, value in weights(output).items():
        np.testing.assert_allclose(value, np.mean([part[name] for part in parts], axis=0), atol=1e-6)

    assert json.loads((output / "averaged" / "average.json").read_text()) == said["average"]
    assert said["average"]["runs"] == [str(run) for run in runs]
    assert said["train"]["validation"]["macro_f1"] == said["average"]["average"]
    validation = store.read_split(RunDir(runs[0]), "validation")
    truth = np.array([e.label for e in validation])
    scores = [*said["average"]["scores"], said["average"]["average"]]
    for run, score in zip([*runs, output], scores, strict=True):
        answers = loaded(run / "checkpoint").logits([e.text for e in validation]).argmax(axis=1)
        recall = [(answers[truth == label] == label).mean() for label in range(3)]
        precision = [(truth[answers == label] == label).mean() if (answers == label).any() else 0 for label in range(3)]
        f1 = [2 * p * r / (p + r) if p + r else 0.0 for p, r in zip(precision, recall, strict=True)]
        assert score == pytest.approx(np.mean(f1))


def test_the_average_is_calibrated_and_goes_on_to_a_bundle(
    start: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated = [*start, "--set", "train.calibrate=true"]
    runs = [train(calibrated, tmp_path / f"seed{seed}", f"train.seed={seed}") for seed in range(2)]
    output = tmp_path / "average"
    capsys.readouterr()
    assert cli.main(["average", *map(str, runs), "--run-dir", str(output)]) == 0
    printed = capsys.readouterr().out
    assert f"next:       sentopt export --run-dir {output}\n" in printed
    assert "their average" in printed
    for split in SPLITS:  # it is verified on what none of its runs was trained on
        assert store.read_split(RunDir(output), split) == store.read_split(RunDir(runs[0]), split)
    validation = store.read_split(RunDir(runs[0]), "validation")
    logits = loaded(output / "checkpoint").logits([e.text for e in validation])
    assert temperature_that_helps(logits, np.array([e.label for e in validation])) == 1.0

    quick = ("bench.rounds=1", "bench.texts=2", "bench.throughput_texts=4", "verify.margin=5", "verify.cpu_texts=0")
    settings = [argument for key in (*quick, "export.variants=['lean-int8']") for argument in ("--set", key)]
    assert cli.main(["export", "--run-dir", str(output), *settings]) == 0
    assert Classifier.load(output / "bundle")("great great").label == "positive"


def test_a_fresh_head_and_splits_that_were_made_are_shared_where_only_the_order_differs(
    tiny_options: list[str], headless: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one_file = [*tiny_options, "--model", str(headless), "--data", str(reviews / "train.csv")]
    runs = [train(one_file, tmp_path / f"seed{seed}", "train.max_steps=3", f"train.seed={seed}") for seed in (0, 7)]
    assert not np.array_equal(weights(runs[0])["classifier.weight"], weights(runs[1])["classifier.weight"])
    assert cli.main(["average", *map(str, runs), "--run-dir", str(tmp_path / "average")]) == 0
    other = train(one_file, tmp_path / "other", "train.max_steps=3", "run.seed=7")
    error = refused([str(runs[0]), str(other)], capsys, tmp_path)
    assert "differ in their validation texts" in error
    assert "vary train.seed" in error


def test_data_that_changed_since(
    start: list[str], reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "reviews"
    shutil.copytree(reviews, data)
    options = [*start, "--data", str(data), "--set", "train.max_steps=1"]
    runs = [train(options, tmp_path / f"seed{seed}", f"train.seed={seed}") for seed in range(2)]
    write_csv(data / "test.csv", [(row["text"], row["label"]) for row in read_csv(data / "test.csv")[1:]])
    capsys.readouterr()
    assert cli.main(["average", *map(str, runs), "--run-dir", str(tmp_path / "average")]) == 1
    assert "differ in their test texts" in capsys.readouterr().err


def test_an_average_that_is_worse_is_said_to_be(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(runs[1], damaged)
    changed = weights(damaged)
    changed["classifier.bias"][0] += 100.0  # always the first label, and half of it is enough
    save_file(changed, damaged / "checkpoint" / "model.safetensors", metadata={"format": "pt"})
    capsys.readouterr()
    assert cli.main(["average", str(runs[0]), str(damaged), "--run-dir", str(tmp_path / "out")]) == 0
    assert "best single run scores higher" in capsys.readouterr().out


@pytest.fixture(scope="module")
def headless(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The backbone without its classification head, which every training draws anew."""
    folder = tmp_path_factory.mktemp("headless") / "backbone"
    shutil.copytree(backbone, folder)
    encoder = load_file(backbone / "model.safetensors")
    encoder = {name: value for name, value in encoder.items() if not name.startswith("classifier")}
    save_file(encoder, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> str:
    capsys.readouterr()
    assert cli.main(["average", *arguments, "--run-dir", str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    return capsys.readouterr().err


def test_heads_that_were_drawn_apart_are_not_averaged(
    tiny_options: list[str], headless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*tiny_options, "--model", str(headless), "--set", "train.max_steps=3"]
    runs = [str(train(options, tmp_path / f"seed{seed}", f"run.seed={seed}")) for seed in (42, 7)]
    error = refused(runs, capsys, tmp_path)
    assert "classifier.weight" in error
    assert "run.seed" in error


def test_what_cannot_be_averaged(
    runs: list[Path],
    start: list[str],
    reviews: Path,
    backbone_without_lean_graph: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    first = str(runs[0])
    assert cli.main(["average", first, str(runs[1]), "--run-dir", first]) == 1
    assert "is there already" in capsys.readouterr().err
    assert "two or more different runs" in refused([first], capsys, tmp_path)
    assert "two or more different runs" in refused([first, f"{first}/"], capsys, tmp_path)
    assert "holds no fine-tuned model" in refused([first, str(tmp_path)], capsys, tmp_path)
    longer = train(start, tmp_path / "longer", "model.max_length=40", "train.max_steps=1")
    assert "model.max_length" in refused([first, str(longer)], capsys, tmp_path)

    shutil.copytree(reviews, tmp_path / "reviews")
    validation = tmp_path / "reviews" / "validation.csv"
    write_csv(validation, [(row["text"], row["label"]) for row in read_csv(validation)[1:]])
    fewer = train([*start, "--data", str(tmp_path / "reviews")], tmp_path / "fewer", "train.max_steps=1")
    assert "differ in their validation texts" in refused([first, str(fewer)], capsys, tmp_path)
    other = train([*start, "--model", str(backbone_without_lean_graph)], tmp_path / "other", "train.max_steps=1")
    assert "weights of different shapes" in refused([first, str(other)], capsys, tmp_path)
