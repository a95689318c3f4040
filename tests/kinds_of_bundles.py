"""Bundles of models that are given two texts, or give a text any number of labels, made from an ordinary bundle."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import small_bundles
from csv_files import SAMPLE, read_csv
from onnx import numpy_helper

from sentopt import Classifier
from sentopt.data import pairs
from sentopt.runtime.description import MULTI_LABEL, Text

PAIR = ("text", "aspect")
TEXTS = (
    "great great day",
    "terrible terrible service, and the food was the worst",
    "the the the",
    "The soup was cold.",
    "great terrible the great",
    "",
    "It opens at nine. " * 20,
)
ASPECTS = ("the food", "terrible", "great service " * 30, "", "the staff", "great", "opening hours of the place")
THRESHOLDS = (0.6, 0.7, 0.8)
PAIRS = (
    ("great the great", "the"),
    ("terrible the", "terrible"),
    ("the the the", "the"),
    ("great great terrible", "great the"),
    ("the great", "terrible"),
    ("terrible", "great great"),
)
_STRONG = 3.0  # how much larger than that of a fresh model


def with_label_sets(bundle: Path, folder: Path) -> Path:
    """A copy of a bundle whose texts have any number of labels: other probabilities from the same logits."""
    _write(shutil.copytree(bundle, folder), TEXTS, label_sets=True)
    return folder


def with_pairs(bundle: Path, folder: Path, *, label_sets: bool = False, side: str = "right") -> Path:
    """A copy of a bundle that is given two texts; the types of tokens change what its model answers.

    The bundle's graph is one that was traced: it reads token types, all of them 0 until here.
    """
    shutil.copytree(bundle, folder)
    facts = json.loads((folder / "sentopt.json").read_text())
    model = onnx.load(folder / facts["model_file"])
    (table,) = [tensor for tensor in model.graph.initializer if "token_type_embeddings" in tensor.name]
    assert "token_type_ids" in [node.name for node in model.graph.input]
    table.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(table) * np.float32(_STRONG), table.name))
    onnx.save(model, folder / facts["model_file"])
    settings = folder / "tokenizer_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "truncation_side": side}))
    small_bundles.edit(folder, lambda facts: facts.update(pair=list(PAIR), truncation_side=side))
    _write(folder, tuple(zip(TEXTS, ASPECTS, strict=True)), label_sets=label_sets)
    return folder


def multi_label(bundle: Path, folder: Path, *, thresholds: Sequence[float] = THRESHOLDS, **changes: Any) -> Path:
    """A copy of a bundle whose texts have any number of labels."""
    facts = _facts(bundle)
    texts = [golden["text"] for golden in facts["golden"]]
    kind = {"problem_type": MULTI_LABEL, "thresholds": list(thresholds)}
    return _described(bundle, folder, {**facts, **kind, **changes}, texts)


def of_pairs(
    bundle: Path, folder: Path, *, names: Sequence[str] = PAIR, texts: Sequence[Text] = PAIRS, **changes: Any
) -> Path:
    """A copy of a bundle that is given pairs of texts."""
    return _described(bundle, folder, {**_facts(bundle), "pair": list(names), **changes}, texts)


def _facts(bundle: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((bundle / "sentopt.json").read_text())
    return facts


def _described(bundle: Path, folder: Path, facts: dict[str, Any], texts: Sequence[Text]) -> Path:
    """The bundle with these facts; its golden texts have the probabilities that its own graph gives."""
    shutil.copytree(bundle, folder)
    document = folder / "sentopt.json"
    document.write_text(json.dumps({**facts, "schema_version": 3, "golden": []}))
    found = Classifier.load(folder, threads=1).predict_proba(texts)
    golden = [{**pairs.as_fields(text), "probabilities": row.tolist()} for text, row in zip(texts, found, strict=True)]
    document.write_text(json.dumps({**facts, "schema_version": 3, "golden": golden, "golden_tolerance": 0.01}))
    Classifier.load(folder, check=True)
    return folder


def random_pairs(count: int, seed: int) -> list[tuple[str, str]]:
    """Pairs of no, few or many words of the sample, with punctuation, accents, marks and special tokens among them."""
    draw = random.Random(seed)
    words = " ".join(row["text"] for row in read_csv(SAMPLE / "validation.csv")).split()
    odd = ["don't", "[SEP]", "naïve", "ΣΑΣ", "a\u0301", "\u200b", "😍", "\0", "电影", "!?!", "\t", "x" * 120]
    counts = (0, 1, 2, 4, 8, 15, 22, 23, 24, 30, 44, 45, 46, 60)

    def text() -> str:
        return " ".join(draw.choice(odd if draw.random() < 0.1 else words) for _ in range(draw.choice(counts)))

    return [(text(), text()) for _ in range(count)]


def _write(folder: Path, texts: Sequence[Text], *, label_sets: bool) -> None:
    """Describe the files that are in the folder now, and what its graph answers to `texts`."""
    small_bundles.rehash(folder)
    facts = json.loads((folder / "sentopt.json").read_text())
    sets = {"problem_type": MULTI_LABEL, "thresholds": [0.5] * len(facts["labels"])} if label_sets else {}
    small_bundles.edit(folder, lambda facts: facts.update(schema_version=3, golden=[], **sets))
    rows = Classifier.load(folder, engine="onnxruntime").predict_proba(texts)
    golden = [
        {**pairs.as_fields(text), "probabilities": row.astype(float).tolist()}
        for text, row in zip(texts, rows, strict=True)
    ]
    small_bundles.edit(folder, lambda facts: facts.update(golden=golden))
    if label_sets:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "problem_type": MULTI_LABEL}))
        small_bundles.edit(folder, lambda facts: facts.update(thresholds=_thresholds(rows)))
        small_bundles.relist(folder, "config.json")


def _thresholds(rows: np.ndarray) -> list[float]:
    """For each label, the middle of the widest gap between probabilities: some texts have the label, and others not."""
    found = []
    for column in np.sort(rows, axis=0).T:
        widest = int(np.diff(column).argmax())
        found.append(round(float(column[widest : widest + 2].mean()), 6))
    return found
