"""The graphs of a run in older versions of onnxruntime: which of them load, and whether they answer the same.

    python benchmarks/older_runtimes.py exports/quickstart 1.16.3 1.17.3 1.18.1 1.20.1 1.23.2 --texts 200

Every version is installed into a folder of its own, with a numpy that fits, and answers the first test texts one at a
time. The token ids are made here. Each must have a wheel for this Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from sentopt import manifest, recipe
from sentopt.backends.opening import Candidate
from sentopt.data import store
from sentopt.results import VerifyResult
from sentopt.run_dir import RunDir
from sentopt.variants import VARIANTS

_BEFORE_NUMPY_2 = (1, 19)
_ANSWER = """
import json, sys
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
names = [node.name for node in session.get_inputs()]
rows = []
for ids in json.load(sys.stdin):
    ids = np.array([ids], dtype=np.int64)
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    rows.append(session.run(["logits"], {name: arrays[name] for name in names})[0][0].tolist())
json.dump(rows, sys.stdout)
"""


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, help="a finished run directory")
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--texts", type=int, default=200)
    arguments = parser.parse_args()
    run_dir = RunDir(arguments.run)
    texts = [example.text for example in store.read_split(run_dir, "test")[: arguments.texts]]
    candidates = graphs(run_dir)
    expected = {c.spec.name: c.open(threads=1).logits(texts, batch_size=1) for c in candidates}
    ids = [list(tokens.ids) for tokens in candidates[0].open(threads=1).encoder.encode(texts)]
    print(f"| onnxruntime | {' | '.join(expected)} |\n|---|{'---|' * len(expected)}")
    with tempfile.TemporaryDirectory() as temporary:
        for version in arguments.versions:
            packages = installed(version, Path(temporary, version))
            cells = [compared(packages, c.model, ids, expected[c.spec.name]) for c in candidates]
            print(f"| {version} | {' | '.join(cells)} |", flush=True)


def graphs(run_dir: RunDir) -> list[Candidate]:
    """Every graph of the run that a bundle can hold."""
    max_length = recipe.load(str(run_dir.recipe)).model.max_length
    verdicts = manifest.read(run_dir.manifest).result("verify", VerifyResult).verdicts
    specs = [VARIANTS[verdict.variant] for verdict in verdicts]
    labels = store.read_labels(run_dir)
    return [Candidate.of(spec, run_dir, labels, max_length) for spec in specs if spec.ships and not spec.trimmed]


def installed(version: str, folder: Path) -> Path:
    """A folder with this onnxruntime and what it needs."""
    older = tuple(int(part) for part in version.split(".")[:2]) < _BEFORE_NUMPY_2
    pip = [sys.executable, "-m", "pip", "install", "-q", "--only-binary=:all:", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, f"onnxruntime=={version}", "numpy<2" if older else "numpy"], check=True)
    return folder


def compared(packages: Path, model: Path, ids: list[list[int]], expected: np.ndarray) -> str:
    """How many labels change, and the largest change of a logit; or why the graph does not load."""
    done = subprocess.run(
        [sys.executable, "-c", _ANSWER, str(model)],
        input=json.dumps(ids),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(packages)},
        check=False,
    )
    if done.returncode:
        return f"no: {(done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}"
    found = np.array(json.loads(done.stdout), dtype=np.float32)
    changed = int((found.argmax(axis=1) != expected.argmax(axis=1)).sum())
    return f"{changed} of {len(ids)}, {float(np.abs(found - expected).max()):.4f}"


if __name__ == "__main__":
    main()
