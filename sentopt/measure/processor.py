"""Name and instruction sets of the CPU, on every platform.

Linux lists both in /proc/cpuinfo, macOS in `sysctl`. Windows has the name in its registry and tells some instruction
sets; numpy, which asks the CPU itself, knows the others.
"""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from sentopt.runtime.cores import cpu_model, cpuinfo

EXTENSIONS = (
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
"""The instruction sets that affect answers or timings, as Linux calls them."""
_OF_INTEL_MAC = {"avx512vnni": "avx512_vnni"}
_OF_APPLE_SILICON = {
    "hw.optional.AdvSIMD": "asimd",
    "hw.optional.neon": "asimd",
    "hw.optional.arm.FEAT_DotProd": "asimddp",
    "hw.optional.arm.FEAT_I8MM": "i8mm",
    "hw.optional.arm.FEAT_BF16": "bf16",
}
# PF_ constants of winnt.h for IsProcessorFeaturePresent
_OF_WINDOWS = {40: "avx2", 41: "avx512f", 29: "asimd", 43: "asimddp", 66: "i8mm", 68: "bf16"}
_OF_NUMPY = {
    "AVX2": "avx2",
    "AVX512F": "avx512f",
    "AVX512VNNI": "avx512_vnni",
    "AVX512BF16": "avx512_bf16",
    "ASIMD": "asimd",
    "ASIMDDP": "asimddp",
}
_REGISTRY = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
_SECONDS = 10.0


def name() -> str:
    """The name on the chip, else what the operating system calls it."""
    told = ""
    if sys.platform == "darwin":
        told = _sysctl().get("machdep.cpu.brand_string", "")
    elif sys.platform == "win32":
        told = _in_registry("ProcessorNameString")
    return told or cpu_model()


def extensions() -> tuple[str, ...]:
    """Those of `EXTENSIONS` that this CPU has, as far as the system tells."""
    if sys.platform == "darwin":
        known = set(extensions_of_mac(_sysctl()))
    elif sys.platform == "win32":
        known = set(_asked_of_windows()) | set(_asked_of_numpy())
    else:
        info = cpuinfo()
        known = set((info.get("flags") or info.get("Features") or "").split())
    return tuple(extension for extension in EXTENSIONS if extension in known)


def extensions_of_mac(sysctl: Mapping[str, str]) -> Iterator[str]:
    """Instruction sets under Linux's names, from the values that `sysctl` prints on a Mac."""
    for key in ("machdep.cpu.features", "machdep.cpu.leaf7_features"):
        for flag in sysctl.get(key, "").lower().split():
            yield _OF_INTEL_MAC.get(flag, flag)
    yield from (extension for key, extension in _OF_APPLE_SILICON.items() if sysctl.get(key) == "1")


def _sysctl() -> dict[str, str]:
    """What `sysctl` prints of the CPU and its optional features."""
    try:
        done = subprocess.run(
            ["/usr/sbin/sysctl", "machdep.cpu", "hw.optional"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    pairs = (line.partition(":") for line in done.stdout.splitlines())
    return {key.strip(): value.strip() for key, colon, value in pairs if colon}


def _asked_of_windows() -> list[str]:
    known: list[str] = []
    if sys.platform == "win32":
        import ctypes

        present = ctypes.windll.kernel32.IsProcessorFeaturePresent
        known = [extension for number, extension in _OF_WINDOWS.items() if present(number)]
    return known


def _in_registry(value: str) -> str:
    told = ""
    if sys.platform == "win32":
        import winreg

        with contextlib.suppress(OSError), winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, _REGISTRY) as key:
            told = str(winreg.QueryValueEx(key, value)[0]).strip()
    return told


def _asked_of_numpy() -> Iterator[str]:
    """What `numpy.show_runtime` prints of the CPU."""
    try:
        features: Any = importlib.import_module("numpy._core._multiarray_umath").__cpu_features__
    except (ImportError, AttributeError):
        return
    yield from (extension for key, extension in _OF_NUMPY.items() if features.get(key))
