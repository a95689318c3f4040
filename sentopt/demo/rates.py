"""Rate limits per client address."""

from __future__ import annotations

import time
from collections import OrderedDict

ADDRESSES = 10_000  # that are remembered


class Rates:
    """Token buckets (Turner, "New directions in communications", 1986), one for each address."""

    def __init__(self, per_second: float, at_once: float) -> None:
        self._per_second = per_second
        self._at_once = at_once
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, address: str, count: float = 1.0) -> bool:
        """Whether a request may be made now; it counts for `count` if so."""
        now = time.monotonic()
        level, since = self._buckets.pop(address, (self._at_once, now))
        level = min(self._at_once, level + (now - since) * self._per_second)
        allowed = level >= 1.0
        self._buckets[address] = (level - count if allowed else level, now)
        if len(self._buckets) > ADDRESSES:
            self._buckets.popitem(last=False)
        return allowed
