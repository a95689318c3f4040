"""The classifier that applications use. It is also the object that verification and benchmarks run.

from sentopt import Classifier

clf = Classifier.load("exports/quickstart/bundle")
clf("The soup was cold and nobody cared.")   # Prediction(label='negative', score=0.98..., ...)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from sentopt.errors import BundleError, BundleIntegrityError, InputError
from sentopt.runtime import arguments, batching, comparison
from sentopt.runtime.comparison import Comparison
from sentopt.runtime.deferral import DEFERRED, Stats, Tally
from sentopt.runtime.description import BundleDescription, Source, Text, check_files, read_description
from sentopt.runtime.options import DEFAULT_OPTIONS, Options
from sentopt.runtime.session import CPU, BoolArray, FloatArray, OnnxSession
from sentopt.runtime.tokenization import Batch, TextEncoder, Tokens
from sentopt.runtime.tuning import Tuning, default, load
from sentopt.runtime.workers import PerProcess, Started, native_call, thread_pool

Positions = npt.NDArray[np.intp]

_WINDOW = 1024  # texts that are tokenized and sorted by length together


class Engine(Protocol):
    """Computes logits from a padded batch: an onnxruntime or OpenVINO session, or a PyTorch module in benchmarks.

    One that can run a cascade has `is_cascade` and `run_routed`, too: see `OnnxSession`.
    """

    def run(self, batch: Batch) -> FloatArray:
        """Logits, float32 of shape (texts, labels)."""
        ...


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one text (or one pair of texts).

    Attributes:
        label: the most probable label.
        score: its probability.
        probabilities: the probability of every label, by name.
        truncated: the text was longer than the model reads and was cut.
        abstained: the score is below the classifier's `abstain_below`. `label` is set all the same. Of a multi-label
            model: there is a label whose presence or absence is less probable than that.
        labels: the labels of the text, the most probable one first: `label` alone, or all those that reach their
            thresholds in a multi-label model. These may be none.
    """

    label: str
    score: float
    probabilities: dict[str, float]
    truncated: bool
    abstained: bool = False
    labels: tuple[str, ...] = ()


class Classifier:
    """Texts in, labels and probabilities out. Thread-safe, and usable in a process that is forked later.

    A single text is answered by `engine` on all threads. Many texts are split into micro-batches. Several workers
    answer these in parallel, each on one thread: that keeps the cores busier than splitting every matrix product among
    them.

    An empty or blank text is not an error. The model sees the special tokens alone, so the answer is always the same.
    """

    def __init__(
        self,
        engine: Engine,
        encoder: TextEncoder,
        labels: Sequence[str],
        *,
        open_engine: Callable[[], Engine] | None = None,
        open_workers: Callable[[int], Engine] | None = None,
        options: Options = DEFAULT_OPTIONS,
        thresholds: Sequence[float] = (),
    ) -> None:
        """
        Args:
            engine: answers one batch at a time.
            encoder: turns texts into batches.
            labels: names of the logits, in their order.
            open_engine: opens another `engine`; forked processes need one of their own.
            open_workers: opens an engine for a given number of workers. That many threads may call its `run` at the
                same time, each on one core. It is called before the first call with several micro-batches.
            options: only `threads`, `tuning` and `abstain_below` are used here.
            thresholds: of a multi-label model, in the order of `labels`: a text has the labels whose probability
                reaches them. None: each text has one label.
        """
        self.encoder = encoder
        self.labels = tuple(labels)
        self.thresholds = tuple(thresholds)
        self._limits = np.array(self.thresholds, dtype=np.float32)
        self.tuning = options.tuning or default(options.threads)
        self.abstain_below = options.abstain_below
        self.description: BundleDescription | None = None
        self.is_cascade = bool(getattr(engine, "is_cascade", False))
        workers = self.tuning.workers
        self._engine = PerProcess(open_engine or (lambda: engine), engine)
        self._worker_engine = PerProcess(lambda: open_workers(workers)) if open_workers and workers > 1 else None
        self._pool, self._waiting = thread_pool(workers), thread_pool(workers)
        self._tally = PerProcess(Tally, Tally())

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
        """Load a bundle. All its files are hash-verified first.

        Args:
            bundle: the folder with `sentopt.json`, or the contents of the bundle's files by relative name (for bundles
                in an archive or a database).
            threads: cores to use; None uses every core granted to this process (affinity and cgroup quota).
            check: answer the golden texts as well, see `check_golden`. If this CPU answers them differently and the
                bundle carries an FP32 graph, the FP32 graph is checked and used instead, with a warning.
            engine: "onnxruntime" or "openvino"; None uses the engine that the bundle was selected with.
            tuning: threads, workers and micro-batches; None uses what `sentopt tune` measured here, or the defaults.
            providers: onnxruntime execution providers, in order of preference.
            abstain_below: minimum score of an answer, 0 to 1; a prediction with a lower score is marked `abstained`.
            fallback: use the bundle's FP32 graph (a bundle carries one if it was made with
                `export.fp32_fallback=true`).

        Raises:
            InputError: an option is out of range, or the engine is not known.
            BundleError: not a bundle, a newer schema, damaged files, golden texts answered differently, or `fallback`
                without an FP32 graph in the bundle.
            MissingExtraError: the engine is not installed.
        """
        options = Options(threads, check, engine, tuning, providers, abstain_below, fallback)
        source: Source = _in_memory(bundle) if isinstance(bundle, Mapping) else arguments.path("bundle", bundle)
        description = read_description(source)
        check_files(source, description)
        if options.fallback:
            description = _fallback_of(description)
        classifier = cls._of_bundle(source, description, options)
        if not options.check:
            return classifier
        try:
            classifier.check_golden()
        except BundleIntegrityError as error:
            if description.fallback is None:
                raise
            warnings.warn(f"{error}\nThe FP32 graph that the bundle carries is used instead.", stacklevel=2)
            classifier = cls._of_bundle(source, description.fallback, replace(options, engine=None))
            classifier.check_golden()
        return classifier

    @classmethod
    def _of_bundle(cls, source: Source, description: BundleDescription, options: Options) -> Classifier:
        encoder = TextEncoder.load(
            source,
            max_length=description.max_length,
            pad_token_id=description.pad_token_id,
            side=description.truncation_side,
            pairs=description.pair is not None,
        )
        engine = options.engine or description.engine
        tuning = options.tuning
        if tuning is None and options.threads is None:
            digest = description.files[description.model_file][1]
            tuning = load(digest, engine)
        classifier = cls.open(
            source / description.model_file if isinstance(source, Path) else source[description.model_file],
            encoder,
            description.labels,
            options=replace(options, engine=engine, tuning=tuning),
            output=description.output,
            thresholds=description.thresholds,
        )
        if description.cascade is not None and not classifier.is_cascade:
            raise BundleError(
                f"the bundle {description.name} is described as a cascade, and {description.model_file} does not say "
                f"which texts it defers: it has no output {DEFERRED!r} of type bool"
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
        options: Options = DEFAULT_OPTIONS,
        output: str = "logits",
        thresholds: Sequence[float] = (),
    ) -> Classifier:
        """A classifier from an ONNX file (or its content) without a bundle; `thresholds` as in the constructor.

        `options.check` and `options.fallback` need a bundle and are ignored; the default engine is onnxruntime.

        Raises:
            BundleError: the engine cannot load the file, or it has another number of logits than there are labels.
            MissingExtraError: the engine is not installed.
        """
        tuning = options.tuning or default(options.threads)
        open_single, open_workers = _openers(model, output, options)
        open_engine = partial(open_single, tuning.threads)
        engine = open_engine()
        _check_width(getattr(engine, "width", None), labels)
        return cls(
            engine,
            encoder,
            labels,
            open_engine=open_engine,
            open_workers=open_workers,
            options=replace(options, tuning=tuning),
            thresholds=thresholds,
        )

    @property
    def engine(self) -> Engine:
        """The engine of this process; it answers one batch at a time."""
        return self._engine.get()

    def stats(self) -> Stats:
        """What was answered in this process: texts, and of a cascade how many it deferred.

        Golden texts do not count. A bundle's recorded share is compared with that of the latest 1,000 texts, see
        `Stats.drifted`.
        """
        cascade = self.description.cascade if self.description else None
        recorded = (cascade.deferred, cascade.texts) if cascade else None
        return self._tally.get().stats(cascade=self.is_cascade, recorded=recorded)

    def __reduce__(self) -> NoReturn:
        raise InputError(
            "a Classifier cannot be pickled or copied: it holds open sessions. Pass the path of the bundle to other "
            "processes and load it there; threads may share one classifier"
        )

    def __call__(self, text: Text) -> Prediction:
        """Classify one text, or one pair of texts where the model is given two."""
        if not isinstance(text, str) and not self.encoder.pairs:
            raise InputError(f"expected one text (str), found {type(text).__name__}; for many texts use predict(texts)")
        if isinstance(text, tuple | list) and any(isinstance(part, tuple | list) for part in text):
            raise InputError("expected one pair of texts, (str, str), found several; for many pairs use predict(pairs)")
        (prediction,) = self.predict([text])
        return prediction

    def predict(self, texts: Iterable[Text]) -> list[Prediction]:
        """Classify many texts. The predictions are in the order of `texts`.

        Raises:
            InputError: `texts` is one text, a table, a mapping or a set, or an element is no text.
        """
        return self._predict(arguments.text_list(texts))

    def predict_tokens(self, tokens: Sequence[Tokens], *, counted: Sequence[bool] | None = None) -> list[Prediction]:
        """Like `predict`, for texts that are already tokenized. `counted` says which of them `stats` counts."""
        return self.predict_routed(tokens, counted=counted)[0]

    def predict_routed(
        self, tokens: Sequence[Tokens], *, counted: Sequence[bool] | None = None
    ) -> tuple[list[Prediction], BoolArray | None]:
        """As `predict_tokens`, and which texts a cascade deferred: boolean, (texts,); None for what is no cascade."""
        answers = self._of_tokens(tokens, None, counted)
        rows = self._checked_probabilities(answers.logits)
        return [self._prediction(row, t.truncated) for row, t in zip(rows, tokens, strict=True)], answers.deferred

    async def apredict(self, texts: Iterable[Text]) -> list[Prediction]:
        """Like `predict`, without blocking the event loop. At most `tuning.workers` calls run at once; others queue.

        While the interpreter ends, no thread can be started: the event loop is blocked then.
        """
        import asyncio  # imported here: applications without an event loop start faster

        try:
            answer = asyncio.get_running_loop().run_in_executor(self._waiting.get(), self.predict, texts)
        except RuntimeError:
            return self.predict(texts)
        return await answer

    def predict_proba(self, texts: Iterable[Text]) -> FloatArray:
        """Probabilities, float32 of shape (texts, labels); the columns are in the order of `labels`.

        Each row adds up to 1, unless a text may have any number of labels.
        """
        return self._checked_probabilities(self.logits(texts))

    def probabilities(self, logits: FloatArray) -> FloatArray:
        """Probabilities of logits, both float32 of shape (texts, labels): softmax, or sigmoid if multi-label."""
        return probabilities_of(logits, multi_label=bool(self.thresholds))

    def logits(self, texts: Iterable[Text], *, batch_size: int | None = None) -> FloatArray:
        """Raw logits, float32 of shape (texts, labels).

        With `batch_size=None` the texts are sorted by length and split into micro-batches, as in `predict`. With a
        number, each batch holds that many texts in the order given, padded to the longest of them.

        Raises:
            InputError: as `predict`, or `batch_size` is no whole number of at least 1.
        """
        return self._answer(arguments.text_list(texts), _checked_size(batch_size)).logits

    def routed(self, texts: Iterable[Text], *, batch_size: int | None = None) -> tuple[FloatArray, BoolArray]:
        """Logits, as `logits` gives them, and which texts the full model of a cascade answered: boolean, (texts,).

        All of them, if this is no cascade.
        """
        answers = self._answer(arguments.text_list(texts), _checked_size(batch_size))
        return answers.logits, answers.routes()

    def logits_of(self, tokens: Sequence[Tokens], *, batch_size: int | None = None) -> FloatArray:
        """Like `logits`, for texts that are already tokenized."""
        return self._of_tokens(tokens, _checked_size(batch_size), None).logits

    def routed_of(self, tokens: Sequence[Tokens], *, batch_size: int | None = None) -> tuple[FloatArray, BoolArray]:
        """Like `routed`, for texts that are already tokenized."""
        answers = self._of_tokens(tokens, _checked_size(batch_size), None)
        return answers.logits, answers.routes()

    def _of_tokens(self, tokens: Sequence[Tokens], batch_size: int | None, counted: Sequence[bool] | None) -> _Answers:
        for position, one in enumerate(tokens):
            if not isinstance(one, Tokens):
                raise InputError(f"text {position} is {type(one).__name__}, expected the Tokens of a TextEncoder")
        answers = self._unanswered(len(tokens))
        if counted is not None:
            if len(counted) != len(tokens):
                raise InputError(f"counted has {len(counted)} values for {len(tokens)} texts")
            answers.counted = np.array(counted, dtype=np.bool_)
        self._start(tokens, self._batches(tokens, batch_size), answers).finish()
        return answers

    def stream(self, texts: Iterable[Text], *, window: int = 256) -> Iterator[Prediction]:
        """Classify a large or endless iterable lazily, `window` texts at a time. Predictions keep the order.

        Raises:
            InputError: as `predict`, or `window` is no whole number of at least 1.
        """
        arguments.check_texts(texts)
        return self._stream(texts, arguments.whole_number("window", window))

    def _stream(self, texts: Iterable[Text], window: int) -> Iterator[Prediction]:
        answered = 0
        for chunk in batching.batched(texts, window):
            yield from self._predict(chunk, answered)
            answered += len(chunk)

    def check_golden(self) -> float:
        """Answer the bundle's golden texts and compare with the PyTorch probabilities that the bundle records.

        Returns:
            The largest difference of any probability.

        Raises:
            BundleIntegrityError: a label differs, or a probability differs by more than the recorded tolerance. Of a
                cascade the message says how many texts it deferred, and how many of them it did not defer where it was
                verified, or the reverse.
        """
        return self.answer_golden().largest_difference

    def answer_golden(self) -> Comparison:
        """`check_golden`, with all that was compared.

        Raises:
            BundleIntegrityError: as `check_golden`.
        """
        if self.description is None or not self.description.golden:
            raise BundleIntegrityError("this classifier carries no golden texts to check")
        golden, tolerance = self.description.golden, self.description.golden_tolerance
        answered = [self._answer([g.text], None, counted=False) for g in golden]
        found = comparison.compare(
            [g.probabilities for g in golden],
            self._checked_probabilities(np.concatenate([one.logits for one in answered])),
            recorded_deferred=[g.deferred for g in golden],
            deferred=np.concatenate([one.routes() for one in answered]) if self.is_cascade else None,
            thresholds=self.thresholds,
        )
        if not found.is_within(tolerance):
            raise BundleIntegrityError(
                "this machine answers the golden texts differently from the machine that verified the bundle: "
                f"{found.in_words(tolerance)}. "
                "Its CPU rounds INT8 products differently; export on this machine, or ship an FP32 variant."
            )
        return found

    def _batches(self, tokens: Sequence[Tokens], batch_size: int | None) -> list[Positions]:
        if batch_size is None:
            share = -(-len(tokens) // self.tuning.workers)  # few texts: every worker gets some
            return batching.by_length(
                [len(t.ids) for t in tokens],
                max_batch=max(1, min(self.tuning.max_batch, share)),
                max_tokens=self.tuning.max_tokens,
            )
        return batching.in_order(len(tokens), batch_size)

    def _predict(self, texts: Sequence[Text], first: int = 0) -> list[Prediction]:
        answers = self._answer(texts, None, first)
        rows = self._checked_probabilities(answers.logits)
        return [self._prediction(row, cut) for row, cut in zip(rows, answers.truncated, strict=True)]

    def _answer(
        self, texts: Sequence[Text], batch_size: int | None, first: int = 0, *, counted: bool = True
    ) -> _Answers:
        """The answers to `texts`. Errors count texts from `first`; `stats` counts them if they are `counted`.

        A window is tokenized while the workers answer the one before, so that memory holds the tokens of two windows
        and not of all texts.
        """
        if len(texts) == 1:
            return self._answer_one(texts, first, counted=counted)
        answers = self._unanswered(len(texts))
        if not counted:
            answers.counted = np.zeros(len(texts), dtype=np.bool_)
        size = _WINDOW if batch_size is None else batch_size * max(1, _WINDOW // batch_size)
        before: Started[Positions] | None = None
        for start in range(0, len(texts), size):
            tokens = self.encoder.encode(texts[start : start + size], first=first + start)
            answers.truncated.extend(t.truncated for t in tokens)
            if before is not None:
                before.finish()
            before = self._start(tokens, self._batches(tokens, batch_size), answers.part(start, start + size))
        if before is not None:
            before.finish()
        return answers

    def _answer_one(self, texts: Sequence[Text], first: int, *, counted: bool) -> _Answers:
        """The answer to the one text of `texts`: it needs no sorting and no workers, whose fixed cost would show."""
        tokens = self.encoder.encode(texts, first=first)
        logits, deferred = self._run(self.engine, tokens)
        if counted:
            self._tally.get().add(1, deferred.tolist() if deferred is not None else ())
        return _Answers(logits, deferred, [tokens[0].truncated])

    def _unanswered(self, texts: int) -> _Answers:
        """Answers that are to be filled."""
        logits = np.empty((texts, len(self.labels)), dtype=np.float32)
        return _Answers(logits, np.empty(texts, dtype=np.bool_) if self.is_cascade else None, [])

    def _start(self, tokens: Sequence[Tokens], batches: Sequence[Positions], answers: _Answers) -> Started[Positions]:
        """Begin to fill `answers`, as many as `tokens`; without workers the caller fills them in `finish`."""
        if len(batches) < 2 or self._worker_engine is None:
            return Started(None, 0, self._filling(self.engine, tokens, answers), batches)
        work = self._filling(self._worker_engine.get(), tokens, answers)
        return Started(self._pool.get(), self.tuning.workers, work, batches)

    def _filling(self, engine: Engine, tokens: Sequence[Tokens], answers: _Answers) -> Callable[[Positions], None]:
        """A function that answers the texts at some positions and counts them."""
        tally = self._tally.get()

        def fill(positions: Positions) -> None:
            logits, deferred = self._run(engine, [tokens[i] for i in positions])
            answers.logits[positions] = logits
            if deferred is not None and answers.deferred is not None:
                answers.deferred[positions] = deferred
            if answers.counted is not None:
                counted = answers.counted[positions]
                positions, deferred = positions[counted], deferred[counted] if deferred is not None else None
            tally.add(len(positions), deferred.tolist() if deferred is not None else ())

        return fill

    def _run(self, engine: Engine, tokens: Sequence[Tokens]) -> tuple[FloatArray, BoolArray | None]:
        """Logits of one batch, and which of its texts were deferred; None if this is no cascade."""
        batch = self.encoder.pad(tokens)
        deferred: BoolArray | None = None
        with native_call():
            if self.is_cascade:
                logits, deferred = engine.run_routed(batch)  # type: ignore[attr-defined]
            else:
                logits = engine.run(batch)
        self._check_shape(logits, len(tokens))
        return logits, deferred

    def _check_shape(self, logits: FloatArray, texts: int) -> None:
        if logits.shape != (texts, len(self.labels)):  # numpy would repeat a single column for all labels
            raise BundleError(
                f"the model gave an answer of shape {logits.shape} for {texts} text(s) and {len(self.labels)} labels"
            )

    def _checked_probabilities(self, logits: FloatArray) -> FloatArray:
        """Probabilities. NaN is no answer of a bundle; in a variant that is not bundled yet, it is a finding."""
        if self.description is not None and not np.isfinite(logits).all():
            raise BundleError(f"the bundle {self.description.name} gave logits that are NaN or infinite")
        return self.probabilities(logits)

    def _prediction(self, row: FloatArray, truncated: bool) -> Prediction:
        values: list[float] = row.tolist()
        best = int(row.argmax())
        score = values[best]
        probabilities = dict(zip(self.labels, values, strict=True))
        label = self.labels[best]
        if not self.thresholds:
            return Prediction(label, score, probabilities, truncated, score < self.abstain_below, (label,))
        present = row >= self._limits
        doubtful = float(np.where(present, row, 1.0 - row).min()) < self.abstain_below
        labels = tuple(self.labels[i] for i in np.argsort(-row, kind="stable") if present[i])
        return Prediction(label, score, probabilities, truncated, doubtful, labels)


@dataclass(slots=True)
class _Answers:
    """What is known of texts: logits (texts, labels), and by text whether a cascade deferred it and it was truncated.

    `deferred` is None for what is no cascade. `counted` says which texts `stats` counts; None: all.
    """

    logits: FloatArray
    deferred: BoolArray | None
    truncated: list[bool]
    counted: BoolArray | None = None

    def routes(self) -> BoolArray:
        """Which texts the full model answered: all of them, if this is no cascade."""
        return np.ones(len(self.logits), dtype=np.bool_) if self.deferred is None else self.deferred

    def part(self, start: int, end: int) -> _Answers:
        """The same arrays from text `start` on; what is filled there is filled here."""
        if start == 0 and end >= len(self.logits):
            return self
        deferred, counted = (None if each is None else each[start:end] for each in (self.deferred, self.counted))
        return _Answers(self.logits[start:end], deferred, [], counted)


def probabilities_of(logits: FloatArray, *, multi_label: bool) -> FloatArray:
    """Probabilities of logits, both float32 of shape (texts, labels): of labels that exclude each other, or of each."""
    return sigmoid(logits) if multi_label else softmax(logits)


def softmax(logits: FloatArray) -> FloatArray:
    """Row-wise softmax of (texts, labels). Subtracting each row's maximum avoids overflow."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else logits
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True), dtype=np.float32)


def sigmoid(logits: FloatArray) -> FloatArray:
    """Element-wise logistic function, of any shape, without overflow."""
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, small) / (1.0 + small), dtype=np.float32)


def _openers(
    model: Path | bytes, output: str, options: Options
) -> tuple[Callable[[int], Engine], Callable[[int], Engine] | None]:
    """Two functions: one opens an engine with n threads, the other an engine for n workers (None: not supported)."""
    if options.engine == "openvino":
        from sentopt.runtime.openvino_session import OpenVinoSession

        return (
            lambda threads: OpenVinoSession(model, threads=threads, output=output),
            lambda workers: OpenVinoSession(model, threads=1, workers=workers, output=output),
        )

    def session(threads: int) -> OnnxSession:
        return OnnxSession(model, threads=threads, providers=options.providers, output=output)

    return session, (lambda workers: session(threads=1)) if tuple(options.providers) == CPU else None


def _in_memory(files: Mapping[str, bytes]) -> dict[str, bytes]:
    for name, content in files.items():
        if not isinstance(content, bytes):
            raise InputError(f"the file {name} is {type(content).__name__}, expected bytes")
    return dict(files)


def _check_width(width: int | None, labels: Sequence[str]) -> None:
    if width is not None and width != len(labels):
        raise BundleError(f"the model gives {width} logits for a text, and there are {len(labels)} labels")


def _fallback_of(description: BundleDescription) -> BundleDescription:
    if description.fallback is None:
        raise BundleError(
            f"the bundle {description.name} carries no FP32 graph; "
            "make it again with: sentopt export --set export.fp32_fallback=true"
        )
    return description.fallback


def _checked_size(batch_size: int | None) -> int | None:
    if batch_size is None:
        return None
    return arguments.whole_number("batch_size", batch_size, hint="None makes micro-batches of similar length")
