"""Stage `bench`: measure latency and throughput of all variants on this machine, interleaved."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from sentopt.backends import worker
from sentopt.backends.opening import Candidate
from sentopt.backends.worker import Worker
from sentopt.data import store
from sentopt.files import atomic
from sentopt.measure import hardware, timing
from sentopt.progress import SILENT, Advance, Progress
from sentopt.recipe import BenchSection, Recipe
from sentopt.results import BenchResult, BenchRow, GridCell
from sentopt.run_dir import RunDir
from sentopt.runtime.cores import available_cores
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import TextEncoder
from sentopt.variants import VariantSpec

Depth = Literal["quick", "full"]
Samples = dict[str, list[float]]
_COMMAND = ("-m", "sentopt.backends.worker")
_GRID_ROUNDS = 3
_THROUGHPUT_ROUNDS = {"quick": 1, "full": 2}
_ROUTED = 10  # texts of which a cascade says whether it defers them, for each text that is timed


def plan(bench: BenchSection, depth: Depth) -> BenchSection:
    """The measurements of a benchmark of this depth. A quick one suffices for the selection; a full one is reported."""
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


def _limit_lengths(bench: BenchSection, longest: int) -> BenchSection:
    """The same measurements, with grid rows limited to the model's maximum length."""
    return replace(bench, grid=tuple(dict.fromkeys((batch, min(tokens, longest)) for batch, tokens in bench.grid)))


def run(
    recipe: Recipe, run_dir: RunDir, *, specs: Sequence[VariantSpec], depth: Depth, progress: Progress = SILENT
) -> BenchResult:
    """Measure each of `specs` and write the raw samples.

    Raises:
        WorkerError: a benchmark process cannot be started, or ends unexpectedly.
    """
    bench = _limit_lengths(plan(recipe.bench, depth), recipe.model.max_length)
    threads = bench.threads or available_cores()
    labels = store.read_labels(run_dir)
    split = list(store.read_split(run_dir, "test").texts)
    texts = _spread(split, max(bench.texts, bench.throughput_texts))
    candidates = {spec.name: Candidate.of(spec, run_dir, labels, recipe.model.max_length) for spec in specs}
    with ExitStack() as stack:
        workers = {}
        with progress.count("bench: start", len(candidates), "variants") as advance:
            for name, candidate in candidates.items():
                workers[name] = stack.enter_context(worker.start(*_COMMAND, candidate.to_json(), str(threads)))
                advance(1)
        random_ids = _random_rows(recipe, {candidate.tokenizer for candidate in candidates.values()})
        cascades = {spec.name: workers[spec.name] for spec in specs if spec.stages == "cascade"}
        deferred = _deferred(cascades, _spread(split, _ROUTED * bench.texts), bench.texts)
        each = workload(bench, depth, texts=len(texts), longest=recipe.model.max_length)
        answers = each.answers * len(workers) + (bench.rounds + 1) * sum(map(len, deferred.values()))
        with progress.count("bench", answers, "answers") as advance:
            measured = _measure(workers, bench, depth, texts, deferred, random_ids, advance)
        peaks = {name: process.peak_memory_bytes() for name, process in workers.items()}
    _write_samples(run_dir, measured)
    rows = tuple(
        BenchRow(
            variant=name,
            latency=timing.summarize(measured.latency[name]),
            texts_per_second=measured.many_texts / (float(np.median(measured.throughput[name])) / 1e3),
            grid=tuple(GridCell(b, t, timing.summarize(measured.grid[b, t][name]).p50) for b, t in bench.grid),
            load_ms=workers[name].started.load_ms,
            first_ms=workers[name].started.first_ms,
            peak_memory_bytes=peaks[name],
            bytes=candidate.model.stat().st_size,
            deferred_latency=timing.summarize(measured.deferred[name]) if name in measured.deferred else None,
        )
        for name, candidate in candidates.items()
    )
    return BenchResult(depth, hardware.describe(), threads, bench.rounds, timing.summarize(measured.tokenization), rows)


@dataclass(frozen=True)
class Workload:
    """What each variant does in a benchmark, warm-up included: texts, and rows of random ids with all their tokens."""

    single_texts: int
    many_texts: int
    grid_rows: int
    grid_calls: int
    grid_tokens: int

    @property
    def answers(self) -> int:
        """Texts and rows."""
        return self.single_texts + self.many_texts + self.grid_rows


def workload(bench: BenchSection, depth: Depth, *, texts: int, longest: int) -> Workload:
    """That of a planned benchmark, given how many `texts` there are and how many tokens the model reads at most."""
    bench = _limit_lengths(bench, longest)
    rounds = min(bench.rounds, _GRID_ROUNDS) + 1
    return Workload(
        single_texts=min(bench.texts, texts) * (bench.rounds + 1),
        many_texts=min(bench.throughput_texts, texts) * (_THROUGHPUT_ROUNDS[depth] + 1),
        grid_rows=rounds * sum(batch * _repeat(batch) for batch, _ in bench.grid),
        grid_calls=rounds * sum(_repeat(batch) for batch, _ in bench.grid),
        grid_tokens=rounds * sum(batch * _repeat(batch) * tokens for batch, tokens in bench.grid),
    )


def _repeat(batch: int) -> int:
    """How often a turn of the grid answers a batch of this size."""
    return max(1, 8 // batch)


@dataclass(frozen=True)
class _Measured:
    latency: Samples
    deferred: Samples
    tokenization: list[float]
    grid: dict[tuple[int, int], Samples]
    throughput: Samples
    many_texts: int


def _measure(
    workers: dict[str, Worker],
    bench: BenchSection,
    depth: Depth,
    texts: list[Text],
    deferred: Mapping[str, list[Text]],
    rows: npt.NDArray[np.int64],
    advance: Advance,
) -> _Measured:
    singles, many = _spread(texts, bench.texts), _spread(texts, bench.throughput_texts)
    latency = timing.interleave(
        {
            **_counting({name: partial(w.single, singles) for name, w in workers.items()}, advance, len(singles)),
            **_deferred_turns(workers, deferred, advance),
        },
        rounds=bench.rounds,
    )
    of_deferred = {name: latency.pop(_deferred_turn(name)) for name in deferred}
    tokenization = next(iter(workers.values())).tokenize(singles * bench.rounds)
    grid = {}
    for batch, tokens in bench.grid:
        ids, repeat = rows[:batch, :tokens].tolist(), _repeat(batch)
        grid[batch, tokens] = timing.interleave(
            _counting(
                {name: partial(w.tokens, ids, repeat=repeat) for name, w in workers.items()}, advance, batch * repeat
            ),
            rounds=min(bench.rounds, _GRID_ROUNDS),
        )
    throughput = timing.interleave(
        _counting({name: partial(w.many, many) for name, w in workers.items()}, advance, len(many)),
        rounds=_THROUGHPUT_ROUNDS[depth],
    )
    return _Measured(latency, of_deferred, tokenization, grid, throughput, len(many))


Turn = Callable[[], list[float]]


def _deferred(cascades: Mapping[str, Worker], texts: list[Text], count: int) -> dict[str, list[Text]]:
    """At most `count` of the texts that each cascade defers; a cascade that defers none of them is left out."""
    routed = {name: process.routes(texts) for name, process in cascades.items()}
    deferred = {name: list(compress(texts, flags)) for name, flags in routed.items()}
    return {name: _spread(some, count) for name, some in deferred.items() if some}


def _deferred_turns(
    workers: Mapping[str, Worker], deferred: Mapping[str, list[Text]], advance: Advance
) -> dict[str, Turn]:
    """The turns of cascades that answer nothing but texts which they defer."""
    turns: dict[str, Turn] = {}
    for name, texts in deferred.items():
        turn = {_deferred_turn(name): partial(workers[name].single, texts)}
        turns.update(_counting(turn, advance, len(texts)))
    return turns


def _deferred_turn(name: str) -> str:
    return f"{name}, deferred texts"


def _counting(turns: Mapping[str, Turn], advance: Advance, texts: int) -> dict[str, Turn]:
    """The same turns; after each, `texts` more are counted, outside of what is timed."""

    def counting(turn: Turn) -> list[float]:
        samples = turn()
        advance(texts)
        return samples

    return {name: partial(counting, turn) for name, turn in turns.items()}


def _random_rows(recipe: Recipe, tokenizers: Collection[Path]) -> npt.NDArray[np.int64]:
    """Random ids for the grid's largest cell: ids that all tokenizers have, up to the model's maximum length."""
    longest, grid = recipe.model.max_length, recipe.bench.grid
    size = min(TextEncoder.load(folder, max_length=longest).vocabulary_size for folder in tokenizers)
    shape = (max(b for b, _ in grid), min(max(t for _, t in grid), longest))
    return np.random.default_rng(recipe.run.seed).integers(0, size, size=shape)


def _spread(texts: list[Text], count: int) -> list[Text]:
    """`count` evenly spaced texts; they represent the length distribution of the split."""
    if count >= len(texts):
        return texts
    return [texts[int(i)] for i in np.linspace(0, len(texts) - 1, count)]


def _write_samples(run_dir: RunDir, measured: _Measured) -> None:
    document = {
        "unit": "ms",
        "single_text": measured.latency,
        **({"deferred_text": measured.deferred} if measured.deferred else {}),
        "tokenization": measured.tokenization,
        "grid": {f"{batch}x{tokens}": samples for (batch, tokens), samples in measured.grid.items()},
        "many_texts": measured.throughput,
    }
    atomic.write_text(run_dir.samples, json.dumps(document) + "\n")
