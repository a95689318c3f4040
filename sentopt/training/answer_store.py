"""What teachers have answered, kept on disk: a text is answered once, whatever run asks.

One SQLite file for each teacher in the cache folder, which may be deleted at any time. A text counts by its SHA-256,
and is not kept itself. Answers are stored as they are given, so what was interrupted goes on from there.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentopt.backends.counted import counted
from sentopt.data import pairs
from sentopt.errors import OutputError
from sentopt.progress import SILENT, Progress
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tuning import cache_folder

CHUNK = 512
"""Texts between two commits."""
_FOLDER = "answers"
_LONGEST_WAIT = 60.0  # seconds for another process that writes
_SCHEMA = "CREATE TABLE IF NOT EXISTS answers (text BLOB PRIMARY KEY, logits BLOB NOT NULL) WITHOUT ROWID"
_GOLDEN = (5**0.5 - 1) / 2  # the fractions of its multiples are spread evenly, however many there are
_LOOK_UP = 500  # texts of one query; SQLite allows 999 parameters in its oldest versions


@dataclass(frozen=True)
class Answers:
    """Logits of texts, float32 of shape (texts, labels).

    Attributes:
        logits: in the order of the texts.
        answered: how many texts were answered now.
        trouble: why answers are not kept, in words; empty where they are.
    """

    logits: FloatArray
    answered: int
    trouble: str


def answers(
    classifier: Classifier,
    digest: str,
    texts: Sequence[Text],
    *,
    what: str,
    again: bool = False,
    progress: Progress = SILENT,
) -> Answers:
    """The answers of a teacher, from the store where they are there.

    Args:
        classifier: the teacher.
        digest: of everything that its answers depend on.
        texts: each may occur several times.
        what: is counted, for `progress`.
        again: answer all texts, and replace what is stored.
    """
    keys = [key_of(text) for text in texts]
    with closing(_Store(digest)) as store:
        known = {} if again else store.read(keys, width=4 * len(classifier.labels))
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        # Texts of one length together: little padding. Short and long ones take turns, so the rate so far goes on.
        pending = sorted(missing, key=lambda key: (pairs.characters(missing[key]), key))
        with progress.count(what, len(pending), "texts") as advance, counted(classifier, advance):
            for start in sorted(range(0, len(pending), CHUNK), key=lambda start: (start // CHUNK * _GOLDEN + 0.5) % 1):
                chunk = pending[start : start + CHUNK]
                logits = classifier.logits([missing[key] for key in chunk]).astype("<f4")
                rows = {key: row.tobytes() for key, row in zip(chunk, logits, strict=True)}
                store.write(rows)
                known |= rows
        joined = b"".join(known[key] for key in keys)
        logits = np.frombuffer(joined, dtype="<f4").astype(np.float32).reshape(-1, len(classifier.labels))
        return Answers(logits, len(pending), store.trouble)


def missing(digests: Sequence[str], texts: Sequence[Text], *, labels: int) -> int:
    """How many different texts are not stored under the digest that has most of them. Nothing is written.

    Args:
        digests: of the variants by which a teacher may answer.
        texts: each may occur several times.
        labels: of the teacher.
    """
    keys = [*dict.fromkeys(map(key_of, texts))]
    most = 0
    for digest in digests:
        with closing(_Store(digest, new=False)) as store:
            most = max(most, len(store.read(keys, width=4 * labels)))
    return len(keys) - most


def key_of(text: Text) -> bytes:
    """SHA-256 of a text; of a pair, that of the hashes of both texts."""
    if isinstance(text, str):
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return hashlib.sha256(b"".join(map(key_of, text))).digest()


class _Store:
    """The file of a teacher. Where it cannot be used, nothing is known and nothing kept, and `trouble` says why.

    With `new=False` none is made: where there is no file, nothing is known.
    """

    def __init__(self, digest: str, *, new: bool = True) -> None:
        self.trouble = ""
        self._database: sqlite3.Connection | None = None
        self._path = Path()
        try:
            self._path = cache_folder() / _FOLDER / f"{digest}.sqlite"
            if not new and not self._path.is_file():
                return
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self._path, timeout=_LONGEST_WAIT)
            with self._database:
                self._database.execute(_SCHEMA)
        except (OSError, OutputError, sqlite3.Error) as error:
            self._give_up(error)

    def read(self, keys: Sequence[bytes], *, width: int) -> dict[bytes, bytes]:
        """Stored logits by key; rows of another width are none."""
        wanted = list(dict.fromkeys(keys))
        stored: dict[bytes, bytes] = {}
        try:
            for start in range(0, len(wanted), _LOOK_UP):
                if self._database is None:
                    break
                part = wanted[start : start + _LOOK_UP]
                marks = ",".join("?" * len(part))
                rows = self._database.execute(f"SELECT text, logits FROM answers WHERE text IN ({marks})", part)
                stored.update((key, logits) for key, logits in rows if len(logits) == width)
        except (sqlite3.Error, TypeError) as error:  # a damaged file may hold values of any type
            self._give_up(error)
        return stored

    def write(self, rows: Mapping[bytes, bytes]) -> None:
        """Keep these, in one transaction."""
        if self._database is None:
            return
        try:
            with self._database:
                self._database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?)", rows.items())
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _give_up(self, error: Exception) -> None:
        self.close()
        self.trouble = f"the teacher's answers are not kept for other runs: {error} ({self._path}; it may be deleted)"
