"""sentopt against the tools that people use today, in one interleaved run, on the same checkpoint and the same texts.

    python benchmarks/peers.py RUN_DIR [--family NAME ...] [--contenders NAME ...] [--texts N] [--also DATASET ...]

RUN_DIR is a finished run of an encoder, such as exports/quickstart. Every contender lives in a process of its own and
only the one whose turn it is works (see `sentopt.backends.worker`). Peers get their ordinary use; for many texts they
are given both ways that their users have, one text at a time and batches of 32, and the better one counts.

Cheap peers (`trained_peers.py`) are other models: they are trained first, one after the other, on the run's training
split, and have an accuracy of their own. Speed and accuracy are of the same test split and stand in one table. A
contender that the run has no file for, or whose package is missing, is left out, and the table says so.

With --family the checkpoint is a model of that family and of full size (`full_size.py`) with random weights and the
run's tokenizer, one family after the other: its speed is that of a tuned one, its answers mean nothing. Needs the
packages of all contenders:

    pip install -c constraints.txt -e ".[all,openvino]" nncf ctranslate2 "model2vec[train,distill]" setfit

Results go to benchmarks/results/<cpu>.json; tables and plots are made from all of them into benchmarks/README.md. With
--print-only both stay as they are.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import ceiling
import full_size
import numpy as np
import peer_engines
import peer_tables
import trained_peers

from sentopt import manifest
from sentopt import recipe as recipes
from sentopt.backends import worker
from sentopt.backends.opening import Candidate
from sentopt.backends.worker import Worker
from sentopt.data import sources, store
from sentopt.errors import WorkerError
from sentopt.measure import hardware, timing
from sentopt.measure.stats import paired_non_inferiority, wilson_interval
from sentopt.recipe import DataSection, VerifySection
from sentopt.run_dir import RunDir
from sentopt.runtime.cores import available_cores, cpuinfo
from sentopt.runtime.tokenization import TextEncoder
from sentopt.variants import VARIANTS

HERE = Path(__file__).parent
RESULTS = HERE / "results"
GRID = ((1, 16), (1, 32), (1, 64), (1, 128), (16, 32), (16, 128))
GRID_ROUNDS, SINGLE_ROUNDS, THROUGHPUT_ROUNDS, CALIBRATION_TEXTS = 9, 3, 4, 300
TEST_SPLIT = "test split"
REALTEXTS = {"sst2": 128, "tweets": 96, "imdb": 24}
OURS = ("lean-fp32", "lean-int8", "openvino-bf16", "openvino-int8", "student-int8", "cascade-int8")
PREFIX = "sentopt "
EVERYBODY = (*peer_engines.NAMES, *trained_peers.NAMES, *(PREFIX + name for name in OURS))
WAYS: dict[str, int | None] = {"batch 1": 1, "batch 32": 32}
WAYS_OF_TRAINED: dict[str, int | None] = {"batch 32": 32, "all": None}
PACKAGES = (
    *("torch", "transformers", "onnxruntime", "optimum-onnx", "openvino", "nncf", "ctranslate2"),
    *("scikit-learn", "model2vec", "setfit", "sentence-transformers"),
)


def main() -> None:
    """Measure, write the result file, make tables and plots again."""
    arguments = _arguments()
    run_dir = RunDir(arguments.run_dir)
    labels = store.read_labels(run_dir)
    settings = recipes.load(str(run_dir.recipe))
    for family in arguments.family or (None,):
        tuned = f"MiniLM ({run_dir.root.resolve().name})"
        model = f"{full_size.NAMES[family]}{peer_tables.RANDOM}" if family else tuned
        measured = random_model(family, run_dir, labels) if family else run_dir
        bench = Bench(measured, labels, settings.model.max_length, measured.root / "peers", arguments.contenders)
        result = _measure(bench, None if family else settings.verify, arguments)
        print(peer_tables.summary(model, result), flush=True)
        if not arguments.print_only:
            _store(model, result)
            peer_tables.write(RESULTS, HERE / "README.md")


def _measure(bench: Bench, judged: VerifySection | None, arguments: argparse.Namespace) -> dict[str, Any]:
    """All figures of one model, after its contenders were prepared."""
    bench.prepare(trained=judged is not None)
    if not bench.contenders:
        sys.exit("none of the contenders can take part")
    return {
        "threads": {str(n): bench.grid(n) for n in sorted({1, available_cores()})},
        **bench.everything_else(available_cores(), judged, arguments.texts, arguments.also),
        "ceiling": ceiling.measure(bench.run_dir.checkpoint),
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare sentopt with its peers.", formatter_class=argparse.HelpFormatter
    )
    parser.add_argument("run_dir", type=Path, help="a finished run, such as exports/quickstart")
    of_family = f"models of full size with random weights instead: {', '.join(full_size.SIZES)}"
    parser.add_argument("--family", nargs="+", choices=tuple(full_size.SIZES), metavar="NAME", help=of_family)
    parser.add_argument(
        "--contenders", nargs="+", default=EVERYBODY, choices=EVERYBODY, metavar="NAME", help=", ".join(EVERYBODY)
    )
    parser.add_argument("--texts", type=int, default=300, metavar="N", help="texts of the test split that are timed")
    also = f"texts per second on other data as well: {', '.join(REALTEXTS)} (below {sources.MIRROR_VARIABLE})"
    parser.add_argument("--also", nargs="+", default=(), choices=tuple(REALTEXTS), metavar="DATASET", help=also)
    parser.add_argument("--print-only", action="store_true", help="leave results/ and README.md as they are")
    return parser.parse_args()


class Bench:
    """One checkpoint, its contenders, and what is measured of them."""

    def __init__(
        self, run_dir: RunDir, labels: tuple[str, ...], max_length: int, folder: Path, contenders: Sequence[str]
    ) -> None:
        self.run_dir, self.labels, self.max_length = run_dir, labels, max_length
        self.folder, self.contenders = folder, contenders
        self.skipped: dict[str, str] = {}

    def prepare(self, *, trained: bool) -> None:
        """Write the peers' files and train the trained ones; leave out who cannot take part."""
        texts = [example.text for example in store.read_split(self.run_dir, "train")]
        calibration = [texts[i] for i in trained_peers.spread(len(texts), CALIBRATION_TEXTS)]
        engines = [name for name in self.contenders if name in peer_engines.NAMES]
        _say("preparing the peers")
        checkpoint = self.run_dir.checkpoint.resolve()
        self.skipped |= peer_engines.prepare(
            checkpoint, self.folder, calibration, self.max_length, self.labels, engines
        )
        learning = [name for name in self.contenders if name in trained_peers.NAMES]
        if trained:
            self.skipped |= trained_peers.prepare(self.run_dir.root, self.folder, learning, _say)
        else:
            self.skipped |= dict.fromkeys(learning, "random weights have no accuracy to compare with")
        for name in self.contenders:
            if name.startswith(PREFIX) and not self._file(name).is_file():
                self.skipped[name] = f"this run has no {self._file(name).relative_to(self.run_dir.root.resolve())}"
        for name, reason in self.skipped.items():
            _say(f"left out: {name} ({reason})")
        self.contenders = [name for name in self.contenders if name not in self.skipped]

    def grid(self, threads: int) -> dict[str, dict[str, float]]:
        """Median milliseconds by shape and contender, on random ids without padding.

        Only contenders that take ids and compute the whole model: a student does less work, and a cascade's work
        depends on the text, which random ids are not.
        """
        encoder = TextEncoder.load(self.run_dir.checkpoint, max_length=self.max_length)
        ids = np.random.default_rng(0).integers(0, encoder.vocabulary_size, size=(16, 128))
        measured = {}
        with ExitStack() as stack:
            workers = dict(self._start(stack, threads, [n for n in self.contenders if takes_tokens(n)]))
            for batch, tokens in fitting_shapes(self.max_length) if workers else ():
                _say(f"{threads} threads: {batch} x {tokens}")
                rows, repeat = ids[:batch, :tokens].tolist(), max(1, 8 // batch)
                samples = timing.interleave(
                    {name: partial(w.tokens, rows, repeat=repeat) for name, w in workers.items()}, rounds=GRID_ROUNDS
                )
                measured[f"{batch}x{tokens}"] = {name: timing.summarize(times).p50 for name, times in samples.items()}
        return measured

    def everything_else(
        self, threads: int, judged: VerifySection | None, count: int, also: Sequence[str]
    ) -> dict[str, Any]:
        """Speed from raw text, answers against the labels and PyTorch, training, load time, memory, bytes.

        `judged` has the margin and the confidence of the comparison with PyTorch; None: the answers mean nothing.
        """
        texts = [example.text for example in store.read_split(self.run_dir, "test")]
        texts = [texts[i] for i in trained_peers.spread(len(texts), count)]
        with ExitStack() as stack:
            workers = dict(self._start(stack, threads, self.contenders))
            answers = self._answers(workers, judged) if judged else {}
            single = _single(workers, texts)
            throughput = {TEST_SPLIT: _throughput(workers, texts)}
            throughput |= {name: _throughput(workers, _other_texts(name)) for name in also}
            costs = {
                name: {
                    **dataclasses.asdict(w.started),
                    "peak_memory_bytes": w.peak_memory_bytes(),
                    "bytes": self._bytes(name),
                }
                for name, w in workers.items()
            }
        return {
            "texts": len(texts),
            "answers": answers,
            "single": single,
            "throughput": throughput,
            "training": {name: found for name in costs if judged and (found := self._training(name))},
            "costs": costs,
            "skipped": self.skipped,
        }

    def _start(self, stack: ExitStack, threads: int, names: Sequence[str]) -> Iterator[tuple[str, Worker]]:
        for name in names:
            _say(f"{threads} threads: start {name}")
            try:
                yield name, stack.enter_context(worker.start(*self._command(name, threads)))
            except WorkerError as error:
                self.skipped[name] = str(error).splitlines()[-1]
                _say(f"skipped: {error}")

    def _command(self, name: str, threads: int) -> tuple[str, ...]:
        if name in trained_peers.NAMES:
            return (str(HERE / "trained_peers.py"), "serve", name, str(self.folder.resolve()), str(threads))
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

    def _bytes(self, name: str) -> int:
        if name in trained_peers.NAMES:
            return trained_peers.bytes_of(self.folder, name)
        return self._file(name).stat().st_size

    def _answers(self, workers: Mapping[str, Worker], judged: VerifySection) -> dict[str, dict[str, Any]]:
        """Accuracy on the run's test split, and how often the label is PyTorch's."""
        examples = store.read_split(self.run_dir, "test")
        truth = np.array([example.label for example in examples])
        reference = np.load(self.run_dir.reference, allow_pickle=False).argmax(axis=1)
        found = {}
        for name, contender in workers.items():
            _say(f"answers: {name}")
            given = np.array(contender.probabilities([example.text for example in examples])).argmax(axis=1)
            found[name] = score(given, truth, reference, judged)
        return found

    def _training(self, name: str) -> dict[str, Any] | None:
        """Seconds of training: of a trained peer those of this machine, of the others those that the run recorded."""
        if name in trained_peers.NAMES:
            training = trained_peers.recorded_training(self.folder, name)
            return training and {"seconds": training.seconds, "texts": training.texts}
        stages = manifest.read(self.run_dir.manifest).stages
        staged = name.startswith(PREFIX) and VARIANTS[name.removeprefix(PREFIX)].stages
        needed = ("train", "distill") if staged else ("train",)
        if not all(stage in stages for stage in needed):
            return None
        count = len(store.read_split(self.run_dir, "train"))
        return {"seconds": sum(stages[stage].seconds for stage in needed), "texts": count}


def fitting_shapes(max_length: int) -> list[tuple[int, int]]:
    """The shapes of the grid that a model of this maximum length reads."""
    return [(batch, tokens) for batch, tokens in GRID if tokens <= max_length]


def takes_tokens(name: str) -> bool:
    """Whether a contender can be given token ids, and computes the whole model for them."""
    if name.startswith(PREFIX):
        return VARIANTS[name.removeprefix(PREFIX)].stages is None
    return name != peer_engines.PIPELINE and name not in trained_peers.NAMES


def score(given: np.ndarray, truth: np.ndarray, reference: np.ndarray, judged: VerifySection) -> dict[str, Any]:
    """Accuracy with its 95 % interval, agreement with PyTorch, and whether its accuracy is proven within the margin.

    The proof is the gate's test of the accuracy. The gate also tests the recall of every label and the agreement, so
    the run's own verdict on a variant can be stricter.
    """
    right = given == truth
    compared = paired_non_inferiority(
        reference == truth, right, margin=judged.margin / 100, confidence=judged.confidence
    )
    return {
        "texts": len(truth),
        "accuracy": float(right.mean()),
        "interval": list(wilson_interval(int(right.sum()), len(truth), 0.95)),
        "agreement": float((given == reference).mean()),
        "margin": judged.margin,
        "proven": compared.non_inferior,
    }


def _single(workers: Mapping[str, Worker], texts: list[str]) -> dict[str, dict[str, float]]:
    """Milliseconds of one text, tokenization included: mean and percentiles of all samples."""
    _say(f"{len(texts)} texts one by one")
    turns = {name: partial(contender.single, texts) for name, contender in workers.items()}
    return {
        name: {**dataclasses.asdict(timing.summarize(times)), "mean": float(np.mean(times))}
        for name, times in timing.interleave(turns, rounds=SINGLE_ROUNDS).items()
    }


def _throughput(workers: Mapping[str, Worker], texts: list[str]) -> dict[str, dict[str, float]]:
    """Texts per second: sentopt as it serves many, peers in the ways that their users have."""
    _say(f"{len(texts)} texts together")
    turns = {
        f"{name}|{way}": partial(contender.many, texts, batch_size=size)
        for name, contender in workers.items()
        for way, size in ways_of(name).items()
    }
    rates: dict[str, dict[str, float]] = {}
    for key, times in timing.interleave(turns, rounds=THROUGHPUT_ROUNDS).items():
        name, way = key.split("|")
        rates.setdefault(name, {})[way] = len(texts) / (timing.summarize(times).p50 / 1e3)
    return rates


def ways_of(name: str) -> dict[str, int | None]:
    """By what it is called, the batch size of each way in which a contender is given many texts."""
    if name.startswith(PREFIX):
        return {"many": None}
    return WAYS_OF_TRAINED if name in trained_peers.NAMES else WAYS


def _other_texts(name: str) -> list[str]:
    rows = sources.load(DataSection(dataset=name)).splits["test"]
    return [str(rows[i].text) for i in trained_peers.spread(len(rows), REALTEXTS[name])]


def random_model(family: str, run_dir: RunDir, labels: tuple[str, ...]) -> RunDir:
    """A run directory beside the given one, with its data and tokenizer and a model that nobody tuned."""
    import shutil

    from transformers import AutoTokenizer

    from sentopt import recipe
    from sentopt.stages import export, quantize

    other = RunDir(run_dir.root.with_name(f"{run_dir.root.name}-{family}"))
    if other.model("lean-int8").is_file():
        return other
    shutil.copytree(run_dir.data, other.data, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(run_dir.checkpoint)
    names = dict(enumerate(labels))
    full_size.save(
        family,
        other.checkpoint,
        noise=0.0,
        fewest_tokens=len(tokenizer),
        id2label=names,
        label2id={label: i for i, label in names.items()},
        pad_token_id=tokenizer.pad_token_id,
    )
    tokenizer.save_pretrained(other.checkpoint)
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
