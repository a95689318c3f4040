"""Statistics of answers that are sets of labels, as codes (`label_sets`). Needs numpy and the standard library only."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from sentopt.measure import label_sets, stats
from sentopt.measure.stats import BalancedAccuracy, IntArray

Average = Literal["micro", "macro"]
_AT_ONCE = 4_000_000  # numbers of a block of draws


def f1(truth: IntArray, answers: IntArray, labels: int) -> dict[Average, float]:
    """Micro F1, and macro F1 over the labels that occur in `truth`.

    Args:
        truth, answers: codes, both of shape (texts,).
        labels: number of labels.
    """
    has, given = label_sets.matrix(truth, labels), label_sets.matrix(answers, labels)
    right, mass = (has & given).sum(axis=0), has.sum(axis=0) + given.sum(axis=0)
    present = has.sum(axis=0) > 0
    return {average: float(_f1(right[None], mass[None], present, average)[0]) for average in ("micro", "macro")}


def f1_loss_upper(
    truth: IntArray,
    reference: IntArray,
    candidate: IntArray,
    labels: int,
    *,
    average: Average,
    confidence: float,
    draws: int,
    seed: int,
) -> float:
    """One-sided upper confidence limit of the candidate's loss of micro or macro F1, the latter over labels that occur.

    Method: percentile of a paired bootstrap over texts, which are resampled with both answers (Efron and Tibshirani
    1993, chapter 13). Texts with the same labels and the same answers count together, so the draws are multinomial.

    A bootstrap ignores events that are not in the sample. As in `stats.macro_f1_loss_upper`, one text is added: it has
    the rarest label, the reference is right, and the candidate answers the second rarest label.

    Args:
        truth, reference, candidate: codes, each of shape (texts,).
        labels: number of labels.
        average: which F1.
        confidence: of the limit, for example 0.95.
        draws: bootstrap samples, 2,000 or more.
        seed: of the draws.
    """
    truth, reference, candidate = _with_worst(truth, reference, candidate, labels)
    rows, times = np.unique(np.stack([truth, reference, candidate], axis=1), axis=0, return_counts=True)
    has, *given = (label_sets.matrix(rows[:, i], labels) for i in range(3))
    counts = [(has & one, has.astype(np.int64) + one) for one in given]
    present = has.sum(axis=0) > 0
    random = np.random.default_rng(seed)
    losses = []
    block = max(1, _AT_ONCE // len(rows))
    for start in range(0, draws, block):
        drawn = random.multinomial(len(truth), times / len(truth), size=min(block, draws - start)).astype(np.float64)
        before, after = (_f1(drawn @ right, drawn @ mass, present, average) for right, mass in counts)
        losses.append(before - after)
    return float(np.quantile(np.concatenate(losses), confidence))


def _with_worst(
    truth: IntArray, reference: IntArray, candidate: IntArray, labels: int
) -> tuple[IntArray, IntArray, IntArray]:
    """The texts, and one more with the largest possible effect."""
    frequency = label_sets.counts(truth, labels) + label_sets.counts(reference, labels)
    present = np.flatnonzero(label_sets.counts(truth, labels))
    if len(present) < 2:
        return truth, reference, candidate
    rarest, other = (np.int64(1) << present[np.argsort(frequency[present], kind="stable")[:2]]).tolist()
    return np.append(truth, rarest), np.append(reference, rarest), np.append(candidate, other)


def _f1(
    right: npt.NDArray[Any], mass: npt.NDArray[Any], present: npt.NDArray[np.bool_], average: Average
) -> npt.NDArray[np.float64]:
    """F1 of each row of counts of shape (rows, labels): 2 right / (true + answered)."""
    if average == "micro":
        return np.asarray(2.0 * right.sum(axis=1) / np.maximum(mass.sum(axis=1), 1))
    of_label = 2.0 * right[:, present] / np.maximum(mass[:, present], 1)
    return np.asarray(of_label.mean(axis=1) if present.any() else np.zeros(len(right)))


def balanced_accuracy(truth: IntArray, answers: IntArray, labels: int, *, confidence: float) -> BalancedAccuracy:
    """The mean over labels of the mean of sensitivity and specificity; labels that all texts have or lack do not count.

    The limits are the means of exact limits of all shares, which is what they are if all labels err together.

    Args:
        truth, answers: codes, both of shape (texts,).
        labels: number of labels.
        confidence: of each limit, for example 0.95.
    """
    has, given = label_sets.matrix(truth, labels), label_sets.matrix(answers, labels)
    shares: list[tuple[int, int]] = []
    for label in range(labels):
        own, answered = has[:, label], given[:, label]
        if own.any() and not own.all():
            shares += [
                (int((own & answered).sum()), int(own.sum())),
                (int((~own & ~answered).sum()), int((~own).sum())),
            ]
    if not shares:
        return BalancedAccuracy(0.5, 0.0, 1.0, 1.0)
    return BalancedAccuracy(
        estimate=float(np.mean([k / n for k, n in shares])),
        lower=float(np.mean([stats.proportion_lower(k, n, confidence) for k, n in shares])),
        upper=float(np.mean([stats.proportion_upper(k, n, confidence) for k, n in shares])),
        chance=0.5,
    )
