"""sentopt against the tools that people use today, in one interleaved run, on the same checkpoint and the same texts.

    python benchmarks/peers.py RUN_DIR [--distilbert] [--contenders NAME ...]

RUN_DIR is a finished run of an encoder, such as exports/quickstart. Every contender lives in a process of its own and
only the one whose turn it is works (see `sentopt.backends.worker`). Peers get their ordinary use; for many texts they
are given both ways that their users have, one text at a time and batches of 32, and the better one counts.

With --distilbert the checkpoint is a DistilBERT with random weights: its speed is that of a tuned one, its answers mean
nothing. Needs the packages of all contenders:

    pip install -c constraints.txt -e ".[all,openvino]" nncf ctranslate2

Results go to benchmarks/results/<cpu>.json; tables and plots are made from all of them into benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import ceiling
import numpy as np
import peer_engines
import peer_tables

from sentopt.backends import worker
from sentopt.backends.opening import Candidate
from sentopt.backends.worker import Worker
from sentopt.data import sources, store
from sentopt.errors import WorkerError
from sentopt.measure import hardware, timing
from sentopt.recipe import DataSection
from sentopt.run_dir import RunDir
from sentopt.runtime.cores import available_cores, cpuinfo
from sentopt.runtime.tokenization import TextEncoder
from sentopt.variants import VARIANTS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
GRID = ((1, 16), (1, 32), (1, 64), (1, 128), (16, 32), (16, 128))
GRID_ROUNDS, THROUGHPUT_ROUNDS, CALIBRATION_TEXTS = 9, 4, 300
REALTEXTS = {"sst2": 128, "tweets": 96, "imdb": 24}
OURS = ("lean-fp32", "lean-int8", "openvino-bf16", "openvino-int8")
PREFIX = "sentopt "
PACKAGES = ("torch", "transformers", "onnxruntime", "optimum-onnx", "openvino", "nncf", "ctranslate2")


def main() -> None:
    """Measure, write the result file, make tables and plots again."""
    arguments = _arguments()
    run_dir = RunDir(arguments.run_dir)
    labels = store.read_labels(run_dir)
    recipe_length = json.loads((run_dir.bundle / "sentopt.json").read_text())["max_length"]
    if arguments.distilbert:
        run_dir = _random_distilbert(run_dir, labels)
    folder = run_dir.root / "peers"
    training = [example.text for example in store.read_split(run_dir, "train")]
    step = max(1, len(training) // CALIBRATION_TEXTS)
    _say("preparing the peers")
    peer_engines.prepare(
        run_dir.checkpoint.resolve(), folder, training[::step][:CALIBRATION_TEXTS], recipe_length, labels
    )
    bench = _Bench(run_dir, labels, recipe_length, folder, arguments.contenders)
    threads = sorted({1, available_cores()})
    result = {
        "threads": {str(n): bench.grid(n) for n in threads},
        **bench.everything_else(available_cores(), accuracy=not arguments.distilbert),
        "ceiling": ceiling.measure(run_dir.checkpoint),
    }
    _store("DistilBERT (random weights)" if arguments.distilbert else f"MiniLM ({run_dir.root.name})", result)
    peer_tables.write(RESULTS, HERE / "README.md")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare sentopt with its peers.", formatter_class=argparse.HelpFormatter
    )
    parser.add_argument("run_dir", type=Path, help="a finished run, such as exports/quickstart")
    parser.add_argument("--distilbert", action="store_true", help="a DistilBERT with random weights instead")
    everybody = [*peer_engines.NAMES, *(PREFIX + name for name in OURS)]
    parser.add_argument("--contenders", nargs="+", default=everybody, metavar="NAME", help=", ".join(everybody))
    return parser.parse_args()


class _Bench:
    """One checkpoint, its contenders, and what is measured of them."""

    def __init__(
        self, run_dir: RunDir, labels: tuple[str, ...], max_length: int, folder: Path, contenders: Sequence[str]
    ) -> None:
        self.run_dir, self.labels, self.max_length = run_dir, labels, max_length
        self.folder, self.contenders = folder, contenders
        self.skipped: dict[str, str] = {}

    def grid(self, threads: int) -> dict[str, dict[str, float]]:
        """Median milliseconds by shape and contender, on random ids without padding."""
        encoder = TextEncoder.load(self.run_dir.checkpoint, max_length=self.max_length)
        ids = np.random.default_rng(0).integers(0, encoder.vocabulary_size, size=(16, 128))
        measured = {}
        with ExitStack() as stack:
            workers = dict(self._start(stack, threads, [n for n in self.contenders if n != peer_engines.PIPELINE]))
            for batch, tokens in GRID:
                _say(f"{threads} threads: {batch} x {tokens}")
                rows, repeat = ids[:batch, :tokens].tolist(), max(1, 8 // batch)
                samples = timing.interleave(
                    {name: partial(w.tokens, rows, repeat=repeat) for name, w in workers.items()}, rounds=GRID_ROUNDS
                )
                measured[f"{batch}x{tokens}"] = {name: timing.summarize(times).p50 for name, times in samples.items()}
        return measured

    def everything_else(self, threads: int, *, accuracy: bool) -> dict[str, Any]:
        """Texts per second from raw text, answers against the labels and PyTorch, load time, memory, bytes."""
        with ExitStack() as stack:
            workers = dict(self._start(stack, threads, self.contenders))
            answers = self._answers(workers) if accuracy else {}
            throughput = {name: self._throughput(workers, texts) for name, texts in self._texts()}
            costs = {
                name: {
                    **dataclasses.asdict(w.started),
                    "peak_memory_bytes": w.peak_memory_bytes(),
                    "bytes": self._file(name).stat().st_size,
                }
                for name, w in workers.items()
            }
        return {"answers": answers, "throughput": throughput, "costs": costs, "skipped": self.skipped}

    def _start(self, stack: ExitStack, threads: int, names: Sequence[str]) -> Iterator[tuple[str, Worker]]:
        for name in names:
            _say(f"{threads} threads: start {name}")
            try:
                yield name, stack.enter_context(worker.start(*self._command(name, threads)))
            except WorkerError as error:
                self.skipped[name] = str(error).splitlines()[-1]
                _say(f"skipped: {error}")

    def _command(self, name: str, threads: int) -> tuple[str, ...]:
        if not name.startswith(PREFIX):
            return (str(HERE / "peer_engines.py"), name, str(self.folder.resolve()), str(threads))
        return ("-m", "sentopt.backends.worker", self._candidate(name).to_json(), str(threads))

    def _candidate(self, name: str) -> Candidate:
        return Candidate.of(VARIANTS[name.removeprefix(PREFIX)], self.run_dir, self.labels, self.max_length)

    def _file(self, name: str) -> Path:
        if name.startswith(PREFIX):
            return self._candidate(name).model
        return (
            self.folder / peer_engines.FILES[name]
            if name in peer_engines.FILES
            else self.run_dir.checkpoint / "model.safetensors"
        )

    def _answers(self, workers: Mapping[str, Worker]) -> dict[str, dict[str, float]]:
        """Accuracy on the run's test split, and how often the label is PyTorch's."""
        examples = store.read_split(self.run_dir, "test")
        truth = np.array([example.label for example in examples])
        reference = np.load(self.run_dir.reference, allow_pickle=False).argmax(axis=1)
        found = {}
        for name, contender in workers.items():
            _say(f"answers: {name}")
            given = np.array(contender.probabilities([example.text for example in examples])).argmax(axis=1)
            found[name] = {
                "texts": len(examples),
                "accuracy": float((given == truth).mean()),
                "agreement": float((given == reference).mean()),
            }
        return found

    def _texts(self) -> Iterator[tuple[str, list[str]]]:
        """Real sentences of three lengths where the data is, else the run's own test split."""
        if not os.environ.get(sources.MIRROR_VARIABLE):
            yield "test split", [example.text for example in store.read_split(self.run_dir, "test")][:256]
            return
        for name, count in REALTEXTS.items():
            rows = sources.load(DataSection(dataset=name)).splits["test"]
            yield name, [str(row.text) for row in rows[:: max(1, len(rows) // count)][:count]]

    def _throughput(self, workers: Mapping[str, Worker], texts: list[str]) -> dict[str, dict[str, float]]:
        """Texts per second: sentopt as it serves many, peers one at a time and in batches of 32 as they come."""
        _say(f"throughput on {len(texts)} texts")
        ways: dict[str, Any] = {}
        for name, contender in workers.items():
            if name.startswith(PREFIX):
                ways[f"{name}|many"] = partial(contender.many, texts)
            else:
                ways[f"{name}|batch 1"] = partial(contender.many, texts, batch_size=1)
                ways[f"{name}|batch 32"] = partial(contender.many, texts, batch_size=32)
        rates: dict[str, dict[str, float]] = {}
        for key, times in timing.interleave(ways, rounds=THROUGHPUT_ROUNDS).items():
            name, way = key.split("|")
            rates.setdefault(name, {})[way] = len(texts) / (timing.summarize(times).p50 / 1e3)
        return rates


def _random_distilbert(run_dir: RunDir, labels: tuple[str, ...]) -> RunDir:
    """A run directory beside the given one, with its data and tokenizer and a DistilBERT that nobody tuned."""
    import shutil

    import torch
    from transformers import AutoTokenizer, DistilBertConfig, DistilBertForSequenceClassification

    from sentopt import recipe
    from sentopt.stages import export, quantize

    other = RunDir(run_dir.root.with_name(f"{run_dir.root.name}-distilbert"))
    if other.model("lean-int8").is_file():
        return other
    shutil.copytree(run_dir.data, other.data, dirs_exist_ok=True)
    torch.manual_seed(0)
    names = dict(enumerate(labels))
    config = DistilBertConfig(num_labels=len(labels), id2label=names, label2id={v: k for k, v in names.items()})
    DistilBertForSequenceClassification(config).save_pretrained(other.checkpoint)
    AutoTokenizer.from_pretrained(run_dir.checkpoint).save_pretrained(other.checkpoint)
    settings = recipe.load(str(run_dir.recipe))
    export.run(settings, other, specs=[VARIANTS["lean-fp32"]])
    quantize.run(settings, other, specs=[VARIANTS["lean-int8"]])
    return other


def _store(model: str, result: dict[str, Any]) -> None:
    info = cpuinfo()
    here = hardware.describe()
    kind = f"family {info.get('cpu family', '?')} model {info.get('model', '?')}"
    slug = re.sub(r"[^a-z0-9]+", "-", f"{here.cpu} {kind} {here.cores} cores".lower()).strip("-")
    path = RESULTS / f"{slug}.json"
    document = json.loads(path.read_text()) if path.is_file() else {}
    document["machine"] = f"{here.cpu} ({kind}), {here.cores} cores, {', '.join(here.isa)}"
    document.setdefault("models", {})[model] = {"versions": hardware.versions(PACKAGES), **result}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
