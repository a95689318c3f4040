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

from sentopt.runtime import cgroups


def available_cores(root: Path = cgroups.ROOT) -> int:
    """Cores granted by the scheduler: min(CPU affinity, smallest cgroup quota rounded up), at least 1.

    The affinity is that of `taskset` and of cpusets. `root` is the folder below which `proc` and `sys` lie.
    """
    affinity = getattr(os, "sched_getaffinity", None)  # of Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = cgroup_quota(root)
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


def cgroup_quota(root: Path = cgroups.ROOT) -> float | None:
    """The smallest CPU quota of this process's cgroups, from its own up to the highest seen, in cores; None without."""
    quotas = [quota for version, folder in cgroups.folders("cpu", root) if (quota := _quota(version, folder))]
    return min(quotas, default=None)


def _quota(version: int, folder: Path) -> float | None:
    if version == 2:
        words = cgroups.read(folder / "cpu.max")
    else:
        words = cgroups.read(folder / "cpu.cfs_quota_us") + cgroups.read(folder / "cpu.cfs_period_us")
    try:
        quota, period = map(int, words)  # "max" or -1 without a quota
    except ValueError:
        return None
    return quota / period if quota > 0 and period > 0 else None
