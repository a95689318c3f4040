"""How Python is started on another CPU, and what is said where that fails; with stand-ins for qemu."""

import stat
import sys
import time
from pathlib import Path

import pytest

from sentopt.backends import emulation
from sentopt.errors import EmulationError

_HELP = """Available CPUs:
x86 486                   (alias configured by machine type)
x86 486-v1
x86 EPYC-Milan            (alias configured by machine type)
x86 EPYC-Milan-v1         AMD EPYC-Milan Processor
x86 max                   Enables all features supported by the accelerator in the current host

Recognized CPUID flags:
  3dnow 3dnowext"""


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An x86-64 Linux, whatever this is."""
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    return monkeypatch


def put_qemu(folder: Path, patch: pytest.MonkeyPatch, *, name: str = "qemu-x86_64", fault: str = "") -> None:
    """A qemu on PATH that runs the Python it is given, after `fault`, a line of shell."""
    program = folder / name
    program.write_text(
        f"#!/bin/sh\n[ \"$*\" = '-cpu help' ] && cat <<'END' && exit\n{_HELP}\nEND\n"
        f'[ "$1" = --version ] && echo "{name} version 7.2.22" && exit\n{fault}\nshift 2\nexec "$@"\n'
    )
    program.chmod(stat.S_IRWXU)
    patch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def printed(cpu: str, *arguments: str, text: str = "") -> str:
    """What Python prints on that CPU."""
    lines: list[str] = []
    emulation.python(cpu, arguments, text, lines.append)
    return "".join(lines)


def test_the_program_gets_its_arguments_and_its_text(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    put_qemu(tmp_path, machine)
    program = "import sys, sentopt; print(sys.argv[1], sys.stdin.read(), len(sentopt.__version__) > 0)"
    assert printed("EPYC-Milan", "-c", program, "one", text="zwei \u2713") == "one zwei \u2713 True\n"
    assert emulation.problem("EPYC-Milan") == ""
    assert emulation.problem("EPYC-Milan-v1") == ""
    assert emulation.problem("max,vnni=off") == ""


def test_an_unknown_model_is_told_with_those_that_there_are(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    put_qemu(tmp_path, machine)
    with pytest.raises(EmulationError) as caught:
        printed("EPYC-Milano", "-c", "print(1)")
    told = str(caught.value)
    assert "has no CPU model 'EPYC-Milano' (did you mean 'EPYC-Milan'?)" in told
    assert "It offers 486, EPYC-Milan, max; ARM64 models are a64fx, " in told


@pytest.mark.parametrize(("cause", "name"), [("kill -SEGV $$", "SIGSEGV"), ("kill -ABRT $$", "SIGABRT")])
def test_a_crash_is_told_in_words(tmp_path: Path, machine: pytest.MonkeyPatch, cause: str, name: str) -> None:
    put_qemu(tmp_path, machine, fault=f"echo 'uncaught target signal' >&2; {cause}")
    with pytest.raises(EmulationError) as caught:
        printed("EPYC-Milan", "-c", "print(1)")
    told = str(caught.value)
    assert f"the program crashed on an emulated EPYC-Milan ({name}), in qemu-x86_64 version 7.2.22" in told
    assert "uncaught target signal" in told
    assert "This says nothing about the CPU itself" in told


def test_a_failure_is_told_without_its_traceback(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    put_qemu(tmp_path, machine)
    with pytest.raises(EmulationError, match=r"failed on an emulated max \(exit code 1\): ValueError: why$"):
        printed("max", "-c", "raise ValueError('why')")


def test_a_program_that_is_silent_for_long_is_ended(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    put_qemu(tmp_path, machine)
    machine.setattr("sentopt.backends.emulation.SILENT_SECONDS", 1.5)
    begin = time.monotonic()
    with pytest.raises(EmulationError, match=r"printed nothing for 1\.5 s on an emulated max"):
        printed("max", "-c", "import time; print(1, flush=True); time.sleep(300)")
    assert time.monotonic() - begin < 60


def test_a_program_that_goes_on_printing_is_not_ended(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    put_qemu(tmp_path, machine)
    machine.setattr("sentopt.backends.emulation.SILENT_SECONDS", 3.0)
    program = "import time\nfor i in range(6): print(i, flush=True); time.sleep(0.7)"
    assert printed("max", "-c", program).split() == [*"012345"]


def test_an_arm64_machine_needs_no_emulator_for_its_own_model(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    machine.setattr("platform.machine", lambda: "aarch64")
    machine.setattr("sentopt.backends.emulation.cpuinfo", lambda: {"CPU part": "0xd0c"})
    machine.setenv("PATH", str(tmp_path))
    assert printed("neoverse-n1", "-c", "print(1)") == "1\n"
    with pytest.raises(EmulationError, match="emulating cortex-a72 needs qemu-aarch64, which is not installed here"):
        printed("cortex-a72", "-c", "print(1)")
    with pytest.raises(EmulationError, match=r"EPYC-Milan is no ARM64 CPU, .* on x86-64 machines only"):
        printed("EPYC-Milan", "-c", "print(1)")


def test_an_arm64_machine_emulates_other_models_with_its_own_python(
    tmp_path: Path, machine: pytest.MonkeyPatch
) -> None:
    machine.setattr("platform.machine", lambda: "aarch64")
    machine.setattr("sentopt.backends.emulation.cpuinfo", lambda: {"CPU part": "0xd0c"})
    put_qemu(tmp_path, machine, name="qemu-aarch64")
    with pytest.raises(EmulationError, match="qemu-aarch64 has no CPU model 'cortex-a72'"):
        printed("cortex-a72", "-c", "print(1)")
    program = tmp_path / "qemu-aarch64"
    program.write_text(program.read_text().replace("EPYC-Milan ", "cortex-a72 "))
    assert printed("cortex-a72", "-c", "import sys; print(sys.executable)") == f"{sys.executable}\n"


def test_without_qemu_its_package_is_named(tmp_path: Path, machine: pytest.MonkeyPatch) -> None:
    machine.setenv("PATH", str(tmp_path))
    assert "apt-get install qemu-user" in emulation.problem("EPYC-Milan")


def test_other_systems_emulate_nothing(machine: pytest.MonkeyPatch) -> None:
    machine.setattr("platform.system", lambda: "Windows")
    machine.setattr("platform.machine", lambda: "AMD64")
    assert "needs Linux on x86-64 or ARM64, and this is Windows on AMD64" in emulation.problem("EPYC-Milan")
