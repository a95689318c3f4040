"""Sets of labels as bits.

Where a text has any number of labels (multi-label), its labels are one int64, bit i for label i, so that a set is
stored and compared as a single label is; 0 is a text without any label.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sentopt.runtime.description import MULTI_LABEL as MULTI_LABEL

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

SINGLE_LABEL = "single_label_classification"
"""The other `problem_type` than `MULTI_LABEL`."""
MOST_LABELS = 62
"""Bits of an int64 that are used: neither the sign nor the last one."""
NO_LABEL = "(no label)"


def matrix(codes: IntArray, labels: int) -> BoolArray:
    """Which text has which label: shape (texts, labels), of codes of shape (texts,)."""
    return np.asarray((np.asarray(codes, dtype=np.int64)[:, None] >> np.arange(labels, dtype=np.int64)) & 1, np.bool_)


def codes(matrix: npt.NDArray[Any]) -> IntArray:
    """The inverse of `matrix`: int64 of shape (texts,)."""
    given = np.asarray(matrix, dtype=np.int64)
    return np.asarray(given @ (np.int64(1) << np.arange(given.shape[1], dtype=np.int64)), dtype=np.int64)


def positions(code: int) -> list[int]:
    """The positions of the labels of one set, ascending."""
    return [i for i in range(int(code).bit_length()) if code >> i & 1]


def code_of(positions: Iterable[int]) -> int:
    """The set with the labels at these positions."""
    return sum(1 << position for position in set(positions))


def counts(codes: IntArray, labels: int) -> IntArray:
    """How many texts have each label: shape (labels,)."""
    return np.asarray(matrix(codes, labels).sum(axis=0), dtype=np.int64)


def moved(codes: IntArray, target: Sequence[int | None]) -> IntArray:
    """The same sets with label i at position `target[i]`; without it where that is None."""
    found = np.zeros(len(codes), dtype=np.int64)
    for source, position in enumerate(target):
        if position is not None:
            found |= ((codes >> np.int64(source)) & 1) << np.int64(position)
    return found


def in_words(code: int, labels: Sequence[str]) -> str:
    """The names of a set: `anger; joy`."""
    return "; ".join(labels[i] for i in positions(code)) or NO_LABEL
