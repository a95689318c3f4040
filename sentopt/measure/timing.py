"""Timing that survives a noisy machine: warm up, then interleave what is compared, and keep every sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_SETTLE_SECONDS = 0.02


@dataclass(frozen=True)
class LatencySummary:
    """Percentiles of one workload in milliseconds."""

    p50: float
    p95: float
    p99: float
    samples: int


def summarize(milliseconds: Sequence[float]) -> LatencySummary:
    """Percentiles with linear interpolation between order statistics.

    Raises:
        ValueError: no samples.
    """
    if not milliseconds:
        raise ValueError("no samples to summarize")
    p50, p95, p99 = np.percentile(np.asarray(milliseconds), [50, 95, 99])
    return LatencySummary(float(p50), float(p95), float(p99), len(milliseconds))


def interleave(
    work: Mapping[str, Callable[[], Sequence[float]]], *, rounds: int, on_round: Callable[[int], None] | None = None
) -> dict[str, list[float]]:
    """Let several contenders work in turns and return all the samples that they took, in milliseconds.

    Each round gives every contender one turn, and the order is rotated by one, so that drift of the machine and the
    state a predecessor leaves behind fall on all alike. Before each turn there is a short pause: thread pools keep
    spinning for a while after their last call and would take cores from the next contender. The samples of a first
    round are thrown away.

    Args:
        work: per contender, one turn: it returns the milliseconds of each thing it did.
        rounds: how many turns of each contender count.
        on_round: told the number of each finished round.
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
