"""The Python examples of demo/embed, run as an application would run them, against the Classifier."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentopt import Classifier

EXAMPLES = Path(__file__).parents[2] / "demo" / "embed"
TEXTS: list[str] = [*json.loads((EXAMPLES / "texts.json").read_text(encoding="utf-8")), "half a \ud83d pair"]


def run_example(name: str, bundle: Path, texts: list[str], *, console: str = "utf-8") -> list[dict[str, Any]]:
    """The answers where standard input and output have the encoding `console`, and the texts are bytes of UTF-8."""
    command = [sys.executable, str(EXAMPLES / name / "predict.py"), str(bundle)]
    sent = json.dumps(texts, ensure_ascii=False).encode("utf-8", "surrogatepass")
    environment = {**os.environ, "PYTHONIOENCODING": console, "PYTHONUTF8": "0"}
    done = subprocess.run(command, input=sent, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answers: list[dict[str, Any]] = json.loads(done.stdout.decode("utf-8"))
    return answers


@pytest.mark.parametrize("bundle_fixture", ["int8_bundle", "fp32_bundle", "left_bundle"])
@pytest.mark.parametrize("example", ["python", "python-optimum"])
@pytest.mark.parametrize("console", ["utf-8", "cp1252"])
def test_an_example_answers_as_the_classifier(
    example: str, console: str, bundle_fixture: str, request: pytest.FixtureRequest
) -> None:
    if example == "python-optimum":
        pytest.importorskip("optimum.onnxruntime")
    bundle: Path = request.getfixturevalue(bundle_fixture)
    expected = Classifier.load(bundle).predict(TEXTS)
    answers = run_example(example, bundle, TEXTS, console=console)
    assert [a["label"] for a in answers] == [p.label for p in expected]
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
    assert any(p.truncated for p in expected), "the texts must hold one that is cut"
