"""What sentopt sees of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sentopt import progress as progress_module
from sentopt.backends import arm64
from sentopt.backends.arm64 import SetUp
from sentopt.errors import OutputError
from sentopt.measure import hardware
from sentopt.measure.hardware import Hardware
from sentopt.progress import Choice
from sentopt.runtime.tuning import cache_folder
from sentopt.wording import for_python

_VARIABLES = ("SENTOPT_MODEL_DIR", "SENTOPT_DATA_DIR", "SENTOPT_CACHE_DIR")


@dataclass(frozen=True)
class Environment:
    """The machine, versions of packages, sentopt's environment variables, and the folder of its cache.

    Without a home folder, `cache` says what to do.
    """

    hardware: Hardware
    versions: dict[str, str]
    environment: dict[str, str]
    cache: str

    def __str__(self) -> str:
        here = self.hardware
        quota = f" (cgroup quota {here.cpu_quota:g})" if here.cpu_quota else ""
        lines = [
            f"cpu      {here.cpu} ({', '.join(here.isa) or 'no known extensions'})",
            f"cores    {here.cores}{quota}",
            f"memory   {here.memory_bytes / 2**30:.1f} GiB",
            f"system   {here.system}",
            f"cache    {self.cache}",
            *(f"{name}={value}" for name, value in self.environment.items()),
            *(f"{package}=={version}" for package, version in self.versions.items()),
        ]
        return "\n".join(lines)


@for_python
def emulator(*, fetch: bool = False, progress: Choice = True) -> SetUp:
    """The ARM64 Python with which `check(cpu="neoverse-n1")` and `verify.cpu` answer; set up where that is asked for.

    Args:
        fetch: fetch and unpack what is missing: qemu and Python from Debian, wheels from pip's index. Otherwise nothing
            is changed, and the answer says what that would fetch and how much disk it would take.
        progress: True for bars or lines on stderr, False for none, or a function that receives lines.

    Raises:
        EmulationError: it cannot be set up on this machine, or what came does not work.
    """
    return arm64.set_up(progress_module.of(progress)) if fetch else arm64.state()


def environment() -> Environment:
    """What a bug report should say."""
    variables = {name: os.environ.get(name, "") for name in _VARIABLES}
    try:
        cache = str(cache_folder())
    except OutputError as error:
        cache = f"none: {error}"
    return Environment(hardware.describe(), hardware.versions(), variables, cache)
