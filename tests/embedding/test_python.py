"""The Python examples of demo/embed, run as an application would run them, against the Classifier."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sentopt import Classifier, cli

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


@pytest.mark.parametrize("example", ["python", "python-optimum"])
@pytest.mark.parametrize(
    ("console", "bundle_fixture"),
    [("utf-8", "int8_bundle"), ("utf-8", "left_bundle"), ("cp1252", "fp32_bundle")],
)
def test_an_example_answers_as_the_classifier(
    example: str, console: str, bundle_fixture: str, request: pytest.FixtureRequest
) -> None:
    if example == "python-optimum":
        request.getfixturevalue("optimum")
    bundle: Path = request.getfixturevalue(bundle_fixture)
    expected = Classifier.load(bundle).predict(TEXTS)
    answers = run_example(example, bundle, TEXTS, console=console)
    assert [a["label"] for a in answers] == [p.label for p in expected]
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
    assert any(p.truncated for p in expected), "the texts must hold one that is cut"


@pytest.mark.parametrize("example", ["python", "python-optimum", "python-string"])
def test_an_example_reads_utf_8_and_speaks_in_words_whatever_the_console_is(
    example: str, fp32_bundle: Path, string_bundle: Path
) -> None:
    """Under cp1252 the texts used to be decoded otherwise, and the answers changed without a word."""
    pytest.importorskip(
        {"python-optimum": "optimum.onnxruntime", "python-string": "onnxruntime_extensions"}.get(example, "json")
    )
    bundle = string_bundle if example == "python-string" else fp32_bundle
    text = "Ein großartiger Film 😍 “great”"
    strange = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = run(example, str(bundle), given=json.dumps([text], ensure_ascii=False).encode(), environment=strange)
    assert done.returncode == 0, done.stderr
    (answer,) = json.loads(done.stdout)
    assert answer["probabilities"] == pytest.approx(Classifier.load(bundle)(text).probabilities, abs=1e-3)
    for given, complaint in ((b'["caf\xe9"]', "cannot answer"), (b"[1]", ""), (b'{"a": 1}', "")):
        done = run(example, str(bundle), given=given, environment=strange)
        assert done.returncode == 1
        assert complaint.encode() in done.stderr
        assert b"Traceback" not in done.stderr
    assert b"usage: python predict.py BUNDLE" in run(example, given=b"[]", environment=strange).stderr


@pytest.fixture(scope="module")
def string_bundle(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("string") / "run"
    shutil.copytree(finished_run, run_dir)
    if importlib.util.find_spec("onnxruntime_extensions"):
        assert cli.main(["export", "--run-dir", str(run_dir), "--string-input"]) == 0
    return run_dir / "bundle"


def run(example: str, *arguments: str, given: bytes, environment: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(EXAMPLES / example / "predict.py"), *arguments]
    return subprocess.run(command, input=given, capture_output=True, env=environment, check=False)
