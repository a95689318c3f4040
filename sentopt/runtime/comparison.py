"""Answers to golden texts beside the PyTorch probabilities that a bundle records, wherever the answers come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentopt.runtime.session import FloatArray


@dataclass(frozen=True)
class Comparison:
    """How many labels differ from the recorded ones, and the largest difference of any probability."""

    changed: int
    largest_difference: float

    def is_within(self, tolerance: float) -> bool:
        """Whether every label is the recorded one and no probability differs by more than `tolerance`; NaN does."""
        return not self.changed and self.largest_difference <= tolerance


def compare(recorded: Sequence[Sequence[float]], answered: FloatArray) -> Comparison:
    """Compare probabilities of shape (texts, labels), of at least one text, with those that are recorded."""
    expected = np.array(recorded, dtype=np.float32)
    return Comparison(
        changed=int((expected.argmax(axis=1) != answered.argmax(axis=1)).sum()),
        largest_difference=float(np.abs(expected - answered).max()),
    )
