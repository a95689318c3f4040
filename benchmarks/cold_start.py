"""Two bundles, such as a cascade and the lean graph of the same run: from the start of a process to its first answer.

    python benchmarks/cold_start.py BUNDLE OTHER_BUNDLE

Processes of both bundles take turns, in Python and, where Node.js and the packages of demo/embed/javascript are
installed, in Node.js, which answers the golden texts first. Prints medians of seconds and of peak memory, and the ratio
of the first bundle's to the other's.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

_TURNS = 15
_JAVASCRIPT = Path(__file__).parents[1] / "demo" / "embed" / "javascript"
_PYTHON = "import sys; from sentopt import Classifier; Classifier.load(sys.argv[1])('The soup was cold.')"


def main() -> None:
    """Print a line for each host."""
    bundles = [Path(argument).resolve() for argument in sys.argv[1:3]]
    hosts = {"Python": [sys.executable, "-c", _PYTHON]}
    if shutil.which("node") and (_JAVASCRIPT / "node_modules").is_dir():
        hosts["Node.js"] = ["node", str(_JAVASCRIPT / "onnxruntime-node.mjs")]
    for host, command in hosts.items():
        samples: dict[Path, list[tuple[float, float]]] = {bundle: [] for bundle in bundles}
        for turn in range(_TURNS + 1):
            for bundle in bundles if turn % 2 else bundles[::-1]:
                sample = first_answer([*command, str(bundle)])
                if turn:  # the first turn warms the disk's cache
                    samples[bundle].append(sample)
        one, other = ([statistics.median(column) for column in zip(*samples[b], strict=True)] for b in bundles)
        print(
            f"{host}: {one[0]:.3f} s and {other[0]:.3f} s, ratio {one[0] / other[0]:.2f}; peak memory "
            f"{one[1]:.0f} MiB and {other[1]:.0f} MiB, ratio {one[1] / other[1]:.2f}"
        )


def first_answer(command: list[str]) -> tuple[float, float]:
    """Seconds and peak MiB of a whole process that answers one text."""
    begin = time.perf_counter()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stdin
        process.stdin.write('["The soup was cold."]')
        process.stdin.close()
        process.stdin = None
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[0]} ended with {process.returncode}")
    return time.perf_counter() - begin, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
