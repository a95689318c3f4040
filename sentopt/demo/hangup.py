"""SIGHUP: read the bundles again, or stop where the terminal that the server was started from is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import TracebackType

from sentopt.files import streams


class Hangup:
    """The handling of SIGHUP while a server runs; nothing where there is no such signal, or in another thread.

    The signal also comes when a terminal is closed. The server would go on with nobody who can end it, so it stops
    then, unless it was started with nohup.
    """

    def __init__(self) -> None:
        self._early = False
        self._before: object = None
        self._had_terminal = self._on_terminal = False

    def __enter__(self) -> Hangup:
        """Note a signal that comes while bundles are being loaded; it would end the process otherwise."""
        if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGHUP, lambda number, frame: self._note())
            self._had_terminal = self._before != signal.SIG_IGN and _has_terminal()
            self._on_terminal = sys.stdout is not None and sys.stdout.isatty()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if sys.platform != "win32" and self._before is not None:
            signal.signal(signal.SIGHUP, self._before)  # type: ignore[arg-type]

    def handle(self, loop: asyncio.AbstractEventLoop, reload: Callable[[], None], stop: Callable[[], None]) -> None:
        """From now on, in the event loop of the server: call `reload`, or `stop` where the terminal is gone."""

        def decide() -> None:
            if self._had_terminal and not _has_terminal():
                if self._on_terminal:
                    streams.leave_stdout()  # where nothing can be written any more
                stop()
            else:
                reload()

        if sys.platform != "win32" and self._before is not None:
            loop.add_signal_handler(signal.SIGHUP, decide)
            if self._early:
                decide()

    def _note(self) -> None:
        self._early = True


def _has_terminal() -> bool:
    """Whether this process has a terminal that controls it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | getattr(os, "O_NOCTTY", 0)))
    except OSError:
        return False
    return True
