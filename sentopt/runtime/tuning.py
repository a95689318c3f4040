"""How a bundle is run on this machine: threads, workers and micro-batches, measured once and kept in the cache."""

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
    """One text is answered by `threads` threads.

    Many texts are cut into micro-batches of at most `max_batch` texts and `max_tokens` tokens. Several `workers` answer
    them side by side, each on one thread; 1 worker means one micro-batch after the other, each on `threads` threads.
    """

    threads: int
    workers: int
    max_batch: int = 16
    max_tokens: int = 512


def default(cores: int | None = None) -> Tuning:
    """What is right on most machines: every core for one text, and a worker on every core for many."""
    cores = cores or available_cores()
    return Tuning(threads=cores, workers=cores)


def cache_folder() -> Path:
    """What sentopt keeps between runs: `SENTOPT_CACHE_DIR`, else `XDG_CACHE_HOME/sentopt`, else `~/.cache/sentopt`."""
    if folder := os.environ.get("SENTOPT_CACHE_DIR"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "sentopt"


def recall(model_digest: str, engine: str) -> Tuning | None:
    """What was measured here for this model file in this engine, or None; an unreadable record counts as none."""
    try:
        found = json.loads(_path(model_digest, engine).read_text(encoding="utf-8"))
        tuning = Tuning(**{key: int(value) for key, value in found.items()})
    except (OSError, ValueError, TypeError, AttributeError, OverflowError, RuntimeError):
        return None
    return tuning if min(asdict(tuning).values()) >= 1 else None


def remember(model_digest: str, engine: str, tuning: Tuning) -> Path:
    """Keep what was measured. Returns the file."""
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
    """Measurements hold for one model, one engine and one machine, as the scheduler grants it."""
    key = f"{_SCHEMA} {model_digest} {engine} {cpu_model()} {available_cores()}"
    return cache_folder() / "tuning" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
