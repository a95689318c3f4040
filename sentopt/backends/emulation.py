"""Run a variant or a bundle on another CPU model, with Python under qemu's user-mode emulation.

CPUs differ in INT8 products: on x86-64 without VNNI, sums of two products saturate at 16 bits, and ARM64 has kernels of
its own. x86-64 models run this very Python under the qemu-user that is installed; ARM64 models run the Python of
`sentopt.backends.arm64`. The emulated process is `sentopt.backends.emulated`.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from sentopt import records
from sentopt.backends import arm64
from sentopt.backends.opening import Candidate
from sentopt.backends.worker import without_traceback
from sentopt.errors import EmulationError
from sentopt.runtime.batching import batched
from sentopt.runtime.cores import available_cores, cpuinfo
from sentopt.runtime.description import Text
from sentopt.runtime.session import BoolArray, FloatArray

SILENT_SECONDS = 900.0
"""The longest that an emulated program may print nothing."""
_QEMU_X86, _QEMU_ARM64 = "qemu-x86_64", "qemu-aarch64"
_PACKAGE = Path(__file__).parents[1]
_LIKE_ARM64 = re.compile(r"(a64fx|arm|cortex|neoverse)", re.IGNORECASE)
_VERSION_OF_A_MODEL = re.compile(r"-v\d+$")
_ARM64_PARTS = {  # "CPU part" of /proc/cpuinfo
    "0xd03": "cortex-a53",
    "0xd05": "cortex-a55",
    "0xd07": "cortex-a57",
    "0xd08": "cortex-a72",
    "0xd0b": "cortex-a76",
    "0xd0c": "neoverse-n1",
    "0xd40": "neoverse-v1",
    "0xd49": "neoverse-n2",
}


@dataclass(frozen=True)
class _Emulator:
    """How Python is started on a CPU model: the command before its arguments, and its environment."""

    command: tuple[str, ...]
    environment: Callable[[Path], dict[str, str]]


@dataclass(frozen=True)
class Answers:
    """Logits of (texts, labels) from an emulated CPU, and the version of onnxruntime there.

    `deferred` says of each text whether a cascade deferred it there; None for what is no cascade.
    """

    logits: FloatArray
    onnxruntime: str
    deferred: BoolArray | None = None


def problem(cpu: str) -> str:
    """Why the CPU model `cpu` cannot be emulated here, and what to do; empty where it can be."""
    try:
        _emulator(cpu)
    except EmulationError as error:
        return str(error)
    return ""


def answers(
    candidate: Candidate, texts: Sequence[Text], *, cpu: str, advance: Callable[[int], None] = lambda more: None
) -> Answers:
    """Answers to `texts` on the CPU model `cpu`, one at a time.

    There is one process per core, and `advance` is called with 1 for every text that is answered.

    Raises:
        EmulationError: see `python`.
    """
    request = {
        "model": str(candidate.model.absolute()),
        "tokenizer": str(candidate.tokenizer.absolute()),
        "labels": list(candidate.labels),
        "max_length": candidate.max_length,
        "engine": candidate.spec.engine,
    }
    return _answers(request, texts, cpu, advance)


def bundle_answers(
    bundle: Path, texts: Sequence[Text], *, cpu: str, advance: Callable[[int], None] = lambda more: None
) -> Answers:
    """Like `answers`, for a bundle, which is loaded and hash-verified on that CPU.

    Raises:
        EmulationError: see `python`.
    """
    return _answers({"bundle": str(bundle.absolute())}, texts, cpu, advance)


def _answers(request: Mapping[str, Any], texts: Sequence[Text], cpu: str, advance: Callable[[int], None]) -> Answers:
    processes = available_cores()
    parts = list(batched(texts, max(1, -(-len(texts) // processes))))
    with ThreadPoolExecutor(max_workers=processes) as pool:
        answered = list(pool.map(lambda part: _answer(request, part, cpu, advance), parts))
    deferred = [part.deferred for part in answered if part.deferred is not None]
    return Answers(
        np.concatenate([part.logits for part in answered]),
        answered[0].onnxruntime,
        np.concatenate(deferred) if deferred else None,
    )


def _answer(request: Mapping[str, Any], texts: Sequence[Text], cpu: str, advance: Callable[[int], None]) -> Answers:
    """The answers of one process."""
    rows: list[Any] = []

    def receive(line: str) -> None:
        rows.append(json.loads(line))
        if len(rows) > 1:  # the first line says that the classifier is open
            advance(1)

    try:
        python(cpu, ("-m", "sentopt.backends.emulated"), json.dumps({**request, "texts": list(texts)}), receive)
    except EmulationError as error:
        told = f", after {len(rows) - 1} of {len(texts)} texts" if rows else ", before the first text"
        raise EmulationError(str(error).replace(f" on an emulated {cpu}", f" on an emulated {cpu}{told}", 1)) from error
    first, *answered = rows
    return Answers(
        np.array([row["logits"] for row in answered], dtype=np.float32),
        first["onnxruntime"],
        np.array([row["deferred"] for row in answered], dtype=np.bool_) if first["cascade"] else None,
    )


def python(cpu: str, arguments: Sequence[str], text: str, receive: Callable[[str], None]) -> None:
    """Run Python on the CPU model `cpu`, give it `text`, and hand each line that it prints to `receive`.

    Raises:
        EmulationError: the model cannot be emulated here, or the program failed, crashed or printed nothing for long.
    """
    emulator = _emulator(cpu)
    with (
        tempfile.TemporaryDirectory(prefix="sentopt-") as scratch,
        tempfile.TemporaryFile("w+", errors="replace") as said,
    ):
        modules = Path(scratch, "modules")
        modules.mkdir()
        (modules / _PACKAGE.name).symlink_to(_PACKAGE)  # and none of the packages beside it
        process = subprocess.Popen(
            [*emulator.command, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
            errors="replace",
            cwd=scratch,  # where an emulator that crashes leaves a dump
            env=emulator.environment(modules),
        )
        with process, _watched(process) as watch:
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it has ended, and its exit code says why
                process.stdin.write(text)
                process.stdin.close()
            for line in process.stdout:
                watch.answered()
                receive(line)
        if watch.is_over:
            raise EmulationError(f"the program printed nothing for {SILENT_SECONDS:g} s on an emulated {cpu}")
        if process.returncode:
            raise EmulationError(_failure(cpu, emulator, process.returncode, said))


def _failure(cpu: str, emulator: _Emulator, code: int, said: IO[str]) -> str:
    """Why an emulated program ended."""
    said.seek(0)
    lines = [line for line in without_traceback(said.read()) if "TCG doesn't support" not in line]
    last = "\n".join(lines[-5:])
    if code > 0:
        return f"the program failed on an emulated {cpu} (exit code {code}): {last}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    version = subprocess.run([emulator.command[0], "--version"], capture_output=True, text=True, check=False).stdout
    return (
        f"the program crashed on an emulated {cpu} ({name}), in {version.splitlines()[0] if version else 'qemu'}: "
        f"{last or 'it said nothing'}\nThis says nothing about the CPU itself: the emulator or the package that it ran "
        "has a fault. Another version of qemu-user or of onnxruntime may not have it."
    )


class _Watch:
    """Ends a process that prints nothing for long."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.is_over = False
        self._process = process
        self._timer = self._started()

    def answered(self) -> None:
        """It has printed a line."""
        self._timer.cancel()
        self._timer = self._started()

    def stop(self) -> None:
        """It has ended, or is ended now."""
        self._timer.cancel()
        self._process.kill()

    def _started(self) -> threading.Timer:
        timer = threading.Timer(SILENT_SECONDS, self._end)
        timer.daemon = True
        timer.start()
        return timer

    def _end(self) -> None:
        self.is_over = True
        self._process.kill()


@contextlib.contextmanager
def _watched(process: subprocess.Popen[str]) -> Iterator[_Watch]:
    watch = _Watch(process)
    try:
        yield watch
        process.wait()
    finally:
        watch.stop()


def _emulator(cpu: str) -> _Emulator:
    """How Python is started on `cpu`.

    Raises:
        EmulationError: it cannot be, or no emulator knows the model.
    """
    system, machine = platform.system(), platform.machine()
    if system != "Linux" or machine not in ("x86_64", "aarch64"):
        raise EmulationError(f"emulating another CPU needs Linux on x86-64 or ARM64, and this is {system} on {machine}")
    if machine == "aarch64":
        return _on_arm64(cpu)
    if not is_arm64(cpu):
        return _with_this_python(_QEMU_X86, cpu)
    if not arm64.is_ready():
        if _base(cpu) not in arm64.MODELS:
            raise EmulationError(_unknown(_QEMU_ARM64, cpu, arm64.MODELS))
        raise EmulationError(arm64.not_ready(cpu))
    command = arm64.command(cpu)
    _check_offered(command[0], cpu)
    return _Emulator(tuple(command), arm64.environment)


def _on_arm64(cpu: str) -> _Emulator:
    """On an ARM64 machine: its own model needs no emulator."""
    if not is_arm64(cpu):
        raise EmulationError(f"{cpu} is no ARM64 CPU, and others can be emulated on x86-64 machines only")
    if _ARM64_PARTS.get(cpuinfo().get("CPU part", "")) == cpu:
        return _Emulator((sys.executable,), _environment_here)
    return _with_this_python(_QEMU_ARM64, cpu)


def is_arm64(cpu: str) -> bool:
    """Whether `cpu` names an ARM64 model (or is meant to)."""
    return _base(cpu) in arm64.MODELS or _LIKE_ARM64.match(cpu) is not None


def _with_this_python(emulator: str, cpu: str) -> _Emulator:
    if shutil.which(emulator) is None:
        raise EmulationError(
            f"emulating {cpu} needs {emulator}, which is not installed here. "
            "On Debian and Ubuntu: apt-get install qemu-user"
        )
    _check_offered(emulator, cpu)
    environment = _environment_here if is_arm64(cpu) else _environment_on_x86
    return _Emulator((emulator, "-cpu", cpu, sys.executable), environment)


def _environment_on_x86(modules: Path) -> dict[str, str]:
    """The same, with kernels for numpy that every x86-64 CPU has.

    qemu-user tells the maker of this machine's CPU beside the family of the emulated one, from which OpenBLAS concludes
    what neither has: on an AMD machine, numpy ends an emulated Nehalem. The graph runs in onnxruntime, which asks for
    each instruction set.
    """
    return {**_environment_here(modules), "OPENBLAS_CORETYPE": "Prescott"}


def _environment_here(modules: Path) -> dict[str, str]:
    """This process's environment, with paths that hold in another folder."""
    given = [str(Path(path).absolute()) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(modules), *given])}


def _check_offered(emulator: str, cpu: str) -> None:
    """
    Raises:
        EmulationError: the emulator does not know the model; the message lists those that it knows.
    """
    offered = _offered(emulator)
    if not offered or _base(cpu) in offered:
        return
    listed = [name for name in offered if _VERSION_OF_A_MODEL.sub("", name) not in {*offered} - {name}]
    others = () if is_arm64(cpu) or platform.machine() != "x86_64" else arm64.MODELS
    raise EmulationError(_unknown(Path(emulator).name, cpu, listed, others))


def _unknown(emulator: str, cpu: str, listed: Sequence[str], others: Sequence[str] = ()) -> str:
    return (
        f"{emulator} has no CPU model {cpu!r}{records.nearest(cpu, [*listed, *others])}. "
        f"It offers {', '.join(listed)}" + (f"; ARM64 models are {', '.join(others)}" if others else "")
    )


def _base(cpu: str) -> str:
    """The model without the features that are switched on or off, as in `max,sve=off`."""
    return cpu.partition(",")[0]


def _offered(emulator: str) -> list[str]:
    """The models that `-cpu help` lists, in lines such as `x86 Nehalem-v1  Intel Core i7` or `  cortex-a72`."""
    done = subprocess.run([emulator, "-cpu", "help"], capture_output=True, text=True, check=False)
    listed, _, _ = done.stdout.partition("\n\n")
    words = [line.removeprefix("x86 ").split() for line in listed.splitlines() if not line.startswith("Available")]
    return [first for first, *_ in filter(None, words)]
