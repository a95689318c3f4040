"""Load time, first answer and peak memory of one variant, measured in a process of its own.

Run as a module it *is* that process: it opens the variant, answers one text and prints the figures as JSON.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the import of the engine is part of what is measured
    from sentopt.backends.opening import Candidate

_TIMEOUT_SECONDS = 300
_TEXT = "The room was clean, but the staff could not have cared less."


@dataclass(frozen=True)
class ColdStart:
    """Milliseconds to load (imports of the engine included) and to answer the first text; peak resident bytes."""

    load_ms: float
    first_ms: float
    peak_memory_bytes: int


def measure(candidate: Candidate, *, threads: int) -> ColdStart:
    """Start a fresh interpreter for `candidate`.

    Raises:
        subprocess.SubprocessError: the process failed or took over five minutes.
    """
    command = [sys.executable, "-m", "sentopt.backends.cold", candidate.to_json(), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True)
    return ColdStart(**json.loads(done.stdout.splitlines()[-1]))


def _main() -> None:
    start = time.perf_counter()
    from sentopt.backends.opening import Candidate

    classifier = Candidate.from_json(sys.argv[1]).open(threads=int(sys.argv[2]))
    loaded = time.perf_counter()
    classifier(_TEXT)
    answered = time.perf_counter()
    print(
        json.dumps(
            {
                "load_ms": (loaded - start) * 1e3,
                "first_ms": (answered - loaded) * 1e3,
                "peak_memory_bytes": _peak_memory_bytes(),
            }
        )
    )


def _peak_memory_bytes() -> int:
    """The largest resident size of this program; `ru_maxrss` would count the parent that it was forked from."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    _main()
