"""HTTP on one connection, with bounds on what uvicorn lets a client take: time and size of a head, and time to read."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

HEAD_SECONDS = 10.0  # from the opening of a connection, or the first byte, to the end of a request head
READ_SECONDS = 60.0  # that a client may leave an answer unread
_HEAD_BYTES = 2**16
_FRAMING_BYTES = 2**20  # of a body's chunks: sizes, extensions and trailers
_FRAMING = 8  # bytes for each byte of such a body
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class ImpatientProtocol(HttpToolsProtocol):
    """One connection; what exceeds a bound is closed."""

    _waiting: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0
    _framing_left = _FRAMING_BYTES
    _cycles: Sequence[RequestResponseCycle] = ()  # of requests that are not answered yet

    def connection_made(self, transport: Any) -> None:
        """Wait for a head."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._arrived()
        self._is_read()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bound what comes, then parse it."""
        if self._in_head:
            self._wait()
            self._head_bytes += len(data)
        self._framing_left -= len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES:
            if self.cycle is None or self.cycle.response_complete:
                self.transport.write(_TOO_LARGE)
            self._end()
        elif not self._in_head and self._framing_left < 0:
            self._end()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header of the head; nobody reads those of a body's trailer."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Start to answer."""
        self._in_head, self._head_bytes, self._framing_left = False, 0, _FRAMING_BYTES
        self._arrived()
        if not self.url.startswith(b"/"):
            self._take_host_of_target()
        super().on_headers_complete()
        self._cycles = [cycle for cycle in (*self._cycles, self.cycle) if cycle and not cycle.response_complete]

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._framing_left += _FRAMING * len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Expect a head again."""
        self._in_head = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Wait for the client to read; one that does not is cut off."""
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(READ_SECONDS, self._end, True)

    def resume_writing(self) -> None:
        """The client has read."""
        self._is_read()
        super().resume_writing()

    def _take_host_of_target(self) -> None:
        """The host of `GET http://host/path` counts, and `Host` does not (RFC 9112, 3.2.2)."""
        target = httptools.parse_url(self.url)
        if target.host is not None:
            host = b"[%b]" % target.host if b":" in target.host else target.host
            named = host if target.port is None else b"%b:%d" % (host, target.port)
            self.headers[:] = [(b"host", named), *(header for header in self.headers if header[0] != b"host")]

    def eof_received(self) -> None:
        """Send nothing more, rather than fail to: the connection is closed, and uvicorn is told of it later."""
        self._forget_answer()

    def _end(self, at_once: bool = False) -> None:
        self._forget_answer()
        if at_once:
            self.transport.abort()
        else:
            self.transport.close()

    def _forget_answer(self) -> None:
        for cycle in self._cycles:
            cycle.disconnected = True
            cycle.message_event.set()

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self._end)

    def _arrived(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
