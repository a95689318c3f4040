"""What a bundle says of WebAssembly, which is measured where Node and onnxruntime-web are, and left out elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sentopt import Classifier, cli
from sentopt.backends import webassembly
from sentopt.errors import EmulationError
from sentopt.runtime.classifier import softmax

MODULES = Path(__file__).parents[2] / "demo" / "embed" / "javascript" / "node_modules"

needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "onnxruntime-web").is_dir(),
    reason="node is not on PATH, or `npm ci` was not run in demo/embed/javascript",
)


def made_again(run_dir: Path) -> dict[str, Any]:
    """The description of the bundle, which is written once more."""
    shutil.rmtree(run_dir / "bundle")
    assert cli.main(["export", "--run-dir", str(run_dir)]) == 0
    description: dict[str, Any] = json.loads((run_dir / "bundle" / "sentopt.json").read_text(encoding="utf-8"))
    return description


@needs_node
def test_the_tolerance_is_measured_and_recorded_with_its_version(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_PATH", str(MODULES))
    recorded = made_again(run_copy)["webassembly"]
    package = json.loads((MODULES / "onnxruntime-web" / "package.json").read_text(encoding="utf-8"))
    assert recorded["onnxruntime_web"] == package["version"]
    assert recorded["labels_changed"] == 0
    assert 0 <= recorded["largest_difference"] < recorded["golden_tolerance"]
    Classifier.load(run_copy / "bundle", check=True)


@needs_node
def test_logits_of_webassembly_are_those_of_the_classifier(fp32_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_PATH", str(MODULES))
    classifier = Classifier.load(fp32_bundle)
    assert classifier.description
    texts = ["great great day", "", "terrible " * 80]
    model = fp32_bundle / classifier.description.model_file
    found = webassembly.answer(model, classifier.description.output, classifier.encoder, texts)
    assert softmax(found.logits) == pytest.approx(
        np.concatenate([classifier.predict_proba([t]) for t in texts]), abs=1e-4
    )
    with pytest.raises(EmulationError, match="onnxruntime-web cannot run"):
        webassembly.answer(fp32_bundle / "config.json", "logits", classifier.encoder, texts)


def test_without_node_the_bundle_says_nothing_of_it(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch, in_folder: Path
) -> None:
    monkeypatch.setenv("NODE_PATH", str(in_folder / "nowhere"))
    assert not webassembly.is_available()
    assert "webassembly" not in made_again(run_copy)


@needs_node
def test_a_node_that_fails_is_a_note_and_no_error(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch, in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = in_folder / "node_modules" / "onnxruntime-web"
    broken.mkdir(parents=True)
    (broken / "index.js").write_text("throw new Error('this build is broken')")
    monkeypatch.delenv("NODE_PATH", raising=False)
    assert "webassembly" not in made_again(run_copy)
    said = capsys.readouterr().err
    assert "was not tested in WebAssembly" in said
    assert "this build is broken" in said


def test_the_bundle_names_its_graph_to_transformers_js(int8_bundle: Path, fp32_bundle: Path) -> None:
    for bundle, dtype in ((int8_bundle, "q8"), (fp32_bundle, "fp32")):
        settings = json.loads((bundle / "config.json").read_text(encoding="utf-8"))
        assert settings["transformers.js_config"] == {"dtype": dtype}
