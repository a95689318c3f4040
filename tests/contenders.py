"""Contenders of a benchmark in the test's own process.

A process for each of them takes seconds to import PyTorch, in every test that exports. Those processes are proven by
`finished_run`, whose benchmark is real, and by `integration/test_contenders.py`.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sentopt.backends import worker
from sentopt.backends.opening import Candidate
from sentopt.measure import memory
from sentopt.runtime.tokenization import Tokens


def milliseconds(call: Callable[[Any], object], arguments: Iterable[Any]) -> list[float]:
    found = []
    for argument in arguments:
        start = time.perf_counter()
        call(argument)
        found.append((time.perf_counter() - start) * 1e3)
    return found


PROCESS = worker.start
"""What starts a process, whatever is in its place by now."""


class Contender:
    """Answers and times as `sentopt.backends.worker.Worker` does."""

    def __init__(self, candidate: Candidate, threads: int) -> None:
        (load_ms,) = milliseconds(lambda _: setattr(self, "classifier", candidate.open(threads=threads)), [None])
        first = ("a first text", "a second one") if self.classifier.encoder.pairs else "a first text"
        (first_ms,) = milliseconds(self.classifier.predict_proba, [[first]])
        self.started = worker.Started(load_ms, first_ms)

    classifier: Any

    def single(self, texts: Sequence[str]) -> list[float]:
        return milliseconds(lambda text: self.classifier.predict_proba([text]), texts)

    def many(self, texts: Sequence[str], *, batch_size: int | None = None) -> list[float]:
        return milliseconds(lambda every: self.classifier.logits(every, batch_size=batch_size), [list(texts)])

    def tokens(self, rows: Sequence[Sequence[int]], *, repeat: int) -> list[float]:
        given = [Tokens(tuple(row), (0,) * len(row), False) for row in rows]
        return milliseconds(self.classifier.logits_of, [given] * repeat)

    def tokenize(self, texts: Sequence[str]) -> list[float]:
        encoder = self.classifier.encoder
        return milliseconds(lambda text: encoder.pad(encoder.encode([text])), texts)

    def probabilities(self, texts: Sequence[str]) -> list[list[float]]:
        answers: list[list[float]] = self.classifier.predict_proba(list(texts)).tolist()
        return answers

    def routes(self, texts: Sequence[str]) -> list[bool]:
        deferred: list[bool] = self.classifier.routed(list(texts), batch_size=1)[1].tolist()
        return deferred

    def peak_memory_bytes(self) -> int:
        return memory.peak_bytes()


@contextmanager
def start(*arguments: str) -> Iterator[Contender]:
    """In place of `worker.start`, with its arguments: the module, the candidate, the number of threads."""
    module, candidate, threads = arguments[1:]
    assert module == worker.__name__
    yield Contender(Candidate.from_json(candidate), int(threads))
