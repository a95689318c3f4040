"""Classification metrics as `evaluate.Metric` classes, computed by scikit-learn.

`evaluate.load("accuracy")` downloads and executes a script. These classes have the same interface and do neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
import numpy.typing as npt
from sklearn import metrics as sk

from sentopt.measure.scores import ClassScores, Scores

_FEATURES = datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")})


def _info(description: str) -> evaluate.MetricInfo:
    return evaluate.MetricInfo(
        description=description, citation="", inputs_description="label positions", features=_FEATURES
    )


class Accuracy(evaluate.Metric):
    """Share of correct answers."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("Share of correct answers.")

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"accuracy": float(sk.accuracy_score(references, predictions))}


class MacroScores(evaluate.Metric):
    """Unweighted means over labels of precision, recall and F1; a label that is never predicted has precision 0."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("Unweighted mean over labels of precision, recall and F1.")

    def _compute(self, predictions: Sequence[int], references: Sequence[int], num_labels: int) -> dict[str, float]:
        precision, recall, f1, _ = sk.precision_recall_fscore_support(
            references, predictions, labels=range(num_labels), average="macro", zero_division=0
        )
        return {"macro_precision": float(precision), "macro_recall": float(recall), "macro_f1": float(f1)}


class PerClassScores(evaluate.Metric):
    """Precision, recall, F1 and support of each label."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("Precision, recall, F1 and support of each label.")

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int], num_labels: int
    ) -> dict[str, list[float]]:
        columns = sk.precision_recall_fscore_support(
            references, predictions, labels=range(num_labels), average=None, zero_division=0
        )
        return {
            name: column.tolist()
            for name, column in zip(("precision", "recall", "f1", "support"), columns, strict=True)
        }


class ConfusionMatrix(evaluate.Metric):
    """Counts by true label and predicted label."""

    def _info(self) -> evaluate.MetricInfo:
        return _info("Counts by true label and predicted label.")

    def _compute(
        self, predictions: Sequence[int], references: Sequence[int], num_labels: int
    ) -> dict[str, list[list[int]]]:
        return {"confusion": sk.confusion_matrix(references, predictions, labels=range(num_labels)).tolist()}


def score(predictions: npt.NDArray[Any], references: npt.NDArray[Any], labels: Sequence[str]) -> Scores:
    """All metrics of a set of predictions.

    Args:
        predictions, references: label positions, both of shape (texts,).
        labels: names, in the order of the positions.
    """
    arrays = {
        "predictions": np.asarray(predictions, dtype=np.int64),
        "references": np.asarray(references, dtype=np.int64),
    }
    macro = MacroScores(keep_in_memory=True).compute(**arrays, num_labels=len(labels))
    by_label = PerClassScores(keep_in_memory=True).compute(**arrays, num_labels=len(labels))
    confusion = ConfusionMatrix(keep_in_memory=True).compute(**arrays, num_labels=len(labels))["confusion"]
    return Scores(
        accuracy=Accuracy(keep_in_memory=True).compute(**arrays)["accuracy"],
        **macro,
        per_class=tuple(
            ClassScores(
                label, by_label["precision"][i], by_label["recall"][i], by_label["f1"][i], int(by_label["support"][i])
            )
            for i, label in enumerate(labels)
        ),
        confusion=tuple(tuple(row) for row in confusion),
    )
