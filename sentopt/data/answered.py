"""What a variant and PyTorch answer to the same texts: what is wrong, lost or gained, and which label is in doubt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from sentopt.measure.decision import SINGLE, Decision
from sentopt.runtime.session import BoolArray, FloatArray

IntArray = npt.NDArray[np.int64]

SURE = 0.95
"""The score from which an answer that two models share raises a doubt about a label."""
_BANDS = 4  # of lengths


@dataclass(frozen=True)
class Answers:
    """Of one model: the positions of the labels that it gives, and their probabilities; both of shape (texts,).

    Where a text has any number of labels, they are codes of sets, and the scores those of `Decision.scores`.
    """

    labels: IntArray
    scores: FloatArray

    @classmethod
    def of(cls, probabilities: FloatArray, decision: Decision = SINGLE) -> Answers:
        """The answer of each row of (texts, labels)."""
        if decision.is_multi_label:
            return cls(decision.sets(probabilities), decision.scores(probabilities))
        return cls(probabilities.argmax(axis=1).astype(np.int64), probabilities.max(axis=1))


@dataclass(frozen=True)
class Answered:
    """The labels of some texts in the data, shape (texts,), with the answers of a variant and of PyTorch.

    Its properties say of each text whether something holds: boolean arrays of shape (texts,).
    """

    truth: IntArray
    own: Answers
    reference: Answers

    @property
    def right(self) -> BoolArray:
        """The variant gives the label of the data."""
        return np.asarray(self.own.labels == self.truth)

    @property
    def reference_right(self) -> BoolArray:
        """PyTorch does."""
        return np.asarray(self.reference.labels == self.truth)

    @property
    def lost(self) -> BoolArray:
        """PyTorch is right, and the variant is not."""
        return self.reference_right & ~self.right

    @property
    def gained(self) -> BoolArray:
        """The variant is right, and PyTorch is not."""
        return self.right & ~self.reference_right

    @property
    def doubtful(self) -> BoolArray:
        """Both give the same other label, and are sure of it: the label in the data may be wrong."""
        surest = np.minimum(self.own.scores, self.reference.scores)
        return np.asarray(~self.right & (self.own.labels == self.reference.labels) & (surest >= SURE))

    def by_score(self, texts: npt.NDArray[np.integer], *, surest_first: bool = True) -> IntArray:
        """Positions of texts in the order of the variant's scores; equal ones stay as they are."""
        scores = self.own.scores[texts]
        return np.asarray(texts[np.argsort(-scores if surest_first else scores, kind="stable")], dtype=np.int64)


def probabilities(logits: Path, rows: Sequence[int], decision: Decision = SINGLE) -> FloatArray:
    """Of some rows of a file of logits: shape (rows, labels)."""
    return decision.probabilities(np.load(logits, allow_pickle=False)[list(rows)])


def length_bands(tokens: IntArray) -> list[tuple[int, int]]:
    """Least and most tokens of four bands of about as many texts each; fewer where many texts have one length.

    Args:
        tokens: of each text, shape (texts,).
    """
    if not len(tokens):
        return []
    edges = np.unique(np.quantile(tokens, np.linspace(0, 1, _BANDS + 1)[1:], method="higher"))
    below = [-1, *edges[:-1]]
    return [(int(tokens[tokens > low].min()), int(edge)) for low, edge in zip(below, edges, strict=True)]
