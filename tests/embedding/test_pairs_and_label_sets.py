"""Bundles that are given two texts, or give any number of labels, in other runtimes: against the Classifier."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from kinds_of_bundles import random_pairs

from sentopt import Classifier, Prediction
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import TextEncoder

HERE = Path(__file__).parent
EMBED = HERE.parents[1] / "demo" / "embed"
JAVASCRIPT = EMBED / "javascript"
NODE = shutil.which("node")
KINDS = ("label_sets_bundle", "int8_label_sets_bundle", "pair_bundle", "left_pair_sets_bundle")

in_node = pytest.mark.skipif(
    NODE is None or not (JAVASCRIPT / "node_modules" / "onnxruntime-node").is_dir(),
    reason="node is not on PATH, or `npm ci` was not run in demo/embed/javascript",
)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Path:
    bundle: Path = request.getfixturevalue(request.param)
    return bundle


def texts_for(classifier: Classifier, count: int = 120) -> Sequence[Text]:
    pairs = random_pairs(count, seed=4)
    return pairs if classifier.encoder.pairs else [text for pair in pairs for text in pair]


def assert_same(answers: Sequence[Any], expected: Sequence[Prediction]) -> None:
    """The same probabilities, within 1e-3, labels and sets of labels; a set may be left out where it is the label."""
    assert len({p.labels for p in expected}) > 1
    for answer, prediction in zip(answers, expected, strict=True):
        assert answer["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
        assert answer["label"] == prediction.label
        assert answer.get("labels", [answer["label"]]) == list(prediction.labels)
        assert answer.get("truncated", prediction.truncated) == prediction.truncated


def node(script: Path, *arguments: object, stdin: object) -> Any:
    command = [str(NODE), str(script), *map(str, arguments)]
    done = subprocess.run(command, input=json.dumps(stdin), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@in_node
@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs"])
def test_a_javascript_example_answers_as_the_classifier(example: str, kind: Path) -> None:
    classifier = Classifier.load(kind, check=True)
    texts = texts_for(classifier)
    answers = node(JAVASCRIPT / example, kind, stdin=texts)
    assert_same(answers, [classifier(text) for text in texts])
    assert all(("labels" in answer) == bool(classifier.thresholds) for answer in answers)


@in_node
@pytest.mark.parametrize("runtime", ["onnxruntime-node", "onnxruntime-web"])
def test_the_package_answers_as_the_classifier_alone_and_in_padded_batches(runtime: str, kind: Path) -> None:
    """The INT8 graph is rounded otherwise in WebAssembly; its labels are compared by the golden texts."""
    classifier = Classifier.load(kind)
    assert classifier.description is not None
    texts = texts_for(classifier, 60)
    wrong: list[object] = ["one", None, ["one"], ["one", 2], ["one", "two", "three"]]
    if not classifier.encoder.pairs:
        wrong = [["one", "two"], None, {"text": "one"}]
    asked = {"runtime": runtime, "texts": texts, "wrong": wrong, "wrongLists": [[wrong[0]], "one", ["a", 1]]}
    found = node(HERE / "kinds.mjs", kind, stdin=asked)
    assert found["pair"] == (list(classifier.description.pair) if classifier.description.pair else None)
    assert found["thresholds"] == (list(classifier.thresholds) or None)
    assert (found["golden"]["texts"], found["golden"]["changed"]) == (7, [])
    if runtime == "onnxruntime-node" or classifier.description.model_file == "onnx/model.onnx":
        assert_same(found["one"], [classifier(text) for text in texts])
        assert_same(found["many"], [classifier(text) for text in texts])
    assert found["complaints"] == [f"TypeError: classify expects {words}" for words in COMPLAINTS[len(wrong)]]
    assert [str(words).partition(",")[0] for words in found["listComplaints"]] == LIST_COMPLAINTS[len(wrong)]


PAIR = "a pair of strings, [text, aspect], found"
COMPLAINTS = {
    3: [f"one text (a string), found {what}; for many texts: classifyAll(texts)" for what in ("an array", "null")]
    + ["one text (a string), found a value of type object; for many texts: classifyAll(texts)"],
    5: [
        f"{PAIR} one string",
        f"{PAIR} null",
        f"{PAIR} an array of 1",
        f"{PAIR} an array of one string and 2",
        f"{PAIR} an array of 3",
    ],
}
LIST_COMPLAINTS = {
    3: [
        "TypeError: text 0 must be a string",
        "TypeError: classifyAll expects an array of texts",
        "TypeError: text 1 must be a string",
    ],
    5: [
        "TypeError: text 0 must be a pair of strings",
        "TypeError: classifyAll expects an array",
        "TypeError: text 0 must be a pair of strings",
    ],
}


@in_node
def test_another_set_of_golden_labels_is_an_error(left_pair_sets_bundle: Path, tmp_path: Path) -> None:
    """The most probable labels are as verified, and the probabilities are: a threshold between them is not."""
    bundle = shutil.copytree(left_pair_sets_bundle, tmp_path / "bundle")
    facts = json.loads((bundle / "sentopt.json").read_text())
    first = facts["golden"][0]["probabilities"]
    facts["thresholds"][0] = first[0] + 1e-4
    first[0] += 2e-4
    (bundle / "sentopt.json").write_text(json.dumps({**facts, "golden_tolerance": 0.1}))
    found = node(HERE / "golden.mjs", bundle, stdin="onnxruntime-node")
    assert "1 of 7 golden texts have another label here than where the bundle was verified" in found["error"]
    assert '["great great day","the food"]' in found["error"]


@in_node
@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [4, 5, 47, 48])
def test_random_pairs_have_the_same_tokens_in_javascript(
    max_length: int, side: str, pair_bundle: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(pair_bundle, tmp_path / "bundle")
    facts = json.loads((bundle / "sentopt.json").read_text())
    changed = {**facts, "max_length": max_length, "truncation_side": side}
    (bundle / "sentopt.json").write_text(json.dumps(changed))
    encoder = TextEncoder.load(bundle, max_length=max_length, side="left" if side == "left" else "right", pairs=True)
    pairs = random_pairs(1200, seed=5)
    found = node(HERE / "token_ids.mjs", bundle, stdin=pairs)
    assert [(one["ids"], one["types"], one["truncated"]) for one in found] == [
        (list(t.ids), list(t.type_ids), t.truncated) for t in encoder.encode(pairs)
    ]
