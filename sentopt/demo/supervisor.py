"""Several processes that answer on one port: starts them, starts others in the place of those that end, stops them all.

On Linux each process listens on a socket of its own (SO_REUSEPORT), among which the kernel shares out the connections.
Of one common socket, the process that wakes first takes all connections of a burst, and keeps them as long as their
clients do. Elsewhere the kernel does not share them out, and the socket is a common one.

Uvicorn's own supervisor starts its processes by pickling the application, and forgets what a process has counted; so it
is not used.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentopt.demo.counters import Family
from sentopt.demo.hangup import Hangup
from sentopt.demo.merged import Report, added, summed
from sentopt.demo.settings import Settings
from sentopt.errors import ServingError

LONGEST = 2**26  # bytes of one message
_ANSWER_SECONDS = 2.0  # for a report; then the last one counts
_KILL_SECONDS = 15.0  # beyond the time for accepted requests
_LONGEST_PAUSE = 60.0  # seconds between two attempts to start a process
_STABLE_SECONDS = 60.0  # after which a process that ends is replaced at once


@dataclass(frozen=True)
class Job:
    """What is served, how, what the server calls itself, and how many cores a bundle may use (None: all)."""

    folders: dict[str, Path]
    settings: Settings
    address: str
    threads: int | None = None

    def to_json(self) -> dict[str, Any]:
        """For `from_json` in another process."""
        folders = {name: str(folder) for name, folder in self.folders.items()}
        return {**vars(self), "folders": folders, "settings": self.settings.to_json()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Job:
        """What `to_json` returned."""
        folders = {name: Path(folder) for name, folder in value["folders"].items()}
        return cls(**{**value, "folders": folders, "settings": Settings.from_json(value["settings"])})


def run(
    job: Job,
    processes: int,
    listening: socket.socket,
    hangup: Hangup,
    *,
    say: Callable[[str], None],
    on_start: Callable[[Callable[[], None]], None],
) -> None:
    """Serve with several processes until SIGINT, SIGTERM or `stop`, then wait until they have finished.

    Args:
        job: what each of them does.
        processes: how many.
        listening: what they accept connections from.
        hangup: tells when the bundles are to be read again.
        say: is told what becomes of them.
        on_start: is given a function that ends the serving from another thread, once all of them serve.

    Raises:
        ServingError: one of them cannot serve, from the beginning.
    """
    supervisor = _Supervisor(job, processes, listening, say)
    ended_by = asyncio.run(supervisor.serve(hangup, on_start))
    if ended_by is not None:
        signal.raise_signal(ended_by)


class _Port:
    """The sockets that processes listen on."""

    def __init__(self, listening: socket.socket) -> None:
        """
        Args:
            listening: has the port for itself so far; others may share it only from now on.
        """
        self._listening: socket.socket | None = listening
        self._family, self._address = listening.family, listening.getsockname()
        self._is_shared_out = False
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # not every kernel that calls itself Linux has it
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                self._is_shared_out = True

    def socket(self) -> socket.socket:
        """One for a process that is to be started. It gets no connections before the process listens."""
        if self._listening is not None:
            common = self._listening.dup()
            if self._is_shared_out:  # the socket of the first process ends with it
                self._listening.close()
                self._listening = None
            return common
        own = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform == "linux":
                own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            own.bind(self._address)
        except BaseException:
            own.close()
            raise
        return own


class _Child:
    """One process: its number, its socket, and the last that it told.

    `reloads` had begun when it was started. One that begins later may change folders that it has already read.
    """

    def __init__(self, number: int, process: subprocess.Popen[bytes], control: socket.socket, reloads: int) -> None:
        self.number = number
        self.process = process
        self.reloads = reloads
        self.ready = False
        self.gone = False
        self.reason = ""
        self.report: Report | None = None
        self.reported, self.reloaded = asyncio.Event(), asyncio.Event()
        self._control = control
        self._writer: asyncio.StreamWriter | None = None

    async def messages(self) -> asyncio.StreamReader:
        """What the process tells, to its end."""
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=LONGEST)
        return reader

    def send(self, **message: Any) -> None:
        """Tell the process something; nothing if it has just ended."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(json.dumps(message).encode() + b"\n")

    async def ended(self) -> int:
        """Wait for the end of the process; its exit code."""
        self.gone = True
        if self._writer is not None:
            self._writer.close()
        self.reported.set()
        self.reloaded.set()
        return await asyncio.to_thread(self.process.wait)


class _Supervisor:
    def __init__(self, job: Job, processes: int, listening: socket.socket, say: Callable[[str], None]) -> None:
        self._job = job
        self._numbers = range(1, processes + 1)
        self._port = _Port(listening)
        self._say = say
        self._children: dict[int, _Child] = {}
        self._past: list[Family] = []
        self._all_ready = asyncio.Event()
        self._stopping = asyncio.Event()
        self._reloading, self._reloads = asyncio.Lock(), 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._failed = ""
        self._ended_by: int | None = None

    async def serve(self, hangup: Hangup, on_start: Callable[[Callable[[], None]], None]) -> int | None:
        """Keep all processes until the end; the signal that asked for it, if it was one to die of."""
        loop = asyncio.get_running_loop()
        with self._signals(loop):
            hangup.handle(loop, lambda: self._start(self._reload()), self._stop)
            keepers = [asyncio.create_task(self._keep(number)) for number in self._numbers]
            first = [asyncio.create_task(event.wait()) for event in (self._all_ready, self._stopping)]
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if not self._stopping.is_set():
                on_start(lambda: _soon(loop, self._stop))
            await self._stopping.wait()
            self._start(self._kill_late())
            await asyncio.gather(*keepers)
            for task in (*first, *self._tasks):
                task.cancel()
        if self._failed:
            raise ServingError(self._failed)
        return self._ended_by

    @contextlib.contextmanager
    def _signals(self, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            loop.add_signal_handler(number, self._on_signal, number)
        try:
            yield
        finally:
            for number, handler in before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, handler)

    def _on_signal(self, number: int) -> None:
        if self._stopping.is_set() and number == signal.SIGINT:  # a second Ctrl-C
            for child in self._children.values():
                child.process.kill()
        self._ended_by = number
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        for child in self._children.values():
            if child.process.poll() is None:
                child.process.terminate()

    async def _kill_late(self) -> None:
        await asyncio.sleep(self._job.settings.bounds().drain_seconds + _KILL_SECONDS)
        for child in self._children.values():
            child.process.kill()

    async def _keep(self, number: int) -> None:
        """Have a process of this number until the end."""
        pause, again = 0.0, False
        while not self._stopping.is_set():
            started = asyncio.get_running_loop().time()
            served, reason = await self._one(number, check=again)
            if self._stopping.is_set():
                return
            if not again and not self._all_ready.is_set():
                self._failed = self._failed or reason
                self._stop()
                return
            lasted = asyncio.get_running_loop().time() - started
            pause = 0.0 if served and lasted > _STABLE_SECONDS else min(_LONGEST_PAUSE, 2 * pause or 0.5)
            what = reason if served else f"cannot serve: {' '.join(reason.split())}"
            self._say(f"process {number} {what}; another one takes its place" + (f" in {pause:g} s" if pause else ""))
            again = True
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)

    async def _one(self, number: int, *, check: bool) -> tuple[bool, str]:
        """Have one process from its start to its end: whether it served, and why it ended or could not serve."""
        try:
            child = self._spawn(number, check=check)
        except OSError as error:
            return False, f"it cannot be started: {error}"
        code = await self._follow(child)
        if child.ready:
            return True, f"ended with exit code {code}"
        return False, child.reason or f"a process of the server ended with exit code {code} before it served"

    def _spawn(self, number: int, *, check: bool) -> _Child:
        """Start a process. One that replaces another must answer the golden texts: the folder may have changed."""
        here, there = socket.socketpair()
        with contextlib.ExitStack() as stack, there, self._port.socket() as listening:
            stack.enter_context(here)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "sentopt.demo.child"],
                stdin=subprocess.PIPE,
                pass_fds=[there.fileno(), listening.fileno()],
                start_new_session=True,  # Ctrl-C comes here alone, and is not taken for two
            )
            stack.pop_all()
            order = {
                **{"job": self._job.to_json(), "check": check},
                **{"control": there.fileno(), "listening": listening.fileno()},
            }
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError), process.stdin:
                process.stdin.write(json.dumps(order).encode())
        self._children[number] = child = _Child(number, process, here, self._reloads)
        return child

    async def _follow(self, child: _Child) -> int:
        """Take what a process tells until it ends; its exit code."""
        with contextlib.suppress(OSError, ValueError):  # a process that is killed leaves half a line
            reader = await child.messages()
            while line := await reader.readline():
                self._take(child, json.loads(line))
        code = await child.ended()
        if child.report is not None:
            self._past = added(self._past, summed(child.report["metrics"]))
        child.report = None
        return code

    def _take(self, child: _Child, message: dict[str, Any]) -> None:
        child.report = message.get("report", child.report)
        if message["kind"] == "failed":
            child.reason = message["reason"]
        elif message["kind"] == "say":
            self._say(f"process {child.number}: {message['line']}")
        elif message["kind"] == "collect":
            self._start(self._collect(child, message["id"]))
        elif message["kind"] == "report" and "id" in message:
            child.reported.set()
        elif message["kind"] == "reloaded":
            child.reloaded.set()
        elif message["kind"] == "ready":
            child.ready = True
            if child.reloads < self._reloads:
                child.send(kind="reload")
            self._tell_of_others(child)
            if all(number in self._children and self._children[number].ready for number in self._numbers):
                self._all_ready.set()

    def _tell_of_others(self, child: _Child) -> None:
        """Say if a process that was started later serves another bundle: its folder has changed meanwhile."""
        others = [one for one in self._children.values() if one.report is not None and one is not child]
        if any(_bundles(one.report) != _bundles(child.report) for one in others):
            self._say(
                f"process {child.number} answers with another bundle than those before it, because a folder has "
                "changed: send SIGHUP, and all answer with what is there now"
            )

    async def _collect(self, asker: _Child, number: int) -> None:
        """Answer one process with fresh reports of all."""
        asked = [child for child in self._children.values() if child.ready and child.process.poll() is None]
        for child in asked:
            child.reported.clear()
            child.send(kind="report", id=number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(child.reported.wait() for child in asked)), _ANSWER_SECONDS)
        reports = {str(one.number): one.report for one in self._children.values() if one.report is not None}
        asker.send(kind="collected", id=number, reports=reports, past=self._past)

    async def _reload(self) -> None:
        """Have the bundles read again by one process after the other: each holds two of every bundle meanwhile."""
        async with self._reloading:
            self._reloads += 1
            for child in list(self._children.values()):
                if child.ready and not child.gone:
                    child.reloaded.clear()
                    child.send(kind="reload")
                    await child.reloaded.wait()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _soon(loop: asyncio.AbstractEventLoop, work: Callable[[], None]) -> None:
    """Have `work` done in the event loop, from another thread; nothing where that has ended."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(work)


def _bundles(report: Report | None) -> list[str]:
    """The hashes of the bundles that a process answers with."""
    stats = report["stats"] if report else {}
    each = stats.get("models", {"": stats} if stats else {})
    return [one["bundle"]["sha256"] for one in each.values()]
