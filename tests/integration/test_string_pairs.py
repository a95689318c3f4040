"""The graph that takes texts, for models that are given two of them, or give a text any number of labels."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from kinds_of_bundles import PAIR, TEXTS, random_pairs

from sentopt import Classifier
from sentopt.errors import ExportError
from sentopt.graph import tokenizer as graph
from sentopt.runtime.description import Side, read_description
from sentopt.runtime.tokenization import TextEncoder
from sentopt.stages import string_input

pytest.importorskip("onnxruntime_extensions", reason="onnxruntime-extensions is not installed (extra: string)")

NAMES = ["input_ids", "attention_mask", "token_type_ids", "position_ids"]


def tokenizer_session(folder: Path, max_length: int, side: Side, inputs: tuple[str, str] = PAIR) -> Any:
    """The graph of the tokenizer in `folder`, alone, for pairs."""
    facts = graph.read(folder / "tokenizer.json", max_length=max_length, pad_token_id=0, side=side, pairs=True)
    model = graph.tokenizer_graph(facts, NAMES, opset=17, ir_version=8, inputs=inputs)
    return string_input.open_session(model.SerializeToString())


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [4, 5, 47, 48])
def test_pairs_are_cut_and_typed_as_by_the_runtime(fp32_bundle: Path, max_length: int, side: Side) -> None:
    encoder = TextEncoder.load(fp32_bundle, max_length=max_length, side=side, pairs=True)
    pairs = random_pairs(1200, seed=max_length)
    assert len({(len(t.ids), t.truncated) for t in encoder.encode(pairs)}) > 1
    string_input.check_tokens(tokenizer_session(fp32_bundle, max_length, side), encoder, pairs)


def test_a_graph_that_cuts_at_the_other_end_is_noticed(fp32_bundle: Path) -> None:
    encoder = TextEncoder.load(fp32_bundle, max_length=16, side="left", pairs=True)
    with pytest.raises(ExportError, match=r"differs from the bundle's on \d+ of 100 texts"):
        string_input.check_tokens(tokenizer_session(fp32_bundle, 16, "right"), encoder, random_pairs(100, seed=1))


@pytest.fixture(scope="module", params=["label_sets_bundle", "pair_bundle", "left_pair_sets_bundle"])
def string_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of each kind to which a graph that takes texts was added."""
    source: Path = request.getfixturevalue(request.param)
    folder = shutil.copytree(source, tmp_path_factory.mktemp("string") / "bundle")
    pairs = read_description(folder).pair
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(string_input, "RANDOM_TEXTS", 500)
        string_input.add_graph(folder, random_pairs(300, seed=2) if pairs else list(TEXTS), seed=0)
    return folder


def test_it_answers_as_the_classifier_alone_and_in_padded_batches(string_bundle: Path) -> None:
    classifier = Classifier.load(string_bundle, engine="onnxruntime", check=True)
    session = string_input.open_session((string_bundle / string_input.FILE).read_bytes())
    pairs = random_pairs(200, seed=3)
    texts = pairs if classifier.encoder.pairs else [text for pair in pairs for text in pair]
    for batch in (texts, *([text] for text in texts[:20])):
        labels, rows, *sets = session.run(None, string_input.fed(session, batch))
        expected = classifier.predict_proba(batch)
        assert rows == pytest.approx(expected, abs=1e-5)
        assert labels.tolist() == rows.argmax(axis=1).tolist()
        assert len(sets) == bool(classifier.thresholds)
        if not sets:
            assert rows.sum(axis=1) == pytest.approx(1)
            continue
        assert sets[0].dtype == np.bool_
        assert [set(np.array(classifier.labels)[row]) for row in sets[0]] == [
            set(p.labels) for p in classifier.predict(batch)
        ]
    assert len({p.labels for p in classifier.predict(texts)}) > 1


def test_the_types_of_tokens_reach_the_model(pair_bundle: Path) -> None:
    """If they did not matter, no other test would notice that they are wrong."""
    classifier = Classifier.load(pair_bundle)
    batch = classifier.encoder.pad(classifier.encoder.encode([("great day", "the food")]))
    right = classifier.engine.run(batch)
    batch.token_type_ids[:] = 0
    assert np.abs(right - classifier.engine.run(batch)).max() > 0.5


def test_no_text_at_all(string_bundle: Path) -> None:
    session = string_input.open_session((string_bundle / string_input.FILE).read_bytes())
    nothing = {node.name: np.array([], dtype=object) for node in session.get_inputs()}
    assert [len(found) for found in session.run(None, nothing)] == [0] * len(session.get_outputs())


def test_texts_without_their_partners_are_an_error(fp32_bundle: Path) -> None:
    session = tokenizer_session(fp32_bundle, 16, "right")
    for first, second in ((1, 2), (2, 1), (0, 1), (1, 0)):
        given = {name: np.array(["a"] * n, dtype=object) for name, n in zip(PAIR, (first, second), strict=True)}
        with pytest.raises(Exception, match=r"(?i)reshape"):
            session.run(None, given)


def test_the_bundle_says_what_it_is_given_and_gives(string_bundle: Path) -> None:
    description = read_description(string_bundle)
    facts = description.facts["string_input"]
    model = onnx.load(string_bundle / string_input.FILE)
    assert facts.get("inputs", [facts.get("input")]) == [node.name for node in model.graph.input]
    assert facts["outputs"] == [node.name for node in model.graph.output]
    assert [node.name for node in model.graph.input] == list(description.pair or ("texts",))
    assert ("label_sets" in facts["outputs"]) == bool(description.thresholds)


@pytest.mark.parametrize("name", ["input_ids", "probabilities", "label_sets", "body.logits", "constant_0", "Shape_0"])
def test_a_name_that_the_graph_needs_is_refused_in_words(fp32_bundle: Path, name: str) -> None:
    with pytest.raises(ExportError, match=f"has a tensor '{name}' of its own.*give its column another one"):
        tokenizer_session(fp32_bundle, 16, "right", inputs=("text", name))


def test_a_tokenizer_that_mixes_pairs_is_refused(fp32_bundle: Path, tmp_path: Path) -> None:
    settings = json.loads((fp32_bundle / "tokenizer.json").read_text())
    special = {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
    settings["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": which, "type_id": 0}} for which in ("B", "A")],
        "special_tokens": {"[SEP]": special},
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(settings))
    with pytest.raises(ExportError, match="does more with a pair of texts than add tokens around them"):
        graph.read(tmp_path / "tokenizer.json", max_length=8, pad_token_id=0, pairs=True)
