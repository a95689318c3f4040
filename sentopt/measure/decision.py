"""How answers follow from logits: the most probable label of each text, or all labels that reach their thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sentopt.measure import label_sets
from sentopt.measure.label_sets import MULTI_LABEL, SINGLE_LABEL, IntArray
from sentopt.runtime.classifier import probabilities_of

FloatArray = npt.NDArray[np.float32]
UNTUNED_THRESHOLD = 0.5


@dataclass(frozen=True)
class Decision:
    """How the answers of a model follow from its logits, float32 of shape (texts, labels).

    With `thresholds`, one for each label, a text has every label whose probability, the sigmoid of its logit, reaches
    the threshold. Without any, it has the most probable label, by softmax.
    """

    thresholds: tuple[float, ...] = ()

    @property
    def is_multi_label(self) -> bool:
        """Whether a text may have any number of labels."""
        return bool(self.thresholds)

    @property
    def problem_type(self) -> str:
        """As transformers names it."""
        return MULTI_LABEL if self.is_multi_label else SINGLE_LABEL

    def probabilities(self, logits: npt.NDArray[Any]) -> FloatArray:
        """Of each label: float32 of shape (texts, labels)."""
        return probabilities_of(np.asarray(logits, dtype=np.float32), multi_label=self.is_multi_label)

    def answers(self, logits: npt.NDArray[Any]) -> IntArray:
        """The position of the label of each text, or the code of its labels: int64 of shape (texts,)."""
        if not self.is_multi_label:
            return np.asarray(logits.argmax(axis=1), dtype=np.int64)
        return self.sets(self.probabilities(logits))

    def sets(self, probabilities: npt.NDArray[Any]) -> IntArray:
        """Codes of the labels that reach their thresholds."""
        return label_sets.codes(probabilities >= np.array(self.thresholds, dtype=np.float32))

    def best(self, probabilities: FloatArray) -> FloatArray:
        """The highest probability of each text, float32 of shape (texts,): the `score` of a prediction."""
        return np.asarray(probabilities.max(axis=1), dtype=np.float32)

    def scores(self, probabilities: FloatArray) -> FloatArray:
        """How sure each answer is, float32 of shape (texts,).

        The probability of the label; of a set, that of the label whose presence or absence is least probable, which
        `Classifier.abstain_below` is compared with.
        """
        if not self.is_multi_label:
            return np.asarray(probabilities.max(axis=1), dtype=np.float32)
        inside = probabilities >= np.array(self.thresholds, dtype=np.float32)
        return np.asarray(np.where(inside, probabilities, 1.0 - probabilities).min(axis=1), dtype=np.float32)

    def margins(self, probabilities: FloatArray) -> FloatArray:
        """How far each answer is from another one, float32 of shape (texts,).

        The difference of the two highest probabilities, or the smallest distance of a probability to its threshold.
        """
        if not self.is_multi_label:
            top_two = np.sort(probabilities, axis=1)[:, -2:]
            return np.asarray(top_two[:, 1] - top_two[:, 0], dtype=np.float32)
        distances = np.abs(probabilities - np.array(self.thresholds, dtype=np.float32))
        return np.asarray(distances.min(axis=1), dtype=np.float32)

    def in_words(self, answer: int, labels: Sequence[str]) -> str:
        """The name of a label, or the names of a set."""
        return label_sets.in_words(int(answer), labels) if self.is_multi_label else labels[int(answer)]


SINGLE = Decision()


def untuned(labels: int) -> Decision:
    """Every label from a probability of 0.5 on."""
    return Decision((UNTUNED_THRESHOLD,) * labels)
