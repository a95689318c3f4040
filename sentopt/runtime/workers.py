"""Threads that answer batches side by side, each on a core of its own."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """An object that is made when it is first needed, and made again in a process that was forked since.

    Threads do not survive a fork. The object that the parent made is left alone in the child, never even released:
    its destructor would wait for threads that are not there.
    """

    def __init__(self, make: Callable[[], T], made: T | None = None) -> None:
        self._make = make
        self._made = made
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def get(self) -> T:
        """The object of this process."""
        if self._pid != os.getpid():
            self._leave_behind()
        if self._made is None:
            with self._lock:
                if self._made is None:
                    self._made = self._make()
        return self._made

    def _leave_behind(self) -> None:
        if self._made is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._made))
        self._made, self._lock = None, threading.Lock()  # the parent's may be held by a thread that is not here
        self._pid = os.getpid()


def thread_pool(count: int) -> PerProcess[ThreadPoolExecutor]:
    """A pool of `count` threads for each process."""
    return PerProcess(lambda: ThreadPoolExecutor(count, thread_name_prefix="sentopt"))


def each(pool: ThreadPoolExecutor, work: Callable[[T], None], items: Iterable[T]) -> None:
    """Do `work` on all items; what a thread raised is raised here."""
    for _ in pool.map(work, items):
        pass
