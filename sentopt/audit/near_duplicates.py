"""Texts that are nearly the same: but for case and blanks, for punctuation, or, where they are long, for a word."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from sentopt.data.duplicates import normal_form
from sentopt.data.rows import Positions

Likeness: TypeAlias = Literal["same text", "same but punctuation", "one word differs"]
_WORDS = 8
_EMOTICON = re.compile(r"[:;=8xX][-'o^]?[()\[\]/\\|*]|[()\[\]][-'o^]?[:;=8]")  # punctuation that says what is felt
_NONE = 0
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Near:
    """A row, another one that is nearly the same, and how alike they are."""

    row: int
    other: int
    likeness: Likeness


def conflicts(texts: Sequence[str], labels: Positions) -> list[Near]:
    """Rows with another label than nearly the same text has; those of the label that most of such texts have are not.

    Each row is named once, for the greatest likeness.
    """
    found: dict[int, Near] = {}
    for likeness, rows in _groups(texts, labels):
        own, counts = np.unique(labels[rows], return_counts=True)
        most = own[counts == counts.max()]
        for row in rows.tolist():
            if row in found or (len(most) == 1 and labels[row] == most[0]):
                continue
            better = rows[(labels[rows] != labels[row]) & np.isin(labels[rows], most)]
            found[row] = Near(row, int(better[0]), likeness)
    return [found[row] for row in sorted(found)]


def leaks(texts: Sequence[str], splits: Positions) -> list[Near]:
    """Rows whose text, or nearly the same one, is in a split of a smaller number. Each row is named once."""
    found: dict[int, Near] = {}
    for likeness, rows in _groups(texts, splits):
        first = rows[np.argmin(splits[rows])]
        for row in rows[splits[rows] > splits[first]].tolist():
            found.setdefault(row, Near(row, int(first), likeness))
    return [found[row] for row in sorted(found)]


def _groups(texts: Sequence[str], marks: Positions) -> Iterator[tuple[Likeness, Positions]]:
    """Groups of rows that are nearly the same, but have different `marks`; those that are most alike come first."""
    keys = _Keys.of(texts)
    for rows in _of_one_key(keys.form, marks):
        yield "same text", rows
    for rows in _of_one_key(keys.words, marks):
        yield "same but punctuation", rows
    for half, hashes in ((1, keys.first_half), (0, keys.second_half)):
        for rows in _of_one_key(hashes, marks):
            for alike in _but_one_word(texts, rows, half):
                if len(np.unique(marks[alike])) > 1:
                    yield "one word differs", alike


@dataclass(frozen=True)
class _Keys:
    """Hashes of 64 bits, shape (texts,): texts that are equal in a way have the same one; 0 stands for none.

    Two texts of equally many words of which one differs have the same first half or the same second half, so that two
    hashes of each text find them all, however long it is.
    """

    form: Hashes
    words: Hashes
    first_half: Hashes
    second_half: Hashes

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Keys:
        found = np.zeros((4, len(texts)), dtype=np.uint64)
        for row, text in enumerate(texts):
            form = normal_form(text)
            words = words_of(form)
            found[0, row] = _hash(form)
            if words:
                found[1, row] = _hash(" ".join(words))
            if len(words) >= _WORDS:
                middle = len(words) // 2
                found[2, row] = _hash(f"{len(words)} {' '.join(words[:middle])}")
                found[3, row] = _hash(f"{len(words)} {' '.join(words[middle:])}")
        return cls(*found)


def words_of(form: str) -> list[str]:
    """The words of a normal form without punctuation; all of them as they are where punctuation is an emoticon."""
    return form.split() if _EMOTICON.search(form) else "".join(map(_unpunctuated, form)).split()


@lru_cache(maxsize=4096)
def _unpunctuated(character: str) -> str:
    """Apostrophes join what they are in, as in don't; other punctuation separates."""
    if character in "'’":
        return ""
    return " " if unicodedata.category(character).startswith("P") else character


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") or 1


def _of_one_key(hashes: Hashes, marks: Positions) -> Iterator[Positions]:
    """The rows of each hash that has several marks, in their order."""
    rows = np.flatnonzero(hashes != _NONE)
    rows = rows[np.argsort(hashes[rows], kind="stable")]
    if not len(rows):
        return
    starts = np.concatenate([[0], np.flatnonzero(np.diff(hashes[rows])) + 1])
    least, most = np.minimum.reduceat(marks[rows], starts), np.maximum.reduceat(marks[rows], starts)
    ends = np.append(starts[1:], len(rows))
    for group in np.flatnonzero(least != most).tolist():
        yield rows[starts[group] : ends[group]]


def _but_one_word(texts: Sequence[str], rows: Positions, half: int) -> Iterator[Positions]:
    """Of rows that share a half, those that are equal but for one word in the other half: the second if `half` is 1."""
    alike: dict[tuple[int, int], list[int]] = {}
    for row in rows.tolist():
        words = words_of(normal_form(texts[row]))
        middle = len(words) // 2
        for i in range(middle, len(words)) if half else range(middle):
            alike.setdefault((i, hash((*words[:i], *words[i + 1 :]))), []).append(row)
    for found in alike.values():
        if len(found) > 1:
            yield np.asarray(found, dtype=np.int64)
