"""A small random cascade, and a bundle of it with the tokenizer of `small_bundles`."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import small_bundles
import tiny_models

from sentopt import Classifier
from sentopt.graph import cascade, families, lean
from sentopt.graph.architecture import Architecture
from sentopt.graph.cascade import Student
from sentopt.graph.products import FloatProducts, Int8Products, Products, Site
from sentopt.runtime.classifier import softmax
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import TextEncoder

WORDS = ("terrible", "the", "great")
TEXTS = tuple(" ".join(words) for n in (1, 2, 3, 4) for words in itertools.product(WORDS, repeat=n))
"""120 texts."""
FULL = "onnx/model_full.onnx"


@cache
def full(folder: Path) -> Architecture:
    """The full model: a BERT of two layers, whose checkpoint is written to `folder`."""
    tiny_models.save("bert", folder)
    return families.read(folder)


class _AnySite(dict[str, Site]):
    """One quantization for every product: random activations are about that large."""

    def get(self, site: str, default: object = None) -> Site:  # type: ignore[override]
        return Site(0.05, 128)


def products(kind: str) -> Products:
    """How products are computed: "fp32", "int8", or "standard", which is INT8 without onnxruntime's own operators."""
    return FloatProducts() if kind == "fp32" else Int8Products(_AnySite(), standard=kind == "standard")


def write(folder: Path, *, share: float = 0.5, max_length: int = 0, kind: str = "fp32") -> Path:
    """A bundle of a cascade that defers about `share` of `TEXTS`, with all of them as golden texts.

    The full model is a BERT of two random layers, the student its first layer.
    """
    architecture = full(folder.parent / "checkpoint")
    first = replace(architecture, blocks=architecture.blocks[:1])
    student = Student(first, products(kind), max_length=max_length)
    small_bundles.write(folder)
    encoder = TextEncoder.load(folder, max_length=16)
    alone = OnnxSession(cascade.write_student(student).SerializeToString())
    lengths = np.array([len(tokens.ids) for tokens in encoder.encode(TEXTS)])
    threshold = deferring(softmax(logits(alone, encoder)).max(axis=1), lengths, share)
    made = cascade.write(student, architecture, products(kind), threshold)
    onnx.save_model(made, folder / small_bundles.MODEL)
    onnx.save_model(lean.write(architecture, products(kind)), folder / FULL)
    session = OnnxSession(folder / small_bundles.MODEL)
    routed = [session.run_routed(encoder.pad(encoder.encode([text]))) for text in TEXTS]
    golden = [
        {"text": text, "probabilities": softmax(found)[0].tolist(), "deferred": bool(deferred[0])}
        for text, (found, deferred) in zip(TEXTS, routed, strict=True)
    ]
    described = {
        "layers": 1,
        "threshold": threshold.confidence,
        "threshold_tokens": threshold.tokens,
        "max_length": max_length,
        "reads": "head",
        "deferred": float(np.mean([entry["deferred"] for entry in golden])),
        "texts": len(TEXTS),
        "deferred_output": "deferred",
    }
    full_graph = {"variant": "lean-fp32", "file": FULL, "output": "logits"}
    small_bundles.edit(folder, lambda facts: facts.update(golden=golden, cascade=described, full=full_graph))
    (folder / "config.json").write_text(json.dumps(_config()))
    return small_bundles.rehash(folder)


def deferring(confidence: FloatArray, tokens: npt.NDArray[np.int64], share: float) -> Threshold:
    """A threshold by which this share of texts is deferred; 0 defers none.

    Args:
        confidence: the student's highest probability of each text.
        tokens: of each text.
        share: of the texts.
    """
    if share == 0.0:
        return Threshold(1e-9, 1)
    odds = (1.0 - confidence.astype(np.float64)) / confidence / tokens
    return Threshold(float(1.0 / (1.0 + 10 * np.quantile(odds, 1.0 - share))), 10)


def logits(session: OnnxSession, encoder: TextEncoder) -> FloatArray:
    """The logits of every text, one at a time."""
    return np.concatenate([session.run(encoder.pad(encoder.encode([text]))) for text in TEXTS])


def deferred(classifier: Classifier) -> list[bool]:
    """Which texts the bundle says are deferred."""
    assert classifier.description
    return [bool(golden.deferred) for golden in classifier.description.golden]


def _config() -> dict[str, object]:
    """What other libraries read."""
    return {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        **tiny_models.BERT_LIKE,
        "id2label": {str(i): label for i, label in enumerate(small_bundles.LABELS)},
        "label2id": {label: i for i, label in enumerate(small_bundles.LABELS)},
    }
