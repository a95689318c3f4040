"""Prometheus metrics of the demo. No text, label or address is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sentopt.runtime.deferral import Stats

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_POWERS = tuple(float(2**n) for n in range(11))


class Counters:
    """One registry for each server, so that two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "sentopt_requests",
            "Requests answered, refused ones among them",
            ["endpoint", "status"],
            registry=self.registry,
        )
        self.errors = Counter(
            "sentopt_errors",
            "Requests that failed through the server",
            ["endpoint"],
            registry=self.registry,
        )
        self.refused = Counter("sentopt_refused", "Requests refused", ["reason"], registry=self.registry)
        self.unlogged = Counter(
            "sentopt_unlogged_texts", "Answered texts that the log of texts could not take", registry=self.registry
        )
        self.seconds = Histogram(
            "sentopt_request_seconds",
            "From the arrival of a request to its answer",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batch_texts = Histogram(
            "sentopt_batch_texts", "Texts answered in one call of the model", buckets=_POWERS, registry=self.registry
        )
        self.batch_tokens = Histogram(
            "sentopt_batch_tokens",
            "Tokens answered in one call of the model",
            buckets=tuple(16 * n for n in _POWERS),
            registry=self.registry,
        )

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A gauge whose value is read at each scrape."""
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def watch_model(self, stats: Callable[[], Stats]) -> None:
        """What the model has answered, and of a cascade how much it deferred; read at each scrape."""
        self.registry.register(_OfModel(stats))

    def page(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)


class _OfModel(Collector):
    """The counts that the classifier itself keeps."""

    def __init__(self, stats: Callable[[], Stats]) -> None:
        self._stats = stats

    def collect(self) -> Iterator[Metric]:
        """The metrics of one scrape."""
        stats = self._stats()
        yield CounterMetricFamily("sentopt_texts", "Texts answered", value=stats.texts)
        if stats.deferred is None:
            return
        yield CounterMetricFamily(
            "sentopt_deferred_texts", "Texts that the student deferred to the full model", value=stats.deferred
        )
        for name, meaning, value in (
            (
                "recorded",
                "Share of the test split that was deferred when the bundle was verified",
                stats.recorded_share,
            ),
            ("latest", "Share of the latest 1,000 texts that was deferred", stats.latest_share),
        ):
            if value is not None:
                yield GaugeMetricFamily(f"sentopt_{name}_deferred_share", meaning, value=value)
        yield GaugeMetricFamily(
            "sentopt_deferred_share_drifted",
            "1 if the latest share differs from the recorded one by more than chance explains: the texts have changed",
            value=int(stats.drifted),
        )
