"""Answers of a CPU that is not here: Python run under qemu's user-mode emulation.

INT8 products are where CPUs differ: without VNNI, sums of two products saturate at 16 bits. Run as a module this is the
process under emulation: it reads texts as JSON from standard input and prints their logits as JSON.
"""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from sentopt.backends.opening import Candidate
from sentopt.backends.worker import without_frames
from sentopt.errors import EmulationError
from sentopt.runtime.session import FloatArray

_QEMU = "qemu-x86_64"
_TIMEOUT_SECONDS = 1800


def is_available() -> bool:
    """Whether other x86-64 CPUs can be emulated here."""
    return platform.machine() == "x86_64" and shutil.which(_QEMU) is not None


def python(cpu: str, *arguments: str, text: str = "") -> str:
    """Standard output of this Python, run with `arguments` on the CPU model `cpu`.

    Raises:
        EmulationError: there is no emulator, it does not know the model, or the program failed or never ended.
    """
    if not is_available():
        raise EmulationError(
            f"another CPU can only be emulated on x86-64 Linux with {_QEMU}, which is not installed. "
            "On Debian and Ubuntu: apt-get install qemu-user"
        )
    command = [_QEMU, "-cpu", cpu, sys.executable, *arguments]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EmulationError(f"on an emulated {cpu} the program took more than {_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        said = [line for line in without_frames(done.stderr) if "TCG doesn't support" not in line]
        raise EmulationError(f"on an emulated {cpu} the program failed ({done.returncode}): " + "\n".join(said[-5:]))
    return done.stdout


def logits(candidate: Candidate, texts: Sequence[str], *, cpu: str) -> FloatArray:
    """Logits of `texts` on the CPU model `cpu`, float32 of shape (texts, labels); about 0.3 s a sentence.

    Raises:
        EmulationError: see `python`.
    """
    printed = python(cpu, "-m", "sentopt.backends.emulation", candidate.to_json(), text=json.dumps(list(texts)))
    return np.array(json.loads(printed.splitlines()[-1]), dtype=np.float32)


def _main() -> None:
    classifier = Candidate.from_json(sys.argv[1]).open(threads=1)
    print(json.dumps(classifier.logits(json.load(sys.stdin)).tolist()))


if __name__ == "__main__":
    _main()
