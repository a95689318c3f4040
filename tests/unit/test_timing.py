from functools import partial

import pytest

from sentopt.measure import timing


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


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        timing.summarize([])
