"""Bulk scoring beside the classifier itself: `python benchmarks/bulk.py exports/quickstart/bundle [--rows 200000]`.

Writes sentences of SST-2 and tweets (SENTOPT_DATA_DIR) to Parquet, and scores them in turns: by `Classifier.predict`
with everything in memory, by `sentopt score` in a process of its own, whose resident memory is sampled, and on Ray and
Spark on this machine, each with one actor or task for each core. Prints one JSON object. It needs psutil and pyarrow.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from sentopt import Classifier
from sentopt.runtime.cores import available_cores

_GROUP = 20_000  # rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--engines", nargs="+", default=["local", "ray", "spark"])
    arguments = parser.parse_args()
    texts = _texts(arguments.rows)
    engines = [name for name in arguments.engines if name == "local" or _is_there(name)]
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in ["predict", *engines]}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.parquet"
        table = pa.table({"id": list(range(len(texts))), "text": texts})
        pq.write_table(table, source, row_group_size=_GROUP)
        for turn in range(arguments.rounds):
            runs["predict"].append(_predict(arguments.bundle, texts))
            for name in engines:
                output = Path(folder) / f"{name}-{turn}"
                runs[name].append(_score(arguments.bundle, source, output, name))
        same = {name: _same(Path(folder) / f"{engines[0]}-0", Path(folder) / f"{name}-0") for name in engines}
    usual = sum(run["texts_per_second"] for run in runs["predict"])
    shares = {name: round(sum(run["texts_per_second"] for run in runs[name]) / usual, 3) for name in engines}
    print(
        json.dumps(
            {"rows": len(texts), "cores": available_cores(), "share_of_predict": shares, "same_bytes": same, **runs},
            indent=1,
        )
    )


def _is_there(engine: str) -> bool:
    return importlib.util.find_spec({"ray": "ray", "spark": "pyspark"}[engine]) is not None


def _texts(count: int) -> list[str]:
    folder = Path(os.environ["SENTOPT_DATA_DIR"])
    found: list[str] = []
    for name, column in (("sst2/train.csv.gz", "sentence"), ("tweets/train.csv.gz", "text")):
        with gzip.open(folder / name, "rt", encoding="utf-8", newline="") as stream:
            found += [row[column] for row in csv.DictReader(stream) if row[column]]
    return [found[(i * 7919) % len(found)] for i in range(count)]


def _predict(bundle: Path, texts: list[str]) -> dict[str, Any]:
    classifier = Classifier.load(bundle)
    classifier.predict(texts[:1_000])
    start = time.perf_counter()
    classifier.predict(texts)
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 2), "texts_per_second": round(len(texts) / seconds, 1)}


def _score(bundle: Path, source: Path, output: Path, engine: str) -> dict[str, Any]:
    """Figures of the call itself, which do not count the start of Python and of the engine's cluster."""
    command = [sys.executable, "-m", "sentopt", "score", str(source), "--bundle", str(bundle), "--output", str(output)]
    command += ["--engine", engine, "--no-progress", "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    samples: list[float] = []
    while process.poll() is None:
        try:
            samples.append(psutil.Process(process.pid).memory_info().rss / 2**20)
        except psutil.Error:
            break
        time.sleep(0.1)
    told, _ = process.communicate()
    summary = json.loads(told)
    figures = {
        "seconds": round(summary["seconds"], 2),
        "seconds_with_start": round(time.perf_counter() - start, 2),
        "texts_per_second": round(summary["scored_rows"] / summary["seconds"], 1),
    }
    if engine == "local":
        tenth = max(samples[: len(samples) // 10 + 10])
        figures |= {"mib_after_a_tenth": round(tenth, 1), "mib_at_most": round(max(samples), 1)}
    return figures


def _same(one: Path, other: Path) -> bool:
    files = sorted(path.name for path in one.glob("*.parquet"))
    return files == sorted(path.name for path in other.glob("*.parquet")) and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in files
    )


if __name__ == "__main__":
    main()
