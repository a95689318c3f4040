"""Each request as a span and in metrics, with OpenTelemetry. No text, label, query or address is recorded.

The attributes are those of the semantic conventions for HTTP servers, and `sentopt.texts` and `sentopt.deferred_texts`.
`opentelemetry-instrumentation-asgi` records the addresses of clients, too, and takes longer for each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import propagate, trace
from opentelemetry.metrics import CallbackOptions, Meter, NoOpMeter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NoOpTracer, SpanKind, StatusCode, Tracer
from prometheus_client import CollectorRegistry, Metric
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentopt._version import __version__
from sentopt.demo import asked, routes
from sentopt.demo.prefix import below

_METHODS = frozenset(("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT"))
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)  # of the conventions
_OBSERVE_SECONDS = 1.0  # between two looks at the counters
_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc", "http/json": "otlp_json_http"}


@dataclass(frozen=True)
class Recording:
    """The providers of the signals that are exported; None for one that is not."""

    traces: TracerProvider | None
    metrics: MeterProvider | None

    def around(self, app: ASGIApp, registry: CollectorRegistry, prefix: str) -> Recorder:
        """The application, with its requests recorded."""
        tracer = self.traces.get_tracer("sentopt", __version__) if self.traces else NoOpTracer()
        meter = self.metrics.get_meter("sentopt", __version__) if self.metrics else NoOpMeter("sentopt")
        return Recorder(app, tracer, meter, registry, prefix)

    def close(self) -> None:
        """Send what is left. May take as long as an exporter tries."""
        for provider in (self.traces, self.metrics):
            if provider:
                with contextlib.suppress(Exception):  # the SDK has logged it
                    provider.shutdown()


def start(wanted: Mapping[str, Sequence[str]], say: Callable[[str], None]) -> Recording:
    """Make exporters and providers.

    Args:
        wanted: the names of the exporters, by signal.
        say: is told which exporter is not installed.
    """
    given = OTELResourceDetector().detect().attributes
    own = {SERVICE_NAME: "sentopt", SERVICE_VERSION: __version__}
    resource = Resource.create({name: value for name, value in own.items() if name not in given})
    traces = metrics = None
    if made := _exporters("traces", wanted, say):
        traces = TracerProvider(resource=resource, shutdown_on_exit=False)
        for exporter in made:
            traces.add_span_processor(BatchSpanProcessor(exporter))
    if made := _exporters("metrics", wanted, say):
        readers = [one if isinstance(one, MetricReader) else PeriodicExportingMetricReader(one) for one in made]
        metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
    return Recording(traces, metrics)


def _exporters(signal: str, wanted: Mapping[str, Sequence[str]], say: Callable[[str], None]) -> list[Any]:
    made = []
    for name in wanted.get(signal, ()):
        entry = _PROTOCOLS.get(_protocol(signal), _protocol(signal)) if name == "otlp" else name
        found = list(entry_points(group=f"opentelemetry_{signal}_exporter", name=entry))
        if found:
            made.append(found[0].load()())
        else:
            say(f"warning: {signal} are not exported to {name!r}: no installed package brings the exporter {entry!r}")
    return made


def _protocol(signal: str) -> str:
    own = os.environ.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
    return own or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"


class Recorder:
    """An ASGI middleware around everything else, refusals and preflights included.

    Probes and the streams of open pages are no requests that anybody waits for, and are not recorded.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer, meter: Meter, registry: CollectorRegistry, prefix: str) -> None:
        self._app, self._tracer, self._prefix = app, tracer, prefix
        self._carried = frozenset(name.encode() for name in propagate.get_global_textmap().fields)
        self._seconds = meter.create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._counters = ObservedCounters(registry, meter)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        path = below(scope["path"], self._prefix) if scope["type"] == "http" else ""
        if not path or path in routes.PROBES or path.startswith(routes.STREAMS):
            await self._app(scope, receive, send)
            return
        await self._record(scope, receive, send, routes.endpoint_of(path))

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        looking = asyncio.create_task(self._counters.keep_looking())
        try:
            await self._app(scope, receive, send)
        finally:
            looking.cancel()
            self._counters.look()

    async def _record(self, scope: Scope, receive: Receive, send: Send, route: str) -> None:
        started = time.perf_counter()
        attributes = _attributes(scope, route)
        method = attributes["http.request.method"]
        name = "HTTP" if method == "_OTHER" else method
        span = self._tracer.start_span(
            f"{name} {route}" if route else name,
            propagate.extract(self._carrier(scope)),
            SpanKind.SERVER,
            {**attributes, "url.path": scope["path"]},
        )
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        request = asked.Asked()
        token = asked.REQUEST.set(request)
        try:
            await self._app(scope, receive, sending)
        except BaseException as error:
            attributes["error.type"] = type(error).__qualname__
            raise
        finally:
            asked.REQUEST.reset(token)
            if status:
                attributes["http.response.status_code"] = status
            if status >= 500:
                attributes.setdefault("error.type", str(status))
            if "error.type" in attributes:
                span.set_status(StatusCode.ERROR)
            elapsed = time.perf_counter() - started
            self._seconds.record(elapsed, attributes, trace.set_span_in_context(span))
            span.set_attributes({**attributes, **_noted(request)})
            span.end()

    def _carrier(self, scope: Scope) -> dict[str, str]:
        return {n.decode(): value.decode("latin-1") for n, value in scope["headers"] if n in self._carried}


def _attributes(scope: Scope, route: str) -> dict[str, Any]:
    """What a request is known by from its start; each has few values, so that metrics may have it, too."""
    method = scope["method"]
    attributes = {
        "http.request.method": method if method in _METHODS else "_OTHER",
        "url.scheme": scope.get("scheme", "http"),
        "network.protocol.version": scope.get("http_version", "1.1"),
    }
    return {**attributes, "http.route": route} if route else attributes


def _noted(request: asked.Asked) -> dict[str, int]:
    noted = {"sentopt.texts": request.texts} if request.texts else {}
    return noted if request.deferred is None else {**noted, "sentopt.deferred_texts": request.deferred}


class ObservedCounters:
    """The counters and gauges of a registry as metrics, under the same names with a dot: `sentopt.waiting_texts`.

    They are read in the event loop, which changes them, and exported in another thread, so that the exporter gets
    copies. Histograms are left out: OpenTelemetry has no way to take them over.
    """

    def __init__(self, registry: CollectorRegistry, meter: Meter) -> None:
        self._registry, self._meter = registry, meter
        self._latest: dict[str, list[Observation]] = {}
        self._known: set[str] = set()

    async def keep_looking(self) -> None:
        """Read the counters every second, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_OBSERVE_SECONDS)

    def look(self) -> None:
        """Read the counters now. Some appear with the first text."""
        families = [family for family in self._registry.collect() if family.type in ("counter", "gauge")]
        self._latest = {family.name: _observations(family) for family in families}
        for family in families:
            if family.name not in self._known:
                self._known.add(family.name)
                self._create(family)

    def _create(self, family: Metric) -> None:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            return self._latest.get(family.name, ())

        counts = family.type == "counter"
        make = self._meter.create_observable_counter if counts else self._meter.create_observable_gauge
        make(family.name.replace("_", ".", 1), [read], description=family.documentation)


def _observations(family: Metric) -> list[Observation]:
    counted = f"{family.name}_total" if family.type == "counter" else family.name
    return [Observation(float(sample.value), sample.labels) for sample in family.samples if sample.name == counted]
