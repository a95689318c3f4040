"""What teachers have answered, kept on disk: a text is answered once, whatever run asks.

One SQLite file for each teacher in the cache folder. A text counts by its SHA-256; the texts themselves are not kept.
Answers are stored as they are given, so what was interrupted goes on from there.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

from sentopt.backends.counted import counted
from sentopt.errors import OutputError
from sentopt.progress import SILENT, Progress
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tuning import cache_folder

_FOLDER = "answers"
CHUNK = 512
"""Texts between two commits."""
_LONGEST_WAIT = 60.0  # seconds for another process that writes
_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (text BLOB PRIMARY KEY, logits BLOB NOT NULL) WITHOUT ROWID"
_LOOK_UP = 500  # texts of one query; SQLite allows 999 parameters in its oldest versions


def answers(
    classifier: Classifier, digest: str, texts: Sequence[str], *, what: str, progress: Progress = SILENT
) -> tuple[FloatArray, int]:
    """Logits of all texts, float32 of shape (texts, labels), and how many texts were answered now.

    Args:
        classifier: the teacher.
        digest: of everything that its answers depend on.
        texts: each may occur several times.
        what: is counted, for `progress`.
    """
    keys = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts]
    width = 4 * len(classifier.labels)
    with closing(_opened(digest)) as database:
        known = _known(database, keys, width)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        # Texts of one length together: little padding, and a call that is stopped has answered the short ones.
        pending = sorted(missing, key=lambda key: (len(missing[key]), key))
        with progress.count(what, len(pending), "texts") as advance, counted(classifier, advance):
            for start in range(0, len(pending), CHUNK):
                chunk = pending[start : start + CHUNK]
                logits = classifier.logits([missing[key] for key in chunk]).astype("<f4")
                rows = {key: row.tobytes() for key, row in zip(chunk, logits, strict=True)}
                with database:
                    database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows.items())
                known |= rows
    found = b"".join(known[key] for key in keys)
    return np.frombuffer(found, dtype="<f4").astype(np.float32).reshape(-1, len(classifier.labels)), len(pending)


def _opened(digest: str) -> sqlite3.Connection:
    """The file of a teacher; in memory, and gone afterwards, where the cache folder cannot be written."""
    try:
        return _database(cache_folder() / _FOLDER / f"{digest}.sqlite")
    except (OSError, OutputError, sqlite3.Error):
        return _database(None)


def _database(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
    database = sqlite3.connect(path or ":memory:", timeout=_LONGEST_WAIT)
    try:
        with database:
            database.execute(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _known(database: sqlite3.Connection, keys: Sequence[bytes], width: int) -> dict[bytes, bytes]:
    """Stored logits by key; rows of another width are none."""
    wanted = list(dict.fromkeys(keys))
    found: dict[bytes, bytes] = {}
    for start in range(0, len(wanted), _LOOK_UP):
        part = wanted[start : start + _LOOK_UP]
        marks = ",".join("?" * len(part))
        rows = database.execute(f"SELECT text, logits FROM answers WHERE text IN ({marks})", part)
        found.update((key, logits) for key, logits in rows if len(logits) == width)
    return found
