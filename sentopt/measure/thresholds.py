"""What is fitted to each label of a multi-label model: its temperature, and the threshold of its probability."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sentopt.measure import confidence
from sentopt.measure.decision import UNTUNED_THRESHOLD

BoolArray = npt.NDArray[np.bool_]
FEWEST = 10
"""Texts with a label, and without it, from which its threshold is tuned."""
_LEAST, _MOST = 0.01, 0.99
_DIGITS = 6


def temperatures(logits: npt.NDArray[Any], has: BoolArray) -> tuple[float, ...]:
    """For each label the temperature that suits it, where it helps by more than chance (`temperature_that_helps`).

    The sigmoid of a logit is the softmax of 0 and that logit, so each label is a classifier of two classes.

    Args:
        logits: of shape (texts, labels).
        has: whether a text has a label, of the same shape.
    """
    nothing = np.zeros(len(logits), dtype=logits.dtype)
    fitted = []
    for label in range(logits.shape[1]):
        pair = np.stack([nothing, logits[:, label]], axis=1)
        is_tunable = _is_enough(has[:, label])
        fitted.append(confidence.temperature_that_helps(pair, has[:, label].astype(np.int64)) if is_tunable else 1.0)
    return tuple(fitted)


def best(probabilities: npt.NDArray[Any], has: BoolArray) -> tuple[float, ...]:
    """For each label the threshold with the highest F1; 0.5 where fewer than 10 texts have it, or lack it.

    Of thresholds with the same F1, the one nearest to 0.5 is taken. They lie between 0.01 and 0.99.

    Args:
        probabilities: of shape (texts, labels).
        has: whether a text has a label, of the same shape.
    """
    return tuple(
        _best(probabilities[:, label].astype(np.float64), has[:, label])
        if _is_enough(has[:, label])
        else UNTUNED_THRESHOLD
        for label in range(probabilities.shape[1])
    )


def _is_enough(has: BoolArray) -> bool:
    return FEWEST <= int(has.sum()) <= len(has) - FEWEST


def _best(probabilities: npt.NDArray[np.float64], has: BoolArray) -> float:
    """Candidates are 0.5 and the middles between neighbouring probabilities."""
    order = np.argsort(probabilities, kind="stable")
    p, positive = probabilities[order], has[order]
    middles = (p[1:] + p[:-1])[p[1:] > p[:-1]] / 2.0
    candidates = np.unique(np.clip(np.round(np.append(middles, UNTUNED_THRESHOLD), _DIGITS), _LEAST, _MOST))
    first = np.searchsorted(p, candidates, side="left")  # texts from here on get the label
    right = np.append(np.cumsum(positive[::-1])[::-1], 0)[first]
    f1 = 2.0 * right / (positive.sum() + len(p) - first)
    tied = candidates[f1 >= f1.max() - 1e-12]
    return float(tied[np.argmin(np.abs(tied - UNTUNED_THRESHOLD))])
