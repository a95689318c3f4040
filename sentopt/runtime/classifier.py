"""The classifier that applications use. It is also the object that verification and benchmarks run.

from sentopt import Classifier

clf = Classifier.load("exports/quickstart/bundle")
clf("The soup was cold and nobody cared.")   # Prediction(label='negative', score=0.98..., ...)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from sentopt.errors import BundleError, BundleIntegrityError, InputError
from sentopt.runtime import batching
from sentopt.runtime.description import ENGINES, BundleDescription, Source, check_files, read_description
from sentopt.runtime.session import CPU, FloatArray, OnnxSession
from sentopt.runtime.tokenization import Batch, TextEncoder, Tokens
from sentopt.runtime.tuning import Tuning, default, recall
from sentopt.runtime.workers import PerProcess, each, thread_pool

Positions = npt.NDArray[np.intp]


class Engine(Protocol):
    """Whatever computes logits from a padded batch: an onnxruntime session here, a PyTorch module in benchmarks."""

    def run(self, batch: Batch) -> FloatArray:
        """Logits, float32 of shape (texts, labels)."""
        ...


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable label of a text, its probability, those of all labels, and whether the text had to be cut.

    `abstained` says that the score is below what the classifier was told to answer with; `label` is there all the same.
    """

    label: str
    score: float
    probabilities: dict[str, float]
    truncated: bool
    abstained: bool = False


class Classifier:
    """Texts in, labels and probabilities out. Safe to share between threads, and to use in a process forked since.

    One text is answered by `engine`, which uses all threads for it. Many texts are cut into micro-batches that workers
    answer side by side, each on one thread: that keeps the cores busier than sharing every product among them.

    An empty or blank text is answered like any other: the model sees its special tokens only, so the answer is always
    the same one.
    """

    def __init__(
        self,
        engine: Engine,
        encoder: TextEncoder,
        labels: Sequence[str],
        *,
        open_engine: Callable[[], Engine] | None = None,
        open_workers: Callable[[int], Engine] | None = None,
        tuning: Tuning | None = None,
        abstain_below: float = 0.0,
    ) -> None:
        """
        Args:
            engine: answers one batch at a time.
            encoder: makes batches of texts.
            labels: names of the logits.
            open_engine: makes `engine` again, for processes forked since.
            open_workers: makes, for a number of workers, an engine on which as many threads may call `run` at once,
                each using one core. It is called when many texts come for the first time.
            tuning: workers and micro-batches.
            abstain_below: least score of an answer, from 0 to 1; predictions under it are marked `abstained`.

        Raises:
            InputError: `abstain_below` is no probability.
        """
        if not 0.0 <= abstain_below <= 1.0:
            raise InputError(f"abstain_below is a probability from 0 to 1, found {abstain_below}")
        self.encoder = encoder
        self.labels = tuple(labels)
        self.tuning = tuning or default()
        self.abstain_below = abstain_below
        self.description: BundleDescription | None = None
        workers = self.tuning.workers
        self._engine = PerProcess(open_engine or (lambda: engine), engine)
        self._worker_engine = PerProcess(lambda: open_workers(workers)) if open_workers and workers > 1 else None
        self._pool, self._waiting = thread_pool(workers), thread_pool(workers)

    @classmethod
    def load(
        cls,
        bundle: str | os.PathLike[str] | Mapping[str, bytes],
        *,
        threads: int | None = None,
        check: bool = False,
        engine: str | None = None,
        tuning: Tuning | None = None,
        providers: Sequence[str] = CPU,
        abstain_below: float = 0.0,
        fallback: bool = False,
    ) -> Classifier:
        """Load a bundle after comparing all its files with their recorded hashes.

        Args:
            bundle: the folder that holds `sentopt.json`; or the content of its files by relative name, for bundles
                that come from an archive or a database.
            threads: cores to use; None takes every core this process may use (affinity and cgroup quota).
            check: also run the golden texts, see `check_golden`. If this CPU answers them differently and the bundle
                carries an FP32 graph, that one is checked and used instead, with a warning.
            engine: "onnxruntime" or "openvino", instead of the one that the bundle was selected with.
            tuning: threads, workers and micro-batches; None takes what `sentopt tune` measured here, or the defaults.
            providers: onnxruntime execution providers.
            abstain_below: least score of an answer; predictions under it are marked `abstained`.
            fallback: use the FP32 graph that the bundle carries (made with `export.fp32_fallback=true`).

        Raises:
            InputError: `abstain_below` is no probability.
            BundleError: not a bundle, a newer schema, damaged files, golden texts answered differently, or none of the
                FP32 graph that is asked for.
            MissingExtraError: the engine is not installed.
        """
        source: Source = dict(bundle) if isinstance(bundle, Mapping) else Path(bundle)
        description = read_description(source)
        check_files(source, description)
        if fallback:
            description = _fallback_of(description)
        opened = partial(
            cls._of_bundle, source, threads=threads, tuning=tuning, providers=providers, abstain_below=abstain_below
        )
        classifier = opened(description, engine=engine)
        if not check:
            return classifier
        try:
            classifier.check_golden()
        except BundleIntegrityError as error:
            if description.fallback is None:
                raise
            warnings.warn(f"{error}\nThe FP32 graph that the bundle carries is used instead.", stacklevel=2)
            classifier = opened(description.fallback, engine=None)
            classifier.check_golden()
        return classifier

    @classmethod
    def _of_bundle(
        cls,
        source: Source,
        description: BundleDescription,
        *,
        threads: int | None,
        engine: str | None,
        tuning: Tuning | None,
        providers: Sequence[str],
        abstain_below: float,
    ) -> Classifier:
        encoder = TextEncoder.load(
            source,
            max_length=description.max_length,
            pad_token_id=description.pad_token_id,
            side=description.truncation_side,
        )
        engine = engine or description.engine
        digest = description.files[description.model_file][1]
        if tuning is None:
            tuning = default(threads) if threads else recall(digest, engine) or default()
        classifier = cls.open(
            source / description.model_file if isinstance(source, Path) else source[description.model_file],
            encoder,
            description.labels,
            engine=engine,
            tuning=tuning,
            providers=providers,
            output=description.output,
            abstain_below=abstain_below,
        )
        classifier.description = description
        return classifier

    @classmethod
    def open(
        cls,
        model: Path | bytes,
        encoder: TextEncoder,
        labels: Sequence[str],
        *,
        engine: str = "onnxruntime",
        tuning: Tuning | None = None,
        providers: Sequence[str] = CPU,
        output: str = "logits",
        abstain_below: float = 0.0,
    ) -> Classifier:
        """A classifier of an ONNX file, or of its content, without a bundle around it.

        Raises:
            BundleError: the engine cannot load the file, or is not known.
            MissingExtraError: the engine is not installed.
        """
        tuning = tuning or default()
        one, many = _openers(engine, model, output, providers)
        open_engine = partial(one, tuning.threads)
        return cls(
            open_engine(),
            encoder,
            labels,
            open_engine=open_engine,
            open_workers=many,
            tuning=tuning,
            abstain_below=abstain_below,
        )

    @property
    def engine(self) -> Engine:
        """What answers one batch at a time, in this process."""
        return self._engine.get()

    def __reduce__(self) -> NoReturn:
        raise InputError(
            "a Classifier cannot be pickled or copied: it holds open sessions. Give other processes the path of the "
            "bundle and load it there; threads may share one classifier"
        )

    def __call__(self, text: str) -> Prediction:
        """Classify one text."""
        if not isinstance(text, str):
            raise InputError(f"expected one text (str), found {type(text).__name__}; for many texts use predict(texts)")
        (prediction,) = self.predict([text])
        return prediction

    def predict(self, texts: Sequence[str]) -> list[Prediction]:
        """Classify many texts; the answers come in the order of `texts`."""
        return self.predict_tokens(self.encoder.encode(_as_list(texts)))

    def predict_tokens(self, tokens: Sequence[Tokens]) -> list[Prediction]:
        """As `predict`, for texts that are already tokenized."""
        rows = softmax(self.logits_of(tokens))
        return [self._prediction(row, t.truncated) for row, t in zip(rows, tokens, strict=True)]

    async def apredict(self, texts: Sequence[str]) -> list[Prediction]:
        """As `predict`, without blocking the event loop: `tuning.workers` calls run at once, the others wait."""
        import asyncio  # not every application waits for it when it starts

        return await asyncio.get_running_loop().run_in_executor(self._waiting.get(), self.predict, texts)

    def predict_proba(self, texts: Sequence[str]) -> FloatArray:
        """Probabilities, float32 of shape (texts, labels), columns in the order of `labels`."""
        return softmax(self.logits(texts))

    def logits(self, texts: Sequence[str], *, batch_size: int | None = None) -> FloatArray:
        """Raw logits, float32 of shape (texts, labels).

        `batch_size=None` forms length-sorted micro-batches, as `predict` does; a number forms batches of that many
        texts in the order given, padded to their longest.
        """
        return self.logits_of(self.encoder.encode(_as_list(texts)), batch_size=batch_size)

    def logits_of(self, tokens: Sequence[Tokens], *, batch_size: int | None = None) -> FloatArray:
        """Raw logits of texts that are already tokenized; see `logits`."""
        return self._logits(tokens, self._batches(tokens, batch_size))

    def stream(self, texts: Iterable[str], *, window: int = 256) -> Iterator[Prediction]:
        """Classify an endless or large iterable lazily, `window` texts at a time, in order."""
        if isinstance(texts, str):
            raise InputError("stream() takes an iterable of texts, not one text")
        iterator = iter(texts)
        while chunk := list(islice(iterator, window)):
            yield from self.predict(chunk)

    def check_golden(self) -> float:
        """Answer the bundle's golden texts and compare with the PyTorch probabilities recorded in it.

        Returns:
            The largest difference of a probability.

        Raises:
            BundleIntegrityError: a label differs, or a probability differs by more than the recorded tolerance.
        """
        if self.description is None or not self.description.golden:
            raise BundleIntegrityError("this classifier carries no golden texts to check")
        golden = self.description.golden
        expected = np.array([g.probabilities for g in golden], dtype=np.float32)
        found = np.concatenate([self.predict_proba([g.text]) for g in golden])
        changed = [g.text for g, e, f in zip(golden, expected, found, strict=True) if e.argmax() != f.argmax()]
        difference = float(np.abs(expected - found).max())
        if changed or difference > self.description.golden_tolerance:
            raise BundleIntegrityError(
                "this machine answers the golden texts differently from where the bundle was verified: "
                f"{len(changed)} of {len(golden)} labels changed, largest probability difference {difference:.4f} "
                f"(allowed {self.description.golden_tolerance:.4f}). "
                "Its CPU rounds INT8 products otherwise; export on this machine, or ship an FP32 variant."
            )
        return difference

    def _batches(self, tokens: Sequence[Tokens], batch_size: int | None) -> list[Positions]:
        if batch_size is None:
            share = -(-len(tokens) // self.tuning.workers)  # few texts: something to do for every worker
            return batching.by_length(
                [len(t.ids) for t in tokens],
                max_batch=max(1, min(self.tuning.max_batch, share)),
                max_tokens=self.tuning.max_tokens,
            )
        return batching.in_order(len(tokens), batch_size)

    def _logits(self, tokens: Sequence[Tokens], batches: Sequence[Positions]) -> FloatArray:
        logits = np.empty((len(tokens), len(self.labels)), dtype=np.float32)

        def answer(engine: Engine, positions: Positions) -> None:
            logits[positions] = engine.run(self.encoder.pad([tokens[i] for i in positions]))

        if len(batches) < 2 or self._worker_engine is None:
            engine = self.engine
            for positions in batches:
                answer(engine, positions)
        else:
            shared = self._worker_engine.get()
            each(self._pool.get(), lambda positions: answer(shared, positions), batches)
        return logits

    def _prediction(self, row: FloatArray, truncated: bool) -> Prediction:
        probabilities = {label: float(p) for label, p in zip(self.labels, row, strict=True)}
        best = int(row.argmax())
        score = float(row[best])
        return Prediction(self.labels[best], score, probabilities, truncated, score < self.abstain_below)


def softmax(logits: FloatArray) -> FloatArray:
    """Row-wise softmax of (texts, labels), shifted by the row maximum so that it cannot overflow."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else logits
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)


def _openers(
    engine: str, model: Path | bytes, output: str, providers: Sequence[str]
) -> tuple[Callable[[int], Engine], Callable[[int], Engine] | None]:
    """What opens an engine of a number of threads, and one that a number of workers may share."""
    if engine == "openvino":
        from sentopt.runtime.openvino_session import OpenVinoSession

        return (
            lambda threads: OpenVinoSession(model, threads=threads, output=output),
            lambda workers: OpenVinoSession(model, threads=1, workers=workers, output=output),
        )
    if engine != "onnxruntime":
        raise BundleError(f"unknown engine {engine!r}; known: {', '.join(ENGINES)}")

    def session(threads: int) -> OnnxSession:
        return OnnxSession(model, threads=threads, providers=providers, output=output)

    return session, (lambda workers: session(threads=1)) if tuple(providers) == CPU else None


def _fallback_of(description: BundleDescription) -> BundleDescription:
    if description.fallback is None:
        raise BundleError(
            f"the bundle {description.name} carries no FP32 graph; "
            "make it again with: sentopt export --set export.fp32_fallback=true"
        )
    return description.fallback


def _as_list(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str | bytes):
        raise InputError("expected a sequence of texts, found one text; call the classifier itself for one text")
    return list(texts)
