"""What the base install costs: megabytes on disk, time and memory of a first prediction and of a text of 10 MB, time of
`sentopt --help`.

    python benchmarks/footprint.py [BUNDLE]

Builds the wheel, installs it alone into a fresh environment, and prints medians of ten processes each.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 10
FIRST_PREDICTION = """
import sys
from sentopt import Classifier
Classifier.load(sys.argv[1])("The soup was cold and nobody cared.")
print(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
"""
LONG_TEXT = """
import statistics, sys, time
from sentopt import Classifier
def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
def milliseconds(text):
    start = time.perf_counter()
    classifier(text)
    return 1000 * (time.perf_counter() - start)
classifier = Classifier.load(sys.argv[1])
full = "The soup was cold and nobody cared. " * 40
text = full * (10_000_000 // len(full))
classifier(full)
before, first = peak(), milliseconds(text)
more = peak() - before
rounds = [(milliseconds(full), milliseconds(text)) for _ in range(20)]
print(first, more, *(statistics.median(column) for column in zip(*rounds)))
"""


def main() -> None:
    """Print a line for each."""
    bundle = Path(sys.argv[1] if len(sys.argv) > 1 else "exports/quickstart/bundle").resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        python = install(folder)
        print(f"base install: {size(folder / 'venv') / 2**20:.0f} MiB on disk beyond Python and pip")
        seconds, outputs = timed([python, "-c", FIRST_PREDICTION, bundle])
        peak = statistics.median(int(output) for output in outputs) / 1024
        print(f"import, load, first prediction: {seconds:.2f} s, {peak:.0f} MiB peak")
        _, outputs = timed([python, "-c", LONG_TEXT, bundle])
        first, more, full, text = (statistics.median(float(o.split()[i]) for o in outputs) for i in range(4))
        print(
            f"a text of 10 MB: {text:.1f} ms (the first {first:.0f}), {more / 1024:.0f} MiB more at the peak; "
            f"a text that just fills the model: {full:.1f} ms"
        )
        seconds, _ = timed([folder / "venv" / "bin" / "sentopt", "--help"])
        print(f"sentopt --help: {seconds:.3f} s")


def install(folder: Path) -> Path:
    """An interpreter that has the wheel and what the wheel needs."""
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, ROOT], check=True)
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", wheel], check=True)
    return python


def size(environment: Path) -> int:
    """Bytes of an environment without pip and setuptools."""
    files = [path for path in environment.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files if not {"pip", "setuptools"} & set(path.parts))


def timed(command: list[object]) -> tuple[float, list[str]]:
    """Median seconds of the whole process after one warm-up, and every output."""
    seconds, outputs = [], []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=True)
        seconds.append(time.perf_counter() - start)
        outputs.append(done.stdout)
    return statistics.median(seconds[1:]), outputs[1:]


if __name__ == "__main__":
    main()
