"""Memory of a training on more rows than usual: `python benchmarks/large_data.py [--rows 5000000] [--steps 40]`.

Writes a CSV file of random sentences of 6 to 19 words into a temporary folder, trains the recipe `trainer-basics` on
it for a few steps, in a process of its own, and samples its resident memory each half second. Prints one JSON object:
MiB at most while the data is prepared and while the model is trained, how much of the latter is no file's, MiB on disk,
and seconds. It needs psutil, and disk for three times the file.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

_GOOD, _BAD = ("great", "lovely", "fine", "superb", "happy"), ("awful", "poor", "broken", "bad", "sad")
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro", "su", "ta", "zan")


def main() -> None:
    """Write, train, sample, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--steps", type=int, default=40)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sentopt-large-", dir=".") as folder:
        table = Path(folder) / "reviews.csv"
        write_rows(table, arguments.rows)
        measured = train(table, Path(folder) / "run", arguments.steps)
    print(json.dumps({"rows": arguments.rows, **measured}))


def write_rows(path: Path, rows: int) -> None:
    """A CSV file with columns `text` and `label`."""
    draw = random.Random(3)
    words = [one + other for one in _SYLLABLES for other in _SYLLABLES]
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for _ in range(rows):
            positive = draw.random() < 0.5
            text = draw.choices(words, k=draw.randint(5, 18))
            text.insert(draw.randint(0, len(text)), draw.choice(_GOOD if positive else _BAD))
            writer.writerow([" ".join(text), "positive" if positive else "negative"])


def train(table: Path, run_dir: Path, steps: int) -> dict[str, float]:
    """Peaks in MiB, before and after the splits are stored; bytes of the run directory; seconds."""
    limits = {"data.train_limit": 0, "data.test_limit": 2000, "data.validation_limit": 1000}
    settings = {"train.max_steps": steps, **limits}
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    command = ["train", "trainer-basics", "--data", str(table), *options, "--run-dir", str(run_dir)]
    start, prepared = time.perf_counter(), 0.0
    process = psutil.Popen([sys.executable, "-m", "sentopt", *command], stdout=subprocess.DEVNULL)
    most = {"prepare_mib": 0.0, "train_mib": 0.0, "train_anonymous_mib": 0.0}
    disk = 0
    while process.poll() is None:
        time.sleep(0.5)
        try:
            memory = process.memory_info()
        except psutil.NoSuchProcess:
            break
        if not (run_dir / "data").is_dir():
            most["prepare_mib"] = max(most["prepare_mib"], memory.rss / 2**20)
            continue
        prepared = prepared or time.perf_counter() - start
        most["train_mib"] = max(most["train_mib"], memory.rss / 2**20)
        most["train_anonymous_mib"] = max(most["train_anonymous_mib"], (memory.rss - memory.shared) / 2**20)
        disk = max(disk, sum(file.stat().st_size for file in run_dir.rglob("*.arrow")))
    if process.returncode:
        raise SystemExit(process.returncode)
    splits = sum(file.stat().st_size for file in (run_dir / "data").iterdir())
    return {
        **{name: round(mib) for name, mib in most.items()},
        "splits_mib": round(splits / 2**20),
        "tokens_mib": round(disk / 2**20),
        "prepare_seconds": round(prepared),
        "seconds": round(time.perf_counter() - start),
    }


if __name__ == "__main__":
    main()
