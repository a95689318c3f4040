"""Threads that answer batches in parallel, and what must hold when a process forks or ends.

Threads do not survive a fork, and an interpreter that ends starts no new ones. A process that was forked therefore
makes its own pools and sessions, and a thread that outlives the main thread answers by itself.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, Generic, TypeVar

T = TypeVar("T")

_LONGEST_WAIT = 30.0  # seconds that the end of the interpreter waits for batches that daemon threads have begun


class _Made(Generic[T]):
    """The object of one process, or none yet, and the lock under which it is made."""

    def __init__(self, made: T | None = None) -> None:
        self.object = made
        self.lock = threading.Lock()


class PerProcess(Generic[T]):
    """An object that is created on first use, and created again in a forked process.

    Threads do not survive a fork. The child never touches or releases the parent's object, not even when it ends: its
    destructor would wait for threads that do not exist there.
    """

    every: ClassVar[weakref.WeakSet[PerProcess[Any]]] = weakref.WeakSet()
    """All such objects of this process."""

    def __init__(self, create: Callable[[], T], created: T | None = None) -> None:
        self._create = create
        self._of_process = {os.getpid(): _Made(created)}
        PerProcess.every.add(self)

    def get(self) -> T:
        """The object of this process."""
        made = self._of_process.get(os.getpid()) or self.leave_parents()
        if made.object is None:
            with made.lock:
                if made.object is None:
                    made.object = self._create()
        return made.object

    def leave_parents(self) -> _Made[T]:
        """A place for a child's object; that of its parent is never released.

        It has a lock of its own, because a thread of the parent may hold the other one.
        """
        inherited = list(self._of_process.items())
        fresh: _Made[T] = _Made()
        made = self._of_process.setdefault(os.getpid(), fresh)  # atomic: of many threads one makes the place
        if made is fresh:
            for pid, parents in inherited:
                if pid != os.getpid() and parents.object is not None:
                    ctypes.pythonapi.Py_IncRef(ctypes.py_object(parents.object))
                    self._of_process.pop(pid, None)
        return made


def thread_pool(count: int) -> PerProcess[ThreadPoolExecutor]:
    """A pool of `count` threads per process."""
    return PerProcess(lambda: ThreadPoolExecutor(count, thread_name_prefix="sentopt"))


class Started(Generic[T]):
    """Items that `work` is called with, by threads of a pool, while the caller does something else."""

    def __init__(
        self, pool: ThreadPoolExecutor | None, count: int, work: Callable[[T], None], items: Iterable[T]
    ) -> None:
        """
        Args:
            pool: whose threads do the work; None leaves it to `finish`.
            count: number of threads at most.
            work: called with each item.
            items: what there is to do.
        """
        self._items = deque(items)
        self._work = work
        self._futures: list[Future[None]] = []
        # At the end of the interpreter a pool takes nothing more, and Python 3.12 starts no thread; a limit of the
        # operating system may have been reached as well.
        if pool is not None:
            with contextlib.suppress(RuntimeError):
                for _ in range(min(count, len(self._items))):
                    self._futures.append(pool.submit(self._drain))

    def finish(self) -> None:
        """Wait until all items are done. Without a single thread of the pool, the caller does them.

        Raises:
            Exception: what the first failing call of `work` raised; items that nobody has begun are left.
        """
        if not self._futures:
            self._drain()
        for future in self._futures:
            future.result()

    def _drain(self) -> None:
        while True:
            try:
                item = self._items.popleft()
            except IndexError:
                return
            try:
                self._work(item)
            except BaseException:
                self._items.clear()
                raise


class _Ending:
    """Keeps daemon threads out of native code when the interpreter ends.

    Python ends a daemon thread where it next takes the interpreter's lock. Inside an inference engine that unwinds the
    stack of C++ code, which aborts the whole process. So the end waits for the calls that have begun, and daemon
    threads begin no others.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._main: int | None = None

    @contextlib.contextmanager
    def native_call(self) -> Iterator[None]:
        """Around every call that releases the interpreter's lock."""
        with self._changed:
            while self._main not in (None, threading.get_ident()):
                self._changed.wait()  # for ever: only daemon threads are left, and the process ends
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                if self._main is not None:
                    self._changed.notify_all()

    def begin(self) -> None:
        """Let no other thread begin a call, and wait for the calls that have begun."""
        with self._changed:
            self._main = threading.get_ident()
            self._changed.wait_for(lambda: self._running == 0, timeout=_LONGEST_WAIT)


_ending = _Ending()


def native_call() -> contextlib.AbstractContextManager[None]:
    """The context of a call into native code that releases the interpreter's lock, see `_Ending`."""
    return _ending.native_call()


def _start_anew() -> None:
    """In a forked process: the calls of the parent's threads never end here, and its objects are left alone."""
    global _ending
    _ending = _Ending()
    for one in list(PerProcess.every):
        one.leave_parents()


atexit.register(lambda: _ending.begin())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew)
