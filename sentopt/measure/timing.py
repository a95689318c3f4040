"""Timing on noisy machines: warm up, interleave the contenders, keep every sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

_SETTLE_SECONDS = 0.05
Figure = Literal["mean", "p50", "p95", "p99"]
"""What many latencies are summed up in."""


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles and mean of one workload in milliseconds; records of earlier versions have no mean."""

    p50: float
    p95: float
    p99: float
    samples: int
    mean: float | None = None

    def figure(self, name: Figure) -> float:
        """The figure of that name.

        Raises:
            ValueError: this record has no mean.
        """
        value: float | None = getattr(self, name)
        if value is None:
            raise ValueError("this benchmark is of an earlier version and has no mean")
        return value


def summarize(milliseconds: Sequence[float]) -> LatencySummary:
    """Percentiles with linear interpolation between order statistics, and the mean of all samples.

    Raises:
        ValueError: no samples.
    """
    if not milliseconds:
        raise ValueError("no samples to summarize")
    p50, p95, p99 = np.percentile(np.asarray(milliseconds), [50, 95, 99])
    return LatencySummary(float(p50), float(p95), float(p99), len(milliseconds), float(np.mean(milliseconds)))


def shared_figure(wanted: Figure, summaries: Iterable[LatencySummary]) -> Figure:
    """`wanted` where every summary has it, else the median, which all have: only like is compared with like."""
    return "p50" if wanted == "mean" and any(summary.mean is None for summary in summaries) else wanted


def interleave(
    work: Mapping[str, Callable[[], Sequence[float]]], *, rounds: int, on_round: Callable[[int], None] | None = None
) -> dict[str, list[float]]:
    """Run several contenders in turns. Returns the samples of each in milliseconds.

    Every contender has one turn per round, and the order rotates by one each round. Drift of the machine and the state
    left by the previous contender therefore affect all of them equally. A short pause precedes each turn: thread pools
    keep spinning after their last call and would take cores from the next contender. (BERT in
    `benchmarks/peers.py --family`, 16 texts of 32 tokens on two cores: 70 ms after a pause of 20 ms, 63 after one of
    50, 64 after 300.) A first warm-up round is discarded.

    Args:
        work: by contender, a function that runs one turn and returns its samples in milliseconds.
        rounds: number of measured rounds.
        on_round: called with the number of each finished round.
    """
    samples: dict[str, list[float]] = {name: [] for name in work}
    for turn in work.values():
        turn()
    names = list(work)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            time.sleep(_SETTLE_SECONDS)
            samples[name].extend(work[name]())
        if on_round:
            on_round(number + 1)
    return samples
