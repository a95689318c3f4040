"""The server: endpoints and page in one application, with an orderly start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

from sentopt._optional import needs_extra
from sentopt.demo import api, supervisor, telemetry
from sentopt.demo.access import Access
from sentopt.demo.admission import Admission
from sentopt.demo.bundle_names import check_folders, checked_names
from sentopt.demo.cors import ForOtherOrigins
from sentopt.demo.hangup import Hangup
from sentopt.demo.limits import Limits
from sentopt.demo.models import Models
from sentopt.demo.protocol import ImpatientProtocol
from sentopt.demo.settings import Settings
from sentopt.demo.supervisor import Job
from sentopt.demo.text_log import TextLog
from sentopt.errors import ServingError
from sentopt.runtime.description import read_description


def create_app(
    models: Models, access: Access, *, address: str, page: bool = True, reports: api.Reports | None = None
) -> Admission:
    """The whole application, as ASGI; `address` is what its page calls itself.

    Args:
        models: what is served; the page shows the first.
        access: who may reach it.
        address: for the page.
        page: show one.
        reports: gives the statistics of all processes of the server; None where this is the only one.

    Raises:
        MissingExtraError: the packages of the page are not installed.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await models.start()
        gc.collect()
        gc.freeze()  # Gradio's hundreds of thousands of objects stay; to look at them again takes a tenth of a second
        yield
        await models.stop()

    app = api.create(models, lifespan=lifespan, prefix=access.prefix, reports=reports)
    if page:
        with needs_extra("demo"):
            from sentopt.demo.page import layout
        service = models.first
        layout.mount(app, service, models.folders[service.name], address, access.prefix, access.test_texts)
    return Admission(api.Api(models, app), models, access, page=page)


def serve(
    bundles: Path | Mapping[str, Path],
    settings: Settings | None = None,
    *,
    say: Callable[[str], None],
    on_start: Callable[[str, Callable[[], None]], None] = lambda address, stop: None,
) -> None:
    """Serve until interrupted, then finish the accepted requests.

    Args:
        bundles: the folder that holds `sentopt.json`, or several by the name under which each is served.
        settings: how.
        say: is told the address, warnings, and what becomes of bundles that are read again.
        on_start: is told the address, and given a function that ends the serving from another thread.

    Raises:
        BundleError: a bundle cannot be loaded.
        ServingError: the port is taken, a file cannot be used, or a setting is wrong.
    """
    settings = settings or Settings()
    access, port = settings.access(), settings.checked_port()
    settings.bounds()
    folders = _checked(bundles, settings)
    processes, threads = settings.split(read_description(next(iter(folders.values()))))
    if warning := settings.warning(access):
        say(warning)
    with contextlib.ExitStack() as stack:
        hangup = stack.enter_context(Hangup())
        listening = stack.enter_context(_listen(settings.host, port))
        shown = f"[{settings.host}]" if ":" in settings.host else settings.host
        address = f"http://{shown}:{listening.getsockname()[1]}"
        what = ", ".join(f"{name} ({folder})" if name else str(folder) for name, folder in folders.items())
        job = Job(folders, settings, address, threads)
        stack.enter_context(contextlib.suppress(KeyboardInterrupt))
        if processes > 1:
            told = f"serving {what} on {address} with {processes} processes (Ctrl-C stops)"

            def started(stop: Callable[[], None]) -> None:
                say(told)
                on_start(address, stop)

            supervisor.run(job, processes, listening, hangup, say=say, on_start=started)
        else:
            server = open_server(job, stack, hangup, say=say)
            server.started_with = lambda: on_start(address, server.stop)
            say(f"serving {what} on {address} (Ctrl-C stops)")
            server.run(sockets=[listening])


def open_server(
    job: Job,
    stack: contextlib.ExitStack,
    hangup: Hangup,
    *,
    say: Callable[[str], None],
    reports: api.Reports | None = None,
    check: bool = False,
) -> Server:
    """Load the bundles, and make the server that answers with them in this process.

    Args:
        job: what is served, and how.
        stack: closes what was opened, after the server has ended.
        hangup: tells when to read the bundles again.
        say: is told what becomes of them.
        reports: gives the statistics of all processes of the server; None where this is the only one.
        check: compare the answers to golden texts at the start, too.

    Raises:
        BundleError: a bundle cannot be loaded.
        ServingError: a file cannot be used.
    """
    settings = job.settings
    access, limits = settings.access(), settings.bounds()
    resources = stack.enter_context(contextlib.ExitStack())
    log = resources.enter_context(TextLog.open(settings.log_texts)) if settings.log_texts else None
    models = Models(job.folders, limits, log, threads=job.threads, check=check, fixed=settings.page, told=say)
    address = settings.public_address(job.address, access)
    gate = create_app(models, access, address=address, page=settings.page, reports=reports)
    shared = ForOtherOrigins(gate, access.cors, access.prefix) if access.cors.origins else gate
    recorded = resources.enter_context(telemetry.around(shared, gate.registry, prefix=access.prefix, say=say))
    return Server(gate, models, limits, hangup, recorded, resources)


def _checked(bundles: Path | Mapping[str, Path], settings: Settings) -> dict[str, Path]:
    """The folders by name, each of them a bundle as far as its description goes."""
    folders = {"": bundles} if isinstance(bundles, Path) else checked_names(bundles)
    if len(folders) > 1 and settings.page:
        raise ServingError("the page shows one bundle; `sentopt serve` (page=False) serves several")
    check_folders(folders)
    return folders


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


class Server(uvicorn.Server):
    """Stops in order: refuse new requests, finish the accepted ones, end the streams of open pages, close."""

    def __init__(
        self,
        gate: Admission,
        models: Models,
        limits: Limits,
        hangup: Hangup,
        outermost: ASGIApp,
        resources: contextlib.ExitStack,
    ) -> None:
        """
        Args:
            gate: the application.
            models: what it answers with.
            limits: its bounds.
            hangup: tells when to read the bundles again.
            outermost: the application with what lies around it.
            resources: are closed when the last request is answered: uvicorn then ends the process by its signal.
        """
        self.started_with: Callable[[], None] = lambda: None
        self.models = models
        self._gate = gate
        self._resources = resources
        self._hangup = hangup
        self._drain_seconds = limits.drain_seconds
        self._reload_asked = asyncio.Event()
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
        """Start to answer, and to heed SIGHUP."""
        await super().startup(sockets)
        if self.started:
            self._reloading = asyncio.create_task(self._reload())
            self._hangup.handle(asyncio.get_running_loop(), self._reload_asked.set, self.stop)
            self.started_with()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the accepted requests, for a bounded time."""
        self._reloading.cancel()
        self._gate.draining = True
        end = time.monotonic() + self._drain_seconds
        while self._gate.working and time.monotonic() < end and not self.force_exit:
            await asyncio.sleep(0.02)
        self._gate.end_streams()
        await super().shutdown(sockets)
        await asyncio.to_thread(self._resources.close)

    async def _reload(self) -> None:
        """Read the bundles again when that is asked for; once, if it is asked several times meanwhile."""
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            await self.models.reload()
