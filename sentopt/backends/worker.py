"""A classifier in a process of its own that measures latencies on request.

Engines in one process disturb each other: idle thread pools spin, and allocators and OpenMP runtimes are shared. Every
benchmarked variant therefore has its own interpreter, and only one of them works at a time. The process also measures a
cold start: time to load, time to the first answer, peak memory.

Parent and child exchange one JSON document per line. Run as a module, this file is the child for a variant of a run.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import IO, TYPE_CHECKING, Any

from sentopt.errors import WorkerError
from sentopt.measure import memory

if TYPE_CHECKING:  # importing the engine is part of what the child measures
    from sentopt.runtime.classifier import Classifier
    from sentopt.runtime.description import Text

_FIRST_TEXT = "The room was clean, but the staff could not have cared less."
_SECOND_TEXT = "the staff"


@dataclass(frozen=True)
class Started:
    """Cold start in milliseconds: loading (with the engine's imports), and answering the first text."""

    load_ms: float
    first_ms: float


class Worker:
    """The parent's side. All times are in milliseconds."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process = process
        self._errors = errors
        self.started = Started(**self._receive())

    def single(self, texts: Sequence[Text]) -> list[float]:
        """Latency of every text, one at a time, with tokenization."""
        return self._times("single", list(texts))

    def many(self, texts: Sequence[Text], *, batch_size: int | None = None) -> list[float]:
        """Time of one call with all texts, in micro-batches or in batches of `batch_size`."""
        return self._times("many", [list(texts), batch_size])

    def tokens(self, rows: Sequence[Sequence[int]], *, repeat: int) -> list[float]:
        """Times of `repeat` calls with all rows of token ids, without tokenization."""
        return self._times("tokens", [[list(row) for row in rows], repeat])

    def tokenize(self, texts: Sequence[Text]) -> list[float]:
        """Time of tokenization and padding for every text, one at a time."""
        return self._times("tokenize", list(texts))

    def probabilities(self, texts: Sequence[Text]) -> list[list[float]]:
        """Probabilities of (texts, labels); not timed."""
        answers: list[list[float]] = self._request("probabilities", list(texts))
        return answers

    def routes(self, texts: Sequence[Text]) -> list[bool]:
        """Which texts a cascade defers to its full model, each asked alone; none, if the classifier is no cascade."""
        deferred: list[bool] = self._request("routes", list(texts))
        return deferred

    def peak_memory_bytes(self) -> int:
        """Peak resident set size so far."""
        return int(self._request("memory", None))

    def _times(self, task: str, argument: object) -> list[float]:
        samples: list[float] = self._request(task, argument)
        return samples

    def _request(self, task: str, argument: object) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([task, argument]) + "\n")
            self._process.stdin.flush()
        except OSError:
            pass  # the child has ended; _receive reports why
        return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = "\n".join(without_traceback(self._errors.read())[-12:])
            raise WorkerError(f"a benchmark process ended unexpectedly (exit code {self._process.wait()}):\n{last}")
        return json.loads(line)


def without_traceback(stderr: str) -> list[str]:
    """The lines of `stderr` without traceback frames, which mean nothing to users."""
    lines = stderr.strip().splitlines()
    return [line for line in lines if not line.startswith(("Traceback (most recent call last)", "  "))]


@contextmanager
def start(*arguments: str) -> Iterator[Worker]:
    """Start a Python process with `arguments` that calls `serve`. It is stopped at the end of the block.

    Raises:
        WorkerError: the process could not open its classifier.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
        )
        with process:
            try:
                yield Worker(process, errors)
            finally:
                process.kill()
                with suppress(OSError):  # unread data for a process that has ended
                    process.stdin.close()  # type: ignore[union-attr]


def serve(open_classifier: Callable[[], Classifier]) -> None:
    """The child's side: open the classifier, answer a first text, then serve requests from standard input."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # keeps output of libraries out of the channel
    begin = time.perf_counter()
    classifier = open_classifier()
    loaded = time.perf_counter()
    reads_pairs = getattr(getattr(classifier, "encoder", None), "pairs", False)  # other contenders have no encoder
    classifier.predict_proba([(_FIRST_TEXT, _SECOND_TEXT) if reads_pairs else _FIRST_TEXT])
    _send(channel, asdict(Started((loaded - begin) * 1e3, _since(loaded))))
    for line in sys.stdin:
        task, argument = json.loads(line)
        _send(channel, _TASKS[task](classifier, argument))


def _send(channel: IO[str], document: object) -> None:
    channel.write(json.dumps(document) + "\n")
    channel.flush()


def _since(start_seconds: float) -> float:
    return (time.perf_counter() - start_seconds) * 1e3


def _time_each(call: Callable[[Any], object], arguments: Sequence[Any]) -> list[float]:
    samples = []
    for argument in arguments:
        begin = time.perf_counter()
        call(argument)
        samples.append(_since(begin))
    return samples


def _single(classifier: Classifier, texts: list[Text]) -> list[float]:
    return _time_each(lambda text: classifier.predict_proba([text]), texts)


def _many(classifier: Classifier, argument: tuple[list[Text], int | None]) -> list[float]:
    texts, batch_size = argument
    return _time_each(lambda batch: classifier.logits(batch, batch_size=batch_size), [texts])


def _tokens(classifier: Classifier, argument: tuple[list[list[int]], int]) -> list[float]:
    from sentopt.runtime.tokenization import Tokens

    rows, repeat = argument
    tokens = [Tokens(tuple(row), (0,) * len(row), False) for row in rows]
    return _time_each(classifier.logits_of, [tokens] * repeat)


def _tokenize(classifier: Classifier, texts: list[Text]) -> list[float]:
    return _time_each(lambda text: classifier.encoder.pad(classifier.encoder.encode([text])), texts)


def _probabilities(classifier: Classifier, texts: list[Text]) -> object:
    return classifier.predict_proba(texts).tolist()


def _routes(classifier: Classifier, texts: list[Text]) -> list[bool]:
    if not classifier.is_cascade:
        return [False] * len(texts)
    deferred: list[bool] = classifier.routed(texts, batch_size=1)[1].tolist()
    return deferred


_TASKS: dict[str, Callable[[Any, Any], object]] = {
    "single": _single,
    "many": _many,
    "tokens": _tokens,
    "tokenize": _tokenize,
    "probabilities": _probabilities,
    "routes": _routes,
    "memory": lambda classifier, argument: memory.peak_bytes(),
}


def _open_candidate() -> Classifier:
    from sentopt.backends.opening import Candidate

    return Candidate.from_json(sys.argv[1]).open(threads=int(sys.argv[2]))


if __name__ == "__main__":
    serve(_open_candidate)
