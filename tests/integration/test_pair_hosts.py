"""Finished runs on pairs, INT8, with one label or any number of them, outside of sentopt's Python."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pair_data
import pytest
from c_program import answer
from csv_files import write_csv
from kinds_of_bundles import random_pairs
from web_pages import INSTALLED, NODE, PACKAGE, node

from sentopt import Classifier, Prediction, cli
from sentopt.bundles import card, pack
from sentopt.run_dir import RunDir
from sentopt.runtime.description import read_description
from sentopt.stages import string_input

pytest.importorskip("onnxruntime_extensions", reason="onnxruntime-extensions is not installed (extra: string)")

SETTINGS = ("data.pair_column=aspect", "train.epochs=12", "export.variants=['lean-int8']", "export.string_input=true")
PAIRS = random_pairs(150, seed=6)
NAMES = ("bad", "good")
WORDS = {"bad": "terrible", "good": "great"}


@pytest.fixture(scope="module", params=["one label", "any number of labels"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, tiny_options: list[str]) -> Path:
    """The bundle of a run on pairs, with a graph that takes both texts. Do not change it."""
    root, data = tmp_path_factory.mktemp("exports") / "pairs", tmp_path_factory.mktemp("aspects")
    settings = list(SETTINGS)
    if request.param == "one label":
        pair_data.write(data)
    else:
        settings += [f"data.label_columns={json.dumps(NAMES)}", "train.learning_rate=0.005"]
        for split, count in (("train", 240), ("validation", 80), ("test", 160)):
            write_csv(data / f"{split}.csv", list(rows_of_sets(split, count)), ("text", "aspect", *NAMES))
    given = [argument for value in settings for argument in ("--set", value)]
    assert cli.main(["run", "--data", str(data), *tiny_options[2:], *given, "--run-dir", str(root)]) == 0
    return RunDir(root).bundle


def rows_of_sets(split: str, count: int) -> Iterator[tuple[str, ...]]:
    """Pairs whose second text has a telling word for each of their labels."""
    draw = random.Random(split)
    for i in range(count):
        held = [name for name in NAMES if draw.random() < 0.5]
        aspect = " ".join(WORDS[name] for name in held for _ in range(3))
        yield f"the {split} {i}", aspect, *(str(int(name in held)) for name in NAMES)


def in_one_line(prediction: Prediction) -> str:
    """The labels as C prints them: in the order of the model."""
    return "".join(f"{name}\t" for name in prediction.probabilities if name in prediction.labels)


def test_its_graph_that_takes_texts_answers_as_the_classifier(bundle: Path) -> None:
    classifier = Classifier.load(bundle, check=True)
    session = string_input.open_session((bundle / string_input.FILE).read_bytes())
    for some in (PAIRS, PAIRS[:1]):
        _, rows, *sets = session.run(None, string_input.fed(session, some))
        assert rows == pytest.approx(classifier.predict_proba(some), abs=1e-3)
        assert len(sets) == bool(classifier.thresholds)
        for found in sets:
            assert found.tolist() == (rows >= np.array(classifier.thresholds, dtype=np.float32)).tolist()


def test_its_graphs_name_both_texts_and_the_thresholds(bundle: Path) -> None:
    description = read_description(bundle)
    assert description.pair == ("text", "aspect")
    for name in (description.model_file, string_input.FILE):
        model = onnx.load(bundle / name)
        said = {entry.key: entry.value for entry in model.metadata_props}
        assert (said["sentopt.pair.0"], said["sentopt.pair.1"]) == description.pair
        assert "pairs of texts (text, aspect)" in model.doc_string
        thresholds = [float(said[key]) for key in sorted(said) if key.startswith("sentopt.threshold.")]
        assert thresholds == list(description.thresholds)


@pytest.mark.skipif(NODE is None or not INSTALLED, reason="run `npm ci` in demo/embed/javascript")
@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs"])
def test_javascript_answers_as_the_classifier(bundle: Path, example: str) -> None:
    classifier = Classifier.load(bundle)
    answers = node(PACKAGE / example, bundle, stdin=PAIRS)
    for found, prediction in zip(answers, map(classifier, PAIRS), strict=True):
        assert found["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
        assert found.get("labels", [found["label"]]) == list(prediction.labels)


def test_c_answers_as_the_classifier(bundle: Path, program: Path) -> None:
    classifier = Classifier.load(bundle)
    model = str(bundle / read_description(bundle).model_file)
    tokens = classifier.encoder.encode(PAIRS)
    lines = [f"{' '.join(map(str, t.ids))} | {' '.join(map(str, t.type_ids))}" for t in tokens]
    done = answer(str(program), model, lines=lines)
    assert done.returncode == 0, done.stderr
    for line, prediction in zip(done.stdout.splitlines(), map(classifier, PAIRS), strict=True):
        numbers = line.rpartition("\t")[2]
        assert line == in_one_line(prediction) + numbers
        assert [*map(float, numbers.split())] == pytest.approx(list(prediction.probabilities.values()), abs=1e-3)
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
