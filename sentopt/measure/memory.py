"""Memory of this process and of the machine, on every platform.

Linux tells in /proc. Elsewhere psutil is asked, which the extra `train` brings; without it, a POSIX system still tells
the peak.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any


def resident_bytes() -> int:
    """What this process has in memory now; 0 where the system does not tell."""
    if sys.platform == "linux":
        try:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE")
        except (OSError, ValueError, IndexError):
            pass  # no /proc is mounted
    return int(getattr(_of_process(), "rss", 0))


def peak_bytes() -> int:
    """The most that this process had in memory so far; 0 where the system does not tell.

    On Linux this is VmHWM, because `ru_maxrss` includes the parent before the fork.
    """
    if sys.platform == "linux":
        try:
            status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
            return int(status.partition("VmHWM:")[2].split()[0]) * 1024
        except (OSError, IndexError, ValueError):
            pass  # no /proc is mounted
    return _peak_of_process()


def of_machine() -> int:
    """Bytes of the machine's memory; 0 where the system does not tell."""
    if sys.platform != "win32":
        try:
            return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        except (ValueError, OSError, AttributeError):
            pass
    return _of_windows()


def _of_windows() -> int:
    """`ullTotalPhys` of GlobalMemoryStatusEx, so that the base install can tell, which has no psutil."""
    total = 0
    if sys.platform == "win32":
        import ctypes

        status = (ctypes.c_uint64 * 8)(64)  # MEMORYSTATUSEX: two numbers of 32 bits, its size first, then seven of 64
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            total = status[1]
    return total


def _peak_of_process() -> int:
    if sys.platform != "win32":
        try:
            import resource
        except ImportError:
            pass
        else:  # in bytes on macOS, in KiB elsewhere
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    here = _of_process()
    return int(getattr(here, "peak_wset", 0) or getattr(here, "rss", 0))


def _of_process() -> Any:
    """psutil's memory_info, or None."""
    psutil = _psutil()
    return psutil.Process().memory_info() if psutil else None


def _psutil() -> Any:
    try:
        return importlib.import_module("psutil")
    except ImportError:
        return None
