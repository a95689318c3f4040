"""The bundles of one server by name: which one a request means, and how they are read again while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sentopt.demo.batcher import Waiting
from sentopt.demo.counters import Counters
from sentopt.demo.limits import Limits
from sentopt.demo.loaded import Loaded, load, sha256_of
from sentopt.demo.service import Service
from sentopt.demo.text_log import TextLog
from sentopt.errors import RequestRefused, SentoptError, ServingError
from sentopt.runtime.description import read_description

_log = logging.getLogger("sentopt.demo")


@dataclass(frozen=True)
class Reloaded:
    """What became of one bundle whose folder was read again.

    Attributes:
        name: of the bundle on this server.
        outcome: "replaced", "unchanged" or "refused".
        sha256: of the bundle that answers now.
        before: the hash of the one before, where it was replaced.
        reason: why it was refused.
    """

    name: str
    outcome: str
    sha256: str
    before: str = ""
    reason: str = ""

    def in_words(self) -> str:
        """One line for the log of the server."""
        if self.outcome == "replaced":
            return f"{self.name}: the bundle {self.sha256[:12]} answers now, in the place of {self.before[:12]}"
        if self.outcome == "unchanged":
            return f"{self.name}: the folder still holds the bundle {self.sha256[:12]}, which answers"
        return (
            f"{self.name}: not replaced, the bundle {self.sha256[:12]} still answers: {' '.join(self.reason.split())}"
        )


class Models:
    """One service for each bundle, in the order in which they were given; the first answers those who name none."""

    def __init__(
        self,
        folders: Mapping[str, Path],
        limits: Limits,
        log: TextLog | None = None,
        *,
        threads: int | None = None,
        check: bool = False,
        fixed: bool = False,
        told: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Load all bundles.

        Args:
            folders: by the name under which each is served; a single one may have the empty name, and gets its own.
            limits: bounds on what is asked of all of them together.
            log: gets every text with its answer; None keeps no texts.
            threads: cores that each may use; None uses all.
            check: compare the answers to golden texts at the start, too.
            fixed: no other bundle may take the place of one: a page shows what is recorded of it.
            told: receives a line for each bundle that is read again.

        Raises:
            BundleError: one cannot be loaded.
        """
        self.limits = limits
        self.counters = Counters(several=len(folders) > 1)
        self._threads = threads
        self._fixed = fixed
        self._told = told
        self._reading = asyncio.Lock()
        waiting = Waiting()
        self._services: dict[str, Service] = {}
        self.folders: dict[str, Path] = {}
        for name, folder in folders.items():
            loaded = load(folder, check=check, threads=threads)
            service = Service(loaded, limits, log, name=name, counters=self.counters, waiting=waiting)
            self._services[service.name], self.folders[service.name] = service, folder
        self.counters.watch_models(lambda: [service.observe() for service in self.all])

    @property
    def all(self) -> tuple[Service, ...]:
        """In the order in which they were given."""
        return tuple(self._services.values())

    @property
    def first(self) -> Service:
        """The one that answers those who name none."""
        return self.all[0]

    @property
    def names(self) -> tuple[str, ...]:
        """By which clients ask for them."""
        return tuple(self._services)

    @property
    def ready(self) -> bool:
        """Whether all of them accept requests."""
        return all(service.ready for service in self.all)

    @property
    def full(self) -> bool:
        """Whether none of them can answer soon."""
        return all(service.full for service in self.all)

    def named(self, name: object) -> Service:
        """The one of a name; the first where there is none.

        Raises:
            RequestRefused: with 404.
        """
        if name is None:
            return self.first
        if isinstance(name, str) and name in self._services:
            return self._services[name]
        raise RequestRefused(404, f"there is no such model; this server has {', '.join(map(repr, self.names))}")

    def meant(self, name: object) -> Service:
        """`named`, for clients of servers with one model, which call it as they like: that counts among several."""
        return self.named(name) if len(self._services) > 1 else self.first

    def stats(self) -> dict[str, Any]:
        """What each bundle has answered since it was loaded, as JSON; without a level for names where there is one."""
        each = {one.name: {**asdict(one.classifier.stats()), "bundle": one.loaded.facts()} for one in self.all}
        return {"models": each} if len(each) > 1 else each[self.first.name]

    async def start(self) -> None:
        """Warm up; then accept requests."""
        for service in self.all:
            await service.start()

    async def stop(self) -> None:
        """Finish the accepted requests, and refuse new ones."""
        await asyncio.gather(*(service.stop() for service in self.all))

    async def reload(self) -> tuple[Reloaded, ...]:
        """Read each folder again, and let what it holds answer from then on, if it answers its golden texts.

        A bundle that does not is refused, and the one before goes on. One call waits for another.
        """
        async with self._reading:
            done = []
            for service in self.all:
                done.append(await self._reload(service))
                self._told(done[-1].in_words())
            return tuple(done)

    async def _reload(self, service: Service) -> Reloaded:
        folder, before = self.folders[service.name], service.loaded.sha256
        try:
            loaded = await asyncio.to_thread(self._other, folder, before)
            if loaded is None:
                return Reloaded(service.name, "unchanged", before)
            await service.replace(loaded)
        except (SentoptError, OSError) as error:
            return Reloaded(service.name, "refused", before, reason=str(error))
        except Exception as error:
            _log.exception("the bundle in %s could not be loaded", folder)
            return Reloaded(service.name, "refused", before, reason=f"{type(error).__name__}: {error}")
        return Reloaded(service.name, "replaced", loaded.sha256, before)

    def _other(self, folder: Path, sha256: str) -> Loaded | None:
        """The bundle that the folder holds now, verified; None if it is the one that answers."""
        if sha256_of(folder) == sha256:
            return None
        if self._fixed:
            read_description(folder)
            raise ServingError(
                "the page shows the labels, examples and measurements of the bundle that it was started with; "
                "start the demo again for another one (`sentopt serve` replaces bundles while it runs)"
            )
        return load(folder, check=True, threads=self._threads)
