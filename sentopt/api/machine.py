"""What sentopt sees of this machine."""

from __future__ import annotations

import os
from dataclasses import dataclass

from sentopt.errors import OutputError
from sentopt.measure import hardware
from sentopt.measure.hardware import Hardware
from sentopt.runtime.tuning import cache_folder

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


def environment() -> Environment:
    """What a bug report should say."""
    variables = {name: os.environ.get(name, "") for name in _VARIABLES}
    try:
        cache = str(cache_folder())
    except OutputError as error:
        cache = f"none: {error}"
    return Environment(hardware.describe(), hardware.versions(), variables, cache)
