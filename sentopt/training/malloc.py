"""How the C library keeps memory while a model is trained."""

from __future__ import annotations

import ctypes
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from sentopt.measure import hardware

# mallopt(3), and the numbers of glibc's malloc.h
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_DEFAULT_MMAPS = 65536
_SHARE = 0.25


@contextmanager
def reusing_freed_memory() -> Iterator[None]:
    """Keep what is freed for the next step; also usable as a decorator. Does nothing without glibc.

    A training step allocates and frees the same large tensors over and over. By default glibc maps each of them anew
    and the kernel clears every page: a third of the time of a step on 16 texts of 320 tokens. On leaving, what is not
    used is given back. Batches of many lengths leave holes that nothing fits into, so `bound` must be called meanwhile.
    """
    if not _is_glibc():
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        # Any call of mallopt ends glibc's own adjustment of these: they are left as it would have come to set them.
        libc.mallopt(_MMAP_MAX, _DEFAULT_MMAPS)
        libc.mallopt(_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)


def bound(limit: int | None = None) -> bool:
    """Give back what is not used if this process has more than `limit` bytes; returns whether it did.

    By default the limit is a quarter of the memory that is granted. A model that needs more than that is trained as
    without `reusing_freed_memory`: no faster, and in no more memory.
    """
    if not _is_glibc():
        return False
    if resident_bytes() <= (hardware.granted_memory_bytes() * _SHARE if limit is None else limit):
        return False
    ctypes.CDLL(None).malloc_trim(0)
    return True


def resident_bytes() -> int:
    """What this process has in memory now; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@cache
def _is_glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
