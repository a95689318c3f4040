"""A lock file that one process holds at a time, on every platform.

The operating system keeps the lock (flock, or its like on Windows). The lock of a process that has ended is free,
however it ended. The file is empty, and may stay.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from sentopt._optional import needs_extra


@contextlib.contextmanager
def held(path: Path, *, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock file at `path`, which is made if need be, until the block ends.

    Raises:
        BlockingIOError: somebody else holds it, and still does after `wait` seconds.
        OSError: the file cannot be made.
        MissingExtraError: the package `filelock` is not installed.
    """
    with needs_extra("train"):
        import filelock

    lock = filelock.FileLock(path, timeout=wait)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise BlockingIOError(f"{path} is held by another process") from error
    try:
        yield
    finally:
        lock.release()
