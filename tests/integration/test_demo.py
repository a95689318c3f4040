"""The demo through its real server: plain HTTP, Gradio's client, hostile clients, overload, and the end."""

import base64
import concurrent.futures
import contextlib
import gc
import gzip
import http.client
import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_server import Server, ask, post, serving, wait_for_file

from sentopt import Classifier, cli
from sentopt.demo.limits import Limits

pytestmark = pytest.mark.versions

TEXTS = [
    "great great day",
    "terrible food",
    "the shop opens at nine",
    "",
    "nul \x00 byte",
    "emoji 👩‍👩‍👧 ok",
    "日本語のテキスト",
]


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """Clients leave sockets to the garbage collector: collect them here, where that is no error."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def bundled(int8_run: Path) -> Classifier:
    return Classifier.load(int8_run / "bundle")


@pytest.fixture(scope="module")
def server(int8_run: Path) -> Iterator[Server]:
    """Of a graph that answers a text as when it is alone: concurrent requests share batches."""
    with serving("--run-dir", str(int8_run)) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    from gradio_client import Client

    client = Client(server.address, verbose=False, analytics_enabled=False)
    yield client
    client.close()


def test_the_endpoints_answer_as_the_classifier(server: Server, bundled: Classifier) -> None:
    expected = bundled.predict(TEXTS)
    batch = post(server.address + "/predict_batch", {"texts": TEXTS})
    assert batch.status == 200
    assert [p["label"] for p in batch.json["predictions"]] == [p.label for p in expected]
    for text, one, want in zip(TEXTS, batch.json["predictions"], expected, strict=True):
        alone = post(server.address + "/predict", {"text": text}).json
        assert alone["label"] == want.label
        for found in (one, alone):
            assert found["probabilities"] == pytest.approx(want.probabilities, abs=0.02)
            assert found["score"] == max(found["probabilities"].values())
        assert alone["milliseconds"] > 0


def test_a_long_text_is_said_to_be_cut(server: Server) -> None:
    assert post(server.address + "/predict", {"text": "terrible " * 100}).json["truncated"] is True
    assert post(server.address + "/predict", {"text": "terrible"}).json["truncated"] is False


def test_an_explanation_is_what_leaving_each_word_out_changes(server: Server, bundled: Classifier) -> None:
    found = post(server.address + "/explain", {"text": "great great, but terrible!"}).json
    assert [w["text"] for w in found["words"]] == ["great", "great", ",", "but", "terrible", "!"]
    assert found["texts"] == 7
    label, score = found["label"], found["score"]
    without = bundled("great great, but !").probabilities[label]
    terrible = next(w for w in found["words"] if w["text"] == "terrible")
    assert terrible["weight"] == pytest.approx(score - without, abs=0.02)
    assert (terrible["start"], terrible["end"]) == (17, 25)


def test_gradios_client_finds_the_same_endpoints_by_name(client: Any, server: Server) -> None:
    expected = post(server.address + "/predict", {"text": "great great day"}).json
    found = client.predict("great great day", api_name="/predict")
    assert found["label"] == expected["label"] == "positive"
    assert found["score"] == pytest.approx(expected["score"], abs=0.02)
    assert len(client.predict(["terrible food", "great"], api_name="/predict_batch")["predictions"]) == 2
    assert client.predict("great day", api_name="/explain")["words"][0]["text"] == "great"
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(named) == {"/predict", "/predict_batch", "/explain"}


def test_gradios_client_is_told_why_it_is_refused(client: Any) -> None:
    with pytest.raises(Exception, match="at most 20,000"):
        client.predict("x" * 20_001, api_name="/predict")


@pytest.mark.parametrize(
    ("endpoint", "given"),
    [("/predict", 5), ("/predict", None), ("/explain", ["a"]), ("/predict_batch", "abc"), ("/predict_batch", [1, "a"])],
)
def test_gradios_client_is_told_what_a_text_is(client: Any, endpoint: str, given: object) -> None:
    with pytest.raises(Exception, match="texts are strings"):
        client.predict(given, api_name=endpoint)


def test_lone_surrogates_pass_through_gradio(server: Server) -> None:
    reply = ask(server.address + "/gradio_api/call/explain", b'{"data": ["great \\ud800 day"]}')
    found = ask(f"{server.address}/gradio_api/call/explain/{reply.json['event_id']}").body
    assert b"event: complete" in found
    assert b'"words"' in found


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 422, "JSON"),
        (b'{"text": 1}', 422, "string"),
        (b'{"text": null}', 422, "string"),
        (b'{"texts": ["a"]}', 422, "text"),
        (b'{"text": "a", "more": 1}', 422, "more"),
        (b'["a"]', 422, "object"),
        (b"", 422, "JSON"),
        (b"\xff\xfe", 422, "JSON"),
        (b'{"text": "\xed\xa0\x80"}', 422, "JSON"),
        (json.dumps({"text": "x" * 20_001}).encode(), 413, "20,000"),
        (json.dumps({"text": "x" * 2**20}).encode(), 413, "1,048,576 bytes"),
        (b"[" * 100_000, 422, "JSON"),
        (b'{"text": ' + b"9" * 10_000 + b"}", 422, "JSON"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(server: Server, body: bytes, status: int, words: str) -> None:
    reply = ask(server.address + "/predict", body)
    assert (reply.status, words in reply.json["detail"]) == (status, True), reply.body
    assert len(reply.body) < 500
    assert post(server.address + "/predict", {"text": "still there"}).status == 200


def test_too_many_texts_are_refused(server: Server) -> None:
    reply = post(server.address + "/predict_batch", {"texts": ["a line"] * 10_000})
    assert (reply.status, "at most 1,000" in reply.json["detail"]) == (413, True)
    assert len(post(server.address + "/predict_batch", {"texts": ["a line"] * 1_000}).json["predictions"]) == 1_000
    assert post(server.address + "/predict_batch", {"texts": []}).json["predictions"] == []


def test_slow_and_vanishing_clients_harm_nobody(server: Server) -> None:
    half = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    for i, connection in enumerate(slow):
        connection.sendall(half if i % 2 else b"POST /predict HT")
    started = time.perf_counter()
    assert post(server.address + "/predict", {"text": "quick"}).status == 200
    assert time.perf_counter() - started < 5
    for connection in slow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")  # reset
        connection.close()
    assert post(server.address + "/predict", {"text": "quick"}).status == 200


def test_a_request_head_may_not_grow_for_ever(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        with pytest.raises(OSError, match=r"(?i)reset|pipe|abort"):
            connection.sendall(b"x" * 2**26)


def raw(server: Server, sent: bytes, *, timeout: float = 30.0) -> bytes:
    """Everything that comes back on one connection, whose last request says that it is the last."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as connection:
        connection.sendall(sent)
        parts = []
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


def test_a_head_that_is_too_large_is_told_so(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * (2**16))
        assert connection.recv(100).startswith(b"HTTP/1.1 431 ")


def test_a_body_has_no_endless_trailer(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    small = b'd\r\n{"text": "a"}\r\n0\r\nX-More: yes\r\nHost: evil.example\r\n\r\n'
    assert b'"label"' in raw(server, chunked + small + b"GET /healthz HTTP/1.0\r\n\r\n")
    for endless in (b'd\r\n{"text": "a"}\r\n0\r\n' + b"X: y\r\n" * 2**19, b"1;" + b"x" * 2**22 + b"\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            started = time.perf_counter()
            with contextlib.suppress(ConnectionError):
                connection.sendall(chunked + endless)
                assert b'"label"' not in connection.recv(65_536)
            assert time.perf_counter() - started < 8, "it was read until the time for a body was over"
    assert ask(server.address + "/healthz").status == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
        (b"HEAD /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 200),
        (b"HEAD /metrics HTTP/1.0\r\n\r\n", 200),
        (b"HEAD / HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /config HTTP/1.0\r\n\r\n", 200),
        (b"HEAD /gradio_api/heartbeat/abc HTTP/1.0\r\n\r\n", 405),
        (b"OPTIONS /predict HTTP/1.0\r\nOrigin: https://evil.example\r\n\r\n", 405),
        (b"PUT / HTTP/1.0\r\n\r\n", 405),
        (b"OPTIONS * HTTP/1.0\r\n\r\n", 404),
        (b"CONNECT localhost:80 HTTP/1.0\r\n\r\n", 400),
        (b"GET http://localhost/healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET http://127.0.0.1:80/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        (b"GET http://[2001:db8::1]:80/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400),
    ],
)
def test_what_probes_and_proxies_send_has_an_answer(server: Server, head: bytes, status: int) -> None:
    answer = raw(server, head)
    first, _, body = answer.partition(b"\r\n\r\n")
    assert int(first.split()[1]) == status, answer[:300]
    if head.startswith(b"HEAD"):
        assert not body
    if status == 405:
        assert b"\r\nallow: " in first.lower()
        assert b"access-control" not in first.lower()


def test_a_client_that_waits_for_permission_is_refused_before_it_sends(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head + b"Content-Length: 99999999\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head + b"Content-Length: 13\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b'{"text": "a"}')
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_chunked_body_beyond_the_limit_is_refused(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    assert raw(server, head + b"no number\r\n").startswith(b"HTTP/1.1 400 ")
    chunks = (b"10000\r\n" + b"x" * 65_536 + b"\r\n") * 17
    assert raw(server, head + chunks + b"0\r\n\r\n").startswith(b"HTTP/1.1 413 ")


def test_a_compressed_bomb_is_not_unpacked(server: Server) -> None:
    bomb = gzip.compress(b'{"text": "' + b"a" * 2**26 + b'"}')
    assert len(bomb) < 2**17
    reply = ask(server.address + "/predict", bomb, Content_Encoding="gzip")
    assert (reply.status, reply.headers["Accept-Encoding"]) == (415, "identity")
    assert "compressed" in reply.json["detail"]


def test_one_broken_text_does_not_refuse_the_others(server: Server, bundled: Classifier) -> None:
    texts = ["great great day", "half \ud83d of a pair", "\udc00", "whole 😀", "terrible food"]
    found = post(server.address + "/predict_batch", {"texts": texts})
    assert found.status == 200
    assert [p["label"] for p in found.json["predictions"]] == [p.label for p in bundled.predict(texts)]
    reply = ask(server.address + "/explain", b'{"text": "great \\ud800 day"}')
    assert (reply.status, [w["text"] for w in reply.json["words"]]) == (200, ["great", "\ufffd", "day"])
    for route in ("predict", "explain"):
        reply = ask(f"{server.address}/gradio_api/run/{route}", b'{"data": ["great \\ud800 day"]}')
        assert (reply.status, reply.json["data"][0]["label"]) == (200, bundled("great \ufffd day").label)


def test_a_full_disk_stops_no_answer(finished_run: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this machine")
    with serving("--run-dir", str(finished_run), "--log-texts", "/dev/full") as server:
        for _ in range(3):
            assert post(server.address + "/predict", {"text": "a"}).status == 200
        assert post(server.address + "/predict_batch", {"texts": ["a", "b"]}).status == 200
        assert post(server.address + "/explain", {"text": "a b"}).status == 200
        metrics = ask(server.address + "/metrics").body
    assert b"sentopt_unlogged_texts_total 6.0" in metrics
    assert "".join(server.output).count("texts cannot be added to /dev/full (No space left on device)") == 1


def test_a_client_that_sends_and_leaves_is_no_error(server: Server) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n"
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(head + b'{"text": "a"}')
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)
    assert b"sentopt_errors_total{" not in ask(server.address + "/metrics").body


def test_of_two_servers_that_start_at_once_one_has_the_port(finished_run: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = str(listening.getsockname()[1])
    command = [sys.executable, "-m", "sentopt", "demo", "--run-dir", str(finished_run), "--port", port]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        end = time.monotonic() + 60
        while all(process.poll() is None for process in both):
            assert time.monotonic() < end, "two servers have one port"
            time.sleep(0.05)
        ended = next(process for process in both if process.poll() is not None)
        assert ended.returncode == 1
        assert ended.stderr
        assert "Choose another port" in ended.stderr.read()
    finally:
        for process in both:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            assert process.stderr
            process.stderr.close()
            process.wait(30)


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"\0" * 99]
)
def test_what_is_no_http_gets_no_answer_or_a_refusal(server: Server, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        answer = connection.recv(100)
    assert not answer or answer.startswith(b"HTTP/1.1 4")
    assert ask(server.address + "/healthz").status == 200


# The ways into Gradio's servers that its advisories describe: files by path, uploads, proxies, component servers.
@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=..%2f..%2fetc%2fpasswd",
        "/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://169.254.169.254/latest/meta-data",
        "/proxy=http://localhost:22",
        "/gradio_api/custom_component/x/client/component/..%2f..%2f..%2fetc%2fpasswd",
        "/custom_component/..%2f..",
        "/assets/..%2f..%2f..%2froutes.py",
        "/static/%2e%2e/%2e%2e/routes.py",
        "/assets/%5c..%5c..%5croutes.py",
        "/gradio_api/deep_link",
        "/gradio_api/vibe-code",
        "/gradio_api/upload_progress?upload_id=1",
        "/gradio_api/openapi.json",
        "/monitoring",
        "/login",
        "//evil.example/%2e%2e",
        "/docs",
        "/redoc",
    ],
)
def test_gradios_other_routes_are_closed(server: Server, path: str) -> None:
    reply = ask(server.address + path)
    assert reply.status == 404
    assert b"root:" not in reply.body


@pytest.mark.parametrize(
    "path", ["/gradio_api/upload", "/gradio_api/component_server", "/gradio_api/vibe-edit", "/login"]
)
def test_nothing_can_be_uploaded_or_edited(server: Server, path: str) -> None:
    assert ask(server.address + path, b"{}").status == 404


@pytest.mark.parametrize("where", ["/etc/passwd", "http://127.0.0.1:1/x", "file:///etc/passwd"])
def test_a_file_in_the_place_of_a_text_is_never_opened(server: Server, where: str) -> None:
    file = {"path": where, "url": where, "meta": {"_type": "gradio.FileData"}, "orig_name": "x.txt"}
    joined = {"fn_index": 0, "session_hash": "abc", "trigger_id": 1}
    for route in ("call/predict", "call/v2/predict", "run/predict", "queue/join"):
        for sent in ({"data": [file]}, {"data": [[[file]]], **joined}, {"text": file}, [file], {"data": file}):
            reply = post(f"{server.address}/gradio_api/{route}", sent)
            assert (reply.status, "no files are taken" in reply.json["detail"]) == (422, True), (route, sent)


def test_every_reply_has_the_security_headers(server: Server) -> None:
    for path in ("/", "/config", "/metrics", "/nothing", "/healthz"):
        headers = ask(server.address + path).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in headers


def test_other_names_and_other_sites_are_refused(server: Server) -> None:
    """A page elsewhere could reach this machine through the visitor's browser, or by a name that it controls."""
    assert ask(server.address + "/config", Host="evil.example").status == 400
    assert post(server.address + "/predict", {"text": "a"}, Origin="https://evil.example").status == 400
    assert post(server.address + "/predict", {"text": "a"}, Origin=server.address).status == 200
    assert ask(server.address + "/predict", b'{"text": "a"}', Content_Type="text/plain").status == 415


def test_the_page_shows_the_run_and_not_where_it_lies_and_sends_nothing_home(server: Server, int8_run: Path) -> None:
    config = ask(server.address + "/config")
    assert config.json["analytics_enabled"] is False
    for words in (
        b"How the verdicts were made",
        b"Examples from the test split",
        b"lean-int8",
        b"Intended use and limits",
        b"POST /predict",
    ):
        assert words in config.body
    assert str(int8_run.parent).encode() not in config.body
    assert b"/tmp/" not in config.body
    page = ask(server.address + "/").body
    assert b'<script src="http' not in page
    assert b"googleapis" not in page


def test_the_metrics_count_what_was_asked(server: Server) -> None:
    def value(name: str) -> float:
        lines = ask(server.address + "/metrics").body.decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    before, texts = value('sentopt_requests_total{endpoint="/predict",status="200"}'), value("sentopt_batch_texts_sum")
    post(server.address + "/predict", {"text": "one"})
    post(server.address + "/predict", {"text": "two"})
    assert value('sentopt_requests_total{endpoint="/predict",status="200"}') == before + 2
    assert value("sentopt_batch_texts_sum") == texts + 2
    assert value("sentopt_waiting_texts") == 0
    assert value('sentopt_request_seconds_count{endpoint="/predict"}') >= before + 2
    assert value("sentopt_errors_total") == 0


def test_concurrent_requests_get_their_own_answers(server: Server, bundled: Classifier) -> None:
    texts = [f"{'great' if i % 3 else 'terrible'} {'day ' * (i % 17)}number {i}" for i in range(200)]
    expected = np.array([list(p.probabilities.values()) for p in bundled.predict(texts)])

    def one(text: str) -> list[float]:
        return list(post(server.address + "/predict", {"text": text}).json["probabilities"].values())

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        found = np.array(list(pool.map(one, texts)))
    assert np.abs(found - expected).max() < 0.05
    lines = ask(server.address + "/metrics").body.decode().splitlines()
    together = next(float(line.split()[1]) for line in lines if line.startswith('sentopt_batch_texts_bucket{le="1.0"}'))
    calls = next(float(line.split()[1]) for line in lines if line.startswith("sentopt_batch_texts_count"))
    assert calls > together, "no two requests were answered in one call"


def test_schemathesis_finds_nothing(server: Server) -> None:
    import schemathesis
    from hypothesis import HealthCheck, given, settings
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
        unsupported_method,
    )

    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
        negative_data_rejection,
        unsupported_method,
    ]
    schema = schemathesis.openapi.from_url(server.address + "/openapi.json")
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
        )
        @given(case=operation.as_strategy())
        def valid(case: Any) -> None:
            nonlocal tried
            tried += 1
            case.call_and_validate(checks=checks)

        valid()
    assert tried >= 150


def test_an_accepted_request_is_finished_when_the_server_stops(finished_run: Path) -> None:
    with serving("--run-dir", str(finished_run), stop=signal.SIGTERM) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        body = json.dumps({"texts": ["terrible " * 40] * 1_000})
        connection.request("POST", "/predict_batch", body, {"Content-Type": "application/json"})
        with socket.create_connection(("127.0.0.1", server.port)) as page:
            page.sendall(b"GET /gradio_api/heartbeat/abc HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            assert page.recv(12) == b"HTTP/1.1 200"
            time.sleep(0.05)
            server.process.send_signal(signal.SIGTERM)
            started = time.perf_counter()
            reply = connection.getresponse()
            assert reply.status == 200
            assert len(json.loads(reply.read())["predictions"]) == 1_000
            connection.close()
            server.process.wait(10)
    assert time.perf_counter() - started < 15


def test_a_taken_port_is_an_error_in_words(
    server: Server, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", "--run-dir", str(finished_run), "--port", str(server.port)]) == 1
    assert "Choose another port" in capsys.readouterr().err


def test_passwords_are_asked_for_and_never_printed(finished_run: Path, tmp_path: Path) -> None:
    people = tmp_path / "people.txt"
    people.write_text("ann:correct horse\n")
    log = tmp_path / "texts.jsonl"
    options = ["--run-dir", str(finished_run), "--host", "0.0.0.0", "--auth", str(people), "--log-texts", str(log)]
    with serving(*options) as server:
        good = "Basic " + base64.b64encode(b"ann:correct horse").decode()
        bad = "Basic " + base64.b64encode(b"ann:wrong").decode()
        for path in ("/", "/config", "/metrics", "/openapi.json", "/gradio_api/info"):
            reply = ask(server.address + path)
            assert (reply.status, reply.headers["WWW-Authenticate"][:5]) == (401, "Basic")
        assert post(server.address + "/predict", {"text": "a"}, Authorization=bad).status == 401
        assert post(server.address + "/predict", {"text": "a"}, Authorization=good).status == 200
        assert post(server.address + "/explain", {"text": "why so"}, Authorization=good).status == 200
        assert ask(server.address + "/", Authorization=good).status == 200
        assert ask(server.address + "/healthz").status == 200
        assert [ask(server.address + "/config", Authorization=bad).status for _ in range(8)][-1] == 429
        kept = [json.loads(line)["text"] for line in wait_for_file(log).splitlines()]
        assert kept == ["a", "why so"]  # what was asked, and none of the texts that explain it
    printed = "".join(server.output)
    assert "warning" not in printed
    assert "horse" not in printed


def test_too_fast_a_client_is_told_to_wait(finished_run: Path) -> None:
    """From another address than loopback the rate is 20 a second, and 40 at once."""
    with (
        serving("--run-dir", str(finished_run), "--host", "0.0.0.0") as server,
        concurrent.futures.ThreadPoolExecutor(8) as pool,
    ):
        replies = list(pool.map(lambda _: post(server.address + "/predict", {"text": "a"}), range(150)))
        assert {reply.status for reply in replies} == {200, 429}
        assert all(reply.headers["Retry-After"] == "1" for reply in replies if reply.status == 429)
        time.sleep(1.1)
        assert post(server.address + "/predict", {"text": "a"}).status == 200
    assert "asks for no password" in "".join(server.output)


def test_overload_is_refused_at_once_and_leaves_nothing_behind(server: Server) -> None:
    """More work than can be done in seconds: some of it is refused quickly, and afterwards all is as before."""
    heavy = json.dumps({"texts": ["terrible " * 45] * 1_000}).encode()
    statuses: list[int] = []
    refusals: list[float] = []

    def flood() -> None:
        for _ in range(4):
            started = time.perf_counter()
            reply = ask(server.address + "/predict_batch", heavy)
            statuses.append(reply.status)
            if reply.status == 503:
                refusals.append(time.perf_counter() - started)
                assert reply.headers["Retry-After"] == "1"

    threads = [threading.Thread(target=flood) for _ in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 503}
    assert np.median(refusals) < 2.0
    assert post(server.address + "/predict", {"text": "great day"}).json["milliseconds"] < 2_000


def test_the_space_uses_a_bundle_beside_it(finished_run: Path, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).parents[2] / "demo" / "app.py", tmp_path)
    shutil.copytree(finished_run / "bundle", tmp_path / "bundle")
    spec = importlib.util.spec_from_file_location("space", tmp_path / "app.py")
    assert spec
    assert spec.loader
    space = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(space)
    assert space.bundle() == tmp_path / "bundle"
    assert space.IN_A_SPACE["limits"].client_rate > Limits().client_rate


def test_a_bundle_that_stands_alone_says_so(finished_run: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(finished_run / "bundle", tmp_path / "bundle")
    with serving("--bundle", str(alone)) as server:
        config = ask(server.address + "/config").body
        assert b"How it was verified" in config
        assert b"stay in the directory of the run" in config
        assert b"Examples:" in config
        assert b"from the test split" not in config
