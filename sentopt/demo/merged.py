"""Metrics and statistics of several processes that serve as one.

Counters and histograms are summed, those of processes that have ended among them, so that no sum ever falls. The sum of
a gauge means nothing: each process has its own, with the label `process`, as in the multi-process mode of Prometheus'
client for Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import Metric, generate_latest

from sentopt.demo.counters import Family

Report = dict[str, Any]
"""What one process tells: its `pid`, its `stats` and its `metrics`."""
_SUMMED = ("counter", "histogram")
_CREATED = "_created"  # the time of a first sample, in seconds since 1970


@dataclass(frozen=True)
class Merged:
    """The latest reports by number of the process, and the sums of those that have ended."""

    reports: Mapping[str, Report]
    past: list[Family]

    def stats(self) -> dict[str, Any]:
        """What each process has answered since it started, or since its bundle was loaded."""
        return {"processes": {number: {"pid": one["pid"], **one["stats"]} for number, one in self.reports.items()}}

    def page(self) -> bytes:
        """The text format of Prometheus."""
        families: list[Family] = added(self.past, ())
        for number, report in self.reports.items():
            families = added(families, [_of_process(family, number) for family in report["metrics"]])
        return generate_latest(_Registry(families))


def added(families: Iterable[Family], more: Iterable[Family]) -> list[Family]:
    """The metrics of both, those of one name together, and equal samples summed."""
    together: dict[str, Family] = {}
    for family in (*families, *more):
        known = together.setdefault(family["name"], {**family, "samples": []})
        samples = {_key(name, labels): (name, labels, value) for name, labels, value in known["samples"]}
        for name, labels, value in family["samples"]:
            key = _key(name, labels)
            if key in samples:
                before = samples[key][2]
                value = min(before, value) if name.endswith(_CREATED) else before + value
            samples[key] = (name, labels, value)
        known["samples"] = [list(one) for one in samples.values()]
    return list(together.values())


def summed(families: Iterable[Family]) -> list[Family]:
    """Those that count, without those that measure."""
    return [family for family in families if family["type"] in _SUMMED]


def _of_process(family: Family, number: str) -> Family:
    if family["type"] in _SUMMED:
        return family
    samples = [[name, {**labels, "process": number}, value] for name, labels, value in family["samples"]]
    return {**family, "samples": samples}


def _key(name: str, labels: Mapping[str, str]) -> tuple[str, tuple[tuple[str, str], ...]]:
    return name, tuple(sorted(labels.items()))


class _Registry:
    """What `generate_latest` asks for its metrics."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """The metrics, as the client has them."""
        for family in self._families:
            metric = Metric(family["name"], family["help"], family["type"])
            for name, labels, value in family["samples"]:
                metric.add_sample(name, labels, value)
            yield metric
