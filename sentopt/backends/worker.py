"""One classifier in a process of its own, which times what it is asked to.

Engines in one process disturb each other: idle thread pools spin, allocators and OpenMP runtimes are shared. So every
contender of a benchmark lives in its own interpreter, and only the one whose turn it is has work. That process also
shows what a fresh start costs: seconds to load, seconds to the first answer, memory at the peak.

Parent and child exchange one JSON document a line. Run as a module this is the child of a run's variant.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from sentopt.errors import WorkerError

if TYPE_CHECKING:  # importing the engine is part of what the child measures
    from sentopt.runtime.classifier import Classifier

_FIRST_TEXT = "The room was clean, but the staff could not have cared less."


@dataclass(frozen=True)
class Started:
    """Milliseconds to load (imports of the engine included) and to answer the first text, in a fresh process."""

    load_ms: float
    first_ms: float


class Worker:
    """The parent's side. Times come back in milliseconds."""

    def __init__(self, process: subprocess.Popen[str], errors: IO[str]) -> None:
        self._process = process
        self._errors = errors
        self.started = Started(**self._receive())

    def single(self, texts: Sequence[str]) -> list[float]:
        """One text after the other, tokenization included."""
        return self._times("single", list(texts))

    def many(self, texts: Sequence[str], *, batch_size: int | None = None) -> list[float]:
        """All texts in one call, in micro-batches or in batches of a given size."""
        return self._times("many", [list(texts), batch_size])

    def tokens(self, rows: Sequence[Sequence[int]], *, repeat: int) -> list[float]:
        """Token ids given, one call for all rows, `repeat` times."""
        return self._times("tokens", [[list(row) for row in rows], repeat])

    def tokenize(self, texts: Sequence[str]) -> list[float]:
        """Only the way from one text to its padded ids."""
        return self._times("tokenize", list(texts))

    def probabilities(self, texts: Sequence[str]) -> list[list[float]]:
        """What the classifier answers; not timed."""
        answers: list[list[float]] = self._ask("probabilities", list(texts))
        return answers

    def peak_memory_bytes(self) -> int:
        """The largest resident size so far."""
        return int(self._ask("memory", None))

    def _times(self, what: str, about: object) -> list[float]:
        samples: list[float] = self._ask(what, about)
        return samples

    def _ask(self, what: str, about: object) -> Any:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps([what, about]) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # what it died of is reported below
        return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last = "\n".join(without_frames(self._errors.read())[-12:])
            raise WorkerError(f"the process of a contender ended ({self._process.wait()}):\n{last}")
        return json.loads(line)


def without_frames(stderr: str) -> list[str]:
    """The lines that a process said, without the frames of a traceback: only its author can read those."""
    lines = stderr.strip().splitlines()
    return [line for line in lines if not line.startswith(("Traceback (most recent call last)", "  "))]


@contextmanager
def start(*arguments: str) -> Iterator[Worker]:
    """A Python process with `arguments` that calls `serve`; it ends with the block.

    Raises:
        WorkerError: it could not open its classifier.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        with process:
            try:
                yield Worker(process, errors)
            finally:
                process.kill()
                with suppress(BrokenPipeError):  # a question that the process did not live to read
                    process.stdin.close()  # type: ignore[union-attr]


def serve(opened: Callable[[], Classifier]) -> None:
    """The child's side: open, answer a first text, then do what standard input says until it ends."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not come between
    begin = time.perf_counter()
    classifier = opened()
    loaded = time.perf_counter()
    classifier.predict_proba([_FIRST_TEXT])
    _send(channel, asdict(Started((loaded - begin) * 1e3, _since(loaded))))
    for line in sys.stdin:
        what, about = json.loads(line)
        _send(channel, _TASKS[what](classifier, about))


def _send(channel: IO[str], document: object) -> None:
    channel.write(json.dumps(document) + "\n")
    channel.flush()


def _since(start_seconds: float) -> float:
    return (time.perf_counter() - start_seconds) * 1e3


def _each(call: Callable[[Any], object], arguments: Sequence[Any]) -> list[float]:
    samples = []
    for argument in arguments:
        begin = time.perf_counter()
        call(argument)
        samples.append(_since(begin))
    return samples


def _single(classifier: Classifier, texts: list[str]) -> list[float]:
    return _each(lambda text: classifier.predict_proba([text]), texts)


def _many(classifier: Classifier, about: tuple[list[str], int | None]) -> list[float]:
    texts, batch_size = about
    return _each(lambda these: classifier.logits(these, batch_size=batch_size), [texts])


def _tokens(classifier: Classifier, about: tuple[list[list[int]], int]) -> list[float]:
    from sentopt.runtime.tokenization import Tokens

    rows, repeat = about
    tokens = [Tokens(tuple(row), (0,) * len(row), False) for row in rows]
    return _each(classifier.logits_of, [tokens] * repeat)


def _tokenize(classifier: Classifier, texts: list[str]) -> list[float]:
    return _each(lambda text: classifier.encoder.pad(classifier.encoder.encode([text])), texts)


def _probabilities(classifier: Classifier, texts: list[str]) -> object:
    return classifier.predict_proba(texts).tolist()


def peak_memory_bytes() -> int:
    """Of this process: the kernel's high-water mark, because `ru_maxrss` counts the parent it was forked from."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


_TASKS: dict[str, Callable[[Any, Any], object]] = {
    "single": _single,
    "many": _many,
    "tokens": _tokens,
    "tokenize": _tokenize,
    "probabilities": _probabilities,
    "memory": lambda classifier, about: peak_memory_bytes(),
}


def _open_candidate() -> Classifier:
    from sentopt.backends.opening import Candidate

    return Candidate.from_json(sys.argv[1]).open(threads=int(sys.argv[2]))


if __name__ == "__main__":
    serve(_open_candidate)
