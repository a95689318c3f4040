"""Bundles of other kinds than one label for one text, each made from a bundle that is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import MULTI_LABEL, Text

THRESHOLDS = (0.6, 0.7, 0.8)
PAIR = ("text", "aspect")
PAIRS = (
    ("great the great", "the"),
    ("terrible the", "terrible"),
    ("the the the", "the"),
    ("great great terrible", "great the"),
    ("the great", "terrible"),
    ("terrible", "great great"),
)


def multi_label(bundle: Path, folder: Path, *, thresholds: Sequence[float] = THRESHOLDS, **changes: Any) -> Path:
    """A copy of a bundle whose texts have any number of labels."""
    facts = _facts(bundle)
    texts = [golden["text"] for golden in facts["golden"]]
    kind = {"problem_type": MULTI_LABEL, "thresholds": list(thresholds)}
    return _written(bundle, folder, {**facts, **kind, **changes}, texts)


def of_pairs(
    bundle: Path, folder: Path, *, names: Sequence[str] = PAIR, pairs: Sequence[Text] = PAIRS, **changes: Any
) -> Path:
    """A copy of a bundle that is given pairs of texts."""
    return _written(bundle, folder, {**_facts(bundle), "pair": list(names), **changes}, pairs)


def _facts(bundle: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((bundle / "sentopt.json").read_text())
    return facts


def _written(bundle: Path, folder: Path, facts: dict[str, Any], texts: Sequence[Text]) -> Path:
    """The bundle with these facts; its golden texts have the probabilities that its own graph gives."""
    shutil.copytree(bundle, folder)
    document = folder / "sentopt.json"
    document.write_text(json.dumps({**facts, "schema_version": 3, "golden": []}))
    found = Classifier.load(folder, threads=1).predict_proba(texts)
    golden = [{**_fields(text), "probabilities": row.tolist()} for text, row in zip(texts, found, strict=True)]
    document.write_text(json.dumps({**facts, "schema_version": 3, "golden": golden, "golden_tolerance": 0.01}))
    Classifier.load(folder, check=True)
    return folder


def _fields(text: Text) -> dict[str, str]:
    return {"text": text} if isinstance(text, str) else {"text": text[0], "pair": text[1]}
