"""Servers of multi-label bundles and of bundles of text pairs: every endpoint, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kinds_of_bundles
import pytest
import small_bundles
from demo_server import Server, ask, post, serving, wait_for_file

from sentopt import Classifier
from sentopt.runtime.classifier import Prediction

PAIRS = [list(pair) for pair in kinds_of_bundles.PAIRS]
TEXTS = ["great the great", "terrible the great", "", "the", "great great great great terrible"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kinds")


@pytest.fixture(scope="module")
def single(folder: Path) -> Path:
    return small_bundles.write(folder / "single")


@pytest.fixture(scope="module")
def pair_bundle(single: Path, folder: Path) -> Path:
    return kinds_of_bundles.of_pairs(single, folder / "pairs")


@pytest.fixture(scope="module")
def set_bundle(single: Path, folder: Path) -> Path:
    return kinds_of_bundles.multi_label(single, folder / "sets")


@pytest.fixture(scope="module")
def of_pairs(pair_bundle: Path, folder: Path) -> Iterator[Server]:
    with serving("--bundle", str(pair_bundle), "--log-texts", str(folder / "pairs.jsonl")) as running:
        yield running


@pytest.fixture(scope="module")
def of_sets(set_bundle: Path, folder: Path) -> Iterator[Server]:
    with serving("--bundle", str(set_bundle), "--log-texts", str(folder / "sets.jsonl")) as running:
        yield running


@pytest.fixture(scope="module")
def of_one(single: Path) -> Iterator[Server]:
    with serving("--bundle", str(single), verb="serve") as running:
        yield running


def same(found: dict[str, Any], expected: Prediction, *, sets: bool = False) -> bool:
    """Whether an answer as JSON is a prediction."""
    assert found["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert ("labels" in found) is sets
    return found["label"] == expected.label and found.get("labels", []) == list(expected.labels if sets else ())


def test_pairs_are_answered_as_by_the_classifier(of_pairs: Server, pair_bundle: Path) -> None:
    expected = Classifier.load(pair_bundle).predict(PAIRS)
    batch = post(of_pairs.address + "/predict_batch", {"texts": PAIRS}).json["predictions"]
    for pair, one, want in zip(PAIRS, batch, expected, strict=True):
        assert same(one, want)
        assert same(post(of_pairs.address + "/predict", {"text": pair[0], "pair": pair[1]}).json, want)


def test_sets_of_labels_are_answered_as_by_the_classifier(of_sets: Server, set_bundle: Path) -> None:
    expected = Classifier.load(set_bundle).predict(TEXTS)
    assert {len(one.labels) for one in expected} == {0, 1, 2, 3}
    batch = post(of_sets.address + "/predict_batch", {"texts": TEXTS}).json["predictions"]
    for text, one, want in zip(TEXTS, batch, expected, strict=True):
        assert same(one, want, sets=True)
        assert same(post(of_sets.address + "/predict", {"text": text}).json, want, sets=True)


def test_pairs_and_sets_as_by_text_embeddings_inference(of_pairs: Server, of_sets: Server, pair_bundle: Path) -> None:
    expected = Classifier.load(pair_bundle).predict(PAIRS)
    several = post(of_pairs.address + "/predict", {"inputs": PAIRS}).json
    assert [scores[0]["label"] for scores in several] == [one.label for one in expected]
    one = post(of_pairs.address + "/predict", {"inputs": PAIRS[0]}).json
    assert one == several[0]
    scores = post(of_sets.address + "/predict", {"inputs": "great the great"}).json
    assert sum(score["score"] for score in scores) > 2


def test_pairs_and_sets_as_by_vllm(of_pairs: Server, of_sets: Server, set_bundle: Path) -> None:
    data = post(of_pairs.address + "/classify", {"input": PAIRS}).json["data"]
    assert [one["index"] for one in data] == list(range(len(PAIRS)))
    assert sum(data[0]["probs"]) == pytest.approx(1)
    assert "labels" not in data[0]
    data = post(of_sets.address + "/v1/classify", {"input": TEXTS}).json["data"]
    assert [tuple(one["labels"]) for one in data] == [one.labels for one in Classifier.load(set_bundle).predict(TEXTS)]


def test_pairs_and_sets_by_the_open_inference_protocol(of_pairs: Server, of_sets: Server, set_bundle: Path) -> None:
    facts = ask(of_pairs.address + "/v2/models/small").json
    assert facts["inputs"][0]["shape"] == [-1, 2]
    assert facts["bundle"]["pair"] == ["text", "aspect"]
    path = "/v2/models/small/infer"
    tensor = {"name": "text", "shape": [len(PAIRS), 2], "datatype": "BYTES"}
    rows = post(of_pairs.address + path, {"inputs": [{**tensor, "data": PAIRS}]}).json
    flat = post(
        of_pairs.address + path, {"inputs": [{**tensor, "data": [text for pair in PAIRS for text in pair]}]}
    ).json
    assert rows == flat
    assert [output["name"] for output in rows["outputs"]] == ["label", "score", "probabilities"]

    facts = ask(of_sets.address + "/v2/models/small").json
    assert facts["bundle"]["thresholds"] == dict(zip(small_bundles.LABELS, kinds_of_bundles.THRESHOLDS, strict=True))
    assert facts["outputs"][-1]["name"] == "labels"
    tensor = {"name": "text", "shape": [len(TEXTS)], "datatype": "BYTES", "data": TEXTS}
    outputs = {one["name"]: one for one in post(of_sets.address + path, {"inputs": [tensor]}).json["outputs"]}
    expected = Classifier.load(set_bundle).predict(TEXTS)
    assert [tuple(json.loads(text)) for text in outputs["labels"]["data"]] == [one.labels for one in expected]
    asked = {"inputs": [tensor], "outputs": [{"name": "labels"}]}
    assert [one["name"] for one in post(of_sets.address + path, asked).json["outputs"]] == ["labels"]


def test_the_words_of_both_texts_are_weighed(of_pairs: Server, pair_bundle: Path) -> None:
    clf = Classifier.load(pair_bundle)
    found = post(of_pairs.address + "/explain", {"text": "great the", "pair": "terrible great"}).json
    assert [(word["text"], word["of"]) for word in found["words"]] == [
        *(("great", 0), ("the", 0), ("terrible", 1), ("great", 1))
    ]
    whole, label = clf(("great the", "terrible great")), found["explained"]
    for word, without in zip(
        found["words"],
        [("the", "terrible great"), ("great", "terrible great"), ("great the", "great"), ("great the", "terrible")],
        strict=True,
    ):
        expected = whole.probabilities[label] - clf(without).probabilities[label]
        assert word["weight"] == pytest.approx(expected, abs=1e-5)


def test_any_label_can_be_explained(of_sets: Server, set_bundle: Path) -> None:
    clf = Classifier.load(set_bundle)
    found = post(of_sets.address + "/explain", {"text": "great terrible", "label": "negative"}).json
    assert (found["label"], found["explained"]) == (clf("great terrible").label, "negative")
    weight = clf("great terrible").probabilities["negative"] - clf("great").probabilities["negative"]
    assert found["words"][1]["weight"] == pytest.approx(weight, abs=1e-5)
    refused = post(of_sets.address + "/explain", {"text": "great", "label": "sad"})
    assert (refused.status, "no label 'sad'; this model has negative, neutral" in refused.json["detail"]) == (422, True)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"text": "great"}),
        ("/predict_batch", {"texts": ["great", "the"]}),
        ("/predict_batch", {"texts": [["great", "the"], "great"]}),
        ("/explain", {"text": "great"}),
        ("/predict", {"inputs": "great"}),
        ("/predict", {"inputs": [["great"], ["the"]]}),
        ("/classify", {"input": ["great", "the"]}),
        (
            "/v2/models/small/infer",
            {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["great"]}]},
        ),
    ],
)
def test_a_single_text_for_a_model_of_pairs_is_refused(of_pairs: Server, path: str, body: Any) -> None:
    reply = post(of_pairs.address + path, body)
    assert reply.status == 422
    assert "answers pairs of texts ('text' and 'aspect'), and a single text was sent" in reply.json["detail"]
    assert "both of them, as `text` and `pair`" in reply.json["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", {"text": "great", "pair": "the"}),
        ("/predict_batch", {"texts": [["great", "the"]]}),
        ("/explain", {"text": "great", "pair": "the"}),
        ("/predict", {"inputs": ["great", "the"]}),
        ("/predict", {"inputs": [["great", "the"]]}),
        ("/classify", {"input": [["great", "the"]]}),
        (
            "/v2/models/small/infer",
            {"inputs": [{"name": "text", "shape": [1, 2], "datatype": "BYTES", "data": ["great", "the"]}]},
        ),
    ],
)
def test_a_pair_for_a_model_of_single_texts_is_refused(of_one: Server, path: str, body: Any) -> None:
    reply = post(of_one.address + path, body)
    assert reply.status == 422
    assert "answers single texts, no pairs" in reply.json["detail"]


def test_the_characters_of_both_texts_count(of_pairs: Server) -> None:
    reply = post(of_pairs.address + "/predict", {"text": "a " * 6_000, "pair": "b " * 6_000})
    assert reply.status == 413
    assert "the pair has 24,000 characters; at most 20,000" in reply.json["detail"]


def test_answers_are_logged_with_both_texts_and_all_labels(of_pairs: Server, of_sets: Server, folder: Path) -> None:
    post(of_pairs.address + "/predict", {"text": "great", "pair": "the logged one"})
    post(of_sets.address + "/predict", {"text": "great great the the"})
    last = json.loads(wait_for_file(folder / "pairs.jsonl").splitlines()[-1])
    assert (last["text"], last["pair"]) == ("great", "the logged one")
    last = json.loads(wait_for_file(folder / "sets.jsonl").splitlines()[-1])
    assert set(last["labels"]) == {"neutral", "positive"}


def test_gradios_client_asks_for_pairs(of_pairs: Server, pair_bundle: Path) -> None:
    from gradio_client import Client

    client = Client(of_pairs.address, verbose=False, analytics_enabled=False)
    try:
        expected = Classifier.load(pair_bundle)(("great the", "terrible"))
        assert same(client.predict("great the", "terrible", api_name="/predict"), expected)
        many = client.predict(PAIRS, api_name="/predict_batch")
        assert len(many["predictions"]) == len(PAIRS)
    finally:
        client.close()
