"""Run a variant on another CPU model, with Python under qemu's user-mode emulation.

CPUs differ in INT8 products: without VNNI, sums of two products saturate at 16 bits. Run as a module, this file is the
emulated process: it reads texts as JSON from standard input and prints their logits as JSON.
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
from sentopt.backends.worker import without_traceback
from sentopt.errors import EmulationError
from sentopt.runtime.session import FloatArray

_QEMU = "qemu-x86_64"
_TIMEOUT_SECONDS = 1800


def is_available() -> bool:
    """Whether this machine can emulate other x86-64 CPUs."""
    return platform.machine() == "x86_64" and shutil.which(_QEMU) is not None


def python(cpu: str, *arguments: str, text: str = "") -> str:
    """Run this Python with `arguments` on the CPU model `cpu`. Returns its standard output.

    Raises:
        EmulationError: qemu is missing, it does not know the CPU model, or the program failed or timed out.
    """
    if not is_available():
        raise EmulationError(
            f"emulating another CPU needs x86-64 Linux and {_QEMU}, which is not installed here. "
            "On Debian and Ubuntu: apt-get install qemu-user"
        )
    command = [_QEMU, "-cpu", cpu, sys.executable, *arguments]
    try:
        completed = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise EmulationError(f"the program took more than {_TIMEOUT_SECONDS} s on an emulated {cpu}") from error
    if completed.returncode:
        lines = [line for line in without_traceback(completed.stderr) if "TCG doesn't support" not in line]
        raise EmulationError(
            f"the program failed on an emulated {cpu} ({completed.returncode}): " + "\n".join(lines[-5:])
        )
    return completed.stdout


def logits(candidate: Candidate, texts: Sequence[str], *, cpu: str) -> FloatArray:
    """Logits of `texts` on the CPU model `cpu`, float32 of shape (texts, labels); takes about 0.3 s per sentence.

    Raises:
        EmulationError: see `python`.
    """
    output = python(cpu, "-m", "sentopt.backends.emulation", candidate.to_json(), text=json.dumps(list(texts)))
    return np.array(json.loads(output.splitlines()[-1]), dtype=np.float32)


def _main() -> None:
    classifier = Candidate.from_json(sys.argv[1]).open(threads=1)
    print(json.dumps(classifier.logits(json.load(sys.stdin)).tolist()))


if __name__ == "__main__":
    _main()
