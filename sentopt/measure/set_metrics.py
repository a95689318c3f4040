"""Metrics of texts that have any number of labels, by scikit-learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from sentopt.measure import label_sets, metrics, thresholds
from sentopt.measure.decision import Decision, untuned
from sentopt.measure.label_sets import IntArray
from sentopt.measure.scores import ClassScores, Scores, SetScores


def score_logits(logits: npt.NDArray[Any], truth: IntArray, decision: Decision, labels: Sequence[str]) -> Scores:
    """All metrics of the answers that follow from logits, whether texts have one label or any number.

    Args:
        logits: float32 of shape (texts, labels).
        truth: positions of labels, or codes of label sets (`measure.label_sets`), of shape (texts,).
        decision: how answers follow from logits.
        labels: names, in the order of the columns.
    """
    if not decision.is_multi_label:
        return metrics.score(decision.answers(logits), truth, labels)
    return score(decision.probabilities(logits), truth, decision, labels)


def score(probabilities: npt.NDArray[Any], truth: IntArray, decision: Decision, labels: Sequence[str]) -> Scores:
    """All metrics of probabilities of shape (texts, labels), where `truth` are codes; see `score_logits`.

    A label that is never answered has precision 0. Means over labels are unweighted; that of the average precision is
    over the labels that occur. A probability that is NaN reaches no threshold and ranks last.
    """
    probabilities = np.nan_to_num(probabilities)  # of a graph or a training that broke: that is a finding
    has = label_sets.matrix(truth, len(labels))
    answered = label_sets.matrix(decision.sets(probabilities), len(labels))
    precision, recall, f1, support = sk.precision_recall_fscore_support(has, answered, average=None, zero_division=0)
    micro = sk.precision_recall_fscore_support(has, answered, average="micro", zero_division=0)
    occurring = [sk.average_precision_score(has[:, i], probabilities[:, i]) for i in np.flatnonzero(has.any(axis=0))]
    return Scores(
        accuracy=float((has == answered).all(axis=1).mean()) if len(has) else 0.0,
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        per_class=tuple(
            ClassScores(label, float(precision[i]), float(recall[i]), float(f1[i]), int(support[i]))
            for i, label in enumerate(labels)
        ),
        confusion=(),
        sets=SetScores(
            micro_precision=float(micro[0]),
            micro_recall=float(micro[1]),
            micro_f1=float(micro[2]),
            average_precision=float(np.mean(occurring)) if occurring else 0.0,
            texts=len(has),
        ),
    )


def while_training(logits: npt.NDArray[Any], truth: IntArray) -> dict[str, float]:
    """Metrics of an evaluation during training, with the thresholds that suit these texts best.

    A checkpoint is chosen by what it is worth with thresholds of its own, as the model that is kept will have.
    """
    probabilities = untuned(logits.shape[1]).probabilities(logits)
    decision = Decision(thresholds.best(probabilities, label_sets.matrix(truth, logits.shape[1])))
    found = score(probabilities, truth, decision, [str(i) for i in range(logits.shape[1])])
    return {
        "accuracy": found.accuracy,
        "macro_precision": found.macro_precision,
        "macro_recall": found.macro_recall,
        "macro_f1": found.macro_f1,
        "micro_f1": found.micro_f1,
    }
