"""The answers of a run's INT8 variants on emulated CPUs: labels changed, and the largest change of a logit.

    python benchmarks/other_cpus.py exports/quickstart --texts 200 --cpu neoverse-n1 cortex-a72 EPYC-Milan

The first test texts are answered here and there, one at a time. ARM64 models need `sentopt emulator --yes` once; x86-64
models need qemu-user. Seconds a text are of one emulated core and say nothing of the CPU itself.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from sentopt import manifest, recipe
from sentopt.backends.opening import Candidate
from sentopt.data import store
from sentopt.results import VerifyResult
from sentopt.run_dir import RunDir
from sentopt.runtime.cores import available_cores
from sentopt.stages import verify
from sentopt.variants import VARIANTS


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path, help="a finished run directory")
    parser.add_argument("--cpu", nargs="+", default=["neoverse-n1", "cortex-a72"])
    parser.add_argument("--texts", type=int, default=200)
    parser.add_argument("--variants", nargs="+", default=[], help="default: every INT8 graph of the run")
    arguments = parser.parse_args()
    run_dir = RunDir(arguments.run)
    texts = [example.text for example in store.read_split(run_dir, "test")[: arguments.texts]]
    print("| variant | CPU | labels changed | largest change of a logit | s a text |\n|---|---|---:|---:|---:|")
    for name in arguments.variants or int8_variants(run_dir):
        max_length = recipe.load(str(run_dir.recipe)).model.max_length
        candidate = Candidate.of(VARIANTS[name], run_dir, store.read_labels(run_dir), max_length)
        native = candidate.open(threads=1).logits(texts, batch_size=1)
        for cpu in arguments.cpu:
            begin = time.perf_counter()
            found = verify.emulated_flips(candidate, texts, native, cpu=cpu)
            seconds = (time.perf_counter() - begin) * available_cores() / len(texts)
            changed = f"{found.changed} of {found.texts}"
            print(f"| {name} | {cpu} | {changed} | {found.max_logit_difference:.4f} | {seconds:.2f} |", flush=True)


def int8_variants(run_dir: RunDir) -> list[str]:
    """The INT8 graphs that the run verified."""
    verdicts = manifest.read(run_dir.manifest).result("verify", VerifyResult).verdicts
    specs = [VARIANTS[verdict.variant] for verdict in verdicts]
    return [spec.name for spec in specs if spec.dtype == "int8" and spec.backend == "onnx"]


if __name__ == "__main__":
    main()
