"""Checks that every request must pass before it reaches an endpoint or the page: an ASGI middleware.

Only the routes that the page and the endpoints use are let through. Gradio has many more (uploads, files by path,
proxies, code editing for developers), and each of them has been the subject of an advisory or may be of the next.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sentopt.demo.access import Access
from sentopt.demo.api import ENDPOINTS, problem
from sentopt.demo.limits import Limits
from sentopt.demo.rates import Rates
from sentopt.demo.service import Service
from sentopt.errors import RequestRefused

_OPEN = ("/healthz", "/readyz")  # probes come without a password
_GRADIO = "/gradio_api/"
_PAGE: dict[str, tuple[str, ...]] = {
    "GET": (
        *("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt"),
        *(_GRADIO + name for name in ("info", "queue/data", "startup-events", "theme.css", "app_id")),
    ),
    "POST": tuple(_GRADIO + name for name in ("queue/join", "cancel", "reset")),
}
_PAGE_BELOW: dict[str, tuple[str, ...]] = {
    "GET": ("/assets/", "/static/", _GRADIO + "heartbeat/", _GRADIO + "call/"),
    "POST": (_GRADIO + "call/", _GRADIO + "run/"),
}
_STREAMS = (_GRADIO + "heartbeat/",)  # endless: never waited for
DISCARDED = 16  # times the largest body; what is larger still is cut off
_GUESSES = (1.0, 5.0)  # wrong passwords of one address: so many a second, so many at once
_LENGTH_DIGITS = 20

_log = logging.getLogger("sentopt.demo")


class Admission:
    """Refuses requests for other hosts and oversized or too many ones; passes the others on with their whole body."""

    def __init__(self, app: ASGIApp, service: Service, access: Access) -> None:
        self._app = app
        self._service = service
        self._access = access
        self._limits: Limits = service.limits
        self._rates = Rates(service.limits.client_rate, 2 * service.limits.client_rate)
        self._guesses = Rates(*_GUESSES)
        self._headers = access.security_headers()
        self._streams: set[asyncio.Task[None]] = set()
        self._held = 0
        self.working = 0
        self.draining = False
        service.counters.watch("sentopt_requests_in_progress", "Requests being answered", lambda: self.working)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI call."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        started = time.perf_counter()
        reply = _Reply(send, self._headers)
        endpoint = scope["path"] if scope["path"] in ENDPOINTS else "page"
        stream = scope["path"].startswith(_STREAMS)
        try:
            self._admit(scope)
            self.working += not stream
            try:
                await self._serve(scope, receive, reply, stream)
            finally:
                self.working -= not stream
        except RequestRefused as error:
            await self._refuse(scope, receive, reply, error)
        except Exception:
            _log.exception("a request to %s failed", endpoint)
            self._service.counters.errors.labels(endpoint).inc()
            if not reply.status:
                await problem(500, "the server failed to answer; the reason is in its log")(scope, receive, reply)
        finally:
            self._service.counters.requests.labels(endpoint, str(reply.status or 499)).inc()
            if not stream:
                self._service.counters.seconds.labels(endpoint).observe(time.perf_counter() - started)

    def end_streams(self) -> None:
        """End the event streams of open pages, so that the server can stop."""
        for task in self._streams:
            task.cancel()

    async def _serve(self, scope: Scope, receive: Receive, reply: _Reply, stream: bool) -> None:
        if stream:
            await self._stream(scope, receive, reply)
            return
        body = bytearray()
        try:
            if scope["method"] == "POST":
                await self._read(body, receive)
                if scope["path"] not in ENDPOINTS:
                    _check_plain(body)
                receive = _in_one_piece(body, receive)
            await self._app(scope, receive, reply)
        finally:
            self._held -= len(body)

    async def _stream(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        task = asyncio.ensure_future(self._app(scope, receive, reply))
        self._streams.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await reply.end()
        finally:
            self._streams.discard(task)

    def _admit(self, scope: Scope) -> None:
        path, method = scope["path"], scope["method"]
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        self._access.check_origin(method, headers)
        _check_route(path, method)
        if path in _OPEN:
            return
        address = _address(scope)
        self._check_password(address, headers)
        if method != "POST":
            return
        if not self._rates.take(address):
            raise self._refused(429, "rate", "too many requests from this address; try again in a second", 1)
        if self.draining:
            raise self._refused(503, "stopping", "the server is stopping", 5)
        if self.working >= self._limits.requests or (self._service.full and path in ENDPOINTS):
            raise self._refused(503, "overload", "too many requests are being answered; try again in a second", 1)
        if headers.get(b"content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestRefused(415, "send JSON, with the header Content-Type: application/json")
        announced = headers.get(b"content-length", "0")
        if not (announced.isascii() and announced.isdigit()):
            raise RequestRefused(400, "the header Content-Length is no number")
        if len(announced) > _LENGTH_DIGITS or int(announced) > DISCARDED * self._limits.body_bytes:
            raise self._too_large()

    def _check_password(self, address: str, headers: dict[bytes, str]) -> None:
        credentials, given = self._access.credentials, headers.get(b"authorization")
        if credentials is None:
            return
        if given:
            if not self._guesses.take(address, 0.0):  # not even compared: a guess must not be told to be right
                raise self._refused(429, "rate", "too many wrong passwords; try again in a second", 1)
            if credentials.allow(given):
                return
            self._guesses.take(address)
        raise RequestRefused(401, "a name and a password are needed")

    async def _read(self, body: bytearray, receive: Receive) -> None:
        """Read a request's body for as long as is allowed.

        What is too large is read and dropped: a client that is still sending would not see the refusal.
        """
        arrived, more = 0, True
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                while more and arrived <= DISCARDED * self._limits.body_bytes:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise RequestRefused(400, "the client went away")
                    piece, more = message.get("body", b""), message.get("more_body", False)
                    arrived += len(piece)
                    if arrived <= self._limits.body_bytes:
                        body += piece
                        self._held += len(piece)
        except TimeoutError:
            raise self._refused(408, "slow", "the request did not arrive in time", None) from None
        if arrived > self._limits.body_bytes:
            raise self._too_large()
        if self._held > self._limits.held_bytes:
            raise self._refused(503, "overload", "too much is being answered; try again in a second", 1)

    async def _refuse(self, scope: Scope, receive: Receive, reply: _Reply, error: RequestRefused) -> None:
        headers = {}
        if error.retry_after:
            headers["Retry_After"] = str(error.retry_after)
        if error.status == 401:
            headers["WWW_Authenticate"] = 'Basic realm="sentopt demo", charset="UTF-8"'
        if error.status == 405:
            headers["Allow"] = ENDPOINTS[scope["path"]]
        if error.status in (408, 413) or self.draining:
            headers["Connection"] = "close"  # the rest of the body is not read
        if not reply.status:
            await problem(error.status, str(error), **headers)(scope, receive, reply)

    def _refused(self, status: int, reason: str, message: str, retry_after: int | None) -> RequestRefused:
        self._service.counters.refused.labels(reason).inc()
        return RequestRefused(status, message, retry_after=retry_after)

    def _too_large(self) -> RequestRefused:
        return self._refused(413, "size", f"a request may have at most {self._limits.body_bytes:,} bytes", None)


def _check_plain(body: bytearray) -> None:
    """Refuse JSON objects in places where the page sends texts.

    Gradio takes some of them for files: it would look for the path or fetch the address before a handler is asked.
    """
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError):
        raise RequestRefused(422, "this is not JSON") from None
    values = [value for name, value in sent.items() if name != "event_data"] if isinstance(sent, dict) else [sent]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            raise RequestRefused(422, "texts are strings, and several of them a list of strings; no files are taken")
        if isinstance(value, list):
            values += value


def _in_one_piece(body: bytearray, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": bytes(body), "more_body": False}

    return replay


class _Reply:
    """Adds the security headers to a response, and records its status."""

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._send = send
        self._headers = headers
        self._ended = False
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *self._headers]
        elif message["type"] == "http.response.body":
            self._ended = not message.get("more_body", False)
        await self._send(message)

    async def end(self) -> None:
        """End a response whose handler failed half-way."""
        if self.status and not self._ended:
            await self({"type": "http.response.body", "body": b"", "more_body": False})


def _check_route(path: str, method: str) -> None:
    if path in ENDPOINTS:
        if method != ENDPOINTS[path]:
            raise RequestRefused(405, f"{path} takes {ENDPOINTS[path]}")
        return
    plain = not any(part in path for part in ("..", "\\", "//", "\0"))
    group = "GET" if method == "HEAD" else method
    below = any(path.startswith(folder) and path != folder for folder in _PAGE_BELOW.get(group, ()))
    if not plain or not (below or path in _PAGE.get(group, ())):
        raise RequestRefused(404, "there is nothing here")


def _address(scope: Scope) -> str:
    """The key of the rate limit: an IPv4 address, or the IPv6 network that one customer usually has."""
    client = str((scope.get("client") or ("",))[0])
    if ":" not in client:
        return client
    if mapped := ipaddress.IPv6Address(client.partition("%")[0]).ipv4_mapped:
        return str(mapped)
    return str(ipaddress.IPv6Network((client.partition("%")[0], 64), strict=False))
