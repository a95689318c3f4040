"""Why p99 is far above p50: long texts, deferred texts or moments of the machine, as far as the samples can tell."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from sentopt.measure.timing import LatencySummary, summarize
from sentopt.report.tables import counted
from sentopt.results import BenchResult, BenchRow
from sentopt.run_dir import RunDir

FAR = 3.0
"""p99 is explained where it is more than this many times p50."""
_IN_P99 = 0.01  # share of the texts beyond p99
Samples = Mapping[str, Sequence[float]]
"""Milliseconds of single texts by variant: every text once in each round, in the same order."""


def read_samples(run_dir: RunDir, bench: BenchResult) -> Samples:
    """The raw samples of a benchmark; those from which its figures do not follow are left out."""
    try:
        recorded = json.loads(run_dir.samples.read_text(encoding="utf-8"))["single_text"]
        return {row.variant: recorded[row.variant] for row in bench.rows if _gives(recorded[row.variant], row)}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _gives(samples: Sequence[float], row: BenchRow) -> bool:
    found = summarize(samples)
    return found.samples == row.latency.samples and all(
        math.isclose(found.figure(name), row.latency.figure(name), rel_tol=1e-6) for name in ("p50", "p99")
    )


def explain(bench: BenchResult, deferred: Mapping[str, float], samples: Samples) -> list[str]:
    """Statements on p99: what it rests on, and why it is high where it is.

    Args:
        bench: the benchmark.
        deferred: the share of the test texts that each cascade defers.
        samples: the raw samples; empty where they are not there.
    """
    two_ways = [row for row in bench.rows if row.deferred_latency and deferred.get(row.variant, 0.0) > _IN_P99]
    far = [row for row in bench.rows if row not in two_ways and row.latency.p99 > FAR * row.latency.p50]
    told = [
        *(
            _of_two_ways(row, row.deferred_latency, deferred[row.variant], samples, bench.rounds)
            for row in two_ways
            if row.deferred_latency
        ),
        *(_of_one_way(row, samples, bench.rounds) for row in far),
    ]
    if not far:
        others = "other " if two_ways else ""
        told.append(f"No {others}variant has a p99 of more than {FAR:g} times its p50.")
    return [_basis(bench), *told]


def _basis(bench: BenchResult) -> str:
    fewest = min(row.latency.samples for row in bench.rows)
    slowest = math.ceil(fewest / 100)
    texts = f" ({counted(fewest // bench.rounds, 'text')} in {counted(bench.rounds, 'round')})"
    return f"p99 of a variant rests on the slowest {slowest} of {counted(fewest, 'sample')}{texts}."


def _of_two_ways(row: BenchRow, deferred: LatencySummary, share: float, samples: Samples, rounds: int) -> str:
    """The p99 of a cascade is that of deferred texts where more than one of 100 is deferred."""
    ms = row.latency
    lead = (
        f"**{row.variant}** answers in two ways: {share:.1%} of the test texts are deferred. Its p99 is {ms.p99:.2f} "
        f"ms, its p50 {ms.p50:.2f} ms. Where all texts are deferred, p99 is {deferred.p99:.2f} ms and p50 "
        f"{deferred.p50:.2f} ms."
    )
    if ms.p99 <= deferred.p99:
        return f"{lead} So its p99 is what deferred texts take."
    return f"{lead} Its p99 is above that. {_cause(row, deferred.p99, samples, rounds)}"


def _of_one_way(row: BenchRow, samples: Samples, rounds: int) -> str:
    ms = row.latency
    cause = _cause(row, FAR * ms.p50, samples, rounds)
    return f"**{row.variant}**: p99 is {ms.p99 / ms.p50:.1f} times p50. {cause}"


def _cause(row: BenchRow, limit: float, samples: Samples, rounds: int) -> str:
    """What the samples above `limit` say, if they are there and each text was asked more than once.

    A text that is slow in most rounds is slow by itself, unless it is the first, which follows a pause. One that is
    not met a busy machine, or chance: every round asks the same texts.
    """
    own = samples.get(row.variant)
    if own is None:
        return "The single samples are not at hand, so the cause is not known."
    if rounds < 2 or len(own) % rounds:
        return "Without a second round, the samples do not tell texts from moments of the machine."
    slow = np.asarray(own).reshape(rounds, -1) > limit
    lasting = slow.mean(axis=0) > 0.5
    total, of_lasting, of_first = int(slow.sum()), int(slow[:, lasting].sum()), int(slow[:, 0].sum() * lasting[0])
    texts = int(lasting[1:].sum())
    kinds = [
        (of_first, "of the first text of the rounds, after a pause", "the pause or that text"),
        (
            of_lasting - of_first,
            f"of {counted(texts, 'text')} that {'was' if texts == 1 else 'were'} slow in most rounds",
            "that text itself" if texts == 1 else "these texts themselves",
        ),
        (
            total - of_lasting,
            "of texts that were not slow in most rounds",
            f"moments of the machine, as far as {rounds} rounds tell",
        ),
    ]
    counts = ", ".join(f"{count} {what}" for count, what, _ in kinds if count)
    causes = "; ".join(cause for count, _, cause in kinds if count)
    told = f"{counted(total, 'sample')} took longer than {limit:.2f} ms: {counts}. The cause: {causes}."
    return f"{told} {_by_length(row)}" if texts else told


def _by_length(row: BenchRow) -> str:
    """What length alone does. No sample says the length of its text."""
    cells = sorted((cell.tokens, cell.p50) for cell in row.grid if cell.batch == 1)
    if len(cells) < 2:
        return "How long the texts are is not recorded."
    (short, least), (long, most) = cells[0], cells[-1]
    return (
        f"How long the texts are is not recorded; the graph alone takes {least:.2f} ms for {short} tokens and "
        f"{most:.2f} ms for {long}."
    )
