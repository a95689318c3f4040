"""Bundles that are given two texts, or give any number of labels, in other runtimes: against the Classifier."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
from c_program import answer, operators
from kinds_of_bundles import random_pairs
from tokenizers import ByteLevelBPETokenizer
from web_pages import CHROMIUM, INSTALLED, NODE, PACKAGE, make_page, node, screenshots, use_page

from sentopt import Classifier, Prediction
from sentopt.graph import metadata
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import TextEncoder, Tokens
from sentopt.stages import string_input

HERE = Path(__file__).parent
EMBED = HERE.parents[1] / "demo" / "embed"
KINDS = ("label_sets_bundle", "int8_label_sets_bundle", "pair_bundle", "left_pair_sets_bundle")

in_node = pytest.mark.skipif(
    NODE is None or not INSTALLED,
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
    for found, prediction in zip(answers, expected, strict=True):
        assert found["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
        assert found["label"] == prediction.label
        assert found.get("labels", [found["label"]]) == list(prediction.labels)
        assert found.get("truncated", prediction.truncated) == prediction.truncated


def with_string_input(bundle: Path, folder: Path) -> Path:
    """A copy of the bundle with a graph that takes texts; how it is made is tested elsewhere."""
    shutil.copytree(bundle, folder)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(string_input, "RANDOM_TEXTS", 100)
        patched.setattr(string_input, "every_character", lambda per_text: iter(()))
        string_input.add_graph(folder, [], seed=0)
    return folder


@in_node
@pytest.mark.parametrize("example", ["onnxruntime-node.mjs", "transformers.mjs"])
def test_a_javascript_example_answers_as_the_classifier(example: str, kind: Path) -> None:
    classifier = Classifier.load(kind, check=True)
    texts = texts_for(classifier)
    answers = node(PACKAGE / example, kind, stdin=texts)
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


@in_node
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not on PATH")
@pytest.mark.parametrize("fixture", ["label_sets_bundle", "pair_bundle", "left_pair_sets_bundle"])
def test_the_page_answers_as_the_classifier(fixture: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    bundle: Path = request.getfixturevalue(fixture)
    classifier = Classifier.load(bundle)
    assert classifier.description is not None
    pair = classifier.description.pair
    texts = [
        (text, "the food") if pair else text for text in ("great great day", "terrible " * 60, "It opens at nine.")
    ]
    found = use_page(make_page(bundle, tmp_path / "page"), texts=texts, screenshots=screenshots(fixture))
    assert (found["headline"], found["console"]) == ("Ready", [])
    assert f"Same label{'s' if classifier.thresholds else ''} as PyTorch" in found["facts"]
    assert all((" · " in example) == bool(pair) for example in found["examples"])
    hurried = found["hurried"]
    texts.append((hurried["text"], hurried["pair"]) if pair else hurried["text"])
    for text, answered in zip(texts, [*found["answers"], hurried], strict=True):
        prediction = classifier(text)
        assert answered["headline"] == (", ".join(prediction.labels) or "No label")
        assert set(answered["marked"]) == set(prediction.labels)
        assert answered["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-3)
        assert ("Only the " in answered["note"]) == prediction.truncated


@pytest.mark.parametrize(
    ("example", "fixture"),
    [
        ("python", "label_sets_bundle"),
        ("python", "pair_bundle"),
        ("python-string", "label_sets_bundle"),
        ("python-string", "left_pair_sets_bundle"),
        ("python-optimum", "int8_label_sets_bundle"),
        ("python-optimum", "left_pair_sets_bundle"),
    ],
)
def test_a_python_example_answers_as_the_classifier(
    example: str, fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bundle = kind = request.getfixturevalue(fixture)
    if example == "python-optimum":
        request.getfixturevalue("optimum")
    if example == "python-string":
        pytest.importorskip("onnxruntime_extensions")
        bundle = with_string_input(kind, tmp_path / "bundle")
    classifier = Classifier.load(kind)
    texts = texts_for(classifier, 40)
    done = run_python(example, bundle, texts)
    assert done.returncode == 0, done.stderr.decode()
    answers = json.loads(done.stdout)
    assert_same(answers, [classifier(text) for text in texts])
    assert all(("labels" in found) == bool(classifier.thresholds) for found in answers)
    done = run_python(example, bundle, [texts[0], ["a", "b", "c"]])
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    wrong = b"pairs of texts, [[text, aspect], ...]" if classifier.encoder.pairs else b"a JSON array of texts, found"
    assert (b"cannot answer: text 1 is" if example == "python" else wrong) in done.stderr


def run_python(example: str, bundle: Path, texts: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, str(EMBED / example / "predict.py"), str(bundle)]
    return subprocess.run(command, input=json.dumps(texts).encode(), capture_output=True, check=False)


def described(bundle: Path, folder: Path) -> Path:
    """A copy of the bundle's graph that says of itself what a finished run writes into it."""
    classifier = Classifier.load(bundle)
    facts = classifier.description
    assert facts is not None
    model = shutil.copyfile(bundle / facts.model_file, folder / "model.onnx")
    metadata.describe_file(model, facts.labels, facts.max_length, thresholds=facts.thresholds, pair=facts.pair)
    return model


def ids_line(tokens: Tokens, *, types: bool) -> str:
    ids = " ".join(map(str, tokens.ids))
    return f"{ids} | {' '.join(map(str, tokens.type_ids))}" if types else ids


def answers_of_c(done: subprocess.CompletedProcess[str], classifier: Classifier) -> list[dict[str, Any]]:
    """The lines that the program prints; those of a multi-label model have its labels in their order."""
    assert done.returncode == 0, done.stderr
    answers = []
    for line in done.stdout.splitlines():
        *labels, numbers = line.split("\t")
        probabilities = dict(zip(classifier.labels, map(float, numbers.split()), strict=True))
        label = max(probabilities, key=lambda name: probabilities[name])
        labels = sorted(labels, key=lambda name: -probabilities[name])
        answers.append({"label": label, "labels": labels, "probabilities": probabilities})
    return answers


def test_c_answers_token_ids_as_the_classifier(program: Path, kind: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(kind)
    texts = texts_for(classifier)
    lines = [ids_line(tokens, types=classifier.encoder.pairs) for tokens in classifier.encoder.encode(texts)]
    done = answer(str(program), str(described(kind, tmp_path)), lines=lines)
    assert_same(answers_of_c(done, classifier), [classifier(text) for text in texts])


def test_c_takes_thresholds_and_labels_that_the_graph_does_not_name(
    program: Path, label_sets_bundle: Path, tmp_path: Path
) -> None:
    classifier = Classifier.load(label_sets_bundle)
    texts = texts_for(classifier, 20)
    model = onnx.load(label_sets_bundle / "onnx" / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    lines = [ids_line(tokens, types=False) for tokens in classifier.encoder.encode(texts)]

    def told(thresholds: str) -> subprocess.CompletedProcess[str]:
        arguments = (str(program), "-t", thresholds, str(tmp_path / "model.onnx"), *classifier.labels)
        return answer(*arguments, lines=lines)

    done = told(",".join(map(str, classifier.thresholds)))
    assert_same(answers_of_c(done, classifier), [classifier(text) for text in texts])
    for wrong, complaint in (("0.5", "as many thresholds as labels"), ("0.5,x,1", "from 0 to 1"), ("2", "from 0 to 1")):
        done = told(wrong)
        assert (done.returncode, complaint in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize("fixture", ["label_sets_bundle", "left_pair_sets_bundle"])
def test_c_answers_texts_as_the_classifier(
    program: Path, fixture: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    library, python = operators()
    bundle = with_string_input(request.getfixturevalue(fixture), tmp_path / "bundle")
    classifier = Classifier.load(bundle)
    texts = [text for text in texts_for(classifier) if "\n" not in str(text)]
    # A tabulator separates the two texts; inside of one, a blank stands for it.
    lines = [text if isinstance(text, str) else "\t".join(part.replace("\t", " ") for part in text) for text in texts]
    command = (str(program), "-x", library, str(bundle / string_input.FILE))
    done = answer(*command, lines=lines, preload=python)
    assert_same(answers_of_c(done, classifier), [classifier(text) for text in texts])
    if classifier.encoder.pairs:
        for wrong in ("one text", "one\ttwo\tthree"):
            done = answer(*command, lines=[wrong], preload=python)
            assert (done.returncode, "two texts with one tabulator between them" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("2 5 3", "this model reads pairs: a line must be token ids, a bar (|), and the types"),
        ("2 5 3 | 0 0", "as many types as token ids"),
        ("2 5 3 |", "a line that is not token ids"),
        ("2 5 3 | 0 0 x", "a line that is not token ids"),
    ],
)
def test_c_refuses_pairs_without_types(
    program: Path, pair_bundle: Path, tmp_path: Path, line: str, complaint: str
) -> None:
    done = answer(str(program), str(described(pair_bundle, tmp_path)), lines=[line])
    assert (done.returncode, complaint in done.stderr) == (1, True), done.stderr


SEQUENCES = [{"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB")]
SEPARATOR = {"SpecialToken": {"id": "</s>", "type_id": 0}}
PROCESSORS = {
    "two types": {
        "type": "TemplateProcessing",
        "single": [SEQUENCES[0], SEPARATOR],
        "pair": [SEQUENCES[0], SEPARATOR, SEQUENCES[1], SEPARATOR],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [2], "tokens": ["</s>"]}},
    },
    "RoBERTa": {
        "type": "RobertaProcessing",
        "sep": ["</s>", 2],
        "cls": ["<s>", 1],
        "trim_offsets": True,
        "add_prefix_space": False,
    },
}


@in_node
@pytest.mark.parametrize("processor", PROCESSORS)
def test_pairs_of_byte_level_tokens_are_those_of_python(processor: str, tmp_path: Path) -> None:
    """RoBERTa's tokens have one type in Python, and two in the JavaScript library."""
    trained = ByteLevelBPETokenizer()
    texts = [text for pair in random_pairs(200, seed=7) for text in pair]
    trained.train_from_iterator(texts, vocab_size=400, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False)
    document = json.loads(trained.to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**document, "post_processor": PROCESSORS[processor]}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<pad>"}))
    facts = {"max_length": 32, "pad_token_id": 0, "pair": ["text", "aspect"]}
    (tmp_path / "sentopt.json").write_text(json.dumps(facts))
    pairs = [*random_pairs(400, seed=8), ("", ""), ("", "a"), ("a", "")]
    encoded = TextEncoder.load(tmp_path, max_length=32, pairs=True).encode(pairs)
    found = node(HERE / "token_ids.mjs", tmp_path, stdin=pairs)
    assert [(one["ids"], one["types"]) for one in found] == [(list(t.ids), list(t.type_ids)) for t in encoded]
    assert any(any(t.type_ids) for t in encoded) == (processor == "two types")


@in_node
def test_transformers_js_refuses_a_multi_label_bundle_that_it_would_read_as_another(
    label_sets_bundle: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(label_sets_bundle, tmp_path / "bundle")
    config = json.loads((bundle / "config.json").read_text())
    del config["problem_type"]
    (bundle / "config.json").write_text(json.dumps(config))
    command = [str(NODE), str(PACKAGE / "transformers.mjs"), str(bundle)]
    done = subprocess.run(command, input="[]", capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'lacks "problem_type": "multi_label_classification", which sentopt.json has' in done.stderr
