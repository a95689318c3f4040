"""The shared part of the page and the HTTP endpoints: checks, answers, times and explains texts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sentopt.demo import explanation
from sentopt.demo.batcher import Batcher
from sentopt.demo.counters import Counters
from sentopt.demo.explanation import Explanation
from sentopt.demo.limits import Limits
from sentopt.demo.text_log import TextLog
from sentopt.errors import RequestRefused
from sentopt.runtime.classifier import Classifier, Prediction


@dataclass(frozen=True)
class Answers:
    """Predictions in the order of the texts, and the time from their arrival to the last of them."""

    predictions: tuple[Prediction, ...]
    milliseconds: float


class Service:
    """One classifier behind limits, batches and counters. `start` it in the event loop of its callers."""

    def __init__(self, classifier: Classifier, limits: Limits, log: TextLog | None = None) -> None:
        """
        Args:
            classifier: answers.
            limits: bounds on what is asked.
            log: gets every text with its answer; None keeps no texts.
        """
        self.classifier = classifier
        self._log = log
        self.limits = limits
        self.counters = Counters()
        self.counters.watch_model(classifier.stats)
        self.batcher = Batcher(classifier, limits, self.counters)
        self.ready = False

    async def start(self) -> None:
        """Warm up with a first batch, which allocates the buffers and measures the speed; then accept requests."""
        self.batcher.start()
        await self.batcher.predict(["a text to warm up with"] * self.classifier.tuning.max_batch, counted=0)
        await asyncio.gather(*(self.batcher.predict(["and one alone"], counted=0) for _ in range(4)))
        self.ready = True

    async def stop(self) -> None:
        """Finish the accepted requests, and refuse new ones."""
        self.ready = False
        await self.batcher.close()

    @property
    def full(self) -> bool:
        """Whether no request can be answered soon."""
        return self.batcher.full

    async def answer(self, texts: Sequence[str]) -> Answers:
        """Classify texts.

        Raises:
            RequestRefused: a text is too long, there are too many of them, or too many requests wait.
        """
        self.check(texts)
        start = time.perf_counter()
        predictions = await self.batcher.predict(texts)
        self._keep(texts, predictions)
        return Answers(tuple(predictions), (time.perf_counter() - start) * 1e3)

    async def explain(self, text: str, *, by_phrase: bool = False) -> Explanation:
        """Classify a text and weigh its words, or its phrases, as far as they are read.

        Raises:
            RequestRefused: as `answer`.
        """
        self.check([text])
        start = time.perf_counter()
        read = self.classifier.encoder.read_part(text)
        cut = explanation.phrases if by_phrase else explanation.parts
        # Without what is not read: else an unread word would come in for each that is left out.
        seen = text[read.start : read.end]
        spans = cut(seen, self.limits.words)
        predictions = await self.batcher.predict([text, *explanation.without_each(seen, spans)], counted=1)
        words = explanation.weigh(text, [(a + read.start, b + read.start) for a, b in spans], predictions)
        self._keep([text], predictions[:1])
        milliseconds = (time.perf_counter() - start) * 1e3
        return Explanation(predictions[0], words, len(predictions), milliseconds, read.start, read.end)

    def _keep(self, texts: Sequence[str], predictions: Sequence[Prediction]) -> None:
        if self._log is not None and not self._log.add(texts, predictions):
            self.counters.unlogged.inc(len(texts))

    def check(self, texts: Sequence[str]) -> None:
        """Refuse a value that is no list of texts, too many texts, and texts that are too long.

        Raises:
            RequestRefused: with the reason.
        """
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            raise RequestRefused(422, "texts are strings, and several of them a list of strings")
        if len(texts) > self.limits.texts:
            raise RequestRefused(
                413, f"{len(texts):,} texts in one request; at most {self.limits.texts:,} are answered"
            )
        for position, text in enumerate(texts):
            if len(text) > self.limits.characters:
                which = f"text {position + 1} has" if len(texts) > 1 else "the text has"
                raise RequestRefused(
                    413, f"{which} {len(text):,} characters; at most {self.limits.characters:,} are answered"
                )
