"""Threads, workers and micro-batches of a bundle on this machine, measured once and stored in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from sentopt.errors import OutputError, SentoptError
from sentopt.runtime import arguments
from sentopt.runtime.cores import available_cores, cpu_model

_SCHEMA = 1
_FOLDER = "tuning"


@dataclass(frozen=True)
class Tuning:
    """Parallelism and batch limits of a classifier.

    `threads` threads answer a single text. Many texts are split into micro-batches of at most `max_batch` texts and
    `max_tokens` tokens. With several `workers`, micro-batches run in parallel, each on one thread. With one worker,
    they run one after the other, each on `threads` threads.

    Raises:
        InputError: a value is no whole number of at least 1.
    """

    threads: int
    workers: int
    max_batch: int = 16
    max_tokens: int = 512

    def __post_init__(self) -> None:
        for name in ("threads", "workers", "max_batch", "max_tokens"):
            object.__setattr__(self, name, arguments.whole_number(name, getattr(self, name)))


def default(cores: int | None = None) -> Tuning:
    """Good on most machines: every core for one text, and one worker per core for many texts.

    Raises:
        InputError: `cores` is no whole number of at least 1.
    """
    cores = available_cores() if cores is None else arguments.whole_number("threads", cores)
    return Tuning(threads=cores, workers=cores)


def cache_folder() -> Path:
    """The cache folder: `SENTOPT_CACHE_DIR`, else `XDG_CACHE_HOME/sentopt`, else `~/.cache/sentopt`.

    Raises:
        OutputError: none of the variables is set, and this user has no home folder, as in many containers.
    """
    if folder := os.environ.get("SENTOPT_CACHE_DIR"):
        return Path(folder)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sentopt"
    except RuntimeError as error:
        raise OutputError(
            "there is no folder for the cache: this user has no home folder, and HOME is not set. "
            "Set SENTOPT_CACHE_DIR to a folder that can be written"
        ) from error


def load(model_digest: str, engine: str) -> Tuning | None:
    """The stored tuning of this model file and engine on this machine; None if there is none or it is unreadable."""
    try:
        stored = json.loads(_path(model_digest, engine).read_text(encoding="utf-8"))
        return Tuning(**stored)
    except (OSError, ValueError, TypeError, SentoptError):
        return None


def save(model_digest: str, engine: str, tuning: Tuning) -> Path:
    """Store a measured tuning. Returns its file.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    path = _path(model_digest, engine)
    with _in_words(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                json.dump(asdict(tuning), stream)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
    return path


def check_can_save() -> None:
    """Whether a tuning could be stored, before it is measured for minutes.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    folder = cache_folder() / _FOLDER
    with _in_words(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder)
        os.close(descriptor)
        os.unlink(temporary)


@contextlib.contextmanager
def _in_words(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"a tuning cannot be stored in {folder}: {error.strerror or error}. "
            "Set SENTOPT_CACHE_DIR to a folder that can be written"
        ) from error


def _path(model_digest: str, engine: str) -> Path:
    """A tuning is valid for one model file, one engine, one CPU model and one number of granted cores."""
    key = f"{_SCHEMA} {model_digest} {engine} {cpu_model()} {available_cores()}"
    return cache_folder() / _FOLDER / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
