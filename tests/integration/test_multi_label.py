"""Texts with any number of labels, from a table to the bundle, with a model of two layers."""

from __future__ import annotations

import csv
import dataclasses
import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from csv_files import read_csv, write_csv

import sentopt
from sentopt import Classifier, cli, manifest, model_files, recipe
from sentopt.backends.opening import Candidate
from sentopt.backends.torch import TorchEngine
from sentopt.bundles import card
from sentopt.data import store
from sentopt.errors import BackboneError
from sentopt.measure import label_sets
from sentopt.pipeline import evidence
from sentopt.results import ExamineResult, PrepareResult, TrainResult, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.runtime.description import read_description
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import live, set_loss
from sentopt.variants import VARIANTS

NAMES = ("bad", "calm", "good")
TELLING = {"bad": "terrible", "calm": "the", "good": "great"}
COLUMNS = f"data.label_columns={json.dumps(NAMES)}"
FAST = (
    COLUMNS,
    "train.learning_rate=0.005",
    "train.precision=fp32",
    "train.batch_size=8",
    "model.max_length=48",
    "verify.margin=5",
    "verify.recall_margin=15",
    "verify.max_changed=15",
    "bench.rounds=1",
    "bench.texts=3",
    "bench.throughput_texts=10",
    "bench.grid=[[1, 8]]",
    "export.variants=['torch', 'lean-fp32', 'lean-int8', 'onnx-int8']",
    "verify.cpu_texts=0",
)


def rows(split: str, count: int) -> list[tuple[str, ...]]:
    draw = random.Random(split)
    made = []
    for i in range(count):
        held = [name for name in NAMES if draw.random() < 0.4]
        words = [TELLING[name] for name in held for _ in range(2)]
        made.append((" ".join([*words, split, str(i)]), *(str(int(name in held)) for name in NAMES)))
    return made


def options(data: Path, model: Path, *settings: str) -> list[str]:
    given = [argument for setting in (*FAST, *settings) for argument in ("--set", setting)]
    return ["--data", str(data), "--model", str(model), *given]


def train(data: Path, model: Path, root: Path, *settings: str) -> int:
    return cli.main(["train", *options(data, model, *settings), "--run-dir", str(root)])


@pytest.fixture(scope="module")
def moods(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits with a column for each label, which telling words give away; some texts have no label."""
    folder = tmp_path_factory.mktemp("moods")
    for split, count in (("train", 240), ("validation", 80), ("test", 160)):
        write_csv(folder / f"{split}.csv", rows(split, count), ("text", *NAMES))
    return folder


@pytest.fixture(scope="module")
def run(moods: Path, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A complete run. Do not change it."""
    root = tmp_path_factory.mktemp("multi") / "run"
    assert cli.main(["run", *options(moods, backbone, "train.epochs=6"), "--run-dir", str(root)]) == 0
    return RunDir(root)


def result(run: RunDir, stage: str, kind: type[Any]) -> Any:
    return manifest.read(run.manifest).result(stage, kind)


def reference_sets(run: RunDir) -> np.ndarray:
    return store.read_decision(run).answers(np.load(run.reference))


def test_the_bundle_gives_the_labels_of_pytorch(run: RunDir) -> None:
    classifier = Classifier.load(run.bundle, check=True)
    assert json.loads((run.bundle / "sentopt.json").read_text())["schema_version"] == 3
    texts = list(store.read_split(run, "test").texts)
    wanted = reference_sets(run)
    found = [{classifier.labels.index(label) for label in p.labels} for p in classifier.predict(texts)]
    same = [label_sets.code_of(given) == code for given, code in zip(found, wanted.tolist(), strict=True)]
    (verdict,) = (
        v for v in result(run, "verify", VerifyResult).verdicts if v.variant == read_description(run.bundle).variant
    )
    assert np.mean(same) == pytest.approx(verdict.agreement, abs=0.02)
    assert {len(given) for given in found} >= {0, 1, 2}  # a text may have none


def test_variants_of_the_run_give_sets_too(run: RunDir) -> None:
    candidate = Candidate.of(VARIANTS["lean-fp32"], run, NAMES, 48)
    assert Candidate.from_json(candidate.to_json()) == candidate
    text = store.read_split(run, "test").texts[0]
    (prediction,) = candidate.open(threads=1).predict([text])
    assert label_sets.code_of(map(NAMES.index, prediction.labels)) == reference_sets(run)[0]


def test_thresholds_go_from_training_to_the_bundle(run: RunDir) -> None:
    trained = result(run, "train", TrainResult)
    described = read_description(run.bundle)
    assert trained.thresholds == described.thresholds == store.read_decision(run).thresholds
    assert len(trained.thresholds) == len(trained.temperatures) == 3
    assert json.loads((run.bundle / "config.json").read_text())["problem_type"] == "multi_label_classification"
    assert trained.test.sets.micro_f1 > 0.7
    assert trained.test.accuracy > trained.majority["test"]


def test_golden_texts_have_probabilities_that_are_clear_of_the_thresholds(run: RunDir) -> None:
    described = read_description(run.bundle)
    assert len(described.golden) == 16
    sums = [sum(golden.probabilities) for golden in described.golden]
    assert max(sums) - min(sums) > 0.2  # of softmax, all would be 1
    distances = np.abs(np.array([golden.probabilities for golden in described.golden]) - described.thresholds)
    assert distances.min() > 1e-3


def test_transformers_gives_the_same_probabilities(run: RunDir) -> None:
    from transformers import pipeline

    text = store.read_split(run, "test").texts[0]
    (scores,) = pipeline("text-classification", model=str(run.checkpoint), top_k=None, device="cpu")([text])
    own = store.read_decision(run).probabilities(np.load(run.reference)[:1])[0]
    for score in scores:
        assert score["score"] == pytest.approx(own[NAMES.index(score["label"])], abs=1e-4)


def test_temperatures_are_divided_out_of_the_rows_of_the_last_layer(run: RunDir) -> None:
    """Nothing is left to divide by: what a label still could gain is no more than chance."""
    from sentopt.measure import thresholds

    trained = result(run, "train", TrainResult)
    assert any(temperature != 1.0 for temperature in trained.temperatures)
    validation = store.read_split(run, "validation")
    classifier = Classifier(TorchEngine.load(run.checkpoint), TextEncoder.load(run.checkpoint, max_length=48), NAMES)
    logits = classifier.logits(list(validation.texts))
    assert np.allclose(logits, np.load(run.validation_reference), atol=1e-4)
    again = thresholds.temperatures(logits, label_sets.matrix(validation.labels, 3))
    assert again == pytest.approx((1.0, 1.0, 1.0), abs=0.05)


def test_criteria_are_those_of_sets(run: RunDir) -> None:
    verified = result(run, "verify", VerifyResult)
    assert verified.reference.proven
    judged = {v.variant: v for v in verified.verdicts}
    assert judged["lean-fp32"].exact
    names = [criterion.name for criterion in judged["lean-int8"].criteria]
    assert names == [
        "subset accuracy",
        "recall of bad",
        "recall of calm",
        "recall of good",
        "micro F1",
        "macro F1",
        "agreement",
    ]
    assert "no student and no cascade" not in {v.reason for v in verified.verdicts}
    assert {v.deferred for v in verified.verdicts} == {None}


def test_the_report_says_it_of_sets(run: RunDir) -> None:
    report = run.report.read_text(encoding="utf-8")
    trained = result(run, "train", TrainResult)
    assert "subset accuracy" in report
    assert "Confusion" not in report
    assert "| label | threshold | precision |" in report
    assert f"| bad | {trained.thresholds[0]:.4f} |" in report
    assert "true \\ answered" not in report
    assert not (run.plots / "confusion.png").exists()
    assert (run.plots / "accuracy_latency.png").exists()
    assert "240 train, 80 validation, 160 test texts" in report


def test_files_about_single_texts_name_sets(run: RunDir) -> None:
    examined = result(run, "examine", ExamineResult)
    examples = store.read_split(run, "test")
    wrong = read_csv(run.mistakes(examined.variant))
    assert len(wrong) == examined.wrong_texts > 0
    for row in wrong:
        assert row["label"] == label_sets.in_words(int(examples.labels[int(row["row"]) - 1]), NAMES)
        assert row["label"] != row["answer"]
    with run.flips("onnx-int8").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            assert row["pytorch"] == label_sets.in_words(int(reference_sets(run)[int(row["row"]) - 1]), NAMES)
            assert row["pytorch"] != row["variant"]
    bands = {band.least: band for band in examined.bands}
    assert sum(band.texts for band in bands.values()) == 160
    assert examined.confidence.coverage[0].answered <= 1.0


def test_the_model_card_tells_how_to_apply_it(run: RunDir) -> None:
    text = card.write(read_description(run.bundle))
    assert 'function_to_apply="sigmoid"' in text
    assert "problem_type` is `multi_label_classification`" in text
    for label, limit in zip(NAMES, read_description(run.bundle).thresholds, strict=True):
        assert f"| {label} | {limit:.6g} |" in text
    assert "| all labels right |" in text
    assert "| micro F1 |" in text


def test_a_tuned_model_is_taken_with_its_labels(run: RunDir, moods: Path, tmp_path: Path) -> None:
    """In another order of columns, and split off one table: the model's order and its answers count."""
    rows = [row for split in ("test", "validation") for row in read_csv(moods / f"{split}.csv")]
    order = ("good", "bad", "calm")
    table = write_csv(tmp_path / "all.csv", [[row["text"], *(row[n] for n in order)] for row in rows], ("text", *order))
    kept = [setting for setting in FAST if not setting.startswith(("train.", "data."))]
    settings = [*kept, f"data.label_columns={json.dumps(order)}"]
    arguments = ["--data", str(table), "--model", str(run.checkpoint)]
    arguments += [argument for setting in settings for argument in ("--set", setting)]
    root = tmp_path / "taken"
    assert cli.main(["export", *arguments, "--run-dir", str(root)]) == 0
    taken = RunDir(root)
    assert store.read_labels(taken) == NAMES
    assert read_description(taken.bundle).thresholds
    probability = Classifier.load(run.bundle).predict_proba([rows[0]["text"]])
    assert Classifier.load(taken.bundle).predict_proba([rows[0]["text"]]) == pytest.approx(probability, abs=0.05)


def test_models_and_data_of_the_other_kind_are_refused(
    run: RunDir, moods: Path, reviews: Path, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = ["--set", COLUMNS]
    for model, data, extra, message in (
        (run.checkpoint, reviews, [], "is a multi-label classifier (config.json says problem_type"),
        (finished_run / "checkpoint", moods, several, "gives each text one label (config.json says problem_type"),
    ):
        arguments = ["export", "--model", str(model), "--data", str(data), *extra, "--run-dir", str(tmp_path / "no")]
        assert cli.main(arguments) == 1
        assert message in capsys.readouterr().err


def test_a_model_that_does_not_say_its_problem_is_refused_in_words(backbone: Path) -> None:
    with pytest.raises(
        BackboneError, match=r"one label \(config.json has no problem_type\), and the texts of the data"
    ):
        model_files.check_problem(backbone, multi_label=True)


def test_a_model_in_memory_is_taken(run: RunDir, moods: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(run.checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(run.checkpoint)
    table = pandas.read_csv(moods / "test.csv")
    lists = [[i for i, name in enumerate(NAMES) if row[name]] for _, row in table.iterrows()]  # numbers of outputs
    taken = sentopt.api.runs.take_over(
        (model, tokenizer), (list(table["text"]), lists), run_dir=tmp_path / "live", progress=False
    )
    assert result(taken.run_dir, "prepare", PrepareResult).labels == NAMES
    assert len(result(taken.run_dir, "train", TrainResult).thresholds) == 3
    model.config.problem_type = "regression"
    with pytest.raises(BackboneError, match="or any number of them"):
        live.of((model, tokenizer))


QUICK = ("train.max_steps=6", "train.epochs=1")


def test_a_data_frame_is_trained_on_and_its_rows_are_reused(moods: Path, backbone: Path, tmp_path: Path) -> None:
    frame = pandas.read_csv(moods / "train.csv")
    settings: dict[str, Any] = {"max_steps": 6, "precision": "fp32", "max_length": 48, "metric": "micro_f1"}
    run = sentopt.train(
        frame, model=backbone, label_columns=list(NAMES), run_dir=tmp_path / "one", progress=False, **settings
    )
    prepared = result(run.run_dir, "prepare", PrepareResult)
    assert sum(prepared.texts.values()) == len(frame)
    assert prepared.counts["train"]["bad"] + prepared.counts["test"]["bad"] + prepared.counts["validation"][
        "bad"
    ] == int(frame["bad"].sum())
    trained = result(run.run_dir, "train", TrainResult)
    assert trained.metric == "micro_f1"
    assert all(point.micro_f1 is not None for point in trained.evals)


@pytest.mark.parametrize(
    "setting", ["train.class_weights=balanced", "train.label_smoothing=0.1", "train.adversarial=0.5"]
)
def test_options_of_training_work(setting: str, moods: Path, backbone: Path, tmp_path: Path) -> None:
    assert train(moods, backbone, tmp_path / "run", *QUICK, setting) == 0
    trained = result(RunDir(tmp_path / "run"), "train", TrainResult)
    assert all(np.isfinite(point.loss) for point in trained.loss)


def test_what_is_for_single_labels_is_refused_or_left_out(
    moods: Path, backbone: Path, run: RunDir, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = f"train.teacher={finished_run}"
    for _ in range(2):  # the second time, the data are prepared already
        assert train(moods, backbone, tmp_path / "a", *QUICK, teacher) == 2
        error = capsys.readouterr().err
        assert "texts have any number of labels here, and a teacher's answers are learnt for one" in error
    (tmp_path / "more.csv").write_text("text\nmore of it\n")
    assert train(moods, backbone, tmp_path / "b", *QUICK, f"data.unlabelled={tmp_path / 'more.csv'}") == 0
    assert "data.unlabelled is not used" in capsys.readouterr().err
    assert train(moods, backbone, tmp_path / "c", *QUICK, "export.variants=['student-int8']") == 2
    assert "student-int8: where texts have any number of labels, there is no student" in capsys.readouterr().err
    assert train(moods, backbone, tmp_path / "d", *QUICK, "export.variants=['student']") == 2
    assert "export.variants: unknown variant student (did you mean 'student-int8'?); known: " in capsys.readouterr().err
    assert not (tmp_path / "d" / "data").exists(), "refused before anything is prepared"


def test_texts_without_labels_are_not_proposed(run: RunDir) -> None:
    own = recipe.load(str(run.root / "recipe.toml"))
    made = dataclasses.replace(own, verify=dataclasses.replace(own.verify, margin=0.1))
    (told, *_) = evidence.foresee(made, run, result(run, "prepare", PrepareResult))
    assert "only exact FP32 graphs can pass at margin 0.1" in told
    assert "without labels" not in told


def test_a_run_of_sets_teaches_nobody(
    tiny_options: list[str], run: RunDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for teacher in (run.root, run.checkpoint):
        arguments = ["train", *tiny_options, "--run-dir", str(tmp_path / "x"), "--set", f"train.teacher={teacher}"]
        assert cli.main(arguments) == 1
        assert "multi-label" in capsys.readouterr().err


def test_runs_are_averaged(moods: Path, run: RunDir, tmp_path: Path) -> None:
    runs = [tmp_path / "first", tmp_path / "second"]
    for seed, root in enumerate(runs, 1):
        assert train(moods, run.checkpoint, root, "train.max_steps=6", f"train.seed={seed}") == 0
    assert cli.main(["average", *map(str, runs), "--run-dir", str(tmp_path / "mean")]) == 0
    mean = RunDir(tmp_path / "mean")
    assert store.is_multi_label(mean)
    assert result(mean, "train", TrainResult).test.sets.micro_f1 > 0.7


def test_a_search_scores_its_trials(moods: Path, backbone: Path, tmp_path: Path) -> None:
    from sentopt import recipe
    from sentopt.hyperparameters import trial
    from sentopt.progress import SILENT

    assert train(moods, backbone, tmp_path / "run", *QUICK) == 0
    own = recipe.load(str(tmp_path / "run" / "recipe.toml"))
    score = trial.run(own, RunDir(tmp_path / "run"), {1: 1, 3: 4}, lambda rung, score: True, SILENT)
    assert score == result(RunDir(tmp_path / "run"), "train", TrainResult).best_metric


def test_a_data_check_leaves_out_wrong_labels_alone(moods: Path, tmp_path: Path) -> None:
    pytest.importorskip("cleanlab")
    table = shutil.copyfile(moods / "train.csv", tmp_path / "a.csv")
    lines = table.read_text(encoding="utf-8").splitlines()
    table.write_text("\n".join([*lines, lines[1].partition(",")[0] + " !,1,1,1"]) + "\n", encoding="utf-8")
    check = sentopt.check_data(table, label_columns=list(NAMES))
    assert check.labels["bad"] == sum(line.split(",")[1] == "1" for line in lines[1:]) + 1
    assert not check.of_kind("wrong label")
    assert any("likely wrong labels are not looked for" in notice for notice in check.notices)
    assert check.left_out == ("wrong label",)


def test_a_data_check_says_what_it_does_not_look_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("cleanlab")
    path = write_csv(
        tmp_path / "a.csv", [*((f"text {i}", i % 2, i % 3 % 2) for i in range(60)), (" ", 1, 1)], ("text", "a", "b")
    )
    assert cli.main(["data", "check", str(path), "--set", 'data.label_columns=["a", "b"]']) == 0
    said = capsys.readouterr().out.splitlines()
    assert "likely wrong labels: not looked for" in said
    assert "texts that are nearly the same in two splits: 0 row(s)" in said
    assert "  a.csv line 62 (train), labelled a, b; training drops it" in said


def loss_by_hand(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    p = torch.sigmoid(logits)
    return -(weights * targets * torch.log(p) + (1 - targets) * torch.log(1 - p)).mean()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_is_binary_cross_entropy(smoothing: float) -> None:
    torch.manual_seed(0)
    logits, codes = torch.randn(50, 3), torch.randint(0, 8, (50,))
    targets = torch.tensor(label_sets.matrix(codes.numpy(), 3)).float() * (1 - smoothing) + smoothing / 2
    weights = set_loss.balanced(codes.numpy(), 3)
    counts = label_sets.counts(codes.numpy(), 3)
    assert weights.tolist() == pytest.approx(((50 - counts) / counts).tolist())
    found = set_loss.of(logits, codes, weights=weights, smoothing=smoothing)
    assert found == pytest.approx(loss_by_hand(logits, targets, weights).item(), rel=1e-5)
