"""The demo as a server: endpoints and page in one application, with an orderly start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from sentopt._optional import needs_extra
from sentopt.demo import api, telemetry
from sentopt.demo.access import Access, readers_of_test_texts
from sentopt.demo.admission import Admission
from sentopt.demo.cors import ForOtherOrigins, read_origins
from sentopt.demo.credentials import VARIABLE, Credentials
from sentopt.demo.hosts import AllowedHosts, read_name
from sentopt.demo.limits import Limits, is_loopback
from sentopt.demo.prefix import read_prefix
from sentopt.demo.protocol import ImpatientProtocol
from sentopt.demo.proxies import Network, TrustedProxies
from sentopt.demo.service import Service
from sentopt.demo.text_log import TextLog
from sentopt.errors import InputError, ServingError
from sentopt.runtime import arguments
from sentopt.runtime.classifier import Classifier


def create_app(
    bundle: Path, access: Access, limits: Limits, *, address: str, log: TextLog | None = None, page: bool = True
) -> Admission:
    """The whole application for one bundle, as ASGI; `address` is what its page calls itself, `log` gets the texts.

    Raises:
        BundleError: the bundle cannot be loaded.
        MissingExtraError: the packages of the page are not installed.
    """
    service = Service(Classifier.load(bundle), limits, log)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        gc.collect()
        gc.freeze()  # Gradio's hundreds of thousands of objects stay; to look at them again takes a tenth of a second
        yield
        await service.stop()

    app = api.create(service, lifespan=lifespan, prefix=access.prefix)
    if page:
        with needs_extra("demo"):
            from sentopt.demo.page import layout
        layout.mount(app, service, bundle, address, access.prefix, access.test_texts)
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
    rate: float | None = None,
    trusted_proxies: Sequence[str | Network] = (),
    allowed_hosts: Sequence[str] = (),
    root_path: str = "",
    cors_origins: Sequence[str] = (),
    log_texts: Path | None = None,
    show_test_texts: bool = False,
    page: bool = True,
    on_start: Callable[[str, Callable[[], None]], None] = lambda address, stop: None,
) -> None:
    """Serve until interrupted, then finish the accepted requests.

    Args:
        bundle: the folder that holds `sentopt.json`.
        say: is told the address, and a warning if there is one.
        host: the address to listen on; anything but loopback can be reached from other machines.
        port: the port to listen on; 0 takes a free one.
        auth: a file of name:password lines; empty for the environment variable; None asks for no password.
        framed_by: the origins whose pages may show the demo in a frame.
        limits: other bounds than those for the host.
        rate: requests a second of one client, in the place of that of `limits`.
        trusted_proxies: addresses and networks whose word about clients counts.
        allowed_hosts: names that the server answers to, beside those of loopback.
        root_path: the path below which a proxy shows the demo.
        cors_origins: the origins whose pages may ask the endpoints from a browser; `*` for all.
        log_texts: a file to which every text is added with its answer; None keeps no text.
        show_test_texts: list the texts of the test split also where the server can be reached from other machines.
        page: show the page, too, and not the endpoints alone.
        on_start: is told the address, and given a function that ends the serving from another thread.

    Raises:
        BundleError: the bundle cannot be loaded.
        ServingError: the port is taken, a file cannot be used, or an argument is wrong.
    """
    port = _checked_port(port)
    proxies = TrustedProxies([trusted_proxies] if isinstance(trusted_proxies, str) else trusted_proxies)
    allowed_hosts = [allowed_hosts] if isinstance(allowed_hosts, str) else allowed_hosts
    prefix = read_prefix(root_path)
    cors = read_origins(cors_origins, with_password=auth is not None)
    access = Access(
        AllowedHosts(host, allowed_hosts),
        None if auth is None else Credentials.read(auth),
        framed_by,
        proxies,
        prefix,
        readers_of_test_texts(host, proxies, allowed_hosts, prefix, framed_by, shown=show_test_texts),
        cors,
    )
    limits = limits or Limits.for_host(host, proxied=bool(proxies))
    limits = limits if rate is None else limits.at_rate(rate)
    if not is_loopback(host) and access.credentials is None and not framed_by:
        say(
            f"warning: {host} can be reached from other machines, and the demo asks for no password; "
            f"use --auth with a file of name:password lines, or with {VARIABLE}"
        )
    shown = f"[{host}]" if ":" in host else host
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(_listen(host, port))
        address = f"http://{shown}:{listening.getsockname()[1]}"
        log = stack.enter_context(TextLog.open(log_texts)) if log_texts else None
        public = _public_address(address, access, allowed_hosts)
        app = create_app(bundle, access, limits, address=public, log=log, page=page)
        shared = ForOtherOrigins(app, cors, prefix) if cors.origins else app
        recorded = stack.enter_context(telemetry.around(shared, app.registry, prefix=prefix, say=say))
        server = _Server(app, limits, lambda: on_start(address, server.stop), recorded)
        say(f"serving {bundle} on {address} (Ctrl-C stops)")
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        server.run(sockets=[listening])


def _public_address(address: str, access: Access, names: Sequence[str]) -> str:
    """What the page calls the server: behind a proxy by the first name that was given, over TLS."""
    named = [read_name(name) for name in names if not name.startswith("*")]
    if access.proxies and named:
        address = f"https://[{named[0]}]" if ":" in named[0] else f"https://{named[0]}"
    return f"{address}{access.prefix}"


def _checked_port(port: int) -> int:
    """A port; the system would take 70000 for 4464."""
    try:
        return arguments.whole_number("port", port, least=0, most=65535, hint="0 takes a free one")
    except InputError as error:
        raise ServingError(str(error)) from None


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
        listening.listen()  # at once: until a socket listens, the system lets another server bind the same port
    except OSError as error:
        listening.close()
        raise ServingError(
            f"cannot serve on {host}:{port}: {error}. "
            "Choose another port with --port, or an address of this machine with --host"
        ) from error
    return listening


class _Server(uvicorn.Server):
    """Stops in order: refuse new requests, finish the accepted ones, end the streams of open pages, close."""

    def __init__(self, gate: Admission, limits: Limits, on_start: Callable[[], None], outermost: ASGIApp) -> None:
        self._gate = gate
        self._on_start = on_start
        self._drain_seconds = limits.drain_seconds
        super().__init__(
            uvicorn.Config(
                outermost,
                http=ImpatientProtocol,
                ws="none",
                lifespan="on",
                log_level="error",
                access_log=False,
                server_header=False,
                proxy_headers=False,  # `Admission` reads them, from trusted proxies alone
                limit_concurrency=limits.connections,
                timeout_keep_alive=30,
                timeout_graceful_shutdown=1,
            )
        )

    def stop(self) -> None:
        """End as after Ctrl-C; may be called from any thread."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._gate.draining = True
        end = time.monotonic() + self._drain_seconds
        while self._gate.working and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        self._gate.end_streams()
        await super().shutdown(sockets)
