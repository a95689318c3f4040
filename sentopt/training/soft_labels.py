"""Soft labels: the logits that a teacher gave, as the stage `teach` leaves them for the training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentopt.data import pairs
from sentopt.errors import RunDirError
from sentopt.files import atomic
from sentopt.runtime.description import Text
from sentopt.runtime.session import FloatArray

_TEXTS, _LOGITS, _ON_TEST = "texts.jsonl", "logits.npy", "test.npy"


@dataclass(frozen=True)
class SoftLabels:
    """A teacher's logits.

    Attributes:
        texts: those that have no label: changed copies, then texts of `data.unlabelled`.
        logits: float32 of shape (texts, labels), of the training split first, then of `texts`.
    """

    texts: Sequence[Text]
    logits: FloatArray


def write(folder: Path, labels: SoftLabels, on_test: FloatArray) -> None:
    """Replace `folder`. `on_test` are the teacher's logits on the test split, which nothing is trained on."""
    with atomic.replace_folder(folder) as fresh:
        lines = (json.dumps(pairs.as_fields(text)) + "\n" for text in labels.texts)
        (fresh / _TEXTS).write_text("".join(lines), encoding="utf-8")
        np.save(fresh / _LOGITS, labels.logits, allow_pickle=False)
        np.save(fresh / _ON_TEST, on_test, allow_pickle=False)


def read(folder: Path) -> SoftLabels:
    """What `write` left.

    Raises:
        RunDirError: it is not there.
    """
    try:
        lines = (folder / _TEXTS).read_text(encoding="utf-8").splitlines()
        return SoftLabels(
            [pairs.of_fields(json.loads(line)) for line in lines], np.load(folder / _LOGITS, allow_pickle=False)
        )
    except FileNotFoundError as error:
        raise RunDirError(f"{error.filename} is missing: run `sentopt train` first") from error


def on_test(folder: Path) -> FloatArray:
    """The teacher's logits on the test split, float32 of shape (texts, labels)."""
    logits: FloatArray = np.load(folder / _ON_TEST, allow_pickle=False)
    return logits
