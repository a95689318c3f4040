"""Whether a process that classifies for long keeps growing: many calls of random lengths, resident memory as they go.

    python benchmarks/memory_growth.py exports/quickstart/bundle

One text a call, of 1 to `--longest` words drawn at random; with `--batches` every tenth call is a batch of 1 to 32 such
texts. Growth counts from the first `--settle` calls on. Exits 1 if it is more than `--allowed`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from pathlib import Path

WORDS = ("the", "a", "good", "bad", "film", "was", "not", "very", "it", "and", "service", "never", "again", "!")


def main() -> None:
    """Call, read, compare."""
    arguments = _arguments()
    from sentopt import Classifier

    classifier = Classifier.load(arguments.bundle)
    draw, readings, start = random.Random(0), [], time.perf_counter()
    for call in range(1, arguments.calls + 1):
        count = draw.randint(1, 32) if arguments.batches and call % 10 == 0 else 1
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(1, arguments.longest))) for _ in range(count)]
        classifier.predict(texts)
        if call % arguments.every == 0:
            readings.append((call, resident_mib()))
            print(f"{call:>8} calls  {readings[-1][1]:7.1f} MiB  {time.perf_counter() - start:6.0f} s", file=sys.stderr)
    settled = next(mib for call, mib in readings if call >= arguments.settle)
    growth = max(mib for call, mib in readings if call >= arguments.settle) / settled - 1.0
    result = {"calls": arguments.calls, "settled_mib": settled, "last_mib": readings[-1][1], "growth": round(growth, 4)}
    print(json.dumps(result))
    sys.exit(growth > arguments.allowed)


def resident_mib() -> float:
    """Of this process, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--settle", type=int, default=5_000)
    parser.add_argument("--every", type=int, default=1_000)
    parser.add_argument("--allowed", type=float, default=0.05)
    parser.add_argument("--batches", action="store_true", help="every tenth call is a batch of 1 to 32 texts")
    return parser.parse_args()


if __name__ == "__main__":
    main()
