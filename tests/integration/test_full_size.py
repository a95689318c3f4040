"""One run with the pinned MiniLM, as users make them: its verdicts, and its INT8 bundle in Node and in Chromium.

Small bundles hid what this one showed. The data is SST-2 where SENTOPT_DATA_DIR has it, else the quickstart's own.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from demo_browser import CHROMIUM, needs_chromium

from sentopt import Classifier, backbones
from sentopt.errors import BackboneError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "demo" / "embed" / "javascript"
SST2 = ["--data", "sst2"] if os.environ.get("SENTOPT_DATA_DIR") else []
KEYS = (
    *("data.train_limit=3000", "model.max_length=64", "train.epochs=1", "train.learning_rate=1e-4"),
    *("distill.copies=0", "distill.max_steps=100", "verify.cpu_texts=0"),
    *("bench.rounds=1", "bench.texts=20", "bench.throughput_texts=50", "bench.grid=[[1, 16]]"),
)
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (PACKAGE / "node_modules").is_dir(),
    reason="Node and `npm ci` in demo/embed/javascript",
)
pytestmark = [pytest.mark.backbone, pytest.mark.slow, *([pytest.mark.realdata] if SST2 else [])]


def sentopt(*arguments: str) -> dict[str, Any]:
    """What a command prints with --json; a process of its own, since coverage would slow a training down."""
    settings = [argument for key in KEYS for argument in ("--set", key)]
    command = [sys.executable, "-m", "sentopt", *arguments, "--json", *settings]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        backbones.resolve("minilm")
    except BackboneError as error:
        pytest.skip(f"the pinned backbone cannot be had here: {error}")
    return tmp_path_factory.mktemp("full-size") / "run"


@pytest.fixture(scope="module")
def result(run_dir: Path) -> dict[str, Any]:
    """3,000 phrases are enough to be far above the baseline; INT8 is judged on all test texts."""
    return sentopt("run", "quickstart", *SST2, "--run-dir", str(run_dir))


@pytest.fixture(scope="module")
def bundle(run_dir: Path, result: dict[str, Any]) -> Path:
    """That of `lean-int8`, whatever ships."""
    if result["select"]["variant"] != "lean-int8":
        sentopt("export", "--run-dir", str(run_dir), "--set", "export.variants=['lean-int8']")
    return run_dir / "bundle"


@pytest.fixture(scope="module")
def in_many_scripts() -> dict[str, Callable[..., Any]]:
    """The functions of the benchmark, which has 330 texts."""
    return runpy.run_path(str(ROOT / "benchmarks" / "browser.py"))


def test_each_variant_is_as_near_to_pytorch_as_it_should_be(result: dict[str, Any]) -> None:
    verdicts = {v["variant"]: v for v in result["verify"]["verdicts"]}
    assert verdicts["torch"]["scores"]["accuracy"] > 0.75
    assert verdicts["onnx-fp32"]["agreement"] > 0.999
    assert verdicts["onnx-int8"]["agreement"] > 0.93
    assert verdicts["lean-fp32"]["agreement"] > 0.999
    assert verdicts["lean-int8"]["agreement"] > 0.985
    assert verdicts["lean-int8"]["batch_flips"]["changed"] == 0
    assert verdicts["cascade-int8"]["agreement"] > verdicts["student-int8"]["agreement"] > 0.85
    assert verdicts["cascade-int8"]["batch_flips"]["changed"] == 0
    assert result["verify"]["texts"] == (1_821 if SST2 else 1_200)


def test_what_ships_is_faster_than_pytorch(result: dict[str, Any]) -> None:
    rows = {row["variant"]: row for row in result["bench"]["rows"]}
    assert rows[result["select"]["variant"]]["latency"]["p50"] < rows["torch"]["latency"]["p50"]


@needs_node
@needs_chromium
def test_the_page_answers_texts_of_many_scripts_as_python(bundle: Path, in_many_scripts: dict[str, Any]) -> None:
    found = in_many_scripts["compare"](bundle, CHROMIUM, in_many_scripts["texts"]()[::3])
    assert found.page["headline"] == "Ready"
    assert found.page["console"] == []
    assert found.texts == 110
    assert found.labels_changed <= 1, "WebAssembly rounds INT8 otherwise"
    assert found.largest_difference < 0.05, "0.0073 of 330 texts was measured, where no label differed"


@needs_node
@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs"])
def test_the_examples_answer_them_as_python(example: str, bundle: Path, in_many_scripts: dict[str, Any]) -> None:
    texts = in_many_scripts["texts"]()
    done = subprocess.run(
        ["node", str(PACKAGE / example), str(bundle)],
        input=json.dumps(texts).encode(),
        capture_output=True,
        check=True,
    )
    classifier = Classifier.load(bundle)
    for text, answer in zip(texts, json.loads(done.stdout), strict=True):
        expected = classifier(text)
        assert answer["label"] == expected.label
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
