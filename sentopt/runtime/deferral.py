"""How many texts a classifier has answered, how many of them a cascade deferred, and whether that is as recorded.

A cascade is tuned to the texts that it was verified on. If it defers another share of the texts that it is asked, these
are other texts: its speed is not the measured one, and its accuracy may not be either.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

DEFERRED = "deferred"
"""The output of a cascade that says of each text whether the full model answered it."""
LATEST = 1000
"""The number of latest texts whose deferred share is compared with the recorded one."""
_FEWEST = 100  # texts: a burst of one kind says nothing yet
_FALSE_ALARM = 1e-4


@dataclass(frozen=True, slots=True)
class Stats:
    """What a classifier has answered in this process.

    Attributes:
        texts: texts answered.
        deferred: how many of them the full model of a cascade answered; None for what is no cascade.
        share: `deferred` by `texts`; None before the first text, and for what is no cascade.
        recorded_share: the deferred share of the test split, as the bundle records it; None for what is no cascade, or
            is no bundle.
        latest_share: the deferred share of the latest 1,000 texts.
        drifted: `latest_share` differs from `recorded_share` by more than chance explains, on 100 texts or more. The
            limit is that of an exact test of two binomial shares (Fisher 1935), one false alarm in 10,000.
    """

    texts: int
    deferred: int | None = None
    share: float | None = None
    recorded_share: float | None = None
    latest_share: float | None = None
    drifted: bool = False


class Tally:
    """Counts answered texts. `add` may be called from many threads at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts = self._deferred = 0
        self._latest: deque[bool] = deque(maxlen=LATEST)

    def add(self, texts: int, deferred: Sequence[bool] = ()) -> None:
        """Count the texts of one batch; `deferred` says of each whether a cascade deferred it."""
        with self._lock:
            self._texts += texts
            if deferred:
                self._deferred += sum(deferred)
                self._latest.extend(deferred)

    def stats(self, *, cascade: bool, recorded: tuple[float, int] | None) -> Stats:
        """The counts; `recorded` is the share that a bundle records, and the number of texts that it is of."""
        with self._lock:
            texts, deferred, latest, of = self._texts, self._deferred, sum(self._latest), len(self._latest)
        if not cascade:
            return Stats(texts)
        return Stats(
            texts,
            deferred,
            deferred / texts if texts else None,
            recorded[0] if recorded else None,
            latest / of if of else None,
            recorded is not None and has_drifted(latest, of, *recorded),
        )


def has_drifted(deferred: int, texts: int, share: float, recorded_texts: int) -> bool:
    """Whether `deferred` of `texts` are too many or too few, where `share` of `recorded_texts` was recorded."""
    if texts < _FEWEST:
        return False
    recorded = round(share * recorded_texts)
    lower = _at_most(deferred, texts, recorded, recorded_texts)
    upper = _at_most(texts - deferred, texts, recorded_texts - recorded, recorded_texts)
    return min(lower, upper) < _FALSE_ALARM / 2


def _at_most(deferred: int, texts: int, recorded: int, recorded_texts: int) -> float:
    """The probability of at most `deferred` among `texts`, if all deferred texts fell where they are by chance."""
    total, every = texts + recorded_texts, deferred + recorded
    whole = _log_choose(total, texts)
    least = max(0, texts - (total - every))
    terms = (_log_choose(every, k) + _log_choose(total - every, texts - k) for k in range(least, deferred + 1))
    return math.fsum(math.exp(term - whole) for term in terms)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
