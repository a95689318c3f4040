"""Prometheus metrics of the server. No text, label or address is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sentopt.runtime.deferral import Stats

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
Family = dict[str, Any]
"""A metric: name, help, type, and samples of a name, labels and a value each."""
_POWERS = tuple(float(2**n) for n in range(11))


@dataclass(frozen=True)
class Observed:
    """What is read of one served bundle at a scrape.

    Attributes:
        name: that of the bundle on this server.
        sha256: of the bundle that answers now.
        variant: of it.
        stats: what it has answered.
        texts: answered under this name, by the bundles before it, too.
        deferred: how many of these a cascade deferred; None where none of the bundles was one.
        waiting_texts: that no batch holds yet.
        waiting_tokens: of these.
        tokens_per_second: speed of the latest calls.
    """

    name: str
    sha256: str
    variant: str
    stats: Stats
    texts: int
    deferred: int | None
    waiting_texts: int
    waiting_tokens: int
    tokens_per_second: float


@dataclass(frozen=True)
class OfModel:
    """The counters of one served bundle."""

    refused: Counter
    unlogged: Counter
    batch_texts: Histogram
    batch_tokens: Histogram


class Counters:
    """One registry for each server, so that two in one process do not mix."""

    def __init__(self, *, several: bool = False) -> None:
        """
        Args:
            several: several bundles are served: what is counted for each has the label `model`.
        """
        self.registry = CollectorRegistry()
        self._by = ["model"] if several else []
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
        self._unlogged = Counter(
            *("sentopt_unlogged_texts", "Answered texts that the log of texts could not take", self._by),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "sentopt_request_seconds",
            "From the arrival of a request to its answer",
            ["endpoint"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._batch_texts = Histogram(
            *("sentopt_batch_texts", "Texts answered in one call of the model", self._by),
            buckets=_POWERS,
            registry=self.registry,
        )
        self._batch_tokens = Histogram(
            *("sentopt_batch_tokens", "Tokens answered in one call of the model", self._by),
            buckets=tuple(16 * n for n in _POWERS),
            registry=self.registry,
        )

    def of_model(self, name: str) -> OfModel:
        """The counters of the bundle that is served as `name`."""
        label = [name] if self._by else []
        unlogged, texts, tokens = (
            metric.labels(*label) if label else metric
            for metric in (self._unlogged, self._batch_texts, self._batch_tokens)
        )
        assert isinstance(unlogged, Counter)
        assert isinstance(texts, Histogram)
        assert isinstance(tokens, Histogram)
        return OfModel(self.refused, unlogged, texts, tokens)

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A gauge whose value is read at each scrape."""
        Gauge(name, meaning, registry=self.registry).set_function(value)

    def watch_models(self, observe: Callable[[], Iterable[Observed]]) -> None:
        """What waits for each bundle, what it has answered, and of a cascade how much it deferred."""
        self.registry.register(_OfModels(observe, self._by))

    def page(self) -> bytes:
        """The text format of Prometheus."""
        return generate_latest(self.registry)

    def families(self) -> list[Family]:
        """All metrics as JSON, for other processes."""
        return [
            {
                "name": metric.name,
                "help": metric.documentation,
                "type": metric.type,
                "samples": [[one.name, dict(one.labels), one.value] for one in metric.samples],
            }
            for metric in self.registry.collect()
        ]


class _OfModels(Collector):
    """What the bundles themselves know; read at each scrape."""

    def __init__(self, observe: Callable[[], Iterable[Observed]], by: list[str]) -> None:
        self._observe = observe
        self._by = by

    def collect(self) -> Iterator[Metric]:
        """The metrics of one scrape."""
        observed = list(self._observe())
        yield self._bundles(observed)
        for name, meaning, value in (
            ("waiting_texts", "Texts that wait for the model", lambda one: one.waiting_texts),
            ("waiting_tokens", "Tokens of these texts", lambda one: one.waiting_tokens),
            ("tokens_per_second", "Speed of the latest calls of the model", lambda one: one.tokens_per_second),
        ):
            yield from self._gauge(name, meaning, observed, value)
        yield from self._counter("texts", "Texts answered", observed, lambda one: one.texts)
        yield from self._counter(
            *("deferred_texts", "Texts that the student deferred to the full model", observed),
            lambda one: one.deferred,
        )
        cascades = [one for one in observed if one.stats.deferred is not None]
        for name, meaning, value in (
            (
                *("recorded_deferred_share", "Share of the test split that was deferred when the bundle was verified"),
                lambda one: one.stats.recorded_share,
            ),
            (
                *("latest_deferred_share", "Share of the latest 1,000 texts that was deferred"),
                lambda one: one.stats.latest_share,
            ),
            (
                "deferred_share_drifted",
                "1 if the latest share differs from the recorded one by more than chance explains: "
                "the texts have changed",
                lambda one: int(one.stats.drifted),
            ),
        ):
            yield from self._gauge(name, meaning, cascades, value)

    def _bundles(self, observed: list[Observed]) -> Metric:
        metric = GaugeMetricFamily(
            "sentopt_bundle_info", "The bundle that answers: the hash of its sentopt.json", labels=_BUNDLE
        )
        for one in observed:
            metric.add_metric([one.name, one.variant, one.sha256], 1)
        return metric

    def _gauge(self, name: str, meaning: str, observed: list[Observed], value: _Value) -> Iterator[Metric]:
        metric = GaugeMetricFamily(f"sentopt_{name}", meaning, labels=self._by)
        yield from self._filled(metric, observed, value)

    def _counter(self, name: str, meaning: str, observed: list[Observed], value: _Value) -> Iterator[Metric]:
        metric = CounterMetricFamily(f"sentopt_{name}", meaning, labels=self._by)
        yield from self._filled(metric, observed, value)

    def _filled(
        self, metric: GaugeMetricFamily | CounterMetricFamily, observed: list[Observed], value: _Value
    ) -> Iterator[Metric]:
        """A metric with the values that there are; nothing where there is none."""
        for one in observed:
            if (number := value(one)) is not None:
                metric.add_metric([one.name] if self._by else [], number)
        if metric.samples:
            yield metric


_Value = Callable[[Observed], float | None]
_BUNDLE = ["model", "variant", "sha256"]
