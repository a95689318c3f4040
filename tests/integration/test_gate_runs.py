"""The gate in whole runs: what ships, what does not, and what is said about it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from csv_files import read_csv, write_csv

from sentopt import Classifier, cli, manifest
from sentopt.results import PrepareResult, VerifyResult

Export = Callable[..., tuple[int, str]]
FAST = (
    "bench.rounds=1",
    "bench.texts=3",
    "bench.throughput_texts=10",
    "bench.grid=[[1, 8]]",
    "verify.margin=5",
    "verify.recall_margin=15",
    "verify.max_changed=15",
    "verify.cpu_texts=0",
)
SETTINGS = [argument for key in FAST for argument in ("--set", key)]


@pytest.fixture
def export(capsys: pytest.CaptureFixture[str]) -> Export:
    """Run `sentopt export`; returns the exit code and stderr."""

    def run(*arguments: object) -> tuple[int, str]:
        code = cli.main(["export", *map(str, arguments)])
        return code, capsys.readouterr().err

    return run


def verified(run_dir: Path) -> VerifyResult:
    return manifest.read(run_dir / "run.json").result("verify", VerifyResult)


def counts(run_dir: Path) -> dict[str, int]:
    found = manifest.read(run_dir / "run.json").result("prepare", PrepareResult).counts
    return {split: sum(labels.values()) for split, labels in found.items()}


@pytest.fixture
def tuned(finished_run: Path, tmp_path: Path) -> Path:
    """A classifier for negative, neutral and positive, without names for its labels."""
    folder = shutil.copytree(finished_run / "checkpoint", tmp_path / "tuned")
    edit(folder / "config.json", id2label={str(i): f"LABEL_{i}" for i in range(3)}, label2id={})
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_head_whose_rows_are_swapped_ships_nothing(
    tuned: Path, reviews: Path, tmp_path: Path, export: Export
) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(tuned / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        weights[name] = weights[name][[2, 0, 1]].copy()
    save_file(weights, tuned / "model.safetensors", metadata={"format": "pt"})
    code, error = export("--model", tuned, "--data", reviews, "--run-dir", tmp_path / "run", *SETTINGS)
    assert code == 3
    assert "worse than always giving one label: the names of its labels (LABEL_0, ...) are probably in the" in error
    assert "--set 'data.labels=[...]'" in error
    assert not (tmp_path / "run" / "variants").exists()


def test_labels_in_the_order_of_the_outputs_are_what_the_message_asks_for(
    tuned: Path, reviews: Path, tmp_path: Path, export: Export
) -> None:
    names = 'data.labels=["negative","neutral","positive"]'
    variants = "export.variants=['lean-fp32']"
    options = ("--set", names, "--set", variants, *SETTINGS)
    code, _ = export("--model", tuned, "--data", reviews, "--run-dir", tmp_path / "run", *options)
    assert code == 0
    assert Classifier.load(tmp_path / "run" / "bundle")("great great").label == "positive"


def test_a_single_file_of_a_tuned_model_is_test_data_but_for_calibration(
    tuned: Path, reviews: Path, tmp_path: Path, export: Export
) -> None:
    rows = [(row["text"], row["label"]) for split in ("train", "test") for row in read_csv(reviews / f"{split}.csv")]
    data = write_csv(tmp_path / "360.csv", rows)
    code, _ = export("--model", tuned, "--data", data, "--run-dir", tmp_path / "run", *SETTINGS)
    assert code == 0
    assert counts(tmp_path / "run") == {"train": 54, "validation": 6, "test": 300}
    found = verified(tmp_path / "run")
    assert (found.texts, found.validation_texts, found.ordered_by) == (300, 6, "table")


@pytest.mark.parametrize("duplicates", ["drop", "keep"])
def test_twenty_texts_twenty_times_are_twenty_texts(
    tuned: Path, reviews: Path, tmp_path: Path, export: Export, duplicates: str
) -> None:
    """They are no 400 independent ones for the gate, and the bundle of what passes always answers its golden texts."""
    folder = tmp_path / "data"
    folder.mkdir()
    shutil.copyfile(reviews / "train.csv", folder / "train.csv")
    shutil.copyfile(reviews / "validation.csv", folder / "validation.csv")
    rows = [(row["text"], row["label"]) for row in read_csv(reviews / "test.csv")[:20]]
    write_csv(folder / "test.csv", rows * 20)
    keys = (f"data.duplicates={duplicates}", "verify.allow_weak_reference=true", "verify.order=validation")
    options = [*SETTINGS, *(argument for key in keys for argument in ("--set", key))]
    code, _ = export("--model", tuned, "--data", folder, "--run-dir", tmp_path / "run", *options)
    assert code == 0
    found = verified(tmp_path / "run")
    assert found.texts == 20
    assert counts(tmp_path / "run")["test"] == (20 if duplicates == "drop" else 400)
    assert all(verdict.comparison.n == 20 for verdict in found.verdicts)
    assert not any(v.passed for v in found.verdicts if "int8" in v.variant)
    assert Classifier.load(tmp_path / "run" / "bundle", check=True)("great great").label == "positive"


@pytest.fixture
def further(reviews: Path, tmp_path: Path) -> Path:
    """900 texts without labels, some of them blank, repeated, or in a split."""
    known = read_csv(reviews / "train.csv")
    texts = [f"{known[i % 200]['text'][:20].lower()} and number {i}" for i in range(900)]
    rows = [*texts, "", "  ", texts[0], known[0]["text"]]
    return write_csv(tmp_path / "more.csv", [(text,) for text in rows], header=("text",))


def test_texts_without_labels_are_evidence_and_train_nothing_again(
    run_copy: Path, further: Path, export: Export
) -> None:
    margin = ("--set", "verify.margin=1.5", "--set", "export.variants=['lean-fp32', 'lean-int8']")
    code, _ = export("--run-dir", run_copy, *margin)
    assert code == 0
    before = {v.variant: v.passed for v in verified(run_copy).verdicts}
    assert before == {"torch": True, "lean-fp32": True, "lean-int8": False}
    code, error = export("--run-dir", run_copy, *margin, "--set", f"data.unlabelled={further}")
    assert code == 0
    assert "more.csv: 900 of 904 rows are distinct texts that are in no split" in error
    assert "train ..." not in error
    assert "verify ..." in error
    found = verified(run_copy)
    assert (found.texts, found.unlabelled_texts) == (120, 900)
    (verdict,) = (v for v in found.verdicts if v.variant == "lean-int8")
    by_name = {criterion.name: criterion for criterion in verdict.criteria}
    assert by_name["accuracy"].by == "changes"
    assert by_name["agreement"].texts == 120 + 60 + 900
    assert verdict.passed
    assert "900 texts without labels" in (run_copy / "report.md").read_text()
    code, error = export("--run-dir", run_copy, *margin, "--set", f"data.unlabelled={further}")
    assert "verify ..." not in error


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "data.unlabelled: no such file"),
        ("a,b\n1,2\n", "has no column 'text'; it has 'a', 'b'"),
        ("text\n\n", "data.unlabelled: none of the"),
    ],
)
def test_unusable_texts_without_labels_are_explained(
    run_copy: Path, tmp_path: Path, export: Export, content: str | None, message: str
) -> None:
    path = tmp_path / "more.csv"
    if content is not None:
        path.write_text(content)
    code, error = export("--run-dir", run_copy, "--set", f"data.unlabelled={path}")
    assert code == 1
    assert message in error


def test_the_report_shows_every_criterion(finished_run: Path) -> None:
    report = (finished_run / "report.md").read_text()
    assert "is proven to be better than guessing: its balanced accuracy" in report
    assert "Variants are tested from the safest to the riskiest (lean-int8, onnx-int8)" in report
    for criterion in ("accuracy", "recall of negative", "recall of positive", "macro F1", "agreement"):
        assert f"| lean-int8 | {criterion} |" in report


@pytest.mark.parametrize("order", ["validation", "table"])
def test_the_order_of_testing_is_what_the_recipe_says(run_copy: Path, export: Export, order: str) -> None:
    code, _ = export("--run-dir", run_copy, "--set", f"verify.order={order}")
    assert code == 0
    found = verified(run_copy)
    assert found.ordered_by == order
    assert found.validation_texts == (60 if order == "table" else 0)
    assert sorted(found.order) == ["lean-int8", "onnx-int8"]
