"""Threads, workers and micro-batches of a bundle on this machine, measured once and stored in the cache folder."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from sentopt.runtime.cores import available_cores, cpu_model

_SCHEMA = 1


@dataclass(frozen=True)
class Tuning:
    """Parallelism and batch limits of a classifier.

    `threads` threads answer a single text. Many texts are split into micro-batches of at most `max_batch` texts and
    `max_tokens` tokens. With several `workers`, micro-batches run in parallel, each on one thread. With one worker,
    they run one after the other, each on `threads` threads.
    """

    threads: int
    workers: int
    max_batch: int = 16
    max_tokens: int = 512


def default(cores: int | None = None) -> Tuning:
    """Good on most machines: every core for one text, and one worker per core for many texts."""
    cores = cores or available_cores()
    return Tuning(threads=cores, workers=cores)


def cache_folder() -> Path:
    """The cache folder: `SENTOPT_CACHE_DIR`, else `XDG_CACHE_HOME/sentopt`, else `~/.cache/sentopt`."""
    if folder := os.environ.get("SENTOPT_CACHE_DIR"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sentopt"


def load(model_digest: str, engine: str) -> Tuning | None:
    """The stored tuning of this model file and engine on this machine; None if there is none or it is unreadable."""
    try:
        stored = json.loads(_path(model_digest, engine).read_text(encoding="utf-8"))
        tuning = Tuning(**{key: int(value) for key, value in stored.items()})
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RuntimeError):
        return None
    return tuning if min(asdict(tuning).values()) >= 1 else None


def save(model_digest: str, engine: str, tuning: Tuning) -> Path:
    """Store a measured tuning. Returns its file."""
    path = _path(model_digest, engine)
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


def _path(model_digest: str, engine: str) -> Path:
    """A tuning is valid for one model file, one engine, one CPU model and one number of granted cores."""
    key = f"{_SCHEMA} {model_digest} {engine} {cpu_model()} {available_cores()}"
    return cache_folder() / "tuning" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
