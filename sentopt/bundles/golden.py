"""Golden texts: a few texts of the test split in each bundle, for a check of its answers wherever it is deployed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sentopt.data.splits import Example
from sentopt.results import Verdict
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.session import FloatArray

_TEXTS = 16
_LONGEST = 400
_CLEAR_LEAD, _LEAST_LEAD = 0.2, 1e-3
_LEAST_TOLERANCE = 0.01


def choose(
    classifier: Classifier, examples: Sequence[Example], expected: FloatArray, verdict: Verdict
) -> tuple[list[dict[str, Any]], float]:
    """Texts that this variant and PyTorch label the same, with PyTorch's probabilities; and the tolerance of a check.

    They are spread from the least to the most certain, without near ties: another CPU could round a near tie to the
    other label. So the lead of the top probability exceeds 0.2, or twice the largest difference of the variant where
    that is less. The tolerance follows from the largest difference of the chosen texts here; see `tolerance`.

    Args:
        classifier: of the variant's file.
        examples: the test split.
        expected: PyTorch's probabilities, float32 of shape (texts, labels).
        verdict: of the variant.
    """
    kept: list[dict[str, Any]] = []
    largest = 0.0
    for i in _candidates(examples, expected, verdict):
        answered, stored = classifier.predict_proba([examples[i].text])[0], np.round(expected[i].astype(float), 6)
        if answered.argmax() == stored.argmax():
            kept.append({"text": examples[i].text, "probabilities": stored.tolist()})
            largest = max(largest, float(np.abs(answered - expected[i]).max()))
        if len(kept) == _TEXTS:
            break
    return kept, tolerance(largest, verdict.max_probability_difference)


def tolerance(seen: float, of_all: float) -> float:
    """The largest difference from PyTorch's probabilities that a check accepts on another machine.

    It is twice the difference of the golden texts here, but at most that of the whole test split. It always exceeds the
    difference here by a quarter: the file keeps six digits, and other machines round differently.

    Args:
        seen: the largest difference of the golden texts.
        of_all: the largest difference of the test split.
    """
    return min(1.0, max(_LEAST_TOLERANCE, 1.25 * seen + 1e-3, min(2.0 * seen, of_all)))


def _candidates(examples: Sequence[Example], expected: FloatArray, verdict: Verdict) -> npt.NDArray[np.intp]:
    """Twice as many texts as needed, evenly spread by certainty; every other one first, then those between."""
    top_two = np.sort(expected, axis=1)[:, -2:]
    lead = top_two[:, 1] - top_two[:, 0]
    short = np.array([len(e.text) <= _LONGEST for e in examples])
    clear = max(_LEAST_LEAD, min(_CLEAR_LEAD, 2.0 * verdict.max_probability_difference))
    usable = np.flatnonzero(short & (lead > clear))
    if not len(usable):  # a model that hardly prefers any label: the clearest there are
        usable = np.flatnonzero(short)
        usable = usable[np.argsort(lead[usable], kind="stable")[-2 * _TEXTS :]]
    by_lead = usable[np.argsort(lead[usable], kind="stable")]
    spread = by_lead[np.unique(np.linspace(0, len(by_lead) - 1, min(2 * _TEXTS, len(by_lead))).astype(int))]
    return np.concatenate([spread[::2], spread[1::2]])
