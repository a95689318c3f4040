"""The variant with a trimmed vocabulary, from `sentopt export` to an application."""

import json
from pathlib import Path

import pytest

from sentopt import Classifier, cli, manifest
from sentopt.results import BenchResult, QuantizeResult, Selection, VerifyResult
from sentopt.run_dir import RunDir


@pytest.fixture
def trimmed_run(run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """The tiny run with that variant and the FP32 graph it is made from; it ships, whichever of the two was faster."""
    monkeypatch.setattr("sentopt.stages.select.run", lambda *_: Selection("lean-int8-trimmed", "latency", "a test"))
    settings = ("export.variants=['lean-int8-trimmed']", "export.trim_keep=0", "verify.margin=20")
    options = [argument for value in settings for argument in ("--set", value)]
    assert cli.main(["export", "--run-dir", str(run_copy), *options]) == 0
    return RunDir(run_copy)


def test_it_is_made_judged_measured_and_described(trimmed_run: RunDir) -> None:
    found = manifest.read(trimmed_run.manifest)
    quantized = found.result("quantize", QuantizeResult)
    assert [made.name for made in quantized.variants] == ["lean-int8-trimmed"]
    summary = quantized.vocabulary
    assert summary is not None
    assert summary.kept < summary.tokens
    assert summary.words > summary.texts == 120
    assert (summary.respelled, summary.changed_texts, summary.lost) == (0, 0, 0)  # its splits share their words
    names = ["torch", "lean-fp32", "lean-int8-trimmed"]
    verdicts = found.result("verify", VerifyResult).verdicts
    assert [v.variant for v in verdicts] == names
    assert verdicts[-1].agreement > 0.9
    assert [row.variant for row in found.result("bench", BenchResult).rows] == names
    assert f"{summary.kept:,} of {summary.tokens:,} tokens" in trimmed_run.report.read_text()


def test_its_bundle_has_its_own_tokenizer_and_answers_its_golden_texts(trimmed_run: RunDir) -> None:
    classifier = Classifier.load(trimmed_run.bundle, check=True)
    summary = manifest.read(trimmed_run.manifest).result("quantize", QuantizeResult).vocabulary
    assert summary is not None
    assert classifier.description is not None
    assert classifier.description.variant == "lean-int8-trimmed"
    assert classifier.encoder.vocabulary_size == summary.kept
    assert json.loads((trimmed_run.bundle / "config.json").read_text())["vocab_size"] == summary.kept
    assert classifier("great great food").label == "positive"
