"""The shared part of the page and the HTTP endpoints: checks, answers, times and explains texts with one bundle.

The bundle can be replaced by another one while requests are answered. Each request is answered by the bundle that it
met, from its first text to its last.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sentopt.data import pairs
from sentopt.demo import explanation
from sentopt.demo.batcher import Batcher, Waiting
from sentopt.demo.counters import Counters, Observed
from sentopt.demo.explanation import Explanation, Span
from sentopt.demo.limits import Limits
from sentopt.demo.loaded import Loaded
from sentopt.demo.text_log import TextLog
from sentopt.errors import RequestRefused
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.description import Text

_EXPECTED = "texts are strings, and several of them a list of strings"
_EXPECTED_PAIRS = "a pair is a list of two strings, and several of them a list of pairs"


@dataclass(frozen=True)
class Answers:
    """Predictions in the order of the texts, the time from their arrival to the last of them, and who answered."""

    predictions: tuple[Prediction, ...]
    milliseconds: float
    by: Loaded


class _Turn:
    """The time in which one bundle answers: the bundle, its batcher, and how many requests it is answering."""

    def __init__(self, loaded: Loaded, batcher: Batcher) -> None:
        self.loaded = loaded
        self.batcher = batcher
        self.unused = asyncio.Event()
        self.unused.set()
        self._requests = 0

    @contextlib.contextmanager
    def request(self) -> Iterator[_Turn]:
        """While this lasts, the batcher is not closed."""
        self._requests += 1
        self.unused.clear()
        try:
            yield self
        finally:
            self._requests -= 1
            if not self._requests:
                self.unused.set()


class Service:
    """One bundle at a time behind limits, batches and counters. `start` it in the event loop of its callers."""

    def __init__(
        self,
        loaded: Loaded,
        limits: Limits,
        log: TextLog | None = None,
        *,
        name: str = "",
        counters: Counters | None = None,
        waiting: Waiting | None = None,
    ) -> None:
        """
        Args:
            loaded: answers.
            limits: bounds on what is asked.
            log: gets every text with its answer; None keeps no texts.
            name: by which clients ask for it; by default that of the bundle, as far as it can stand in a path.
            counters: of the server; by default this bundle is its only one.
            waiting: what waits for all bundles of the server.
        """
        description = loaded.classifier.description
        self.name = name or (description.name.replace("/", "--") if description else "sentopt")
        self._log = log
        self.limits = limits
        self.counters = counters or Counters()
        self._counted = self.counters.of_model(self.name)
        self._waiting = waiting or Waiting()
        self._turn = self._turn_of(loaded)
        self._before: list[_Turn] = []
        self._ending: set[asyncio.Task[None]] = set()
        self._past_texts = 0
        self._past_deferred: int | None = None
        self.ready = False

    @property
    def classifier(self) -> Classifier:
        """The one that answers now."""
        return self.loaded.classifier

    @property
    def loaded(self) -> Loaded:
        """The bundle that answers now."""
        return self._turn.loaded

    @property
    def pair(self) -> tuple[str, str] | None:
        """The names of the two texts that the bundle is given; None: it is given one."""
        description = self.classifier.description
        return description.pair if description else None

    async def start(self) -> None:
        """Warm up with a first batch, which allocates the buffers and measures the speed; then accept requests."""
        await self._warm_up(self._turn)
        self.ready = True

    async def stop(self) -> None:
        """Finish the accepted requests, and refuse new ones."""
        self.ready = False
        await asyncio.gather(*self._ending)
        await self._turn.batcher.close()

    async def replace(self, loaded: Loaded) -> None:
        """Let another bundle answer from now on. Requests under way are finished by the one before.

        Raises:
            BundleError: it gives no answers; the one before goes on.
        """
        turn = self._turn_of(loaded)
        try:
            await self._warm_up(turn)
        except BaseException:
            await turn.batcher.close()
            raise
        self._before.append(self._turn)
        ending = asyncio.create_task(self._end(self._turn))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        self._turn = turn

    def _turn_of(self, loaded: Loaded) -> _Turn:
        return _Turn(loaded, Batcher(loaded.classifier, self.limits, self._counted, self._waiting))

    async def _warm_up(self, turn: _Turn) -> None:
        turn.batcher.start()
        classifier = turn.loaded.classifier
        many, one = (
            (text, "and another one") if classifier.encoder.pairs else text
            for text in ("a text to warm up with", "and one alone")
        )
        await turn.batcher.predict([many] * classifier.tuning.max_batch, counted=0)
        await asyncio.gather(*(turn.batcher.predict([one], counted=0) for _ in range(4)))

    async def _end(self, turn: _Turn) -> None:
        """Wait for the requests of a bundle that was replaced, and keep its counts."""
        await turn.unused.wait()
        await turn.batcher.close()
        self._before.remove(turn)
        stats = turn.loaded.classifier.stats()
        self._past_texts += stats.texts
        if stats.deferred is not None:
            self._past_deferred = (self._past_deferred or 0) + stats.deferred

    @property
    def full(self) -> bool:
        """Whether no request can be answered soon."""
        return self._turn.batcher.full

    def observe(self) -> Observed:
        """What the metrics tell of this bundle and those before it."""
        turns = [self._turn, *self._before]
        answered = [turn.loaded.classifier.stats() for turn in turns]
        deferred = [count for count in (self._past_deferred, *(one.deferred for one in answered)) if count is not None]
        description = self.classifier.description
        return Observed(
            name=self.name,
            sha256=self.loaded.sha256,
            variant=description.variant if description else "",
            stats=answered[0],
            texts=self._past_texts + sum(one.texts for one in answered),
            deferred=sum(deferred) if deferred else None,
            waiting_texts=sum(turn.batcher.waiting_texts for turn in turns),
            waiting_tokens=sum(turn.batcher.waiting_tokens for turn in turns),
            tokens_per_second=self._turn.batcher.tokens_per_second,
        )

    async def answer(self, texts: Sequence[Text]) -> Answers:
        """Classify texts.

        Raises:
            RequestRefused: a text is too long, there are too many of them, or too many requests wait.
        """
        self.check(texts)
        start = time.perf_counter()
        with self._turn.request() as turn:
            predictions = await turn.batcher.predict(texts)
        self._keep(texts, predictions)
        return Answers(tuple(predictions), (time.perf_counter() - start) * 1e3, turn.loaded)

    async def explain(self, text: Text, *, by_phrase: bool = False, label: str | None = None) -> Explanation:
        """Classify a text and weigh its words, or its phrases, as far as they are read; of a pair those of both texts.

        Args:
            text: what to answer.
            by_phrase: weigh phrases.
            label: the one whose probability is explained; None: the most probable one.

        Raises:
            RequestRefused: as `answer`, or there is no such label.
        """
        self.check([text])
        start = time.perf_counter()
        with self._turn.request() as turn:
            if label is not None and label not in turn.loaded.classifier.labels:
                raise RequestRefused(422, f"there is no label {label!r:.80}; this model has {self._labels_in_words()}")
            reads = turn.loaded.classifier.encoder.read_parts(text)
            # Without what is not read: else an unread word would come in for each that is left out.
            seen = [part[read.start : read.end] for part, read in zip(pairs.parts(text), reads, strict=True)]
            spans = explanation.spans_of(seen, self.limits.words, by_phrase=by_phrase)
            predictions = await turn.batcher.predict([text, *explanation.without_each(seen, spans)], counted=1)
        read = tuple((one.start, one.end) for one in reads)
        spans = [Span(one.start + read[one.of][0], one.end + read[one.of][0], one.of) for one in spans]
        words = explanation.weigh(pairs.parts(text), spans, predictions, label=label)
        self._keep([text], predictions[:1])
        milliseconds = (time.perf_counter() - start) * 1e3
        return Explanation(
            *(predictions[0], label or predictions[0].label, words, len(predictions), milliseconds, read),
            bundle=turn.loaded.short,
        )

    def _labels_in_words(self) -> str:
        return ", ".join(self.classifier.labels)

    def _keep(self, texts: Sequence[Text], predictions: Sequence[Prediction]) -> None:
        if self._log is not None and not self._log.add(texts, predictions, sets=bool(self.classifier.thresholds)):
            self._counted.unlogged.inc(len(texts))

    def check(self, texts: Sequence[Text]) -> None:
        """Refuse a value that is no list of texts, too many texts, and texts that are too long.

        Raises:
            RequestRefused: with the reason.
        """
        if isinstance(texts, str):
            raise RequestRefused(422, _EXPECTED)
        for text in texts:
            self._check_kind(text)
        if len(texts) > self.limits.texts:
            raise RequestRefused(
                413, f"{len(texts):,} texts in one request; at most {self.limits.texts:,} are answered"
            )
        for position, text in enumerate(texts):
            if (characters := pairs.characters(text)) > self.limits.characters:
                what = "pair" if self.pair else "text"
                which = f"{what} {position + 1} has" if len(texts) > 1 else f"the {what} has"
                raise RequestRefused(
                    413, f"{which} {characters:,} characters; at most {self.limits.characters:,} are answered"
                )

    def _check_kind(self, text: object) -> None:
        """Refuse what the model is not given: a single text where it takes pairs, or the reverse, or no text at all."""
        is_pair = isinstance(text, tuple | list) and len(text) == 2 and all(isinstance(part, str) for part in text)
        if not is_pair and not isinstance(text, str):
            raise RequestRefused(422, _EXPECTED_PAIRS if self.pair else _EXPECTED)
        if is_pair and not self.pair:
            raise RequestRefused(
                422,
                "this model answers single texts, no pairs, and a pair was sent: send each text as one string, or as a "
                "list of one among several `inputs`",
            )
        if self.pair and not is_pair:
            raise RequestRefused(
                422,
                f"this model answers pairs of texts ({' and '.join(map(repr, self.pair))}), and a single text was "
                "sent: expected both of them, as `text` and `pair`, and in lists each pair as a list of two",
            )
