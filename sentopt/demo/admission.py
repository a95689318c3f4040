"""Checks that every request must pass before it reaches an endpoint or the page: an ASGI middleware."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from sentopt.demo import routes
from sentopt.demo.access import Access, check_repeated
from sentopt.demo.api import problem
from sentopt.demo.bodies import check_plain, in_one_piece, without_lone_surrogates
from sentopt.demo.limits import Limits
from sentopt.demo.prefix import below
from sentopt.demo.proxies import FORWARDING, Client, network_of
from sentopt.demo.rates import Rates
from sentopt.demo.reply import Reply
from sentopt.demo.service import Service
from sentopt.errors import RequestRefused

DISCARDED = 16  # times the largest body; what is larger still is cut off
_GUESSES = (1.0, 5.0)  # wrong passwords of one address: so many a second, so many at once
_LENGTH_DIGITS = 20
_NOT_PASSED_ON = frozenset((*FORWARDING, b"host", b"x-gradio-server"))

_log = logging.getLogger("sentopt.demo")


class Admission:
    """Refuses requests for other hosts and oversized or too many ones; passes the others on with their whole body."""

    def __init__(self, app: ASGIApp, service: Service, access: Access) -> None:
        self._app = app
        self._service = service
        self._access = access
        self._limits: Limits = service.limits
        self._rates = Rates(service.limits.client_rate, max(1.0, 2 * service.limits.client_rate))
        self._guesses = Rates(*_GUESSES)
        self._headers = access.security_headers()
        self._streams: set[asyncio.Task[None]] = set()
        self._held = 0
        self._told_of_proxy = False
        self.registry = service.counters.registry
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
        if prefix := self._access.prefix:
            if scope["path"] == prefix and scope["method"] in ("GET", "HEAD"):
                await self._to_page(scope, receive, Reply(send, self._headers, head=scope["method"] == "HEAD"))
                return
            scope = {**scope, "path": below(scope["path"], prefix)}
        path = scope["path"]
        endpoint = routes.endpoint_of(path) or "page"
        stream = path.startswith(routes.STREAMS)
        events = path.startswith(routes.EVENTS)
        reply = Reply(send, self._headers, head=scope["method"] == "HEAD", events=events)
        try:
            admitted = self._admit(scope)
            self.working += not stream
            try:
                await self._serve(admitted, receive, reply, stream)
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

    async def _to_page(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        """The page has relative addresses, so that its own ends with a slash."""
        query = scope.get("query_string", b"").decode("latin-1")
        await RedirectResponse(f"{self._access.prefix}/{query and '?'}{query}")(scope, receive, reply)

    async def _serve(self, scope: Scope, receive: Receive, reply: Reply, stream: bool) -> None:
        if stream:
            await self._stream(scope, receive, reply)
            return
        body = bytearray()
        try:
            if scope["method"] == "POST":
                await self._read(body, receive)
                if not routes.endpoint_of(scope["path"]):
                    check_plain(body)
                receive = in_one_piece(without_lone_surrogates(body), receive)
            await self._app(scope, receive, reply)
        finally:
            self._held -= len(body)

    async def _stream(self, scope: Scope, receive: Receive, reply: Reply) -> None:
        task = asyncio.ensure_future(self._app(scope, receive, reply))
        self._streams.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await reply.end()
        finally:
            self._streams.discard(task)

    def _admit(self, scope: Scope) -> Scope:
        """Refuse a request, or give the scope for the application.

        Raises:
            RequestRefused: with status and reason.
        """
        path, method = scope["path"], scope["method"]
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        if len(headers) != len(scope["headers"]):
            check_repeated(scope["headers"])
        client = self._client(scope, headers)
        server = str((scope.get("server") or ("",))[0])
        self._access.check_host(headers, client.host, server=server, version=scope.get("http_version", "1.1"))
        if method == "POST":
            told = client.host if self._access.proxies else headers.get(b"x-forwarded-host", "")
            self._access.check_origin(headers, told, path=path)
        routes.check(path, method)
        if path in routes.PROBES:
            return _as_get(scope)
        self._check_password(network_of(client.address), headers)
        if method == "POST":
            self._check_work(path, network_of(client.address), headers)
        return self._passed_on(_as_get(scope), client)

    def _client(self, scope: Scope, headers: dict[bytes, str]) -> Client:
        peer = str((scope.get("client") or ("",))[0])
        if self._access.proxies:
            return self._access.proxies.client(peer, scope["headers"])
        if not self._told_of_proxy and (b"x-forwarded-for" in headers or b"forwarded" in headers):
            self._told_of_proxy = True
            _log.warning(
                "a proxy at %s forwards requests, and all of its visitors count as one: "
                "if it is yours, start the demo with --trusted-proxy %s",
                *(peer, peer),
            )
        return Client(peer)

    def _passed_on(self, scope: Scope, client: Client) -> Scope:
        """The request as the client sent it to the proxy; the endpoints do not look."""
        if not self._access.proxies or routes.endpoint_of(scope["path"]):
            return scope
        own = [host for name, host in scope["headers"] if name == b"host"]
        hosts = [client.host.encode("latin-1")] if client.host else own
        others = [header for header in scope["headers"] if header[0] not in _NOT_PASSED_ON]
        headers = [*((b"host", host) for host in hosts), *others]
        scheme = client.scheme or scope.get("scheme", "http")
        return {**scope, "client": (client.address, 0), "scheme": scheme, "headers": headers}

    def _check_work(self, path: str, address: str, headers: dict[bytes, str]) -> None:
        """Refuse a request that is too much, or that brings no JSON."""
        if not self._rates.take(address):
            seconds = max(1, math.ceil(1 / self._limits.client_rate))
            raise self._refused(429, "rate", f"too many requests from this address; try again in {seconds} s", seconds)
        if self.draining:
            raise self._refused(503, "stopping", "the server is stopping", 5)
        if self.working >= self._limits.requests or (self._service.full and routes.endpoint_of(path)):
            raise self._refused(503, "overload", "too many requests are being answered; try again in a second", 1)
        named = headers.get(b"content-type", "application/json" if _may_be_unnamed(path, headers) else "")
        if named.partition(";")[0].strip().lower() != "application/json":
            raise RequestRefused(415, "send JSON, with the header Content-Type: application/json")
        if headers.get(b"content-encoding", "identity").strip().lower() not in ("", "identity"):
            raise RequestRefused(415, "send the body as it is: compressed ones are not read")
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

    async def _refuse(self, scope: Scope, receive: Receive, reply: Reply, error: RequestRefused) -> None:
        headers = {}
        if error.retry_after:
            headers["Retry_After"] = str(error.retry_after)
        if error.status == 401:
            headers["WWW_Authenticate"] = 'Basic realm="sentopt demo", charset="UTF-8"'
        if error.status == 405:
            headers["Allow"] = ", ".join(routes.methods(scope["path"]))
        if error.status == 415:
            headers["Accept_Encoding"] = "identity"
        if error.status in (408, 413) or self.draining:
            headers["Connection"] = "close"  # the rest of the body is not read
        if not reply.status:
            await problem(error.status, str(error), path=scope["path"], **headers)(scope, receive, reply)

    def _refused(self, status: int, reason: str, message: str, retry_after: int | None) -> RequestRefused:
        self._service.counters.refused.labels(reason).inc()
        return RequestRefused(status, message, retry_after=retry_after)

    def _too_large(self) -> RequestRefused:
        return self._refused(413, "size", f"a request may have at most {self._limits.body_bytes:,} bytes", None)


def _may_be_unnamed(path: str, headers: dict[bytes, str]) -> bool:
    """Whether a body without a type is taken for JSON: from clients that send none, not from pages of other sites."""
    return path.startswith(routes.UNNAMED) and headers.get(b"sec-fetch-site", "none") in ("none", "same-origin")


def _as_get(scope: Scope) -> Scope:
    """HEAD is answered as GET, without the body."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
