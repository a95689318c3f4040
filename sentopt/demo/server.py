"""The demo as a server: endpoints and page in one application, with an orderly start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TextIO

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sentopt.demo import api
from sentopt.demo.access import Access
from sentopt.demo.admission import Admission
from sentopt.demo.credentials import VARIABLE, Credentials
from sentopt.demo.limits import LOOPBACK, Limits
from sentopt.demo.page import layout
from sentopt.demo.service import Service
from sentopt.errors import ServingError
from sentopt.runtime.classifier import Classifier

_HEAD_SECONDS = 10.0  # from the opening of a connection, or the first byte, to the end of a request head
_HEAD_BYTES = 2**16
_LONGEST_LINE = 2**20  # of a log of texts


def create_app(bundle: Path, access: Access, limits: Limits, *, address: str, log: TextIO | None = None) -> Admission:
    """The whole application for one bundle, as ASGI; `address` is what its page calls itself, `log` gets the texts.

    Raises:
        BundleError: the bundle cannot be loaded.
    """
    service = Service(Classifier.load(bundle), limits, log)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        gc.collect()
        gc.freeze()  # Gradio's hundreds of thousands of objects stay; to look at them again takes a tenth of a second
        yield
        await service.stop()

    app = api.create(service, lifespan=lifespan)
    layout.mount(app, service, bundle, address)
    return Admission(api.Api(service, app), service, access)


def serve(
    bundle: Path,
    *,
    say: Callable[[str], None],
    host: str = "127.0.0.1",
    port: int = 7860,
    auth: str | None = None,
    framed_by: str = "",
    limits: Limits | None = None,
    log_texts: Path | None = None,
    on_start: Callable[[str, Callable[[], None]], None] = lambda address, stop: None,
) -> None:
    """Serve until interrupted, then finish the accepted requests.

    Args:
        bundle: the folder that holds `sentopt.json`.
        say: is told the address, and a warning if there is one.
        host: the address to listen on; anything but loopback can be reached from other machines.
        port: the port to listen on.
        auth: a file of name:password lines; empty for the environment variable; None asks for no password.
        framed_by: the origins whose pages may show the demo in a frame.
        limits: other bounds than those for the host.
        log_texts: a file to which every text is added with its answer; None keeps no text.
        on_start: is told the address, and given a function that ends the serving from another thread.

    Raises:
        BundleError: the bundle cannot be loaded.
        ServingError: the port is taken, or a file cannot be used.
    """
    credentials = None if auth is None else Credentials.read(auth)
    if host not in LOOPBACK and credentials is None and not framed_by:
        say(
            f"warning: {host} can be reached from other machines, and the demo asks for no password; "
            f"use --auth with a file of name:password lines, or with {VARIABLE}"
        )
    limits = limits or Limits.for_host(host)
    shown = f"[{host}]" if ":" in host else host
    access = Access(host, credentials, framed_by)
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(_listen(host, port))
        address = f"http://{shown}:{listening.getsockname()[1]}"
        log = stack.enter_context(open_log(log_texts)) if log_texts else None
        server = _Server(create_app(bundle, access, limits, address=address, log=log), limits)
        say(f"serving {bundle} on {address} (Ctrl-C stops)")
        on_start(address, server.stop)
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        server.run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise ServingError(f"cannot serve on {host}: {error}. --host takes an address of this machine") from error
    listening = socket.socket(family, socket.SOCK_STREAM)
    if sys.platform == "win32":  # where SO_REUSEADDR lets several servers have the same port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
    else:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
    except OSError as error:
        listening.close()
        raise ServingError(
            f"cannot serve on {host}:{port}: {error}. "
            "Choose another port with --port, or an address of this machine with --host"
        ) from error
    return listening


def open_log(log: Path) -> TextIO:
    """Open the log for appending; after an incomplete last line, a new line is started.

    Raises:
        ServingError: it is there and another file, or cannot be written.
    """
    try:
        first, last = _first_and_last_line(log) if log.is_file() else (b"", b"")
        if first and not (_is_answer(first) and (_is_answer(last) or not last.endswith(b"\n"))):
            raise ServingError(f"{log} exists and is no log of texts and answers; name another file with --log-texts")
        stream = log.open("a", encoding="utf-8")
        if last and not last.endswith(b"\n"):
            stream.write("\n")
    except OSError as error:
        raise ServingError(f"cannot write texts to {log}: {error.strerror}") from error
    return stream


def _first_and_last_line(log: Path) -> tuple[bytes, bytes]:
    """Up to a mebibyte of each."""
    with log.open("rb") as stream:
        first = stream.readline(_LONGEST_LINE)
        stream.seek(max(0, log.stat().st_size - _LONGEST_LINE))
        return first, next(reversed(stream.read().splitlines(keepends=True)), b"")


def _is_answer(line: bytes) -> bool:
    """Whether a line has the format that `Service` writes."""
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and set(entry) == {"text", "label", "score"}


class _Server(uvicorn.Server):
    """Stops in order: refuse new requests, finish the accepted ones, end the streams of open pages, close."""

    def __init__(self, gate: Admission, limits: Limits) -> None:
        self._gate = gate
        self._drain_seconds = limits.drain_seconds
        super().__init__(
            uvicorn.Config(
                gate,
                http=_ImpatientProtocol,
                ws="none",
                lifespan="on",
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,  # anybody could send them
                limit_concurrency=limits.connections,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=1,
            )
        )

    def stop(self) -> None:
        """End as after Ctrl-C; may be called from any thread."""
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gate.draining = True
        end = time.monotonic() + self._drain_seconds
        while self._gate.working and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        self._gate.end_streams()
        await super().shutdown(sockets)


class _ImpatientProtocol(HttpToolsProtocol):
    """Bounds time and size of a request head; uvicorn bounds neither."""

    _waiting: asyncio.TimerHandle | None = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._wait()
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > _HEAD_BYTES:
            self.transport.close()

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._arrived()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def _wait(self) -> None:
        if self._waiting is None:
            self._waiting = self.loop.call_later(_HEAD_SECONDS, self.transport.close)

    def _arrived(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
