"""When a cascade defers a text to its full model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sentopt.runtime.session import BoolArray, FloatArray


class Recorded(Protocol):
    """What holds a threshold in a run or a bundle: as `Threshold` has it."""

    @property
    def threshold(self) -> float:
        """`Threshold.confidence`."""
        ...

    @property
    def threshold_tokens(self) -> int:
        """`Threshold.tokens`."""
        ...


@dataclass(frozen=True)
class Threshold:
    """When a cascade defers a text: where it is worth the time.

    If `p` is the student's highest probability, (1 - p) / p are the odds that it errs, and the full model's time grows
    with the tokens of the text. A text is deferred where the odds for each token exceed a limit, so that a given time
    corrects as many errors as possible (the greedy rule of the knapsack problem, Dantzig 1957).

    Attributes:
        confidence: the limit, as the probability below which a text of `tokens` tokens is deferred; 1 defers all texts.
        tokens: special tokens included, 1 or more.
    """

    confidence: float
    tokens: int

    @classmethod
    def of(cls, recorded: Recorded) -> Threshold:
        """The threshold of a `CascadeRule`, or of a bundle's cascade."""
        return cls(recorded.threshold, recorded.threshold_tokens)

    @property
    def defers_all(self) -> bool:
        """Whether every text is deferred."""
        return self.confidence >= 1.0

    @property
    def odds_per_token(self) -> np.float32:
        """The odds of an error above which a text of one token is deferred."""
        return np.float32((1.0 - self.confidence) / (self.confidence * self.tokens))

    def at(self, tokens: int) -> float:
        """The probability below which a text of so many tokens is deferred."""
        return 1.0 if self.defers_all else 1.0 / (1.0 + float(self.odds_per_token) * tokens)

    def defers(self, confidence: FloatArray, tokens: npt.NDArray[np.int64]) -> BoolArray:
        """Which texts are deferred, computed in float32 as the graph does.

        Args:
            confidence: the student's highest probability of each text, (texts,).
            tokens: of each text, as the full model reads it, (texts,).
        """
        if self.defers_all:
            return np.ones(len(confidence), dtype=np.bool_)
        limit = tokens.astype(np.float32) * self.odds_per_token + np.float32(1.0)
        return np.asarray(confidence * limit < np.float32(1.0))
