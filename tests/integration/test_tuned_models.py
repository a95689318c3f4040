"""`sentopt export --model`: classifiers that were tuned elsewhere, with their own names for the labels."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from csv_files import read_csv

from sentopt import Classifier, backbones, cli

FAST = (
    "verify.margin=5",
    "bench.rounds=1",
    "bench.texts=3",
    "bench.throughput_texts=10",
    "bench.grid=[[1, 8]]",
    "export.variants=['lean-fp32']",
)
Rename = Callable[[list[str]], None]
SETTINGS = [argument for key in FAST for argument in ("--set", key)]


@pytest.fixture
def tuned(finished_run: Path, tmp_path: Path) -> Path:
    """A checkpoint as somebody else may have saved it."""
    return shutil.copytree(finished_run / "checkpoint", tmp_path / "tuned")


@pytest.fixture
def rename(tuned: Path) -> Rename:
    def names(labels: list[str]) -> None:
        edit(tuned / "config.json", id2label=dict(enumerate(labels)), label2id={n: i for i, n in enumerate(labels)})

    return names


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def export(model: Path, data: Path, run_dir: Path, *extra: str) -> int:
    return cli.main(
        ["export", "--model", str(model), "--data", str(data), "--run-dir", str(run_dir), *SETTINGS, *extra]
    )


def accuracy(bundle: Path, reviews: Path) -> float:
    rows = read_csv(reviews / "test.csv")
    answers = Classifier.load(bundle).predict([row["text"] for row in rows])
    return sum(a.label == row["label"] for a, row in zip(answers, rows, strict=True)) / len(rows)


def test_to_a_verified_bundle_with_the_same_probabilities(
    tuned: Path, reviews: Path, fp32_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(tuned, reviews, tmp_path / "run", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["select"]["variant"] == "lean-fp32"
    theirs = Classifier.load(tmp_path / "run" / "bundle")
    ours = Classifier.load(fp32_bundle)
    assert theirs.labels == ours.labels
    assert theirs("a great day").probabilities == pytest.approx(ours("a great day").probabilities, abs=1e-4)
    recipe = (tmp_path / "run" / "recipe.toml").read_text()
    assert "max_length = 48" in recipe or "max_length = 64" in recipe  # as the model's files say
    assert "was fine-tuned elsewhere" in (tmp_path / "run" / "report.md").read_text()


def test_labels_are_matched_by_name_whatever_their_order_and_case(
    tuned: Path, rename: Rename, reviews: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(tuned / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][[2, 0, 1]].copy()
    save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
    rename(["POSITIVE", "Negative", "NEUTRAL"])
    assert export(tuned, reviews, tmp_path / "run") == 0
    assert Classifier.load(tmp_path / "run" / "bundle").labels == ("positive", "negative", "neutral")
    assert accuracy(tmp_path / "run" / "bundle", reviews) > 0.9


def test_labels_without_names_are_matched_by_position_and_said_so(
    tuned: Path,
    rename: Rename,
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rename(["LABEL_0", "LABEL_1", "LABEL_2"])
    assert export(tuned, reviews, tmp_path / "run") == 0
    assert "it is assumed that LABEL_0 is negative, LABEL_1 is neutral, LABEL_2 is positive" in capsys.readouterr().err
    assert Classifier.load(tmp_path / "run" / "bundle").labels == ("negative", "neutral", "positive")
    assert accuracy(tmp_path / "run" / "bundle", reviews) > 0.9


def test_labels_that_the_model_does_not_know_are_refused(
    tuned: Path,
    rename: Rename,
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rename(["anger", "joy", "neutral"])
    assert export(tuned, reviews, tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert "the data has the label(s) negative, positive, the model knows anger, joy, neutral" in error


def test_a_backbone_is_not_taken_for_a_classifier(
    tuned: Path, reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(tuned).save_pretrained(tuned)
    config = {"id2label": {"0": "negative", "1": "neutral", "2": "positive"}}
    edit(tuned / "config.json", **config)
    assert export(tuned, reviews, tmp_path / "run") == 1
    assert "is a backbone, not a fine-tuned classifier" in capsys.readouterr().err


def test_model_and_data_go_together(tuned: Path, reviews: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", "--model", str(tuned)]) == 2
    assert "name labelled texts with --data" in capsys.readouterr().err
    assert cli.main(["export", "--data", str(reviews)]) == 2
    assert "goes with --model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("config", "tokenizer", "expected"),
    [
        ({"max_position_embeddings": 512}, {"model_max_length": 128}, 128),
        ({"max_position_embeddings": 512}, {"model_max_length": 10**30}, 512),
        ({"model_type": "roberta", "max_position_embeddings": 514}, {}, 512),
        ({"n_positions": 1024}, {}, 1024),
        ({}, {}, 512),
    ],
)
def test_longest_input(tmp_path: Path, config: dict[str, Any], tokenizer: dict[str, Any], expected: int) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert backbones.longest_input(tmp_path) == expected
