"""The number of cores granted to this process, and the model of the CPU.

`os.cpu_count()` counts the host's cores. In a container with a CPU quota that number oversubscribes: sixteen threads
share two cores' worth of time, and each prediction waits for the slowest. The smaller of CPU affinity and cgroup quota
is used instead.
"""

from __future__ import annotations

import math
import os
import platform
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def available_cores(cgroup: Path = _CGROUP) -> int:
    """Cores granted by the scheduler: min(CPU affinity, cgroup v2 or v1 quota rounded up), at least 1."""
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cgroup_quota(cgroup)
    return max(1, min(cores, math.ceil(quota)) if quota else cores)


def cpuinfo() -> dict[str, str]:
    """The first processor's entries of /proc/cpuinfo; empty if the file does not exist."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    first: dict[str, str] = {}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            first.setdefault(key.strip(), value.strip())
    return first


def cpu_model() -> str:
    """The processor's name as the operating system reports it."""
    return cpuinfo().get("model name") or platform.processor() or platform.machine()


def cgroup_quota(cgroup: Path = _CGROUP) -> float | None:
    """The CPU quota of this process's cgroup in cores; None without a quota."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period_us = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii"))
        return quota_us / period_us if quota_us > 0 and period_us > 0 else None
    except (OSError, ValueError):
        return None
