"""A file that gets every text with its answer. That it cannot be written stops no answer."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from sentopt.data import pairs
from sentopt.errors import ServingError
from sentopt.runtime.classifier import Prediction
from sentopt.runtime.description import Text

_LONGEST_LINE = 2**20
_log = logging.getLogger("sentopt.demo")


class TextLog:
    """One JSON object a line, added at the end of a file."""

    def __init__(self, path: Path, descriptor: int) -> None:
        """
        Args:
            path: the name of the file, for messages.
            descriptor: the file, open for appending.
        """
        self._path = path
        self._descriptor = descriptor
        self._warned = False

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[TextLog]:
        """Open the log for appending; after an incomplete last line, a new line is started.

        Raises:
            ServingError: it is there and another file, or cannot be written.
        """
        try:
            first, last = _first_and_last_line(path) if path.is_file() else (b"", b"")
            if first and not (_is_answer(first) and (_is_answer(last) or not last.endswith(b"\n"))):
                raise ServingError(f"{path} exists and is no log of texts and answers; name another with --log-texts")
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise ServingError(f"cannot write texts to {path}: {error.strerror}") from error
        try:
            log = cls(path, descriptor)
            if last and not last.endswith(b"\n"):
                log._append(b"\n")
            yield log
        finally:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def add(self, texts: Sequence[Text], predictions: Sequence[Prediction], *, sets: bool = False) -> bool:
        """Add a line for each text; whether that could be done. `sets` adds the labels of a multi-label model.

        The first failure is told in the server's log. Nothing of the lines is left in the file then.
        """
        lines = [
            {**pairs.as_fields(text), "label": p.label, "score": p.score, **({"labels": p.labels} if sets else {})}
            for text, p in zip(texts, predictions, strict=True)
        ]
        return self._append("".join(json.dumps(line) + "\n" for line in lines).encode())

    def _append(self, data: bytes) -> bool:
        written, before = 0, 0
        try:
            before = os.fstat(self._descriptor).st_size
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        except OSError as error:
            self._take_back(before, written)
            if not self._warned:
                self._warned = True
                _log.warning(
                    "texts cannot be added to %s (%s): answers go on without it; sentopt_unlogged_texts_total in "
                    "/metrics counts what is missing",
                    *(self._path, error.strerror),
                )
            return False
        return True

    def _take_back(self, before: int, written: int) -> None:
        """Remove a part of a line, unless another process has added something since."""
        with contextlib.suppress(OSError):
            if written and os.fstat(self._descriptor).st_size == before + written:
                os.ftruncate(self._descriptor, before)


def _first_and_last_line(log: Path) -> tuple[bytes, bytes]:
    """Up to a mebibyte of each."""
    with log.open("rb") as stream:
        first = stream.readline(_LONGEST_LINE)
        stream.seek(max(0, log.stat().st_size - _LONGEST_LINE))
        return first, next(reversed(stream.read().splitlines(keepends=True)), b"")


def _is_answer(line: bytes) -> bool:
    """Whether a line has the format that `TextLog` writes."""
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and set(entry) - {"pair", "labels"} == {"text", "label", "score"}
