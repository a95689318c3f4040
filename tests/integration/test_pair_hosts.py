"""A finished run on pairs, INT8, outside of sentopt's Python: its graphs, its packages, its card."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import onnx
import pair_data
import pytest
from c_program import answer
from kinds_of_bundles import random_pairs
from web_pages import INSTALLED, NODE, PACKAGE, node

from sentopt import Classifier, cli
from sentopt.bundles import card, pack
from sentopt.run_dir import RunDir
from sentopt.runtime.description import read_description
from sentopt.stages import string_input

pytestmark = pytest.mark.usefixtures("contenders_here")
pytest.importorskip("onnxruntime_extensions", reason="onnxruntime-extensions is not installed (extra: string)")

SETTINGS = ("data.pair_column=aspect", "train.epochs=12", "export.variants=['lean-int8']", "export.string_input=true")
PAIRS = random_pairs(150, seed=6)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, tiny_options: list[str]) -> Path:
    """The bundle of a run on pairs, with a graph that takes both texts. Do not change it."""
    root = tmp_path_factory.mktemp("exports") / "pairs"
    data = str(pair_data.write(tmp_path_factory.mktemp("aspects")))
    settings = [argument for value in SETTINGS for argument in ("--set", value)]
    assert cli.main(["run", "--data", data, *tiny_options[2:], *settings, "--run-dir", str(root)]) == 0
    return RunDir(root).bundle


def test_its_graph_that_takes_texts_answers_as_the_classifier(bundle: Path) -> None:
    classifier = Classifier.load(bundle, check=True)
    session = string_input.open_session((bundle / string_input.FILE).read_bytes())
    for some in (PAIRS, PAIRS[:1]):
        _, rows = session.run(None, string_input.fed(session, some))
        assert rows == pytest.approx(classifier.predict_proba(some), abs=1e-3)


def test_its_graphs_name_both_texts(bundle: Path) -> None:
    description = read_description(bundle)
    assert description.pair == ("text", "aspect")
    for name in (description.model_file, string_input.FILE):
        model = onnx.load(bundle / name)
        said = {entry.key: entry.value for entry in model.metadata_props}
        assert (said["sentopt.pair.0"], said["sentopt.pair.1"]) == description.pair
        assert "pairs of texts (text, aspect)" in model.doc_string


@pytest.mark.skipif(NODE is None or not INSTALLED, reason="run `npm ci` in demo/embed/javascript")
@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs"])
def test_javascript_answers_as_the_classifier(bundle: Path, example: str) -> None:
    classifier = Classifier.load(bundle)
    answers = node(PACKAGE / example, bundle, stdin=PAIRS)
    for found, prediction in zip(answers, map(classifier, PAIRS), strict=True):
        assert found["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)


def test_c_answers_as_the_classifier(bundle: Path, program: Path) -> None:
    classifier = Classifier.load(bundle)
    model = str(bundle / read_description(bundle).model_file)
    tokens = classifier.encoder.encode(PAIRS)
    lines = [f"{' '.join(map(str, t.ids))} | {' '.join(map(str, t.type_ids))}" for t in tokens]
    done = answer(str(program), model, lines=lines)
    assert done.returncode == 0, done.stderr
    found = [[float(p) for p in line.partition("\t")[2].split()] for line in done.stdout.splitlines()]
    assert found == [pytest.approx(list(classifier(pair).probabilities.values()), abs=1e-3) for pair in PAIRS]
    done = answer(str(program), model, lines=["2 5 3"])
    assert "this model reads pairs" in done.stderr


def test_a_self_contained_wheel_answers_and_says_how(bundle: Path, tmp_path: Path) -> None:
    wheel = pack.wheel(bundle, tmp_path, name="my-aspects", version="1.0", self_contained=True)
    archive = pack.archive(bundle, tmp_path / "aspects.tar.gz")
    for packed in (wheel, archive):
        assert "('a text', 'another text')" in pack.install_hint(packed)
    code = (
        "import sys; sys.modules['sentopt'] = None; sys.path.insert(0, sys.argv[1])\n"
        "import my_aspects; print(my_aspects.__doc__); print(my_aspects.classifier(('great food', 'food')).label)"
    )
    target = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", "install", "--no-index", "--no-deps", "--target", target, wheel], check=True
    )
    environment = {**os.environ, "PYTHONPATH": ""}
    command = [sys.executable, "-c", code, str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    said, label = done.stdout.rsplit("\n", 2)[:2]
    assert 'classifier(("a text", "another text"))' in said
    assert label == Classifier.load(bundle)(("great food", "food")).label


def test_the_card_says_how_other_programs_give_it_pairs(bundle: Path) -> None:
    told = card.body(read_description(bundle))
    assert 'clf(("a text", "another text"))' in told
    assert '{"text": "a text", "text_pair": "another text"}' in told
    facts = json.loads((bundle / "sentopt.json").read_text())
    assert facts["string_input"]["inputs"] == ["text", "aspect"]
