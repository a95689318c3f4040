"""One file of a cascade in every host that a bundle goes to: the answers and the ways of its texts are the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_bundles
import small_cascades

from sentopt import Classifier
from sentopt._optional import is_installed
from sentopt.backends import emulation, webassembly
from sentopt.backends.opening import Candidate
from sentopt.bundles import check
from sentopt.graph import cascade, tokenizer, vocabulary
from sentopt.graph.cascade import Student
from sentopt.graph.products import FloatProducts
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import Batch
from sentopt.stages import string_input
from sentopt.variants import VARIANTS

TEXTS = small_cascades.TEXTS
DEMO = Path(__file__).parents[2] / "demo"
JAVASCRIPT = DEMO / "embed" / "javascript"
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (JAVASCRIPT / "node_modules" / "onnxruntime-web").is_dir(),
    reason="node is not on PATH, or `npm ci` was not run in demo/embed/javascript",
)
OTHER_CPUS = [
    pytest.param(cpu, marks=pytest.mark.skipif(bool(emulation.problem(cpu)), reason=f"{cpu} cannot be emulated here"))
    for cpu in ("EPYC-Milan", "neoverse-n1")
]


@pytest.fixture(scope="module", params=["fp32", "int8"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cascades.write(tmp_path_factory.mktemp("cascade") / "bundle", kind=request.param)


@pytest.fixture(scope="module")
def classifier(folder: Path) -> Classifier:
    return Classifier.load(folder, check=True)


def check_program(command: list[str], classifier: Classifier, **options: object) -> None:
    """A program of `demo/embed` answers as the classifier does."""
    done = subprocess.run(command, input=json.dumps(TEXTS), capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    for answer, expected in zip(json.loads(done.stdout), classifier.predict(TEXTS), strict=True):
        assert answer["label"] == expected.label
        assert answer["probabilities"] == pytest.approx(expected.probabilities, abs=1e-4)


@needs_node
def test_webassembly_sends_the_same_texts_on(
    folder: Path, classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_PATH", str(JAVASCRIPT / "node_modules"))
    found = webassembly.answer(folder / small_bundles.MODEL, "logits", classifier.encoder, TEXTS)
    logits, deferred = classifier.routed(TEXTS)
    assert np.abs(found.logits - logits).max() < 1e-4
    assert found.deferred is not None
    assert found.deferred.tolist() == deferred.tolist()
    full = webassembly.answer(folder / small_cascades.FULL, "logits", classifier.encoder, TEXTS[:1])
    assert full.deferred is None


@needs_node
@pytest.mark.parametrize("program", ["onnxruntime-node.mjs", "transformers.mjs"])
def test_node_answers_as_python_does(folder: Path, classifier: Classifier, program: str) -> None:
    check_program(["node", str(JAVASCRIPT / program), str(folder)], classifier)


@pytest.mark.usefixtures("optimum")
def test_optimum_answers_as_the_runtime_does(folder: Path, classifier: Classifier) -> None:
    check_program([sys.executable, str(DEMO / "embed" / "python-optimum" / "predict.py"), str(folder)], classifier)


@pytest.mark.parametrize("cpu", OTHER_CPUS)
def test_another_cpu_tells_what_it_deferred(tmp_path: Path, cpu: str) -> None:
    folder = small_cascades.write(tmp_path / "bundle", kind="int8")
    some = [0, *(i for i in range(1, len(TEXTS)) if i % 25 == 0)]
    small_bundles.edit(folder, lambda facts: facts.update(golden=[facts["golden"][i] for i in some]))
    texts = [TEXTS[i] for i in some]
    logits, deferred = Classifier.load(folder).routed(texts)
    assert 0 < deferred.sum() < len(texts)
    candidate = Candidate(VARIANTS["cascade-int8"], folder, folder / small_bundles.MODEL, small_bundles.LABELS, 16)
    there = emulation.answers(candidate, texts, cpu=cpu)
    assert np.abs(there.logits - logits).max() < 0.02
    assert there.deferred is not None
    assert there.deferred.tolist() == deferred.tolist()
    outcome = check.check_elsewhere(folder, cpu)
    assert (outcome.deferred, outcome.rerouted) == (deferred.sum(), 0)


@pytest.mark.skipif(not is_installed("openvino"), reason="OpenVINO is not installed")
@pytest.mark.parametrize("kind", ["fp32", "standard"])
def test_openvino_sends_the_same_texts_on(tmp_path: Path, kind: str) -> None:
    """It has none of onnxruntime's own operators."""
    folder = small_cascades.write(tmp_path / "bundle", kind=kind)
    classifier = Classifier.load(folder)
    other = Classifier.load(folder, engine="openvino")
    assert other.is_cascade
    (found, deferred), (logits, expected) = other.routed(TEXTS), classifier.routed(TEXTS)
    assert np.mean(deferred == expected) > 0.95  # a text at the threshold may go the other way
    assert np.abs(found - logits)[deferred == expected].max() < 0.3  # BF16, on CPUs that have it
    assert other.stats().deferred == deferred.sum()


@pytest.mark.skipif(not is_installed("onnxruntime_extensions"), reason="onnxruntime-extensions is not installed")
def test_a_graph_that_takes_texts_holds_a_cascade(folder: Path, classifier: Classifier) -> None:
    assert classifier.description
    body = onnx.load(folder / small_bundles.MODEL)
    front = string_input.tokenizer_of(folder, classifier.description, body)
    session = string_input.open_session(tokenizer.join(front, body, logits="logits").SerializeToString())
    assert [node.name for node in session.get_outputs()] == list(tokenizer.OUTPUTS)
    labels, probabilities = session.run(list(tokenizer.OUTPUTS), {tokenizer.INPUT: np.array(TEXTS, dtype=object)})
    expected = classifier.predict_proba(TEXTS)
    assert np.abs(probabilities - expected).max() < 1e-5
    assert labels.tolist() == expected.argmax(axis=1).tolist()
    none = session.run(list(tokenizer.OUTPUTS), {tokenizer.INPUT: np.array([], dtype=object)})
    assert [len(found) for found in none] == [0, 0]


def test_a_trimmed_vocabulary_is_stored_once(tmp_path: Path) -> None:
    """The student and the full model look up their words in one table."""
    full = small_cascades.full(tmp_path)
    kept = np.arange(50)
    student = Student(vocabulary.trim(replace(full, blocks=full.blocks[:1]), kept), FloatProducts())
    made = cascade.write(student, vocabulary.trim(full, kept), FloatProducts(), Threshold(0.6, 10))
    tables = [
        tuple(tensor.dims)
        for graph in (made.graph, *(a.g for node in made.graph.node for a in node.attribute if a.HasField("g")))
        for tensor in graph.initializer
        if tuple(tensor.dims)[:1] == (50,)
    ]
    assert tables == [(50, 32)]
    whole = cascade.write(
        Student(replace(full, blocks=full.blocks[:1]), FloatProducts()), full, FloatProducts(), Threshold(0.6, 10)
    )
    ids = np.array([[2, 7, 30, 3], [2, 9, 3, 0]])
    batch = Batch(ids, np.array([[1, 1, 1, 1], [1, 1, 1, 0]]), np.zeros_like(ids))
    (logits, deferred), (expected, routed) = (
        OnnxSession(model.SerializeToString()).run_routed(batch) for model in (made, whole)
    )
    assert np.array_equal(logits, expected)
    assert np.array_equal(deferred, routed)
