"""Describe this machine and the installed packages, for the record of every measurement."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentopt.measure import memory, processor
from sentopt.runtime import cgroups
from sentopt.runtime.cores import available_cores, cgroup_quota

PACKAGES = (
    "sentopt",
    "numpy",
    "onnxruntime",
    "tokenizers",
    "torch",
    "transformers",
    "datasets",
    "evaluate",
    "accelerate",
    "optimum",
    "optimum-onnx",
    "onnx",
    "openvino",
    "scikit-learn",
    "gradio",
)


@dataclass(frozen=True)
class Hardware:
    """The CPU and its environment. `isa` lists the instruction sets that affect answers or timings."""

    cpu: str
    isa: tuple[str, ...]
    cores: int
    cpu_quota: float | None
    memory_bytes: int
    system: str

    def has_bf16(self) -> bool:
        """Whether the CPU has bfloat16 products; emulated ones are slower than float32."""
        return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(self.isa))


def describe() -> Hardware:
    """This machine; unknown values are empty or zero."""
    return Hardware(
        cpu=processor.name(),
        isa=processor.extensions(),
        cores=available_cores(),
        cpu_quota=cgroup_quota(),
        memory_bytes=memory.of_machine(),
        system=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    )


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of the installed `packages` (default: those that affect results), without importing them."""
    installed = {}
    for package in packages:
        try:
            installed[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def granted_memory_bytes(root: Path = cgroups.ROOT) -> int:
    """Memory granted to this process: the machine's, or the smallest limit of its cgroups, if smaller; 0 if unknown."""
    machine = memory.of_machine()
    limit = cgroups.least("memory", "memory.limit_in_bytes", "memory.max", root)
    return machine if limit is None else min(limit, machine or limit)
