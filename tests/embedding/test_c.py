"""The C example of demo/embed, compiled here, against the Classifier."""

import json
import os
import subprocess
from pathlib import Path

import onnx
import pytest
from c_program import answer, operators

from sentopt import Classifier, Prediction, cli

EXAMPLES = Path(__file__).parents[2] / "demo" / "embed"
TEXTS: list[str] = json.loads((EXAMPLES / "texts.json").read_text(encoding="utf-8"))
ODD = ["terrible\0great great", "\0", "half a \ud83d pair and \udca9 the other", "\u00e9t\u00e9 \u2764\ufe0f"]


def assert_same(done: subprocess.CompletedProcess[str], expected: list[Prediction]) -> None:
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition("\t")[0] for line in lines] == [p.label for p in expected]
    for line, prediction in zip(lines, expected, strict=True):
        found = [float(p) for p in line.partition("\t")[2].split()]
        assert found == pytest.approx(list(prediction.probabilities.values()), abs=1e-3)


@pytest.mark.parametrize("bundle_fixture", ["int8_bundle", "fp32_bundle"])
def test_token_ids_are_answered_as_by_the_classifier(
    program: Path, bundle_fixture: str, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(bundle_fixture)
    classifier = Classifier.load(bundle)
    assert classifier.description is not None
    lines = [" ".join(map(str, tokens.ids)) for tokens in classifier.encoder.encode(TEXTS)]
    model = str(bundle / classifier.description.model_file)
    assert_same(answer(str(program), model, lines=lines), [classifier(text) for text in TEXTS])
    other_names = answer(str(program), model, "x", "y", "z", lines=lines[:1])
    assert other_names.stdout.partition("\t")[0] in ("x", "y", "z")


def test_texts_are_answered_as_by_the_classifier(program: Path, run_copy: Path) -> None:
    library, python = operators()
    assert cli.main(["export", "--run-dir", str(run_copy), "--string-input"]) == 0
    model = run_copy / "bundle" / "onnx" / "model_string.onnx"
    classifier = Classifier.load(run_copy / "bundle", engine="onnxruntime")
    lines = [text for text in [*TEXTS, *ODD] if "\n" not in text]
    done = answer(str(program), "-x", library, str(model), lines=lines, preload=python)
    # Each alone, as the program asks them: of the variants that may ship, onnx-int8 scales a batch as a whole.
    assert_same(done, [classifier(line) for line in lines])
    bad = b"great \xff\xc0\xaf great \xe2\x82 caf\xe9\n"
    environment = {**os.environ, "LD_PRELOAD": python}
    command = [str(program), "-x", library, str(model)]
    told = subprocess.run(command, input=bad, capture_output=True, env=environment, check=True, timeout=120).stdout
    read = classifier(bad[:-1].decode("utf-8", "replace"))
    assert told.decode().partition("\t")[0] == read.label


@pytest.mark.parametrize(
    ("lines", "labels", "complaint"),
    [
        (["2 5 3", "not ids"], 3, "a line that is not token ids: not ids"),
        ([""], 3, "a line that is not token ids"),
        (["2 -5 3"], 3, "no token id"),
        (["99999999999999999999"], 3, "no token id"),
        (["2 5 3"], 2, "as many labels"),
        (["2 999999 3"], 3, "out of data bounds"),
        (["2 5\0 3"], 3, "holds a NUL character"),
        (["\x002 5 3"], 3, "holds a NUL character"),
        ([" ".join(["5"] * 49)], 3, "more tokens than the model reads"),
        (["2 5 3"], 1, "usage"),
    ],
)
def test_what_cannot_be_answered_is_an_error(
    program: Path, fp32_bundle: Path, lines: list[str], labels: int, complaint: str
) -> None:
    model = fp32_bundle / "onnx" / "model.onnx"
    done = answer(str(program), str(model), *("a", "b", "c")[:labels], lines=lines)
    assert done.returncode == 1
    assert complaint in done.stderr


def test_the_program_says_how_it_is_used(program: Path) -> None:
    assert "usage" in answer(str(program), lines=[]).stderr
    assert "onnxruntime" in answer(str(program), "nowhere.onnx", "a", "b", lines=[]).stderr


def test_a_model_without_labels_asks_for_them(program: Path, fp32_bundle: Path, tmp_path: Path) -> None:
    """As bundles of before have it."""
    model = onnx.load(fp32_bundle / "onnx" / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    done = answer(str(program), str(tmp_path / "model.onnx"), lines=["2 5 3"])
    assert done.returncode == 1
    assert "the model does not name its labels" in done.stderr
    done = answer(str(program), str(tmp_path / "model.onnx"), "a", "b", "c", lines=["2 5 3"])
    assert done.stdout.partition("\t")[0] in ("a", "b", "c")
