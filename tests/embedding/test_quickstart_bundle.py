"""The real quickstart bundle, as users make it, in Node and in Chromium: small bundles hid what this one showed.

SENTOPT_QUICKSTART_BUNDLE names a finished one. Without it the recipe is run here, less its benchmark: some minutes.
"""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from demo_browser import CHROMIUM, needs_chromium

from sentopt import Classifier, backbones
from sentopt.errors import BackboneError

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "demo" / "embed" / "javascript"

pytestmark = [
    pytest.mark.backbone,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not on PATH"),
    pytest.mark.skipif(not (PACKAGE / "node_modules").is_dir(), reason="run `npm ci` in demo/embed/javascript"),
]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if named := os.environ.get("SENTOPT_QUICKSTART_BUNDLE"):
        return Path(named)
    try:
        backbones.resolve("minilm")
    except BackboneError as error:
        pytest.skip(f"the pinned backbone cannot be had here: {error}")
    run_dir = tmp_path_factory.mktemp("quickstart") / "run"
    keys = ("export.variants=['lean-int8']", "bench.rounds=1", "bench.texts=20", "bench.throughput_texts=50",
            "bench.grid=[[1, 16]]", "verify.cpu_texts=0")  # fmt: skip
    settings = [argument for key in keys for argument in ("--set", key)]
    command = [sys.executable, "-m", "sentopt", "run", "quickstart", "--run-dir", str(run_dir), *settings]
    subprocess.run(command, check=True)  # a process of its own: coverage would slow the training down
    return run_dir / "bundle"


@pytest.fixture(scope="module")
def browser() -> dict[str, Any]:
    """The functions of the benchmark, which has the 330 texts."""
    return runpy.run_path(str(ROOT / "benchmarks" / "browser.py"))


@needs_chromium
def test_the_page_answers_330_texts_of_many_scripts_with_the_labels_of_python(
    quickstart: Path, browser: dict[str, Any]
) -> None:
    found = browser["compare"](quickstart, CHROMIUM)
    assert found.page["headline"] == "Ready"
    assert found.page["console"] == []
    assert (found.texts, found.labels_changed) == (330, 0)
    assert found.largest_difference < 0.15


@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs"])
def test_the_examples_answer_them_as_python(example: str, quickstart: Path, browser: dict[str, Any]) -> None:
    texts = browser["texts"]()
    done = subprocess.run(
        ["node", str(PACKAGE / example), str(quickstart)],
        input=json.dumps(texts).encode(),
        capture_output=True,
        check=True,
    )
    classifier = Classifier.load(quickstart)
    for text, answer in zip(texts, json.loads(done.stdout), strict=True):
        expected = classifier(text)
        assert answer["label"] == expected.label
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)
