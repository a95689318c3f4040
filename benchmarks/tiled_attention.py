"""long-int8 against lean-int8: attention in tiles, or in separate nodes, by the number of tokens.

    python benchmarks/tiled_attention.py exports/quickstart [--threads 1]

Calibrates once, writes both graphs, and answers one text at a time, without padding, of 32 to 512 tokens (as many as
the model reads), the two in turn. Prints the medians in milliseconds, their ratio, and the largest difference of a
logit.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from standard_operators import calibrated, feed, opened

from sentopt.graph import lean
from sentopt.graph.products import Int8Products
from sentopt.run_dir import RunDir

_ROUNDS, _LENGTHS = 40, (32, 64, 128, 192, 256, 384, 512)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    run_dir = RunDir(options.run_dir)
    architecture, _, sites = calibrated(run_dir)
    products = Int8Products(sites)
    sessions = {
        name: opened(lean.write(architecture, products, tiled=tiled).SerializeToString(), options.threads)
        for name, tiled in (("lean-int8", False), ("long-int8", True))
    }
    print(f"{options.threads} thread(s), median of {_ROUNDS} calls in turn, one text without padding")
    for length in _LENGTHS:
        if architecture.embeddings.rows is None or length <= len(architecture.embeddings.rows):
            print(compared(sessions, length, len(architecture.embeddings.words)), flush=True)


def compared(sessions: dict[str, Any], length: int, vocabulary: int) -> str:
    """A line on texts of one length."""
    arrays = feed(np.random.default_rng(0).integers(vocabulary // 30, vocabulary * 2 // 3, (1, length)))
    samples: dict[str, list[float]] = {name: [] for name in sessions}
    answers = {}
    for _ in range(_ROUNDS):
        for name, session in sessions.items():
            begin = time.perf_counter()
            answers[name] = session.run(["logits"], arrays)[0]
            samples[name].append(1e3 * (time.perf_counter() - begin))
    plain, tiled = (float(np.median(samples[name])) for name in sessions)
    difference = float(np.abs(answers["lean-int8"] - answers["long-int8"]).max())
    ratio = tiled / plain
    return f"{length:4} tokens: {plain:7.2f} ms, {tiled:7.2f} ms, ratio {ratio:.2f}, difference {difference:.4f}"


if __name__ == "__main__":
    main()
