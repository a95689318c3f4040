"""What passes the gate in front of the demo, and how the rest is refused."""

import asyncio
import base64
import gc
import json
import weakref
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from sentopt.demo import admission, rates
from sentopt.demo.access import Access
from sentopt.demo.admission import Admission
from sentopt.demo.counters import Counters
from sentopt.demo.credentials import Credentials
from sentopt.demo.hosts import AllowedHosts
from sentopt.demo.limits import Limits
from sentopt.demo.proxies import TrustedProxies
from sentopt.demo.rates import Rates
from sentopt.demo.routes import ENDPOINTS
from sentopt.errors import RequestRefused

Answer = Callable[[Scope, Receive, Send], Awaitable[None]]
HEARTBEAT = "/gradio_api/heartbeat/abc"
JSON = {"content-type": "application/json"}
SECURITY = {
    "content-security-policy",
    "x-content-type-options",
    "referrer-policy",
    "permissions-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "x-frame-options",
}


class App:
    """What lies behind the gate; it remembers what got through."""

    def __init__(self, answer: Answer | None = None) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(str(scope.get("path", scope["type"])))
        if scope.get("method") == "POST":
            self.bodies.append((await receive())["body"])
        if self._answer:
            await self._answer(scope, receive, send)
        elif scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
            await send({"type": "http.response.body", "body": b"fine"})


class Client:
    """Sends the pieces of a body, then nothing until it goes away."""

    def __init__(self, pieces: Iterable[bytes] = (b"{}",), *, complete: bool = True, leaves: bool = False) -> None:
        self._pieces = list(pieces)
        self._complete = complete
        self._leaves = leaves
        self.taken = 0
        self.got: list[Message] = []

    async def receive(self) -> Message:
        self.taken += 1
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces) or not self._complete}
        if self._leaves:
            return {"type": "http.disconnect"}
        return await asyncio.Future()

    async def send(self, message: Message) -> None:
        self.got.append(message)


@dataclass(frozen=True)
class Response:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        return str(json.loads(self.body)["detail"])


class Gate(Admission):
    """The admission under test, with what it was made of."""

    def __init__(self, app: App, service: Any, access: Access) -> None:
        super().__init__(app, service, access)
        self.app = app
        self.service = service


def make(app: App | None = None, access: Access | None = None, **limits: float) -> Gate:
    service = SimpleNamespace(limits=Limits(**limits), counters=Counters(), full=False)  # type: ignore[arg-type]
    return Gate(app or App(), service, access or Access())


def counted(by: Gate) -> str:
    return str(by.service.counters.page().decode())


async def request(
    opened: Admission,
    path: str,
    method: str = "GET",
    *,
    address: str | None = "127.0.0.1",
    client: Client | None = None,
    **headers: str | bytes,
) -> Response:
    client = client or Client()
    named: dict[str, str | bytes] = {"host": "localhost:7860", **(JSON if method == "POST" else {})}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "client": address and (address, 50_000),
        "headers": [(n.encode(), v if isinstance(v, bytes) else v.encode("latin-1")) for n, v in named.items()],
    }
    async with asyncio.timeout(2):
        await opened(scope, client.receive, client.send)
    start, *bodies = client.got
    assert [message["type"] for message in client.got] == ["http.response.start", *["http.response.body"] * len(bodies)]
    answered = {name.decode(): value.decode() for name, value in start["headers"]}
    return Response(start["status"], answered, b"".join(message["body"] for message in bodies))


def ask(opened: Admission, path: str, method: str = "GET", **named: Any) -> Response:
    return asyncio.run(request(opened, path, method, **named))


def statuses(opened: Admission, count: int, path: str = "/predict", method: str = "POST", **named: Any) -> list[int]:
    return [ask(opened, path, method, **named).status for _ in range(count)]


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The time that the gate sees: `now` seconds, which pass when a test says so."""
    clock = SimpleNamespace(now=1_000.0)
    monkeypatch.setattr(rates, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((method, path) for path, method in ENDPOINTS.items()),
        ("GET", "/"),
        ("HEAD", "/"),
        ("GET", "/config"),
        ("GET", "/theme.css"),
        ("GET", "/assets/index-1a2b.js"),
        ("GET", "/static/fonts/a.woff2"),
        ("GET", "/gradio_api/info"),
        ("GET", "/gradio_api/queue/data"),
        ("GET", "/gradio_api/startup-events"),
        ("GET", "/gradio_api/call/predict/0123abcd"),
        ("GET", HEARTBEAT),
        ("POST", "/gradio_api/queue/join"),
        ("POST", "/gradio_api/call/predict"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/cancel"),
    ],
)
def test_what_the_page_and_the_endpoints_use_passes(method: str, path: str) -> None:
    assert ask(make(app := App()), path, method).status == 200
    assert app.paths == [path]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "x",
        "//x",
        "/config/../login",
        "/docs",
        "/login",
        "/token",
        "/monitoring",
        "/svelte/x",
        "/dev/reload",
        "/assets",
        "/assets/../config",
        "/assets/..",
        "/assets/..\\..\\config",
        "/assets\\x",
        "/assets/a\\b",
        "/assets/a\0.js",
        "/assets//etc/passwd",
        "/static/a/../../x",
        "/Assets/x",
        "/\0",
        "/predict/",
        "/metrics/x",
        "/gradio_api",
        "/gradio_api/",
        "/gradio_api/upload",
        "/gradio_api/upload_progress",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file/etc/passwd",
        "/gradio_api/proxy=http://169.254.169.254/",
        "/gradio_api/stream/abc",
        "/gradio_api/component_server",
        "/gradio_api/custom_component/a/b/c/d",
        "/gradio_api/vibe-edit",
        "/gradio_api/vibe-code",
        "/gradio_api/process_recording",
        "/gradio_api/profiling/traces",
        "/gradio_api/deep_link",
        "/gradio_api/queue/status",
        "/gradio_api/queue/../upload",
        "/gradio_api/heartbeat/../upload",
        "/gradio_api/call//x",
    ],
)
def test_nothing_else_is_there(path: str) -> None:
    closed = make(app := App())
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "")
    assert {ask(closed, path, method).status for method in methods} == {404}
    assert app.paths == []


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD"),
        ("/config", "GET, HEAD"),
        ("/assets/a.js", "GET, HEAD"),
        ("/gradio_api/queue/join", "POST"),
        ("/gradio_api/call/predict", "GET, POST"),
        ("/gradio_api/queue/data", "GET"),
        (HEARTBEAT, "GET"),
    ],
)
def test_the_page_takes_no_other_methods_and_tells_its_own(path: str, allowed: str) -> None:
    closed = make(app := App())
    others = {"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "HEAD", "GET", "POST"} - {*allowed.split(", ")}
    for method in others:
        answer = ask(closed, path, method)
        assert (answer.status, answer.headers["allow"]) == (405, allowed)
    assert app.paths == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/information"),
        ("GET", "/gradio_api/queue/data_of_others"),
        ("POST", "/gradio_api/queue/join_all"),
        ("POST", "/gradio_api/reset_password"),
    ],
)
def test_a_route_does_not_open_those_whose_names_begin_with_its_name(method: str, path: str) -> None:
    assert ask(make(app := App()), path, method).status == 404
    assert app.paths == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ENDPOINTS)
def test_endpoints_tell_the_method_that_they_take(path: str, method: str) -> None:
    answer = ask(make(app := App()), path, method)
    taken = {"GET": ["GET", "HEAD"], "POST": ["POST"]}[ENDPOINTS[path]]
    if method in taken:
        assert answer.status == 200
    else:
        assert (answer.status, answer.headers["allow"], app.paths) == (405, ", ".join(taken), [])


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/"])
def test_head_is_answered_as_get_without_the_body(path: str) -> None:
    methods: list[str] = []

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        methods.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"fine"})

    answer = ask(make(App(listen)), path, "HEAD")
    assert (methods, answer.status, answer.headers["content-length"], answer.body) == (["GET"], 200, "4", b"")


@pytest.mark.parametrize("bound", ["127.0.0.1", "localhost", "::1"])
@pytest.mark.parametrize("host", ["localhost", "localhost:7860", "127.0.0.1:80", "127.0.0.1", "[::1]", "[::1]:7860"])
def test_this_machine_is_reached_by_its_own_names(bound: str, host: str) -> None:
    assert ask(make(access=Access(AllowedHosts(bound))), "/", host=host).status == 200


def test_names_of_hosts_have_no_case() -> None:
    assert ask(make(), "/", host="LocalHost:7860").status == 200


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:7860",
        "localhost.evil.example",
        "127.0.0.1.evil.example:7860",
        "evil.example#localhost",
        "localhost@evil.example",
        "192.168.1.2:7860",
        "[2001:db8::1]:7860",
        "0.0.0.0:7860",
        "12345",
        "\xff",
    ],
)
@pytest.mark.parametrize("path", ["/", "/predict", "/healthz"])
def test_other_names_do_not_reach_a_server_on_loopback(host: str, path: str) -> None:
    answer = ask(make(app := App()), path, ENDPOINTS.get(path, "GET"), host=host)
    assert answer.status == 400
    assert "localhost" in answer.detail
    assert app.paths == []


@pytest.mark.parametrize("host", ["demo.example", "10.0.0.7:7860", "localhost"])
def test_any_name_reaches_a_server_that_others_may_reach(host: str) -> None:
    assert ask(make(access=Access(AllowedHosts("0.0.0.0"))), "/", host=host).status == 200


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://localhost.evil.example:7860",
        "http://localhost",
        "http://localhost:1",
        "http://localhost:7860.evil.example",
        "null",
        "",
        "localhost:7860",
        "file://",
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/gradio_api/queue/join"])
def test_pages_from_elsewhere_cannot_post(path: str, origin: str) -> None:
    answer = ask(make(app := App()), path, "POST", origin=origin)
    assert (answer.status, app.paths) == (400, [])
    assert "other sites" in answer.detail


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost:7860", "http://localhost:7860"), ("demo.example", "https://demo.example")],
)
def test_its_own_page_can_post(host: str, origin: str) -> None:
    assert ask(make(access=Access(AllowedHosts("0.0.0.0"))), "/predict", "POST", host=host, origin=origin).status == 200


def test_its_own_page_can_post_through_a_proxy_that_names_it() -> None:
    opened = make(access=Access(AllowedHosts("0.0.0.0")))
    named = {"host": "10.0.0.7:7860", "x-forwarded-host": "demo.example"}
    assert ask(opened, "/predict", "POST", **named, origin="https://demo.example").status == 200
    assert ask(opened, "/predict", "POST", **named, origin="https://evil.example").status == 400


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8", " application/json "])
def test_json_is_taken(content_type: str) -> None:
    assert ask(make(), "/predict", "POST", content_type=content_type).status == 200


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "text/plain; application/json", "application/x-www-form-urlencoded", "multipart/form-data"],
)
@pytest.mark.parametrize("path", ["/predict", "/gradio_api/run/predict"])
def test_anything_but_json_is_refused(path: str, content_type: str) -> None:
    client = Client()
    answer = ask(make(app := App()), path, "POST", content_type=content_type, client=client)
    assert (answer.status, app.paths, client.taken) == (415, [], 0)


def test_a_body_announced_as_far_too_large_is_not_read() -> None:
    client = Client()
    closed = make(app := App(), body_bytes=10)
    answer = ask(closed, "/predict", "POST", content_length=str(10 * admission.DISCARDED + 1), client=client)
    assert (answer.status, answer.headers["connection"], app.paths, client.taken) == (413, "close", [], 0)
    assert 'sentopt_refused_total{reason="size"} 1.0' in counted(closed)


@pytest.mark.parametrize("named", [{}, {"content_length": "3"}, {"content_length": "11"}])
def test_a_body_that_is_too_large_is_read_and_refused(named: dict[str, str]) -> None:
    client = Client([b"1234567", b"8901"])
    closed = make(app := App(), body_bytes=10)
    answer = ask(closed, "/predict", "POST", client=client, **named)
    assert (answer.status, app.paths, client.taken) == (413, [], 2)
    assert "10 bytes" in answer.detail
    assert 'sentopt_refused_total{reason="size"} 1.0' in counted(closed)


@pytest.mark.parametrize("named", [{}, {"content_length": "3"}])
def test_a_body_that_grows_far_too_large_is_not_read_to_its_end(named: dict[str, str]) -> None:
    client = Client([b"1234567890"] * 3 * admission.DISCARDED)
    answer = ask(make(app := App(), body_bytes=10), "/predict", "POST", client=client, **named)
    assert (answer.status, answer.headers["connection"], app.paths) == (413, "close", [])
    assert client.taken == admission.DISCARDED + 1


def test_a_body_of_the_largest_size_arrives_in_one_piece() -> None:
    seen: list[Message] = []

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b""})

    client = Client([b"123", b"", b"456", b"7890"], leaves=True)
    opened = make(app := App(listen), body_bytes=10)
    assert ask(opened, "/predict", "POST", client=client, content_length="10").status == 200
    assert app.bodies == [b"1234567890"]
    assert seen == [{"type": "http.disconnect"}]


@pytest.mark.parametrize(
    "length", ["ten", "1e3", "0x10", "12,12", "-1", b"\xb2", " ", pytest.param("9" * 5_000, id="5,000 digits")]
)
def test_a_length_that_is_none_is_an_error_of_the_client(length: str | bytes) -> None:
    closed = make(app := App())
    assert 400 <= ask(closed, "/predict", "POST", content_length=length).status < 500
    assert app.paths == []
    assert "sentopt_errors_total{" not in counted(closed)


def test_a_body_that_never_ends_is_not_waited_for() -> None:
    closed = make(app := App(), body_seconds=0.02)
    answer = ask(closed, "/predict", "POST", client=Client([b"{"], complete=False))
    assert (answer.status, answer.headers["connection"], app.paths) == (408, "close", [])
    assert 'sentopt_refused_total{reason="slow"} 1.0' in counted(closed)
    assert closed.working == 0


def test_a_client_that_goes_away_while_it_sends_costs_nothing() -> None:
    closed = make(app := App())
    ask(closed, "/predict", "POST", client=Client([b"{"], complete=False, leaves=True))
    assert (app.paths, closed.working) == ([], 0)
    assert "sentopt_errors_total{" not in counted(closed)


def test_one_address_is_answered_at_its_rate(clock: SimpleNamespace) -> None:
    limited = make(app := App(), client_rate=2.0)
    assert statuses(limited, 5) == [200] * 4 + [429]
    assert len(app.paths) == 4
    answer = ask(limited, "/predict", "POST")
    assert (answer.status, answer.headers["retry-after"]) == (429, "1")
    assert 'sentopt_refused_total{reason="rate"} 2.0' in counted(limited)
    assert statuses(limited, 1, address="10.0.0.2") == [200]
    assert statuses(limited, 3, "/", "GET") == [200] * 3
    clock.now += 0.5
    assert statuses(limited, 2) == [200, 429]
    clock.now += 1_000
    assert statuses(limited, 5) == [200] * 4 + [429]


def test_who_waits_as_long_as_told_is_answered(clock: SimpleNamespace) -> None:
    limited = make(client_rate=1.0)
    assert statuses(limited, 3) == [200, 200, 429]
    clock.now += float(ask(limited, "/predict", "POST").headers["retry-after"])
    assert statuses(limited, 1) == [200]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        (None, None, True),
    ],
)
def test_addresses_that_one_customer_has_count_together(
    one: str | None, other: str | None, same: bool, clock: SimpleNamespace
) -> None:
    limited = make(client_rate=1.0)
    assert statuses(limited, 3, address=one) == [200, 200, 429]
    assert statuses(limited, 1, address=other) == [429 if same else 200]


def test_only_so_many_addresses_are_remembered(monkeypatch: pytest.MonkeyPatch, clock: SimpleNamespace) -> None:
    monkeypatch.setattr(rates, "ADDRESSES", 100)
    limited = Rates(1.0, 2.0)
    assert [limited.take("busy") for _ in range(3)] == [True, True, False]
    for i in range(1_000):
        assert limited.take(f"10.0.{i // 256}.{i % 256}")
        assert not limited.take("busy")
    newest = [f"10.0.{i // 256}.{i % 256}" for i in range(1_000)][-99:]  # and the busy one: a hundred
    assert [limited.take(newest[-1]) for _ in range(2)] == [True, False]
    assert [limited.take(newest[0]) for _ in range(2)] == [True, False]
    forgotten = "10.0.3.132"  # the hundredth from the end: its requests of before count no more
    assert [limited.take(forgotten) for _ in range(3)] == [True, True, False]


def test_more_requests_at_once_than_allowed_are_refused() -> None:
    async def scenario() -> None:
        free = asyncio.Event()

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["method"] == "POST":
                await free.wait()
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b""})

        limited = make(App(answer), requests=2)
        accepted = [asyncio.create_task(request(limited, "/predict", "POST")) for _ in range(2)]
        await asyncio.sleep(0.01)
        assert "sentopt_requests_in_progress 2.0" in counted(limited)
        refused = await request(limited, "/predict", "POST")
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert (await request(limited, "/")).status == 200
        free.set()
        assert [done.status for done in await asyncio.gather(*accepted)] == [200, 200]
        assert limited.working == 0
        assert (await request(limited, "/predict", "POST")).status == 200

    asyncio.run(scenario())


def test_a_server_that_stops_takes_nothing_new() -> None:
    stopping = make(app := App())
    stopping.draining = True
    answer = ask(stopping, "/predict", "POST")
    assert (answer.status, answer.headers["connection"], app.paths) == (503, "close", [])
    assert int(answer.headers["retry-after"]) > 0
    assert ask(stopping, "/healthz").status == 200


@pytest.fixture
def locked() -> Gate:
    return make(access=Access(credentials=Credentials({"ann": "s3cret"})), client_rate=20.0)


@pytest.mark.parametrize("path", ["/", "/predict", "/metrics", "/openapi.json", HEARTBEAT])
def test_a_password_is_asked_for(locked: Gate, path: str) -> None:
    method = ENDPOINTS.get(path, "GET")
    for named in ({}, {"authorization": ""}, {"authorization": basic("ann", "wrong")}, {"authorization": "Basic \xff"}):
        answer = ask(locked, path, method, **named)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="sentopt demo", charset="UTF-8"'
    assert locked.app.paths == []
    assert ask(locked, path, method, authorization=basic("ann", "s3cret"), address="10.0.0.2").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_probes_come_without_a_password(locked: Gate, path: str) -> None:
    assert ask(locked, path).status == 200


def test_wrong_passwords_cannot_be_tried_for_long(locked: Gate, clock: SimpleNamespace) -> None:
    wrong = {"authorization": basic("ann", "guess")}
    assert statuses(locked, 6, "/", "GET", **wrong) == [401] * 5 + [429]
    assert ask(locked, "/", **wrong).headers["retry-after"] == "1"
    assert statuses(locked, 1, "/", "GET", **wrong, address="10.0.0.2") == [401]
    clock.now += 2.0
    assert 401 in statuses(locked, 1, "/", "GET", **wrong)


def test_a_guess_beyond_the_rate_is_not_told_to_be_right(locked: Gate, clock: SimpleNamespace) -> None:
    assert 429 in statuses(locked, 6, "/", "GET", authorization=basic("ann", "guess"))
    assert ask(locked, "/", authorization=basic("ann", "s3cret")).status == 429
    clock.now += 10.0
    assert ask(locked, "/", authorization=basic("ann", "s3cret")).status == 200


def test_right_passwords_do_not_use_up_the_rate(locked: Gate, clock: SimpleNamespace) -> None:
    right = {"authorization": basic("ann", "s3cret")}
    assert statuses(locked, 60, "/", "GET", **right) == [200] * 60
    assert statuses(locked, 41, **right) == [200] * 40 + [429]


async def fail(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("the secret of /home/ann")


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    raise RequestRefused(503, "too many requests are waiting", retry_after=3)


@pytest.mark.parametrize(
    ("status", "method", "path", "named", "answer"),
    [
        (200, "GET", "/", {}, None),
        (200, "POST", "/predict", {}, None),
        (200, "GET", HEARTBEAT, {}, None),
        (400, "GET", "/", {"host": "evil.example"}, None),
        (404, "GET", "/nowhere", {}, None),
        (405, "GET", "/predict", {}, None),
        (408, "POST", "/predict", {"client": Client([b"{"], complete=False)}, None),
        (413, "POST", "/predict", {"content_length": "9" * 12}, None),
        (415, "POST", "/predict", {"content_type": "text/plain"}, None),
        (500, "GET", "/", {}, fail),
        (500, "GET", HEARTBEAT, {}, fail),
        (503, "POST", "/predict", {}, refuse),
    ],
)
def test_every_response_carries_the_security_headers(
    status: int, method: str, path: str, named: dict[str, Any], answer: Answer | None
) -> None:
    found = ask(make(App(answer), body_seconds=0.02), path, method, **named)
    assert found.status == status
    assert found.headers.keys() >= SECURITY
    assert found.headers["x-frame-options"] == "DENY"
    assert found.headers["x-content-type-options"] == "nosniff"
    policy = dict(part.split(" ", 1) for part in found.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert not any(word in source for source in policy.values() for word in ("*", "http"))


def test_the_page_may_be_framed_by_those_that_were_named() -> None:
    found = ask(make(access=Access(framed_by="https://a.example https://b.example")), "/")
    assert found.headers["content-security-policy"].endswith("frame-ancestors https://a.example https://b.example")
    assert found.headers.keys() == {*SECURITY, "content-type"} - {"x-frame-options"}


def test_what_fails_behind_the_gate_is_counted_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    failing = make(App(fail))
    answer = ask(failing, "/predict", "POST")
    assert (answer.status, answer.headers["content-type"]) == (500, "application/json")
    assert "secret" not in str(answer)
    assert "failed to answer" in answer.detail
    assert "secret" in caplog.text
    page = counted(failing)
    assert 'sentopt_errors_total{endpoint="/predict"} 1.0' in page
    assert 'sentopt_requests_total{endpoint="/predict",status="500"} 1.0' in page
    assert failing.working == 0


def test_an_answer_that_breaks_off_is_not_answered_twice() -> None:
    async def break_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("no more")

    breaking = make(App(break_off))
    client = Client()
    assert ask(breaking, "/", client=client).body == b"half"
    assert len(client.got) == 2
    assert 'sentopt_errors_total{endpoint="page"} 1.0' in counted(breaking)


def test_what_the_service_refuses_is_passed_on() -> None:
    answer = ask(make(App(refuse)), "/predict", "POST")
    assert (answer.status, answer.headers["retry-after"]) == (503, "3")
    assert answer.detail == "too many requests are waiting"


def test_neither_paths_nor_addresses_are_counted() -> None:
    open_gate = make()
    for path in ("/assets/of-ann.js", "/secret-of-ann", HEARTBEAT):
        ask(open_gate, path, address="203.0.113.9")
    page = counted(open_gate)
    assert 'sentopt_requests_total{endpoint="page",status="200"} 2.0' in page
    assert 'sentopt_requests_total{endpoint="page",status="404"} 1.0' in page
    assert "ann" not in page
    assert "203.0.113" not in page
    assert "heartbeat" not in page


def test_websockets_are_closed() -> None:
    client = Client()
    scope = {"type": "websocket", "path": "/gradio_api/queue/join", "headers": []}
    asyncio.run(make(app := App())(scope, client.receive, client.send))
    assert client.got == [{"type": "websocket.close", "code": 1008}]
    assert app.paths == []


def test_the_application_is_started_through_the_gate() -> None:
    client = Client()
    asyncio.run(make(app := App())({"type": "lifespan"}, client.receive, client.send))
    assert app.paths == ["lifespan"]


class Heart:
    """A stream that beats until it is stopped."""

    def __init__(self, first: Sequence[str] = ("http.response.start", "http.response.body")) -> None:
        self._first = first
        self.beating = asyncio.Event()
        self.stopped = False
        self.task: Callable[[], object] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.task = weakref.ref(asyncio.current_task() or self)
        for kind in self._first:
            await send({"type": kind, "status": 200, "body": b"beat", "more_body": True})
        self.beating.set()
        try:
            await asyncio.Future()
        finally:
            self.stopped = True


def test_streams_are_not_work_and_end_when_told() -> None:
    async def scenario() -> None:
        heart = Heart()
        opened = make(App(heart))
        client = Client()
        stream = asyncio.create_task(request(opened, HEARTBEAT, client=client))
        await heart.beating.wait()
        assert opened.working == 0
        opened.end_streams()
        await asyncio.wait([stream], timeout=0.5)
        assert heart.stopped
        assert (await stream).body == b"beat"
        assert client.got[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
        assert 'sentopt_request_seconds_count{endpoint="page"}' not in counted(opened)
        opened.end_streams()

    asyncio.run(scenario())


def test_a_stream_that_had_not_begun_to_answer_ends_too() -> None:
    async def scenario() -> None:
        heart = Heart(first=())
        opened = make(App(heart))
        client = Client()
        scope = {"type": "http", "method": "GET", "path": HEARTBEAT, "headers": [(b"host", b"localhost")]}
        stream = asyncio.create_task(opened(scope, client.receive, client.send))
        await heart.beating.wait()
        opened.end_streams()
        await asyncio.wait([stream], timeout=0.5)
        assert heart.stopped
        assert stream.done()
        assert client.got == []

    asyncio.run(scenario())


def test_a_stream_whose_reader_is_gone_is_let_go() -> None:
    async def scenario() -> None:
        heart = Heart()
        opened = make(App(heart))
        stream = asyncio.create_task(request(opened, HEARTBEAT))
        await heart.beating.wait()
        stream.cancel()
        await asyncio.wait([stream], timeout=1)
        assert heart.stopped
        del stream
        gc.collect()
        assert heart.task() is None  # nobody holds it any more

    asyncio.run(scenario())


def test_the_bodies_of_all_requests_together_are_bounded() -> None:
    app = App()
    small = make(app, held_bytes=10)
    assert ask(small, "/predict", "POST", client=Client([b"x" * 11])).status == 503
    assert ask(small, "/predict", "POST", client=Client([b"x" * 10])).status == 200
    assert app.bodies == [b"x" * 10]


def test_a_full_service_refuses_before_the_body_is_read() -> None:
    app, client = App(), Client()
    opened = make(app)
    opened.service.full = True
    refused = ask(opened, "/predict", "POST", client=client)
    assert (refused.status, refused.headers["retry-after"], client.taken) == (503, "1", 0)
    assert ask(opened, "/gradio_api/queue/join", "POST").status == 200


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/call/predict", "/gradio_api/run/predict"])
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b'{"data": ["text", 1, null, ["more"]], "event_data": {"a": 1}, "session_hash": "x"}', 200),
        (b'{"data": [{"path": "/etc/passwd"}]}', 422),
        (b'{"data": [["text", [{"url": "http://elsewhere"}]]]}', 422),
        (b'{"text": {"path": "/etc/passwd"}}', 422),
        (b"[{}]", 422),
        (b"{", 422),
        (b"[" * 100_000, 422),
        (b"\xff", 422),
    ],
)
def test_the_page_takes_texts_and_no_objects(path: str, sent: bytes, status: int) -> None:
    app = App()
    assert ask(make(app), path, "POST", client=Client([sent])).status == status
    assert app.bodies == ([sent] if status == 200 else [])


def test_a_half_of_a_surrogate_pair_is_repaired_for_the_endpoints_and_for_the_page() -> None:
    sent = b'{"data": ["a \\ud83d b", "\\uD83D\\uDE00 stays", "\\\\ud83d stays", "\\udc00\\ud83d"]}'
    kept = b'{"data": ["a \\ufffd b", "\\uD83D\\uDE00 stays", "\\\\ud83d stays", "\\ufffd\\ufffd"]}'
    for path in ("/predict", "/gradio_api/run/predict", "/gradio_api/queue/join"):
        assert ask(make(app := App()), path, "POST", client=Client([sent[:20], sent[20:]])).status == 200
        assert app.bodies == [kept]


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip", "x-gzip"])
@pytest.mark.parametrize("path", ["/predict", "/gradio_api/run/predict"])
def test_compressed_bodies_are_refused_unread(path: str, encoding: str) -> None:
    client = Client([b"\x1f\x8b" * 1_000])
    answer = ask(make(app := App()), path, "POST", content_encoding=encoding, client=client)
    assert (answer.status, answer.headers["accept-encoding"], app.paths, client.taken) == (415, "identity", [], 0)
    assert "compressed" in answer.detail


def test_a_body_that_is_said_to_be_as_it_is_is_taken() -> None:
    assert ask(make(), "/predict", "POST", content_encoding="identity").status == 200


def request_of(*headers: tuple[str, str], version: str = "1.1", path: str = "/healthz", method: str = "GET") -> Scope:
    return {
        "type": "http",
        "http_version": version,
        "method": method,
        "path": path,
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 7860),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }


def status_of(gate: Gate, scope: Scope) -> int:
    client = Client()
    asyncio.run(gate(scope, client.receive, client.send))
    return int(client.got[0]["status"])


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize(("version", "status"), [("1.0", 200), ("1.1", 400)])
def test_only_an_old_client_may_leave_the_host_out(bound: str, version: str, status: int) -> None:
    """Load balancers probe so; browsers, which other sites could use, do not."""
    gate = make(access=Access(AllowedHosts(bound)))
    assert status_of(gate, request_of(version=version)) == status
    assert status_of(gate, request_of(("host", ""), version=version)) == 400


@pytest.mark.parametrize(
    "twice",
    [
        ("host", "localhost", "evil.example"),
        ("host", "localhost", "localhost"),
        ("origin", "http://localhost", "https://evil.example"),
        ("authorization", "Basic YTpi", "Basic Yzpk"),
        ("content-type", "application/json", "text/plain"),
        ("content-length", "2", "3"),
        ("content-encoding", "identity", "gzip"),
    ],
)
@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
def test_a_header_of_one_value_comes_once(twice: tuple[str, str, str], bound: str) -> None:
    name, one, other = twice
    gate = make(app := App(), access=Access(AllowedHosts(bound)))
    host = [] if name == "host" else [("host", "localhost")]
    scope = request_of(*host, (name, one), (name, other), path="/predict", method="POST")
    assert (status_of(gate, scope), app.paths) == (400, [])


@pytest.mark.parametrize(
    "host", ["a b", "a/b", "http://a", "a@b", "[", "[::1", "[::1]x", "a:b:c", "a:port", ",", "a,b"]
)
def test_what_is_no_host_is_refused_everywhere(host: str) -> None:
    assert ask(make(access=Access(AllowedHosts("0.0.0.0"))), "/", host=host).status == 400


class Behind(App):
    """An application that remembers the scopes that it got."""

    def __init__(self) -> None:
        super().__init__()
        self.scopes: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        await super().__call__(scope, receive, send)


def proxied(app: App | None = None, *, names: Sequence[str] = ("demo.example",), prefix: str = "", **more: Any) -> Gate:
    """A server on loopback behind a proxy at 127.0.0.1."""
    credentials = more.pop("credentials", None)
    hosts = AllowedHosts("127.0.0.1", names)
    return make(app, Access(hosts, credentials, proxies=TrustedProxies(["127.0.0.1"]), prefix=prefix), **more)


def test_wrong_passwords_lock_out_one_visitor_of_a_proxy_and_not_the_others(clock: SimpleNamespace) -> None:
    gate = proxied(credentials=Credentials({"ann": "s3cret"}))
    wrong, right = {"authorization": basic("ann", "guess")}, {"authorization": basic("ann", "s3cret")}
    assert statuses(gate, 6, "/", "GET", **wrong, x_forwarded_for="203.0.113.1") == [401] * 5 + [429]
    assert ask(gate, "/", **right, x_forwarded_for="203.0.113.1").status == 429
    assert ask(gate, "/", **right, x_forwarded_for="203.0.113.2").status == 200
    assert ask(gate, "/", **right, forwarded="for=203.0.113.2").status == 200
    assert ask(gate, "/", **right, forwarded="for=203.0.113.1").status == 429
    assert ask(gate, "/", **right, x_forwarded_for="203.0.113.2, 203.0.113.1").status == 429


def test_who_is_no_trusted_proxy_cannot_choose_an_address(clock: SimpleNamespace) -> None:
    gate = proxied(credentials=Credentials({"ann": "s3cret"}))
    wrong = {"authorization": basic("ann", "guess"), "address": "198.51.100.7"}
    found = [ask(gate, "/", **wrong, x_forwarded_for=f"203.0.113.{i}", forwarded=f"for=10.0.0.{i}") for i in range(6)]
    assert [answer.status for answer in found] == [401] * 5 + [429]


def test_the_rate_counts_the_visitors_of_a_proxy_one_by_one(clock: SimpleNamespace) -> None:
    gate = proxied(client_rate=1.0)
    assert statuses(gate, 3, x_forwarded_for="203.0.113.1") == [200, 200, 429]
    assert statuses(gate, 3, x_forwarded_for="203.0.113.2") == [200, 200, 429]
    assert statuses(gate, 3, x_forwarded_for="[2001:db8::1]:4711") == [200, 200, 429]
    assert statuses(gate, 1, x_forwarded_for="2001:db8::ffff") == [429]


@pytest.mark.parametrize(("rate", "wait"), [(0.1, "10"), (0.4, "3"), (1.0, "1"), (20.0, "1")])
def test_a_slow_rate_lets_a_request_through_and_tells_how_long_to_wait(
    clock: SimpleNamespace, rate: float, wait: str
) -> None:
    gate = make(client_rate=rate)
    found = [ask(gate, "/predict", "POST") for _ in range(50)]
    assert found[0].status == 200
    assert (found[-1].status, found[-1].headers["retry-after"]) == (429, wait)
    clock.now += float(wait)
    assert ask(gate, "/predict", "POST").status == 200


def test_the_page_sees_the_request_as_the_client_sent_it_to_the_proxy() -> None:
    gate = proxied(app := Behind())
    named = {"x-forwarded-for": "203.0.113.1", "x-forwarded-proto": "https", "x-forwarded-host": "demo.example"}
    assert ask(gate, "/config", **named, x_gradio_server="http://evil.example").status == 200
    (scope,) = app.scopes
    assert (scope["scheme"], scope["client"][0]) == ("https", "203.0.113.1")
    assert scope["headers"] == [(b"host", b"demo.example")]


def test_the_page_sees_no_forwarding_headers_of_others() -> None:
    gate = proxied(app := Behind())
    named = {"x_forwarded_proto": "https", "x_forwarded_host": "evil.example", "forwarded": "host=evil.example"}
    assert ask(gate, "/config", address="198.51.100.7", **named).status == 200
    (scope,) = app.scopes
    assert (scope["scheme"], scope["client"][0]) == ("http", "198.51.100.7")
    assert scope["headers"] == [(b"host", b"localhost:7860")]


def test_a_browser_on_the_machine_of_the_proxy_cannot_forge_the_name() -> None:
    """By DNS rebinding a page there sends any header from 127.0.0.1, but not another `Host` than its own."""
    gate = proxied(app := App())
    forged = {"host": "evil.example", "x_forwarded_host": "demo.example", "x_forwarded_for": "203.0.113.1"}
    assert ask(gate, "/predict", "POST", **forged, origin="http://evil.example").status == 400
    assert ask(gate, "/", host="localhost", x_forwarded_host="evil.example").status == 400
    assert app.paths == []


@pytest.mark.parametrize(
    ("headers", "origin", "status"),
    [
        ({"host": "demo.example"}, "https://demo.example", 200),
        ({"host": "demo.example:443"}, "https://demo.example", 200),
        ({"host": "demo.example"}, "https://DEMO.example:443", 200),
        ({"host": "127.0.0.1:7860", "x_forwarded_host": "demo.example"}, "https://demo.example", 200),
        ({"host": "127.0.0.1:7860", "forwarded": "for=10.0.0.9;host=demo.example"}, "https://demo.example", 200),
        ({"host": "demo.example"}, "https://demo.example:8443", 400),
        ({"host": "demo.example"}, "https://evil.example", 400),
        ({"host": "127.0.0.1:7860"}, "https://demo.example", 400),
    ],
)
def test_the_page_below_a_name_of_the_proxy_may_post(headers: dict[str, str], origin: str, status: int) -> None:
    assert ask(proxied(), "/predict", "POST", **headers, origin=origin).status == status


def test_a_proxy_that_is_not_named_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    gate = make()
    for _ in range(3):
        ask(gate, "/", x_forwarded_for="203.0.113.1", address="10.0.0.7")
    assert [record.message.count("--trusted-proxy 10.0.0.7") for record in caplog.records] == [1]
    caplog.clear()
    ask(proxied(), "/", x_forwarded_for="203.0.113.1")
    assert caplog.records == []


@pytest.mark.parametrize("path", ["/predict", "/tools/demo/predict"])
def test_a_prefix_may_be_removed_by_the_proxy_or_left(path: str) -> None:
    gate = proxied(app := App(), prefix="/tools/demo")
    assert ask(gate, path, "POST").status == 200
    assert app.paths == ["/predict"]
    assert 'sentopt_requests_total{endpoint="/predict",status="200"} 1.0' in counted(gate)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/tools/demo/", ["/"]),
        ("/tools/demo/assets/a.js", ["/assets/a.js"]),
        ("/tools/demo/gradio_api/upload", []),
        ("/tools/demo/tools/demo/config", []),
        ("/tools/demonstration/config", []),
        ("/tools", []),
        ("/tools/demo/../config", []),
    ],
)
def test_only_open_routes_are_below_a_prefix(path: str, seen: list[str]) -> None:
    gate = proxied(app := App(), prefix="/tools/demo")
    assert ask(gate, path).status == (200 if seen else 404)
    assert app.paths == seen


def test_the_prefix_itself_leads_to_the_page() -> None:
    gate = proxied(app := App(), prefix="/tools/demo")
    for method in ("GET", "HEAD"):
        answer = ask(gate, "/tools/demo", method)
        assert (answer.status, answer.headers["location"], app.paths) == (307, "/tools/demo/", [])
        assert answer.headers.keys() >= SECURITY
    assert ask(gate, "/tools/demo", "POST").status == 404


def test_events_are_not_kept_back_by_nginx() -> None:
    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        kind = b"text/event-stream; charset=utf-8" if scope["path"].startswith("/gradio_api/") else b"text/html"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": b""})

    gate = make(App(stream))
    assert ask(gate, "/gradio_api/queue/data").headers["x-accel-buffering"] == "no"
    assert "x-accel-buffering" not in ask(gate, "/").headers


def reload(peer: str = "127.0.0.1", access: Access | None = None, **headers: str) -> Response:
    access = access or Access(AllowedHosts("0.0.0.0"))
    return ask(make(access=access), "/reload", "POST", address=peer, **headers)


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.1.2.3"])
@pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "[::1]:7860"])
def test_bundles_are_read_again_for_this_machine(peer: str, host: str) -> None:
    assert reload(peer, host=host).status == 200


@pytest.mark.parametrize(
    ("peer", "headers"),
    [
        ("192.0.2.7", {}),
        ("172.17.0.1", {}),
        ("", {}),
        ("testclient", {}),
        ("127.0.0.1", {"host": "demo.example"}),
        ("127.0.0.1", {"host": "192.0.2.1"}),
        ("127.0.0.1", {"x_forwarded_for": "127.0.0.1"}),
        ("127.0.0.1", {"x_request_id": "7"}),
        ("127.0.0.1", {"x_envoy_external_address": "192.0.2.7"}),
        ("127.0.0.1", {"cf_ray": "7"}),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}),
        ("127.0.0.1", {"x_forwarded_proto": "https"}),
        ("127.0.0.1", {"via": "1.1 proxy"}),
        ("127.0.0.1", {"x_real_ip": "127.0.0.1"}),
    ],
)
def test_bundles_are_not_read_again_for_others(peer: str, headers: dict[str, str]) -> None:
    refused = reload(peer, **headers)
    assert (refused.status, "server's own machine alone" in refused.detail) == (403, True)


def test_bundles_are_not_read_again_for_a_trusted_proxy_nor_without_the_password() -> None:
    assert reload(access=Access(proxies=TrustedProxies(["127.0.0.1"]))).status == 403
    access = Access(credentials=Credentials({"ann": "secret"}))
    assert reload(access=access).status == 401
    assert reload(access=access, authorization=basic("ann", "secret")).status == 200
    assert reload(origin="https://evil.example").status == 400


def test_bundles_are_read_again_where_too_many_texts_wait() -> None:
    gate = make()
    gate.service.full = True
    assert ask(gate, "/predict", "POST").status == 503
    assert ask(gate, "/reload", "POST").status == 200


def test_without_a_page_its_routes_lead_nowhere() -> None:
    models = SimpleNamespace(limits=Limits(), counters=Counters(), full=False)
    gate = Admission(App(), models, Access(), page=False)  # type: ignore[arg-type]
    for path, method in (("/", "GET"), ("/config", "GET"), ("/gradio_api/queue/join", "POST")):
        refused = ask(gate, path, method)
        assert (refused.status, "the endpoints are: POST /predict" in refused.detail) == (404, True)
    assert ask(gate, "/healthz").status == 200
