from functools import partial

import pytest

from sentopt import records
from sentopt.measure import timing
from sentopt.measure.timing import LatencySummary


def test_rounds_are_interleaved_rotated_and_warmed_up() -> None:
    calls: list[str] = []

    def turn(name: str) -> list[float]:
        calls.append(name)
        return [float(len(calls)), 0.0]

    work = {name: partial(turn, name) for name in "abc"}
    rounds: list[int] = []
    samples = timing.interleave(work, rounds=3, on_round=rounds.append)
    assert "".join(calls) == "abc" + "abc" + "bca" + "cab"
    assert samples["a"] == [4.0, 0.0, 9.0, 0.0, 11.0, 0.0]
    assert rounds == [1, 2, 3]


def test_percentiles() -> None:
    summary = timing.summarize([float(i) for i in range(1, 102)])
    assert (summary.p50, summary.p95, summary.p99, summary.samples) == (51.0, 96.0, 100.0, 101)
    assert summary.mean == 51.0


def test_the_mean_counts_the_tail_that_the_median_hides() -> None:
    summary = timing.summarize([1.0] * 75 + [9.0] * 25)
    assert (summary.figure("p50"), summary.figure("mean"), summary.figure("p99")) == (1.0, 3.0, 9.0)


def test_a_record_without_a_mean_is_read_and_never_gives_one() -> None:
    old = records.from_json(LatencySummary, {"p50": 1.0, "p95": 2.0, "p99": 3.0, "samples": 10})
    assert old.mean is None
    assert old.figure("p95") == 2.0
    with pytest.raises(ValueError, match="has no mean"):
        old.figure("mean")
    new = timing.summarize([1.0, 2.0])
    assert records.from_json(LatencySummary, records.to_json(new)) == new
    assert timing.shared_figure("mean", [new, new]) == "mean"
    assert timing.shared_figure("mean", [new, old]) == "p50"
    assert timing.shared_figure("p99", [new, old]) == "p99"


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        timing.summarize([])
