"""Stage `bench`: how fast each variant is on this machine, all in one interleaved run."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from sentopt import atomic, hardware, timing
from sentopt.backends import cold
from sentopt.backends.opening import Candidate
from sentopt.data import store
from sentopt.errors import RunDirError
from sentopt.recipe import BenchSection, Recipe
from sentopt.results import BenchResult, BenchRow, GridCell
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.cores import available_cores
from sentopt.runtime.tokenization import Tokens
from sentopt.variants import VariantSpec

Depth = Literal["quick", "full"]
Samples = dict[str, list[float]]
_GRID_ROUNDS = 3
_THROUGHPUT_ROUNDS = {"quick": 1, "full": 2}


@dataclass(frozen=True)
class _Contender:
    spec: VariantSpec
    classifier: Classifier
    model: Path


def plan(bench: BenchSection, depth: Depth) -> BenchSection:
    """What a benchmark of this depth measures: a quick one decides, a full one also describes."""
    if depth == "full":
        return bench
    grid = tuple(cell for cell in bench.grid if cell[0] == 1) or bench.grid[:1]
    return replace(
        bench,
        rounds=min(bench.rounds, 3),
        texts=min(bench.texts, 40),
        throughput_texts=min(bench.throughput_texts, 64),
        grid=(grid[0], grid[-1]) if len(grid) > 1 else grid,
    )


def run(
    recipe: Recipe, run_dir: RunDir, *, specs: Sequence[VariantSpec], depth: Depth, progress: Callable[[str], None]
) -> BenchResult:
    """Measure each of `specs` and write the raw samples.

    Raises:
        RunDirError: a variant cannot be started in a process of its own.
    """
    bench = plan(recipe.bench, depth)
    threads = bench.threads or available_cores()
    labels = store.read_labels(run_dir)
    texts = _spread([e.text for e in store.read_split(run_dir, "test")], max(bench.texts, bench.throughput_texts))
    progress("cold starts")
    candidates = [Candidate.of(spec, run_dir, labels, recipe.model.max_length) for spec in specs]
    starts = {c.spec.name: _cold_start(c, threads) for c in candidates}
    contenders = [_Contender(c.spec, c.open(threads), c.model) for c in candidates]

    singles = _spread(texts, bench.texts)
    latency = timing.interleave(
        {c.spec.name: [_single(c.classifier, text) for text in singles] for c in contenders},
        rounds=bench.rounds,
        on_round=lambda n: progress(f"single texts {n}/{bench.rounds}"),
    )
    tokenization = _time_tokenization(contenders[0].classifier, singles, bench.rounds)
    progress("grid")
    grid = {cell: _time_cell(contenders, cell, min(bench.rounds, _GRID_ROUNDS), recipe.run.seed) for cell in bench.grid}
    progress("throughput")
    many = _spread(texts, bench.throughput_texts)
    throughput = timing.interleave(
        {c.spec.name: [_many(c.classifier, many)] for c in contenders}, rounds=_THROUGHPUT_ROUNDS[depth]
    )

    _write_samples(run_dir, latency, tokenization, grid, throughput)
    rows = tuple(
        BenchRow(
            variant=c.spec.name,
            latency=timing.summarize(latency[c.spec.name]),
            texts_per_second=len(many) / (float(np.median(throughput[c.spec.name])) / 1e3),
            grid=tuple(GridCell(b, t, timing.summarize(grid[b, t][c.spec.name]).p50) for b, t in bench.grid),
            load_ms=starts[c.spec.name].load_ms,
            first_ms=starts[c.spec.name].first_ms,
            peak_memory_bytes=starts[c.spec.name].peak_memory_bytes,
            bytes=c.model.stat().st_size,
        )
        for c in contenders
    )
    return BenchResult(depth, hardware.describe(), threads, bench.rounds, timing.summarize(tokenization), rows)


def _cold_start(candidate: Candidate, threads: int) -> cold.ColdStart:
    try:
        return cold.measure(candidate, threads=threads)
    except subprocess.CalledProcessError as error:
        raise RunDirError(
            f"{candidate.spec.name} cannot be started in a process of its own:\n{error.stderr.strip()}"
        ) from error


def _single(classifier: Classifier, text: str) -> Callable[[], object]:
    return lambda: classifier.predict_proba([text])


def _many(classifier: Classifier, texts: list[str]) -> Callable[[], object]:
    return lambda: classifier.predict_proba(texts)


def _time_tokenization(classifier: Classifier, texts: Sequence[str], rounds: int) -> list[float]:
    samples = []
    for _ in range(rounds):
        for text in texts:
            start = time.perf_counter_ns()
            classifier.encoder.pad(classifier.encoder.encode([text]))
            samples.append((time.perf_counter_ns() - start) / 1e6)
    return samples


def _time_cell(contenders: Sequence[_Contender], cell: tuple[int, int], rounds: int, seed: int) -> Samples:
    """The graph alone on random ids without padding; the model's own maximum bounds the length."""
    batch, tokens = cell
    encoder = contenders[0].classifier.encoder
    width = min(tokens, encoder.max_length)
    ids = np.random.default_rng(seed).integers(0, encoder.vocabulary_size, size=(batch, width))
    padded = encoder.pad([Tokens(tuple(row), (0,) * width, False) for row in ids.tolist()])

    def call(classifier: Classifier) -> Callable[[], object]:
        return lambda: classifier.engine.run(padded)

    repeats = max(1, 8 // batch)
    return timing.interleave({c.spec.name: [call(c.classifier)] * repeats for c in contenders}, rounds=rounds)


def _spread(texts: list[str], count: int) -> list[str]:
    """`count` texts at even distances, so that they have the lengths of the whole split."""
    if count >= len(texts):
        return texts
    return [texts[int(i)] for i in np.linspace(0, len(texts) - 1, count)]


def _write_samples(
    run_dir: RunDir,
    latency: Samples,
    tokenization: list[float],
    grid: dict[tuple[int, int], Samples],
    throughput: Samples,
) -> None:
    document = {
        "unit": "ms",
        "single_text": latency,
        "tokenization": tokenization,
        "grid": {f"{batch}x{tokens}": samples for (batch, tokens), samples in grid.items()},
        "many_texts": throughput,
    }
    atomic.write_text(run_dir.samples, json.dumps(document) + "\n")
