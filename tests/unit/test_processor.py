"""Name, instruction sets and memory of a machine, as each system tells them."""

import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sentopt.measure import memory, processor

pytest.importorskip("psutil")  # here, because its import looks for the system that a test pretends to have
APPLE_M3 = """\
machdep.cpu.brand_string: Apple M3
machdep.cpu.cores_per_package: 8
hw.optional.neon: 1
hw.optional.AdvSIMD: 1
hw.optional.arm.FEAT_DotProd: 1
hw.optional.arm.FEAT_I8MM: 1
hw.optional.arm.FEAT_BF16: 1
hw.optional.arm.FEAT_SME: 0
"""
APPLE_M1 = APPLE_M3.replace("M3", "M1").replace("I8MM: 1", "I8MM: 0").replace("BF16: 1", "BF16: 0")
INTEL = """\
machdep.cpu.brand_string: Intel(R) Xeon(R) W-3245 CPU @ 3.20GHz
machdep.cpu.features: FPU SSE SSE2 AVX1.0
machdep.cpu.leaf7_features: AVX2 AVX512F AVX512VNNI BMI2
hw.optional.avx2_0: 1
"""


def answering(text: str) -> Callable[..., Any]:
    def run(command: list[str], **options: object) -> Any:
        assert command[1:] == ["machdep.cpu", "hw.optional"]
        return SimpleNamespace(stdout=text, returncode=0)

    return run


@pytest.mark.parametrize(
    ("text", "name", "extensions"),
    [
        (APPLE_M3, "Apple M3", ("asimd", "asimddp", "i8mm", "bf16")),
        (APPLE_M1, "Apple M1", ("asimd", "asimddp")),
        (INTEL, "Intel(R) Xeon(R) W-3245 CPU @ 3.20GHz", ("avx2", "avx512f", "avx512_vnni")),
    ],
    ids=["m3", "m1", "intel"],
)
def test_a_mac_names_its_chip_and_its_instruction_sets(
    text: str, name: str, extensions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", answering(text))
    assert processor.name() == name
    assert processor.extensions() == extensions


@pytest.mark.parametrize("error", [FileNotFoundError("sysctl"), subprocess.TimeoutExpired("sysctl", 10)])
def test_a_mac_whose_sysctl_does_not_answer_is_described_by_less(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", fail)
    assert processor.name()
    assert processor.extensions() == ()


@pytest.mark.parametrize("system", ["linux", "darwin", "freebsd14"])
def test_memory_of_a_process_is_told_with_and_without_proc(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    if system == "darwin":  # which counts bytes, where this system counts KiB
        resource = pytest.importorskip("resource")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        monkeypatch.setattr(resource, "getrusage", lambda who: SimpleNamespace(ru_maxrss=peak))
    held = bytearray(b"x" * 2**24)
    assert 2**24 < memory.resident_bytes() <= memory.of_machine()
    assert memory.peak_bytes() > 2**24
    assert len(held) == 2**24


def test_without_psutil_memory_is_unknown_where_only_psutil_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setitem(sys.modules, "psutil", None)
    assert memory.resident_bytes() == 0
    assert memory.of_machine() > 2**28
