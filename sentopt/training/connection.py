"""What the ranks of a distributed training tell each other outside of its collectives: messages, answers, failures.

They go through the key-value store that torchrun brings. Unlike a collective, it can be waited on for hours without
missing that another process has ended, and it works before there is a process group.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import platform
import socket
import threading
import time
import uuid
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from sentopt._version import __version__
from sentopt.errors import NodeError, RankError

_POLL = 0.2  # seconds between two looks at the store
_BEAT = 2.0  # seconds between two signs of life
_SILENCE = 120.0  # seconds without one, after which a rank counts as lost
_PACKAGES = ("torch", "transformers", "accelerate", "tokenizers")


class Connection:
    """The store, as one rank of `size` sees it. `hosts` are the names of all ranks' machines, in order of rank.

    Keys of an earlier attempt stay in the store when torchrun restarts its processes, so a session is agreed on first.

    Args:
        backend: of the collectives.
        timeout: seconds until all ranks have to be there.

    Raises:
        NodeError: a rank does not come, or the ranks have other packages, or not all of them have a GPU.
    """

    def __init__(self, *, backend: str, timeout: float) -> None:
        from torch import distributed

        root, self.rank, self.size = next(distributed.rendezvous("env://"))
        own_id = uuid.uuid4().hex
        own: dict[str, Any] = {"id": own_id, "host": socket.gethostname(), "backend": backend, "versions": _versions()}
        root.set(f"sentopt/hello/{self.rank}", json.dumps(own))
        deadline = time.monotonic() + timeout
        if self.rank == 0:
            session = _welcome(root, self.size, deadline)
        else:
            session = _welcomed(root, self.rank, own_id, deadline)
        self.store = distributed.PrefixStore(f"sentopt/{session}", root)
        self._messages = self._answers = 0
        self._has_reported = False
        self._beats = {rank: ("", time.monotonic()) for rank in range(self.size)}
        self.hosts: list[str] = [own["host"]] * self.size
        self._start_beating()
        introductions = [json.loads(text) for text in self.gather(json.dumps(own))]
        self.hosts = [each["host"] for each in introductions]
        self._check_alike(introductions)

    def name(self, rank: int) -> str:
        """A rank as messages call it."""
        return f"rank {rank} on {self.hosts[rank]}"

    def broadcast(self, message: str | None) -> str:
        """The `message` of rank 0, in all ranks. Every rank must call this.

        Raises:
            RankError: rank 0 has failed.
            NodeError: rank 0 was lost.
        """
        key = f"message/{self._messages}"
        self._messages += 1
        if self.rank == 0:
            self.store.set(key, message or "")
            return message or ""
        return self._wait_for(key, of=0)

    def gather(self, answer: str) -> list[str]:
        """The `answer` of every rank, in all ranks. Every rank must call this.

        Raises:
            RankError: rank 0 has failed.
            NodeError: another rank has failed, or was lost.
        """
        turn = self._answers
        self._answers += 1
        self.store.set(f"answer/{turn}/{self.rank}", answer)
        return [self._wait_for(f"answer/{turn}/{rank}", of=rank) for rank in range(self.size)]

    def report_failure(self, error: BaseException) -> None:
        """Let the others know why this rank cannot go on, if they do not know: what follows from a failure is none."""
        if not self._has_reported and not isinstance(error, RankError):
            self._has_reported = True
            with contextlib.suppress(RuntimeError):  # the store is gone with its node
                self.store.set(f"failed/{self.rank}", f"{type(error).__name__}: {error}")

    def failures(self, *, wait: float = 0.0) -> list[str]:
        """What other ranks have reported by now, or report within `wait` seconds; this one has nothing to add then."""
        self._has_reported = True
        deadline = time.monotonic() + wait
        others = [rank for rank in range(self.size) if rank != self.rank]
        while True:
            try:
                reported = [f"{self.name(rank)}: {text}" for rank in others if (text := self._failure_of(rank))]
            except RuntimeError:
                return []
            if reported or time.monotonic() >= deadline:
                return reported
            time.sleep(_POLL)

    def _failure_of(self, rank: int) -> str:
        return self.store.get(f"failed/{rank}").decode() if self.store.check([f"failed/{rank}"]) else ""

    def _wait_for(self, key: str, *, of: int) -> str:
        """What the rank `of` writes there, for as long as it lives."""
        self._beats[of] = self._beats[of][0], time.monotonic()  # nobody has looked at it for a while
        try:
            while not self.store.check([key]):
                if failure := self._failure_of(of):
                    said = f"{self.name(of)} could not go on: {failure}"
                    raise RankError(said) if of == 0 else NodeError(said)
                self._check_alive(of)
                time.sleep(_POLL)
            return str(self.store.get(key).decode())
        except RuntimeError as error:  # of the store, on the node of rank 0
            raise NodeError(f"{self.name(0)} was lost: {_first_line(error)}") from error

    def _check_alive(self, rank: int) -> None:
        key = f"beat/{rank}"
        beat = self.store.get(key).decode() if self.store.check([key]) else ""
        last, since = self._beats[rank]
        if beat != last:
            self._beats[rank] = beat, time.monotonic()
        elif time.monotonic() - since > _SILENCE:
            raise NodeError(f"{self.name(rank)} was lost: no sign of life for {_SILENCE:.0f} seconds")

    def _start_beating(self) -> None:
        """A thread tells every two seconds that this process lives, until it exits."""
        clone = getattr(self.store, "clone", None)  # from torch 2.8 on; before, calls wait for each other
        store, stop, key = clone() if clone else self.store, threading.Event(), f"beat/{self.rank}"

        def beat() -> None:
            count = 0
            try:
                while not stop.wait(_BEAT):
                    count += 1
                    store.set(key, str(count))
            except RuntimeError:  # the store is gone; whoever waits for something will say so
                return

        thread = threading.Thread(target=beat, name="sentopt-beat", daemon=True)
        thread.start()

        def end() -> None:
            stop.set()
            thread.join(timeout=_BEAT)

        atexit.register(end)

    def _check_alike(self, introductions: list[dict[str, Any]]) -> None:
        for what in ("backend", "versions"):
            for rank, other in enumerate(introductions):
                if other[what] != introductions[0][what]:
                    raise NodeError(
                        f"the processes of a training must have the same packages, and all of them a GPU or none: "
                        f"{self.name(0)} has {_shown(introductions[0])}, {self.name(rank)} has {_shown(other)}"
                    )


def _welcome(root: Any, size: int, deadline: float) -> str:
    """In rank 0: a new session that all ranks of this attempt have joined, and no rank of an earlier one."""
    session, greeted = uuid.uuid4().hex, dict.fromkeys(range(size), b"")

    def missing() -> str:
        for rank in range(1, size):
            hello = root.get(f"sentopt/hello/{rank}") if root.check([f"sentopt/hello/{rank}"]) else b""
            if hello != greeted[rank]:
                root.set(f"sentopt/welcome/{rank}", f"{json.loads(hello)['id']} {session}")
                greeted[rank] = hello
        absent = [rank for rank in range(1, size) if not root.check([f"sentopt/joined/{session}/{rank}"])]
        return f"rank {', '.join(map(str, absent))}" if absent else ""

    _wait_while(missing, deadline)
    return session


def _welcomed(root: Any, rank: int, own: str, deadline: float) -> str:
    """In any other rank: the session that rank 0 has opened for this very process."""
    session, key = "", f"sentopt/welcome/{rank}"

    def missing() -> str:
        nonlocal session
        name, _, session = (root.get(key).decode() if root.check([key]) else "").partition(" ")
        return "" if name == own else "rank 0"

    _wait_while(missing, deadline)
    root.set(f"sentopt/joined/{session}/{rank}", "yes")
    return session


def _wait_while(missing: Callable[[], str], deadline: float) -> None:
    """Until nothing is missing.

    Raises:
        NodeError: something still is at the deadline, or the store is gone.
    """
    try:
        while absent := missing():
            if time.monotonic() > deadline:
                raise NodeError(f"{absent} did not come to the training; its own messages say why")
            time.sleep(_POLL)
    except RuntimeError as error:
        raise NodeError(f"the store of torchrun was lost: {_first_line(error)}") from error


def _versions() -> dict[str, str]:
    found = {"sentopt": __version__, "python": ".".join(platform.python_version_tuple()[:2])}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _shown(introduction: dict[str, Any]) -> str:
    device = "a GPU" if introduction["backend"] == "nccl" else "no GPU"
    return f"{device}, {', '.join(f'{name} {number}' for name, number in introduction['versions'].items())}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0][:300]
