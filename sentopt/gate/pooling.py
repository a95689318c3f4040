"""How likely each label is right where two models have answered: a logarithmic opinion pool.

The probability of a label is proportional to a product of powers of those that the models give it (Genest and Zidek
1986), with exponents that make texts with known labels most likely. A model may be calibrated over all texts and still
be too sure of itself where another one contradicts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentopt.measure.stats import IntArray
from sentopt.runtime.session import FloatArray

_RIDGE, _NEWTON_STEPS = 5.0, 30

Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """The exponents of both models. With few texts they stay near those that believe the PyTorch model alone."""

    reference: float = 1.0
    student: float = 0.0

    @classmethod
    def fitted(cls, reference: FloatArray, student: FloatArray, truth: IntArray) -> Pool:
        """By penalized maximum likelihood (Newton's method).

        Args:
            reference: logits of the PyTorch model, (texts, labels).
            student: logits of the student, of the same shape.
            truth: right labels, (texts,).
        """
        start = np.array([cls().reference, cls().student])
        if not len(truth):
            return cls(*start)
        features = np.stack([_log_softmax(reference), _log_softmax(student)], axis=2)
        of_truth = features[np.arange(len(truth)), truth]
        weights, loss = start, _loss(start, features, truth)
        for _ in range(_NEWTON_STEPS):
            chances = np.exp(_log_softmax(features @ weights))
            expected = np.einsum("tl,tlf->tf", chances, features)
            gradient = (expected - of_truth).sum(axis=0) + _RIDGE * (weights - start)
            curvature = np.einsum("tl,tlf,tlg->fg", chances, features, features) - expected.T @ expected
            step = np.linalg.solve(curvature + _RIDGE * np.eye(2), gradient)
            while (lower := _loss(weights - step, features, truth)) > loss and np.abs(step).max() > 1e-9:
                step = step / 2.0
            weights, loss = weights - step, lower
        return cls(float(weights[0]), float(weights[1]))

    def probabilities(self, reference: FloatArray, student: FloatArray) -> Probabilities:
        """Of each label, (texts, labels)."""
        pooled = self.reference * _log_softmax(reference) + self.student * _log_softmax(student)
        return np.asarray(np.exp(_log_softmax(pooled)), dtype=np.float64)


def _loss(weights: Probabilities, features: Probabilities, truth: IntArray) -> float:
    likelihood = _log_softmax(features @ weights)[np.arange(len(truth)), truth].sum()
    distance = weights - np.array([Pool().reference, Pool().student])
    return float(_RIDGE / 2.0 * distance @ distance - likelihood)


def _log_softmax(logits: FloatArray | Probabilities) -> Probabilities:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float64)
