"""The check of the reference: comparing variants with a useless PyTorch model would prove nothing."""

from __future__ import annotations

import numpy as np

from sentopt.measure import stats
from sentopt.measure.stats import BalancedAccuracy, IntArray
from sentopt.results import ReferenceCheck

_DRAWS = 2_000
_SEED = 20_260_101


def check_reference(
    truth: IntArray, answers: IntArray, *, confidence: float, allowed: bool, unnamed: bool
) -> ReferenceCheck:
    """Test whether the PyTorch model is better than always answering the majority label.

    Args:
        truth, answers: label positions of the distinct test texts, both of shape (texts,).
        confidence: of the one-sided limits.
        allowed: whether the recipe accepts a weak reference.
        unnamed: whether the model's labels have no names (`LABEL_0`) and were matched by position.
    """
    estimate = stats.balanced_accuracy(truth, answers, confidence=confidence, draws=_DRAWS, seed=_SEED)
    return ReferenceCheck(
        texts=len(truth),
        accuracy=float((truth == answers).mean()),
        majority=float(np.bincount(truth).max() / len(truth)),
        balanced_accuracy=estimate.estimate,
        lower=estimate.lower,
        upper=estimate.upper,
        chance=estimate.chance,
        proven=estimate.lower > estimate.chance,
        allowed=allowed,
        words=_words(estimate, len(truth), confidence, unnamed),
    )


def _words(balanced: BalancedAccuracy, texts: int, confidence: float, unnamed: bool) -> str:
    figures = (
        f"balanced accuracy {balanced.estimate:.4f} on {texts} test texts ({confidence:.0%} limits "
        f"{balanced.lower:.4f} to {balanced.upper:.4f}), {balanced.chance:.4f} for always giving one label"
    )
    if balanced.chance == 1.0:
        return f"the {texts} test texts all have the same label: they cannot show whether the PyTorch model is any good"
    if balanced.lower > balanced.chance:
        return f"the PyTorch model is proven better than the majority label: {figures}"
    if balanced.upper >= balanced.chance:
        return f"the PyTorch model is not proven better than the majority label: {figures}"
    cause = "the names of its labels (LABEL_0, ...) are" if unnamed else "its labels are"
    words = f"the PyTorch model is worse than always giving one label: {cause} probably in the wrong order. {figures}"
    if unnamed:
        words += ". Name the labels in the order of the model's outputs with --set 'data.labels=[...]'"
    return words
