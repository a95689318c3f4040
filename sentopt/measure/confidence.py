"""Confidence calibration: the gap between confidence and accuracy, and the temperature that reduces it.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentopt.measure import label_sets
from sentopt.measure.decision import SINGLE, Decision

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.integer[Any]]

COLDEST, HOTTEST = 0.1, 10.0
_BINS = 15
_HALVINGS = 60
_ONE_SIDED = 1.645  # standard errors of a limit with 95 % confidence


@dataclass(frozen=True)
class CoveragePoint:
    """The share of answered texts and their accuracy (None: no texts) if answers below `threshold` are withheld."""

    threshold: float
    answered: float
    accuracy: float | None


def temperature(logits: FloatArray, labels: IntArray) -> float:
    """The temperature T, from 0.1 to 10, that maximizes the likelihood of the labels under softmax(logits / T).

    The negative log-likelihood is convex in 1/T. Its derivative is the mean over texts of the expected logit minus the
    logit of the label; bisection finds its zero. As in Platt's scaling (1999), the labels are smoothed by 1 / (texts +
    2), because a few correct answers do not prove certainty.

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


def temperature_that_helps(logits: FloatArray, labels: IntArray) -> float:
    """`temperature` where it makes the labels more likely by more than chance does, else 1.

    Compared is the mean gain of the log-likelihood of a text, less 1 / texts for having fitted one number to the same
    texts (Akaike 1974), with its standard error: the lower limit with 95 % confidence must be above zero.

    Args:
        logits: of shape (texts, labels).
        labels: positions, of shape (texts,).
    """
    fitted = temperature(logits, labels)
    z, texts = np.asarray(logits, dtype=np.float64), len(labels)
    gain = _log_likelihood(z / fitted, labels) - _log_likelihood(z, labels)
    error = float(gain.std()) / texts**0.5
    return fitted if float(gain.mean()) - 1.0 / texts > _ONE_SIDED * error else 1.0


def _log_likelihood(z: FloatArray, labels: IntArray) -> FloatArray:
    """Of each label, given its text's logits."""
    shifted = z - z.max(axis=1, keepdims=True)
    return np.asarray(shifted[np.arange(len(z)), labels] - np.log(np.exp(shifted).sum(axis=1)))


def expected_calibration_error(probabilities: FloatArray, labels: IntArray) -> float:
    """Mean absolute difference of confidence and accuracy over 15 bins of equal width, weighted by texts per bin.

    Args:
        probabilities: of shape (texts, labels).
        labels: positions, of shape (texts,).
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float(right[bins == b].sum()) - float(confidence[bins == b].sum())) for b in range(_BINS)]
    return sum(gaps) / len(labels)


def calibration_error(probabilities: FloatArray, labels: IntArray, decision: Decision = SINGLE) -> float:
    """`expected_calibration_error`; where a text has any number of labels, of the probability of every label.

    Then each probability of each text is compared with how often texts with such a probability have the label.

    Args:
        probabilities: of shape (texts, labels).
        labels: positions, or codes of label sets, of shape (texts,).
        decision: which of the two.
    """
    if not decision.is_multi_label:
        return expected_calibration_error(probabilities, labels)
    has = label_sets.matrix(np.asarray(labels, dtype=np.int64), probabilities.shape[1]).reshape(-1)
    flat = np.asarray(probabilities, dtype=np.float64).reshape(-1)
    bins = np.minimum((flat * _BINS).astype(int), _BINS - 1)
    gaps = np.abs(np.bincount(bins, weights=flat - has, minlength=_BINS))
    return float(gaps.sum()) / max(1, len(flat))


def coverage(
    probabilities: FloatArray, labels: IntArray, thresholds: tuple[float, ...], decision: Decision = SINGLE
) -> tuple[CoveragePoint, ...]:
    """Answered share and accuracy for each abstention threshold."""
    given = np.asarray(probabilities, dtype=np.float32)
    confidence = decision.scores(given)
    right = (decision.sets(given) if decision.is_multi_label else given.argmax(axis=1)) == labels
    points = []
    for threshold in thresholds:
        answered = confidence >= threshold
        accuracy = float(right[answered].mean()) if answered.any() else None
        points.append(CoveragePoint(threshold, float(answered.mean()), accuracy))
    return tuple(points)
