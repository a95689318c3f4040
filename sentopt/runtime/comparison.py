"""Answers to golden texts beside the PyTorch probabilities that a bundle records, wherever the answers come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentopt.runtime.session import BoolArray, FloatArray


@dataclass(frozen=True)
class Comparison:
    """How many labels of `texts` differ from the recorded ones, and the largest difference of any probability.

    `deferred` texts were answered by the full model of a cascade (None: this is none). `rerouted` were deferred here
    and not where the bundle was verified, or the reverse.
    """

    changed: int
    largest_difference: float
    texts: int
    deferred: int | None = None
    rerouted: int = 0

    def is_within(self, tolerance: float) -> bool:
        """Whether every label is the recorded one and no probability differs by more than `tolerance`; NaN does."""
        return not self.changed and self.largest_difference <= tolerance

    def in_words(self, tolerance: float) -> str:
        """What differs, for a message."""
        routes = f"; {self.routes_in_words()}" if self.deferred is not None else ""
        return (
            f"{self.changed} of {self.texts} labels changed, "
            f"largest probability difference {self.largest_difference:.4f} (allowed {tolerance:.4f}){routes}"
        )

    def routes_in_words(self) -> str:
        """How many texts of a cascade went which way; empty for what is no cascade."""
        return routes_in_words(self.texts, self.deferred, self.rerouted)


def routes_in_words(texts: int, deferred: int | None, rerouted: int) -> str:
    """How many texts of a cascade went which way; empty for what is no cascade."""
    if deferred is None:
        return ""
    other = f", {rerouted} of them not as where it was verified" if rerouted else ""
    return f"{texts - deferred} answered by the student, {deferred} by the full model{other}"


def compare(
    recorded: Sequence[Sequence[float]],
    answered: FloatArray,
    *,
    recorded_deferred: Sequence[bool | None] = (),
    deferred: BoolArray | None = None,
    thresholds: Sequence[float] = (),
) -> Comparison:
    """Compare probabilities of shape (texts, labels), of at least one text, with those that are recorded.

    `thresholds` are those of a multi-label model: a text is changed if any of its labels is.

    Of a cascade, `deferred` says which texts it deferred, `recorded_deferred` which ones it deferred where it was
    verified, None where that is not recorded.
    """
    expected = np.array(recorded, dtype=np.float32)
    routes = zip(recorded_deferred, [] if deferred is None else deferred.tolist(), strict=False)
    return Comparison(
        changed=int((_decided(expected, thresholds) != _decided(answered, thresholds)).any(axis=1).sum()),
        largest_difference=float(np.abs(expected - answered).max()),
        texts=len(expected),
        deferred=None if deferred is None else int(deferred.sum()),
        rerouted=sum(before is not None and before != now for before, now in routes),
    )


def _decided(probabilities: FloatArray, thresholds: Sequence[float]) -> BoolArray:
    """Which labels each text has: boolean, (texts, labels)."""
    if thresholds:
        return probabilities >= np.array(thresholds, dtype=np.float32)
    best = probabilities.argmax(axis=1)
    return np.asarray(best[:, None] == np.arange(probabilities.shape[1]), dtype=np.bool_)
