"""Dynamic batching: requests that arrive together are answered in micro-batches of bounded size, in fair turns.

Nothing waits for a batch to fill. While the model is busy, what arrives collects; the next call takes some of every
request that waits, so that one text does not queue behind a thousand of somebody else's.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from sentopt.data import pairs
from sentopt.demo import asked
from sentopt.demo.counters import OfModel
from sentopt.demo.limits import Limits
from sentopt.errors import RequestRefused
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import Tokens

_CALLS = 2  # of the model at once: while one is computing, the texts of the next are gathered and answers handed out
_SHARE = 16  # texts of one request in a round, while others wait
_INLINE_CHARACTERS = 2_000  # tokenized at once; a thread would cost more time than these do
_SHORT_TOKENS = 8  # of the shortest texts that mean something
_TOKEN_CHARACTERS = 12  # more than a token has in any usual text
_NEWEST = 0.2  # weight of the newest call in the running estimate of tokens per second


class _Job:
    """A request: the tokens of its texts, how many of them have been batched, and the answers so far.

    The first `counted` texts are those of people; the others were made here.
    """

    def __init__(self, tokens: Sequence[Tokens], answer: asyncio.Future[list[Prediction]], counted: int) -> None:
        self.tokens = tokens
        self.counted = counted
        self.answer = answer
        self.taken = 0
        self.predictions: list[Prediction | None] = [None] * len(tokens)
        self.missing = len(tokens)
        self.deferred: int | None = None

    def defer(self, start: int, deferred: Sequence[bool]) -> None:
        self.deferred = (self.deferred or 0) + sum(deferred[: max(0, self.counted - start)])

    def finish(self, start: int, predictions: Sequence[Prediction]) -> None:
        self.predictions[start : start + len(predictions)] = predictions
        self.missing -= len(predictions)
        if not self.missing and not self.answer.done():
            self.answer.set_result([p for p in self.predictions if p is not None])

    def fail(self, error: BaseException) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass
class Waiting:
    """How many tokens wait for all models of a server together, which is what memory holds."""

    tokens: int = 0


class Batcher:
    """Answers the texts of many requests with one classifier. Lives in one event loop."""

    def __init__(
        self, classifier: Classifier, limits: Limits, counters: OfModel, together: Waiting | None = None
    ) -> None:
        """
        Args:
            classifier: answers.
            limits: bounds on what waits.
            counters: of the model.
            together: what waits for this model and for others; None: there are no others.
        """
        self._classifier = classifier
        self._limits = limits
        self._counters = counters
        self._together = together or Waiting()
        self._jobs: deque[_Job] = deque()
        self._arrived = asyncio.Event()
        self._threads = ThreadPoolExecutor(_CALLS + 1, thread_name_prefix="sentopt-demo")
        self._workers: list[asyncio.Task[None]] = []
        self._active = 0
        self._coming = 0
        self._closing = False
        self._rate = 0.0
        tuning = classifier.tuning
        self._most_texts = tuning.max_batch * tuning.workers
        self._most_tokens = tuning.max_tokens * tuning.workers
        self.waiting_tokens = 0

    @property
    def tokens_per_second(self) -> float:
        """Speed of the latest calls of the model; 0 before the first."""
        return self._rate

    @property
    def waiting_texts(self) -> int:
        """Number of accepted texts that no batch holds yet."""
        return sum(len(job.tokens) - job.taken for job in self._jobs)

    @property
    def full(self) -> bool:
        """Whether even a short text would be refused; then a request is refused before its body is read."""
        return self._waits_too_long(_SHORT_TOKENS)

    def start(self) -> None:
        """Start answering. Call it in the event loop of the requests."""
        self._workers = [asyncio.create_task(self._work()) for _ in range(_CALLS)]

    async def close(self) -> None:
        """Finish the accepted texts, refuse new ones, then stop."""
        self._closing = True
        self._arrived.set()
        await asyncio.gather(*self._workers)
        self._threads.shutdown()

    async def predict(self, texts: Sequence[Text], *, counted: int | None = None) -> list[Prediction]:
        """The predictions of one request, in the order of `texts`.

        Args:
            texts: what to answer.
            counted: the number of texts, from the first on, that `Classifier.stats` counts; None: all.

        Raises:
            RequestRefused: there is more to do than can be done soon, or the server is stopping.
        """
        if not texts:
            return []
        loop = asyncio.get_running_loop()
        if sum(map(pairs.characters, texts)) > _INLINE_CHARACTERS:
            tokens = await self._encode(texts)
        else:
            tokens = self._classifier.encoder.encode(texts)
        self._admit(size := sum(len(t.ids) for t in tokens))
        job = _Job(tokens, loop.create_future(), len(tokens) if counted is None else counted)
        self._jobs.append(job)
        self._add(size)
        self._arrived.set()
        predictions = await job.answer
        asked.note(job.counted, job.deferred)
        return predictions

    async def _encode(self, texts: Sequence[Text]) -> list[Tokens]:
        """Tokenize long texts in a thread. They count as waiting from now on, with as many tokens as they must have."""
        longest = self._classifier.encoder.max_length
        self._admit(least := sum(min(longest, 1 + pairs.characters(text) // _TOKEN_CHARACTERS) for text in texts))
        self._coming += 1
        self._add(least)
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, self._classifier.encoder.encode, texts)
        finally:
            self._coming -= 1
            self._add(-least)

    def _add(self, tokens: int) -> None:
        self.waiting_tokens += tokens
        self._together.tokens += tokens

    def _admit(self, tokens: int) -> None:
        """Refuse a request that would wait too long or need too much memory."""
        if self._closing:
            raise RequestRefused(503, "the server is stopping", retry_after=5)
        if self._together.tokens + tokens > self._limits.waiting_tokens or self._waits_too_long(tokens):
            self._counters.refused.labels("overload").inc()
            raise RequestRefused(503, "too many requests are waiting; try again in a second", retry_after=1)

    def _waits_too_long(self, tokens: int) -> bool:
        """Until a request of `tokens` is answered, others get as many tokens each."""
        ahead = min(self.waiting_tokens, tokens * (self._coming + len(self._jobs)))
        return bool(self._rate) and ahead > self._limits.wait_seconds * self._rate + tokens

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            while not self._jobs:
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
            if not (pieces := self._take()):
                continue
            tokens = [t for job, start, end in pieces for t in job.tokens[start:end]]
            counted = [i < job.counted for job, start, end in pieces for i in range(start, end)]
            answer = partial(self._classifier.predict_routed, tokens, counted=counted)
            started = time.perf_counter()
            self._active += 1
            try:
                predictions, deferred = await loop.run_in_executor(self._threads, answer)
            except Exception as error:
                for job, _, _ in pieces:
                    job.fail(error)
                continue
            finally:
                calls, self._active = self._active, self._active - 1
            self._record(tokens, time.perf_counter() - started, calls)
            routes = None if deferred is None else deferred.tolist()
            for job, start, end in pieces:
                if routes is not None:
                    job.defer(start, routes[: end - start])
                    del routes[: end - start]
                job.finish(start, predictions[: end - start])
                del predictions[: end - start]

    def _take(self) -> list[tuple[_Job, int, int]]:
        """The next batch, as slices of jobs in round-robin order."""
        pieces = []
        texts = tokens = 0
        while self._jobs and texts < self._most_texts and tokens < self._most_tokens:
            job = self._jobs.popleft()
            if job.answer.done():  # failed, or nobody waits for it any more
                self._add(-sum(len(t.ids) for t in job.tokens[job.taken :]))
                continue
            start = end = job.taken
            last = min(len(job.tokens), start + _SHARE)
            while end < last and texts < self._most_texts:
                size = len(job.tokens[end].ids)
                if texts and tokens + size > self._most_tokens:
                    break
                tokens, texts, end = tokens + size, texts + 1, end + 1
            if end == start:
                self._jobs.appendleft(job)
                break
            job.taken = end
            pieces.append((job, start, end))
            if end < len(job.tokens):
                self._jobs.append(job)
        self._add(-tokens)
        return pieces

    def _record(self, tokens: Sequence[Tokens], seconds: float, calls: int) -> None:
        size = sum(len(t.ids) for t in tokens)
        rate = size * calls / max(seconds, 1e-6)
        self._rate += (rate - self._rate) * (_NEWEST if self._rate else 1.0)
        self._counters.batch_texts.observe(len(tokens))
        self._counters.batch_tokens.observe(size)
