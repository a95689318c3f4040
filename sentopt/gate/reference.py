"""Whether there is anything to compare with."""

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
    """Whether the PyTorch model is proven to know more than the majority answer, so that a comparison means something.

    Args:
        truth, answers: label positions of the distinct test texts, both of shape (texts,).
        confidence: of the one-sided limits.
        allowed: whether a weak reference is accepted all the same.
        unnamed: whether the names of the model's labels were matched by position (`LABEL_0`).
    """
    found = stats.balanced_accuracy(truth, answers, confidence=confidence, draws=_DRAWS, seed=_SEED)
    return ReferenceCheck(
        texts=len(truth),
        accuracy=float((truth == answers).mean()),
        majority=float(np.bincount(truth).max() / len(truth)),
        balanced_accuracy=found.estimate,
        lower=found.lower,
        upper=found.upper,
        chance=found.chance,
        proven=found.lower > found.chance,
        allowed=allowed,
        words=_words(found, len(truth), confidence, unnamed),
    )


def _words(found: BalancedAccuracy, texts: int, confidence: float, unnamed: bool) -> str:
    figures = (
        f"balanced accuracy {found.estimate:.4f} on {texts} test texts ({confidence:.0%} limits {found.lower:.4f} "
        f"to {found.upper:.4f}), {found.chance:.4f} for always giving one label"
    )
    if found.chance == 1.0:
        return f"the {texts} test texts all have one label: they cannot show whether the PyTorch model knows anything"
    if found.lower > found.chance:
        return f"the PyTorch model is proven to know more than the majority answer: {figures}"
    if found.upper >= found.chance:
        return f"the PyTorch model is not proven to know more than the majority answer: {figures}"
    cause = "the names of its labels (LABEL_0, ...) are" if unnamed else "its labels are"
    words = f"the PyTorch model is worse than always giving one label: {cause} probably in the wrong order. {figures}"
    if unnamed:
        words += ". Name the labels in the order of the model's outputs with --set 'data.labels=[...]'"
    return words
