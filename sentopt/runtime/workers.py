"""Thread pools that answer batches in parallel, and objects that survive a fork."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """An object that is created on first use, and created again in a forked process.

    Threads do not survive a fork. The child never touches or releases the parent's object: its destructor would wait
    for threads that do not exist there.
    """

    def __init__(self, create: Callable[[], T], created: T | None = None) -> None:
        self._create = create
        self._object = created
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def get(self) -> T:
        """The object of this process."""
        if self._pid != os.getpid():
            self._abandon()
        if self._object is None:
            with self._lock:
                if self._object is None:
                    self._object = self._create()
        return self._object

    def _abandon(self) -> None:
        if self._object is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._object))
        self._object, self._lock = None, threading.Lock()  # a thread of the parent may hold the old lock
        self._pid = os.getpid()


def thread_pool(count: int) -> PerProcess[ThreadPoolExecutor]:
    """A pool of `count` threads per process."""
    return PerProcess(lambda: ThreadPoolExecutor(count, thread_name_prefix="sentopt"))


def for_each(pool: ThreadPoolExecutor, work: Callable[[T], None], items: Iterable[T]) -> None:
    """Call `work` with every item. An exception in a thread is raised here."""
    for _ in pool.map(work, items):
        pass
