"""What a teacher answered, as the stage `teach` leaves it for the training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentopt.errors import RunDirError
from sentopt.files import atomic
from sentopt.runtime.session import FloatArray

_TEXTS, _LOGITS, _ON_TEST = "texts.jsonl", "logits.npy", "test.npy"


@dataclass(frozen=True)
class Lessons:
    """A teacher's answers.

    Attributes:
        texts: those without a label of their own: changed copies, then texts without labels.
        logits: float32 of shape (texts, labels), of the training split first, then of `texts`.
    """

    texts: Sequence[str]
    logits: FloatArray


def write(folder: Path, lessons: Lessons, on_test: FloatArray) -> None:
    """Replace `folder`. `on_test` are the teacher's logits on the test split, which nothing is trained on."""
    with atomic.replace_folder(folder) as fresh:
        lines = (json.dumps({"text": text}) + "\n" for text in lessons.texts)
        (fresh / _TEXTS).write_text("".join(lines), encoding="utf-8")
        np.save(fresh / _LOGITS, lessons.logits, allow_pickle=False)
        np.save(fresh / _ON_TEST, on_test, allow_pickle=False)


def read(folder: Path) -> Lessons:
    """What `write` left.

    Raises:
        RunDirError: it is not there.
    """
    try:
        lines = (folder / _TEXTS).read_text(encoding="utf-8").splitlines()
        return Lessons([json.loads(line)["text"] for line in lines], np.load(folder / _LOGITS, allow_pickle=False))
    except FileNotFoundError as error:
        raise RunDirError(f"{error.filename} is missing: run `sentopt train` first") from error


def on_test(folder: Path) -> FloatArray:
    """The teacher's logits on the test split, float32 of shape (texts, labels)."""
    answers: FloatArray = np.load(folder / _ON_TEST, allow_pickle=False)
    return answers
