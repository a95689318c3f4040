"""How likely each label is right where two models have answered: a logarithmic opinion pool.

The odds by which each model changes what is known of a label beforehand, its share of the texts, are raised to a power
and multiplied (Genest and Zidek 1986; Bordley 1982 for what is known beforehand). The exponents make texts with known
labels most likely. A model may be calibrated over all texts and still be too sure of itself where another one
contradicts it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentopt.measure.stats import IntArray
from sentopt.runtime.session import FloatArray

_RIDGE = 5.0  # as if so many texts had said that the PyTorch model alone is right
_NEWTON_STEPS, _LEAST_STEP = 50, 1e-9
_LOWEST = -50.0  # log-probability

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Pool:
    """The exponents of both models, and the logarithms of the shares of the labels, which are equal where not given.

    With few texts the exponents stay near those that believe the PyTorch model alone.
    """

    reference: float = 1.0
    student: float = 0.0
    shares: tuple[float, ...] = ()

    @classmethod
    def fitted(cls, reference: FloatArray, student: FloatArray, truth: IntArray) -> Pool:
        """By penalized maximum likelihood (Newton's method with shorter steps where one overshoots).

        Args:
            reference: logits of the PyTorch model, (texts, labels).
            student: logits of the student, of the same shape.
            truth: right labels, (texts,).
        """
        if not len(truth):
            return cls()
        counts = np.bincount(truth, minlength=reference.shape[1]) + 1.0
        shares = np.log(counts / counts.sum())
        features = np.stack([_log_softmax(reference), _log_softmax(student)], axis=2) - shares[:, None]
        of_truth = features[np.arange(len(truth)), truth].sum(axis=0)
        start = np.array([cls.reference, cls.student])
        weights, loss = start, _loss(start, features, shares, truth)
        for _ in range(_NEWTON_STEPS):
            chances = np.exp(_log_softmax(features @ weights + shares))
            expected = np.einsum("tl,tlf->tf", chances, features)
            gradient = expected.sum(axis=0) - of_truth + _RIDGE * (weights - start)
            curvature = np.einsum("tl,tlf,tlg->fg", chances, features, features, optimize=True) - expected.T @ expected
            step = np.linalg.solve(curvature + _RIDGE * np.eye(2), gradient)
            while (lower := _loss(weights - step, features, shares, truth)) > loss and _is_step(step):
                step = step / 2.0
            weights, loss = weights - step, lower
            if not _is_step(step):
                break
        return cls(max(0.0, float(weights[0])), max(0.0, float(weights[1])), tuple(map(float, shares)))

    def probabilities(self, reference: FloatArray, student: FloatArray) -> Array:
        """Of each label, (texts, labels)."""
        pooled = self.reference * _log_softmax(reference) + self.student * _log_softmax(student)
        if self.shares:
            pooled = pooled + (1.0 - self.reference - self.student) * np.array(self.shares)
        return np.asarray(np.exp(_log_softmax(pooled)))


def _is_step(step: Array) -> bool:
    return bool(np.abs(step).max() > _LEAST_STEP)


def _loss(weights: Array, features: Array, shares: Array, truth: IntArray) -> float:
    likelihood = _log_softmax(features @ weights + shares)[np.arange(len(truth)), truth].sum()
    distance = weights - np.array([Pool.reference, Pool.student])
    return float(_RIDGE / 2.0 * distance @ distance - likelihood)


def _log_softmax(logits: FloatArray | Array) -> Array:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(np.maximum(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), _LOWEST))
