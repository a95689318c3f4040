"""OpenTelemetry by its standard variables: a real server, and a collector that reads what it is sent (OTLP/HTTP)."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import small_cascades
from demo_server import ask, post, serving

from sentopt import Classifier
from sentopt.demo import telemetry

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SECRET = "terrible secret the great"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


class Collector:
    """What arrived: the bytes, and the messages that they hold, by path."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.messages: dict[str, list[Any]] = {"/v1/traces": [], "/v1/metrics": []}
        self.address = ""

    @property
    def spans(self) -> list[Any]:
        sent = self.messages["/v1/traces"]
        return [span for one in sent for r in one.resource_spans for scope in r.scope_spans for span in scope.spans]

    @property
    def metrics(self) -> dict[str, Any]:
        """The latest state of each metric."""
        sent = self.messages["/v1/metrics"]
        return {
            m.name: m for one in sent for r in one.resource_metrics for scope in r.scope_metrics for m in scope.metrics
        }

    @property
    def resource(self) -> dict[str, Any]:
        return attributes(self.messages["/v1/traces"][0].resource_spans[0].resource)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port."""
    metrics = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    traces = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")
    kinds = {"/v1/traces": traces.ExportTraceServiceRequest, "/v1/metrics": metrics.ExportMetricsServiceRequest}
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            collector.bodies.append(body)
            collector.messages[self.path].append(kinds[self.path].FromString(body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        collector.address = f"http://127.0.0.1:{server.server_port}"
        yield collector
        server.shutdown()


def attributes(of: Any) -> dict[str, Any]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in of.attributes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cascades.write(tmp_path_factory.mktemp("telemetry") / "bundle")


@pytest.fixture(scope="module")
def collected(folder: Path) -> Iterator[Collector]:
    """What a server sent about a handful of requests, each for a trace of its own but the first."""
    with collecting() as collector:
        environment = {ENDPOINT: collector.address, "OTEL_SERVICE_NAME": "reviews"}
        with serving("--bundle", str(folder), "--root-path", "/demo", environment=environment, verb="serve") as server:
            parent = f"00-{TRACE}-{PARENT}-01"
            texts = {"texts": list(small_cascades.TEXTS)}
            assert post(server.address + "/predict_batch", texts, traceparent=parent).status == 200
            assert post(server.address + "/demo/predict?key=hidden", {"text": SECRET}).status == 200
            assert post(server.address + "/v2/models/wrong/infer", {"text": SECRET}).status == 404
            assert post(server.address + "/predict", {"txt": SECRET}).status == 422
            assert ask(server.address + "/healthz").status == 200
            assert ask(server.address + "/nowhere").status == 404
        yield collector


@pytest.mark.skipif(sys.platform == "win32", reason="processes cannot share a port, and no signal ends one in order")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_all_is_sent_before_a_signal_ends_the_server(processes: str, folder: Path) -> None:
    with collecting() as collector:
        options = ("--bundle", str(folder), "--processes", processes)
        with serving(*options, environment={ENDPOINT: collector.address}, verb="serve", stop=signal.SIGTERM) as server:
            for _ in range(6):
                assert post(server.address + "/predict", {"text": SECRET}).status == 200
        assert [span.name for span in collector.spans] == ["POST /predict"] * 6


def test_a_request_is_a_span_of_the_callers_trace(collected: Collector, folder: Path) -> None:
    span = next(span for span in collected.spans if span.trace_id.hex() == TRACE)
    assert (span.name, span.parent_span_id.hex(), span.kind) == ("POST /predict_batch", PARENT, 2)
    assert 0 < span.end_time_unix_nano - span.start_time_unix_nano < 60e9
    assert attributes(span) == {
        "http.request.method": "POST",
        "http.route": "/predict_batch",
        "http.response.status_code": 200,
        "url.path": "/predict_batch",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "sentopt.texts": len(small_cascades.TEXTS),
        "sentopt.deferred_texts": sum(small_cascades.deferred(Classifier.load(folder))),
    }


def test_refusals_are_spans_and_probes_are_not(collected: Collector) -> None:
    named = {(span.name, attributes(span)["http.response.status_code"]) for span in collected.spans}
    assert named == {
        ("POST /predict_batch", 200),
        ("POST /predict", 200),
        ("POST /v2/models/{model}/infer", 404),
        ("POST /predict", 422),
        ("GET", 404),
    }
    assert len({span.trace_id for span in collected.spans}) == 5
    assert all(span.status.code == 0 for span in collected.spans)  # what a client did wrong is no error of the server


def test_no_text_label_query_or_address_is_sent(collected: Collector, folder: Path) -> None:
    assert collected.bodies
    labels = Classifier.load(folder).labels
    texts = [text for text in small_cascades.TEXTS if len(text) > 12]
    assert texts
    for hidden in (SECRET, "secret", "hidden", *texts, *labels):
        assert not [body for body in collected.bodies if hidden.encode() in body], hidden
    keys = {key for span in collected.spans for key in attributes(span)}
    assert not [key for key in keys if key.startswith(("client.", "network.peer.", "user_agent."))]


def test_the_counters_become_metrics(collected: Collector, folder: Path) -> None:
    metrics = collected.metrics
    points = metrics["http.server.request.duration"].histogram.data_points
    assert metrics["http.server.request.duration"].unit == "s"
    assert sum(point.count for point in points) == 5
    assert {attributes(point).get("http.route") for point in points} >= {"/predict", "/predict_batch", None}
    texts = len(small_cascades.TEXTS) + 1
    assert metrics["sentopt.texts"].sum.data_points[0].as_double == texts
    assert metrics["sentopt.texts"].sum.is_monotonic
    asked = [*small_cascades.TEXTS, SECRET]
    deferred = int(Classifier.load(folder).routed(asked, batch_size=1)[1].sum())
    assert metrics["sentopt.deferred_texts"].sum.data_points[0].as_double == deferred
    assert metrics["sentopt.latest_deferred_share"].gauge.data_points[0].as_double == pytest.approx(deferred / texts)
    assert metrics["sentopt.waiting_texts"].gauge.data_points[0].as_double == 0
    counted = metrics["sentopt.requests"].sum.data_points
    assert {(attributes(one)["endpoint"], attributes(one)["status"]) for one in counted} >= {("/predict", "422")}


def test_the_service_is_named_by_its_variable(collected: Collector) -> None:
    assert collected.resource["service.name"] == "reviews"
    assert collected.resource["service.instance.id"]


def test_one_signal_can_be_asked_for_and_the_name_has_a_default(folder: Path) -> None:
    with collecting() as collector:
        environment = {ENDPOINT: collector.address, "OTEL_METRICS_EXPORTER": "none"}
        with serving("--bundle", str(folder), environment=environment, verb="serve") as server:
            post(server.address + "/predict", {"text": "great"})
        assert [span.name for span in collector.spans] == ["POST /predict"]
        assert collector.metrics == {}
        assert collector.resource["service.name"] == "sentopt"


def test_the_sdk_can_be_disabled(folder: Path) -> None:
    with collecting() as collector:
        environment = {ENDPOINT: collector.address, "OTEL_SDK_DISABLED": "true"}
        with serving("--bundle", str(folder), environment=environment, verb="serve") as server:
            assert post(server.address + "/predict", {"text": "great"}).status == 200
        assert collector.bodies == []


def test_a_missing_package_is_said_and_the_server_serves(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'opentelemetry.sdk':\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Missing())\n"
    )
    root = Path(__file__).parents[2]
    environment = {ENDPOINT: "http://127.0.0.1:9", "PYTHONPATH": f"{tmp_path}{os.pathsep}{root}"}
    with serving("--bundle", str(folder), environment=environment, verb="serve") as server:
        assert post(server.address + "/predict", {"text": "great"}).status == 200
        (said,) = [line for line in server.output if "warning" in line]
    assert 'pip install "sentopt[otel]"' in said
    assert f"{ENDPOINT} is set" in said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_TRACES_EXPORTER", "zipkin", "no installed package brings the exporter 'zipkin'"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "-5", "requests are not recorded: OpenTelemetry says ValueError"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", "no installed package brings the exporter 'carrier-pigeon'"),
    ],
)
def test_a_wrong_variable_is_said_and_the_server_serves(folder: Path, name: str, value: str, said: str) -> None:
    pytest.importorskip("opentelemetry.sdk")
    environment = {ENDPOINT: "http://127.0.0.1:9", name: value}
    with serving("--bundle", str(folder), environment=environment, verb="serve") as server:
        assert post(server.address + "/predict", {"text": "great"}).status == 200
        assert said in "".join(server.output)


def test_a_collector_that_is_down_holds_nothing_up(folder: Path) -> None:
    pytest.importorskip("opentelemetry.sdk")
    with serving("--bundle", str(folder), environment={ENDPOINT: "http://127.0.0.1:9"}, verb="serve") as server:
        assert post(server.address + "/predict", {"text": "great"}).status == 200
        stopping = time.monotonic()
    assert time.monotonic() - stopping < 15
    assert server.process.returncode == 0


def test_nothing_is_imported_unless_asked_for(folder: Path) -> None:
    """Recent versions of FastAPI import the API of OpenTelemetry, which records nothing without an SDK."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sentopt import Classifier\n"
        f"Classifier.load({str(folder)!r})('great')\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
        "from sentopt.demo import server, telemetry\n"
        "from sentopt.demo.access import Access\n"
        "from sentopt.demo.limits import Limits\n"
        "from sentopt.demo.models import Models\n"
        f"models = Models({{'': Path({str(folder)!r})}}, Limits())\n"
        "app = server.create_app(models, Access(), address='', page=False)\n"
        "with telemetry.around(app, app.registry, prefix='', say=print, environ={}) as outermost:\n"
        "    print(outermost is app)\n"
        "parts = ('opentelemetry.sdk', 'opentelemetry.exporter', 'sentopt.demo.recorder')\n"
        "print([name for name in sys.modules if name.startswith(parts)])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "True", "[]"]


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, [], []),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_EXPORTER_OTLP_HEADERS": "a=b", ENDPOINT: ""}, [], []),
        ({ENDPOINT: "http://c"}, ["otlp"], ["otlp"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/v1/traces"}, ["otlp"], []),
        ({"OTEL_TRACES_EXPORTER": "console, otlp"}, ["console", "otlp"], []),
        ({ENDPOINT: "http://c", "OTEL_TRACES_EXPORTER": "none"}, [], ["otlp"]),
        ({ENDPOINT: "http://c", "OTEL_SDK_DISABLED": "TRUE"}, [], []),
    ],
)
def test_the_variables_choose_the_signals(environ: dict[str, str], traces: list[str], metrics: list[str]) -> None:
    assert [telemetry.exporters(signal, environ) for signal in telemetry.SIGNALS] == [traces, metrics]
