"""Describe this machine and the installed packages, for the record of every measurement."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentopt.runtime import cgroups
from sentopt.runtime.cores import available_cores, cgroup_quota, cpu_model, cpuinfo

_ISA_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimd",
    "asimddp",
    "i8mm",
    "bf16",
)
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
    info = cpuinfo()
    flags = set((info.get("flags") or info.get("Features") or "").split())
    return Hardware(
        cpu=cpu_model(),
        isa=tuple(flag for flag in _ISA_FLAGS if flag in flags),
        cores=available_cores(),
        cpu_quota=cgroup_quota(),
        memory_bytes=_memory_bytes(),
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
    machine = _memory_bytes()
    limit = cgroups.least("memory", "memory.limit_in_bytes", "memory.max", root)
    return machine if limit is None else min(limit, machine or limit)


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return 0
