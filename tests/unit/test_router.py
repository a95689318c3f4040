"""Which way a text goes in a cascade, as the golden texts of a bundle record it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import small_bundles
import small_cascades

from sentopt import Classifier
from sentopt.bundles import golden
from sentopt.errors import BundleError
from sentopt.graph import cascade, lean
from sentopt.graph.cascade import Student
from sentopt.runtime.classifier import softmax
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import TextEncoder


@pytest.mark.parametrize(("tiled", "max_length"), [(False, 0), (True, 0), (True, 256)])
def test_the_distance_tells_the_way_of_every_text(tmp_path: Path, tiled: bool, max_length: int) -> None:
    """A student of a model for long texts has a branching of its own, beside the one that defers."""
    full = small_cascades.full(tmp_path / "checkpoint")
    products = small_cascades.products("fp32")
    student = Student(full, products, max_length=max_length)
    small_bundles.write(tmp_path / "bundle")
    encoder = TextEncoder.load(tmp_path / "bundle", max_length=16)
    texts = [encoder.encode([text])[0] for text in small_cascades.TEXTS]
    alone = OnnxSession(cascade.write_student(student, tiled=tiled).SerializeToString())
    sure = softmax(small_cascades.logits(alone, encoder)).max(axis=1)
    threshold = small_cascades.deferring(sure, np.array([len(t.ids) for t in texts]), 0.5)
    path = tmp_path / "model.onnx"
    onnx.save_model(cascade.write(student, full, products, threshold, tiled=tiled), path)
    branchings = [node for node in onnx.load(path).graph.node if node.op_type == "If"]
    assert len(branchings) == (2 if tiled else 1)
    router = golden.Router(path, threshold, 3)
    session = OnnxSession(path)
    classifier = Classifier.open(path, encoder, small_bundles.LABELS)
    ways = [bool(session.run_routed(encoder.pad([text]))[1][0]) for text in texts]
    assert any(ways)
    assert not all(ways)
    assert [router.distance(classifier, text) < 0 for text in small_cascades.TEXTS] == ways


def test_a_graph_without_a_branching_is_no_cascade(tmp_path: Path) -> None:
    full = small_cascades.full(tmp_path / "checkpoint")
    path = tmp_path / "model.onnx"
    onnx.save_model(lean.write(full, small_cascades.products("fp32")), path)
    with pytest.raises(BundleError, match="is no cascade"):
        golden.Router(path, Threshold(0.5, 1), 3)
