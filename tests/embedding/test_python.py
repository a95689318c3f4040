"""The Python examples of demo/embed, run as an application would run them, against the Classifier."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentopt import Classifier

EXAMPLES = Path(__file__).parents[2] / "demo" / "embed"
TEXTS: list[str] = [*json.loads((EXAMPLES / "texts.json").read_text(encoding="utf-8")), "half a \ud83d pair"]


def run_example(name: str, bundle: Path, texts: list[str]) -> list[dict[str, Any]]:
    command = [sys.executable, str(EXAMPLES / name / "predict.py"), str(bundle)]
    done = subprocess.run(command, input=json.dumps(texts), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[dict[str, Any]] = json.loads(done.stdout)
    return answers


@pytest.mark.parametrize("bundle_fixture", ["int8_bundle", "fp32_bundle", "left_bundle"])
@pytest.mark.parametrize("example", ["python", "python-optimum"])
def test_an_example_answers_as_the_classifier(
    example: str, bundle_fixture: str, request: pytest.FixtureRequest
) -> None:
    if example == "python-optimum":
        request.getfixturevalue("optimum")
    bundle: Path = request.getfixturevalue(bundle_fixture)
    expected = Classifier.load(bundle).predict(TEXTS)
    answers = run_example(example, bundle, TEXTS)
    assert [a["label"] for a in answers] == [p.label for p in expected]
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
    assert any(p.truncated for p in expected), "the texts must hold one that is cut"
