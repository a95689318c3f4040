"""Probabilities that mean something: how far a model's confidence is from its accuracy, and the temperature against it.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]

COLDEST, HOTTEST = 0.1, 10.0
_BINS = 15
_HALVINGS = 60


@dataclass(frozen=True)
class CoveragePoint:
    """If texts below `threshold` are left unanswered: the share still answered, and the accuracy of those answers."""

    threshold: float
    answered: float
    accuracy: float | None


def temperature(logits: FloatArray, labels: IntArray) -> float:
    """The T for which softmax(logits / T) gives the labels the highest likelihood, from 0.1 to 10.

    The negative log-likelihood is convex in 1/T; its derivative, the mean over texts of the expected logit less the
    logit of the label, is brought to zero by bisection. As in Platt's scaling (1999), a share of 1 / (texts + 2) of
    each label is given to the others: few texts that are all answered right are no proof of certainty.

    Args:
        logits: of shape (texts, labels).
        labels: positions, of shape (texts,).
    """
    z = np.asarray(logits, dtype=np.float64)
    of_label = z[np.arange(len(z)), labels]
    of_others = (z.sum(axis=1) - of_label) / (z.shape[1] - 1)
    doubt = 1.0 / (len(z) + 2)
    target = (1.0 - doubt) * of_label + doubt * of_others

    def slope(inverse: float) -> float:
        p = np.exp(inverse * (z - z.max(axis=1, keepdims=True)))
        p /= p.sum(axis=1, keepdims=True)
        return float(np.mean((p * z).sum(axis=1) - target))

    low, high = 1.0 / HOTTEST, 1.0 / COLDEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if slope(middle) <= 0.0 else (low, middle)
    return 2.0 / (low + high)


def expected_calibration_error(probabilities: FloatArray, labels: IntArray) -> float:
    """Mean distance of confidence from accuracy over 15 bins of equal width, weighted by the texts in each.

    Args:
        probabilities: of shape (texts, labels).
        labels: positions, of shape (texts,).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float(right[bins == b].sum()) - float(confidence[bins == b].sum())) for b in range(_BINS)]
    return sum(gaps) / len(labels)


def coverage(probabilities: FloatArray, labels: IntArray, thresholds: tuple[float, ...]) -> tuple[CoveragePoint, ...]:
    """What abstaining below each threshold costs in answers and gains in accuracy."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    points = []
    for threshold in thresholds:
        answered = confidence >= threshold
        accuracy = float(right[answered].mean()) if answered.any() else None
        points.append(CoveragePoint(threshold, float(answered.mean()), accuracy))
    return tuple(points)
