"""A whole run: what is skipped, what is redone, what is refused, and what survives a kill."""

import importlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from csv_files import read_csv
from onnx import helper, numpy_helper

from sentopt import cli, manifest
from sentopt.errors import RunDirError
from sentopt.files import journal
from sentopt.progress import Progress
from sentopt.recipe import Recipe
from sentopt.results import BenchResult, ExportResult, QuantizeResult, TrainResult, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.stages import exporters, quantize
from sentopt.variants import VariantSpec

pytestmark = pytest.mark.versions


def stages_run(captured: str) -> list[str]:
    return [
        line.removesuffix(" ...")
        for line in captured.splitlines()
        if line.endswith(" ...") and not line.startswith(" ")
    ]


def rerun(run_dir: Path, options: list[str], *extra: str) -> int:
    return cli.main(["run", *options, "--run-dir", str(run_dir), *extra])


def test_everything_is_there(finished_run: Path) -> None:
    expected = "recipe.toml run.json checkpoint/model.safetensors reference.npy variants/onnx-int8/model.onnx"
    expected += " variants/onnx-int8/flips.csv variants/lean-int8/model.onnx variants/lean-int8/flips.csv"
    expected += " bundle/sentopt.json bundle/tokenizer.json report.md report.html"
    for name in expected.split():
        assert (finished_run / name).is_file(), name
    assert not (finished_run / "trainer").exists()
    assert not list(finished_run.rglob(".tmp-*"))
    assert not [path for path in finished_run.rglob("*") if path.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_records_are_typed_and_plausible(finished_run: Path) -> None:
    found = manifest.read(finished_run / "run.json")
    trained = found.result("train", TrainResult)
    assert trained.beats_majority
    assert trained.test.accuracy > 0.9
    assert len(trained.evals) == 3
    assert len(trained.loss) >= 4
    assert trained.majority["test"] == pytest.approx(1 / 3)
    assert trained.samples[0].text == "This is a great product!"
    export = found.result("export", ExportResult)
    assert [check.variant for check in export.checks] == ["onnx-fp32", "lean-fp32"]
    assert all(check.max_logit_difference < 1e-4 and len(check.shapes) >= 6 for check in export.checks)
    bench = found.result("bench", BenchResult)
    assert bench.depth == "full"
    assert [row.variant for row in bench.rows] == ["torch", "onnx-fp32", "onnx-int8", "lean-fp32", "lean-int8"]
    assert all(row.peak_memory_bytes > 1e7 and row.load_ms > 0 and row.latency.samples == 10 for row in bench.rows)


def test_reference_variant_agrees_with_the_saved_logits(finished_run: Path) -> None:
    verdict = manifest.read(finished_run / "run.json").result("verify", VerifyResult).verdicts[0]
    assert (verdict.variant, verdict.agreement, verdict.passed) == ("torch", 1.0, True)
    assert verdict.max_probability_difference == 0.0


def test_checkpoint_loads_with_the_auto_classes(finished_run: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(finished_run / "checkpoint")
    assert list(model.config.id2label.values()) == ["negative", "neutral", "positive"]
    logits = model(
        **AutoTokenizer.from_pretrained(finished_run / "checkpoint")("great great", return_tensors="pt")
    ).logits
    assert model.config.id2label[int(logits.argmax())] == "positive"


def test_second_run_does_nothing(run_copy: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = (run_copy / "run.json").read_bytes()
    assert rerun(run_copy, tiny_options) == 0
    assert stages_run(capsys.readouterr().err) == []
    assert (run_copy / "run.json").read_bytes() == before


def test_a_second_run_imports_nothing_that_only_stages_need(run_copy: Path, tiny_options: list[str]) -> None:
    program = (
        "import sys; from sentopt import cli; code = cli.main(sys.argv[1:]); "
        "heavy = {'transformers', 'sklearn', 'datasets', 'sentopt.stages.train'} & sys.modules.keys(); "
        "sys.exit(code or ' '.join(sorted(heavy)) or 0)"
    )
    command = [sys.executable, "-c", program, "run", *tiny_options, "--run-dir", str(run_copy)]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert stages_run(again.stderr) == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("select.objective=throughput", ["select", "bundle", "report"]),
        ("verify.margin=6", ["verify", "select", "bundle", "report"]),
    ],
)
def test_only_what_depends_on_a_change_is_redone(
    run_copy: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str], override: str, expected: list[str]
) -> None:
    def chosen() -> object:
        return json.loads((run_copy / "run.json").read_text(encoding="utf-8"))["stages"]["select"]["result"]["variant"]

    before = chosen()
    assert rerun(run_copy, tiny_options, "--set", override) == 0
    examined = ["examine"] if chosen() != before else []  # which one is the fastest is measured
    assert stages_run(capsys.readouterr().err) == [*expected[:-2], *examined, *expected[-2:]]


def test_a_damaged_output_is_made_again(
    run_copy: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    model = run_copy / "variants" / "onnx-int8" / "model.onnx"
    good = model.read_bytes()
    model.write_bytes(good[:-1] + b"?")
    assert rerun(run_copy, tiny_options) == 0
    assert "quantize" in stages_run(capsys.readouterr().err)
    assert model.read_bytes() == good


def test_same_recipe_gives_the_same_checkpoint(run_copy: Path, tiny_options: list[str]) -> None:
    before = (run_copy / "checkpoint" / "model.safetensors").read_bytes()
    assert cli.main(["train", *tiny_options, "--run-dir", str(run_copy), "--force"]) == 0
    assert (run_copy / "checkpoint" / "model.safetensors").read_bytes() == before


def test_a_worse_variant_is_refused_and_another_is_chosen(
    run_copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quantizer that scrambles the classes: verification, not hope, must keep its graphs out."""
    honest = quantize.run

    def scrambling(
        recipe: Recipe, run_dir: RunDir, *, specs: Sequence[VariantSpec], progress: Progress
    ) -> QuantizeResult:
        result = honest(recipe, run_dir, specs=specs, progress=progress)
        for spec in specs:
            scramble(run_dir.model(spec.name))
        return result

    monkeypatch.setattr(quantize, "run", scrambling)
    assert cli.main(["export", "--run-dir", str(run_copy), "--json", "--force"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["select"]["variant"] in ("onnx-fp32", "lean-fp32")
    verdicts = {v["variant"]: v for v in result["verify"]["verdicts"]}
    assert [name for name, verdict in verdicts.items() if not verdict["passed"]] == ["onnx-int8", "lean-int8"]
    first, second = result["verify"]["order"]
    assert "No INT8 variant ships." in result["select"]["reason"]
    assert f"{first} was refused: accuracy: lost " in result["select"]["reason"]
    assert "outside the margin" in verdicts[first]["reason"]
    assert f"{second} was not tested: variants are tested in order" in result["select"]["reason"]
    assert [verdicts[name]["tested"] for name in (first, second)] == [True, False]
    for name in ("onnx-int8", "lean-int8"):
        flips = read_csv(run_copy / "variants" / name / "flips.csv")
        assert len(flips) == verdicts[name]["changed_labels"] > 20
        assert all(flip["pytorch"] != flip["variant"] for flip in flips)
    assert (run_copy / "bundle" / "onnx" / "model.onnx").is_file()


def scramble(path: Path) -> None:
    """Rotate the order of a graph's logits."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.output[:] = ["straight" if name == "logits" else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 0]), "order"))
    model.graph.node.append(helper.make_node("Gather", ["straight", "order"], ["logits"], axis=1))
    onnx.save(model, path)


def test_only_exact_graphs_ship_where_the_test_split_can_prove_nothing(
    run_copy: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """120 test and 60 validation texts cannot prove half a point, not even for a graph that changes no label."""
    assert rerun(run_copy, tiny_options, "--set", "verify.margin=0.5") == 0
    captured = capsys.readouterr()
    assert "120 test texts and 60 validation texts: only exact FP32 graphs can pass at margin 0.5; at least 598" in (
        captured.err
    )
    assert re.search(r"^> (onnx|lean)-fp32 +[\d.]+ \([\d.-]+\) +1\.0000 +pass ", captured.out, re.MULTILINE)
    assert "No INT8 variant ships." in captured.out
    assert re.search(r"about \d+ labelled texts at these rates, or .*--set verify.margin=", captured.out)


def weak_options(tiny_options: list[str]) -> list[str]:
    """A training that learns nothing."""
    return [*tiny_options, "--set", "train.max_steps=1", "--set", "train.learning_rate=1e-9"]


def test_nothing_ships_where_pytorch_itself_knows_nothing(
    tmp_path: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "weak"
    assert rerun(root, weak_options(tiny_options)) == 3
    error = capsys.readouterr().err
    assert "nothing ships: the PyTorch model is not proven better than the majority label: balanced" in error
    assert "--set verify.allow_weak_reference=true compares and ships all the same" in error
    assert not (root / "bundle").exists()
    assert not (root / "variants").exists()
    assert "**Nothing ships" in (root / "report.md").read_text()
    assert cli.main(["export", "--run-dir", str(root), "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["select"]["variant"] is None
    assert cli.main(["predict", "--run-dir", str(root), "hello"]) == 1
    assert "has no bundle yet" in capsys.readouterr().err
    assert cli.main(["report", "--run-dir", str(root)]) == 0
    assert cli.main(["export", "--run-dir", str(root), "--set", "verify.allow_weak_reference=true"]) == 0
    assert (root / "bundle" / "sentopt.json").is_file()
    assert cli.main(["export", "--run-dir", str(root), "--set", "verify.allow_weak_reference=false"]) == 3
    assert not (root / "bundle").exists()


def test_a_graph_that_differs_from_pytorch_is_refused_with_the_figure(
    run_copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, name = torch.onnx, "export"
    if exporters.choose("auto")[0] == "optimum":
        exporter, name = importlib.import_module("optimum.exporters.onnx"), "main_export"
    honest = getattr(exporter, name)

    def scrambling(*arguments: object, **settings: Any) -> None:
        honest(*arguments, **settings)
        scramble(settings["output"] / "model.onnx" if name == "main_export" else Path(str(arguments[2])))

    monkeypatch.setattr(exporter, name, scrambling)
    before = (run_copy / "variants" / "onnx-fp32" / "model.onnx").read_bytes()
    assert cli.main(["export", "--run-dir", str(run_copy), "--force"]) == 1
    assert re.search(r"differs from PyTorch by [\d.]+ on a padded batch of shape", capsys.readouterr().err)
    assert (run_copy / "variants" / "onnx-fp32" / "model.onnx").read_bytes() == before


@pytest.mark.parametrize("exporter", ["torch", "optimum"])
def test_each_exporter_makes_the_same_variants_and_is_recorded(
    exporter: str, run_copy: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    if exporter == "optimum":
        request.getfixturevalue("optimum")
    choice = ["--set", f"export.exporter={exporter}"]
    assert cli.main(["export", "--run-dir", str(run_copy), *choice, "--json", "--force"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert all(v["passed"] and v["agreement"] > 0.95 for v in result["verify"]["verdicts"])
    assert {"onnx-fp32", "onnx-int8"} < {v["variant"] for v in result["verify"]["verdicts"]}
    assert manifest.read(run_copy / "run.json").result("export", ExportResult).exporter == exporter
    assert f"Traced graphs were exported by {exporter}." in (run_copy / "report.md").read_text()


def test_optimum_is_missed_before_anything_is_trained(
    tmp_path: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporters, "is_installed", lambda name: False)
    root = tmp_path / "run"
    assert rerun(root, tiny_options, "--set", "export.exporter=optimum") == 1
    error = capsys.readouterr().err
    assert 'pip install "sentopt[optimum]"' in error
    assert "--set export.exporter=torch" in error
    assert not (root / "checkpoint").exists()


def test_an_architecture_without_lean_graph_falls_back_on_the_traced_one(
    tmp_path: Path,
    tiny_options: list[str],
    backbone_without_lean_graph: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    quick = ["--set", "export.variants=[]", "--set", "train.epochs=1", "--set", "bench.rounds=1"]
    quick += ["--set", "verify.allow_weak_reference=true"]  # one epoch teaches it nothing
    root = tmp_path / "traced"
    assert rerun(root, tiny_options, "--model", str(backbone_without_lean_graph), *quick, "--json") == 0
    captured = capsys.readouterr()
    assert "note: no lean graph for this model (architecture 'megatron-bert' is not one of bert, " in captured.err
    result = json.loads(captured.out)
    verdicts = {v["variant"]: v for v in result["verify"]["verdicts"] if v["variant"].startswith(("onnx", "lean"))}
    int8 = ["onnx-int8", "onnx-int8-per-channel", "onnx-int8-calibrated", "onnx-int8-mixed"]
    assert list(verdicts) == ["onnx-fp32", *int8]
    assert all((root / "variants" / name / "model.onnx").is_file() for name in verdicts)
    assert verdicts["onnx-fp32"]["passed"]
    assert verdicts["onnx-fp32"]["agreement"] == 1.0
    assert result["select"]["variant"] in verdicts
    assert cli.main(["check", str(root / "bundle")]) == 0


def test_two_processes_cannot_share_a_run(run_copy: Path) -> None:
    with RunDir(run_copy).locked(), pytest.raises(RunDirError, match="in use by another"), RunDir(run_copy).locked():
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema_version": 1, "name": "x", "sta', "is damaged"),
        ('{"schema_version": 9}', "schema 9"),
        ('{"stages": 3}', "is damaged"),
    ],
)
def test_a_half_written_manifest_is_explained(
    run_copy: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    (run_copy / "run.json").write_text(content)
    assert rerun(run_copy, tiny_options) == 1
    assert message in capsys.readouterr().err


def test_a_record_of_another_version_is_told_and_can_be_made_again(
    run_copy: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads((run_copy / "run.json").read_text())
    del document["stages"]["train"]["result"]["confidence"]
    (run_copy / "run.json").write_text(json.dumps(document))
    assert cli.main(["export", "--run-dir", str(run_copy)]) == 1
    assert "of another version of sentopt, or damaged (confidence: missing)" in capsys.readouterr().err
    assert cli.main(["train", *tiny_options, "--run-dir", str(run_copy), "--force"]) == 0


def test_a_half_written_run_is_completed(
    run_copy: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """As a kill during export leaves it: no later entries in the manifest, and a half-made folder."""
    document = json.loads((run_copy / "run.json").read_text())
    document["stages"] = {name: document["stages"][name] for name in ("prepare", "train")}
    (run_copy / "run.json").write_text(json.dumps(document))
    journal.record_unfinished(run_copy / "variants" / ".tmp-onnx-fp32-dead")
    (run_copy / "variants" / ".tmp-onnx-fp32-dead").mkdir()
    assert rerun(run_copy, tiny_options) == 0
    assert stages_run(capsys.readouterr().err)[0] == "export"
    assert not list(run_copy.rglob(".tmp-*"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
def test_interrupted_training_resumes_to_the_same_weights(
    tmp_path: Path, tiny_options: list[str], finished_run: Path, number: signal.Signals
) -> None:
    """Ctrl-C in the middle of an epoch saves there; after a kill, training goes on from the last epoch's checkpoint."""
    root = tmp_path / "interrupted"
    command = [sys.executable, "-m", "sentopt", "train", *tiny_options, "--run-dir", str(root)]
    slow = "import sys, time, transformers\nstep = transformers.Trainer.training_step\n"
    slow += "transformers.Trainer.training_step = lambda *a, **k: (time.sleep(0.1), step(*a, **k))[1]\n"
    slow += "from sentopt.cli import main\nsys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen([sys.executable, "-c", slow, *command[3:]], stderr=subprocess.PIPE, text=True)
    wait_for(root / "trainer" / "checkpoint-30", process)
    time.sleep(0.7)  # some steps into the second epoch
    process.send_signal(number)
    _, stderr = process.communicate(timeout=120)
    assert not (root / "checkpoint").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "The same command continues from there" in stderr
        assert max(int(p.name.split("-")[1]) for p in (root / "trainer").glob("checkpoint-*")) % 30 != 0
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})
    assert "Test accuracy" in done.stdout
    assert "resumed at step" in done.stdout
    trained = manifest.read(root / "run.json").result("train", TrainResult)
    assert trained.resumed_from_step >= 30
    whole = (finished_run / "checkpoint" / "model.safetensors").read_bytes()
    assert (root / "checkpoint" / "model.safetensors").read_bytes() == whole


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not (path / "trainer_state.json").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
