"""Find duplicate texts within and across splits. Texts that differ only in case, blanks or Unicode form are duplicates.

A text of the test split is dropped from validation and train, a text of validation from train. Within a split, each
text is kept once. If duplicates have different labels, the most frequent label is kept; if there is a tie, the first.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sentopt.data.examples import Example
from sentopt.data.rows import Examples, Positions
from sentopt.run_dir import Split
from sentopt.runtime.description import Text

_LARGE_SHARE = 0.1
_HASH_BYTES = 16
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff]")
_BETWEEN = "\x1f"  # is blank, so no normal form holds it
_PRECEDENCE: tuple[Split, ...] = ("test", "validation", "train")


@dataclass(frozen=True)
class Repeats:
    """Number of rows and of duplicates by split.

    `repeated` counts duplicates within a split. `leaked` counts rows whose text is in a split of higher precedence
    (test before validation before train). `conflicting` counts texts whose rows have different labels.
    """

    rows: int
    repeated: dict[Split, int]
    leaked: dict[Split, int]
    conflicting: int

    @property
    def dropped(self) -> int:
        """Number of duplicate rows."""
        return sum(self.repeated.values()) + sum(self.leaked.values())


def normal_form(text: Text) -> str:
    """The text with case folded, NFKC applied, invisible characters removed and runs of blanks collapsed.

    That of a pair has those of both its texts, in their order.
    """
    if not isinstance(text, str):
        return _BETWEEN.join(map(normal_form, text))
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def distinct_rows(texts: Sequence[Text], seen: set[str] | None = None) -> list[int]:
    """Positions of the first text of each normal form that is not in `seen`, which is updated."""
    seen = set() if seen is None else seen
    rows = []
    for row, text in enumerate(texts):
        key = normal_form(text)
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def without_repeats(splits: Mapping[Split, Sequence[Example]]) -> tuple[dict[Split, Examples], Repeats]:
    """Each text once, in the first of test, validation and train that has it, and the counts of duplicates.

    Texts are compared by a hash of 128 bits of their normal form.
    """
    given = {split: Examples.of(splits[split]) for split in _PRECEDENCE if split in splits}
    numbers = numbered([examples.texts for examples in given.values()])
    seen = np.zeros(max((int(own.max(initial=-1)) for own in numbers), default=-1) + 1, dtype=np.bool_)
    kept: dict[Split, Examples] = {}
    repeated: dict[Split, int] = {}
    leaked: dict[Split, int] = {}
    conflicting = 0
    for (split, examples), own in zip(given.items(), numbers, strict=True):
        new = np.flatnonzero(~seen[own])
        leaked[split] = len(examples) - len(new)
        chosen, differing = one_of_each(own[new], examples.labels[new])
        repeated[split] = len(new) - len(chosen)
        conflicting += differing
        kept[split] = examples.take(new[chosen])
        seen[own] = True
    rows = sum(len(examples) for examples in given.values())
    return {split: kept[split] for split in splits}, Repeats(rows, repeated, leaked, conflicting)


def numbered(parts: Sequence[Sequence[Text]]) -> list[Positions]:
    """A number for each text of each part; texts with one normal form have the same."""
    hashes = np.fromiter(
        (
            hashlib.blake2b(normal_form(text).encode(), digest_size=_HASH_BYTES).digest()
            for texts in parts
            for text in texts
        ),
        dtype=f"S{_HASH_BYTES}",
        count=sum(map(len, parts)),
    )
    numbers = np.unique(hashes, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return np.split(numbers, np.cumsum([len(texts) for texts in parts])[:-1]) if parts else []


def one_of_each(numbers: Positions, labels: Positions) -> tuple[Positions, int]:
    """The row to keep of each number, in order of first occurrence, and how many numbers have several labels.

    It is the first row with the most frequent label, or of those that are equally frequent.
    """
    if not len(numbers):
        return numbers, 0
    labels = np.unique(labels, return_inverse=True)[1].reshape(-1).astype(np.int64)  # codes of sets would overflow
    width = int(labels.max()) + 1
    pairs, pair, counts = np.unique(numbers * width + labels, return_inverse=True, return_counts=True)
    frequency = counts[pair.reshape(-1)]
    most = np.zeros(int(numbers.max()) + 1, dtype=np.int64)
    np.maximum.at(most, numbers, frequency)
    candidates = np.flatnonzero(frequency == most[numbers])
    first = np.unique(numbers, return_index=True)[1]
    chosen = candidates[np.unique(numbers[candidates], return_index=True)[1]]
    return chosen[np.argsort(first)], int((np.unique(pairs // width, return_counts=True)[1] > 1).sum())


def notices(repeats: Repeats, *, dropped: bool) -> list[str]:
    """Notices about duplicates; empty if there are none."""
    if not repeats.dropped:
        return []
    share = repeats.dropped / repeats.rows
    count = f"{repeats.dropped:,} of {repeats.rows:,} rows repeat another text (ignoring case, blanks and Unicode form)"
    emphasis = f"{_share(share)} of the data is repeats: " if share >= _LARGE_SHARE else ""
    if not dropped:
        return [
            f"{emphasis}{count}, and data.duplicates=keep keeps them: training sees them several times, and texts of "
            "the test split may be in train; verification judges distinct texts"
        ]
    lines = [f"{emphasis}{count}; each of the {repeats.rows - repeats.dropped:,} distinct texts is kept once"]
    for split in ("validation", "train"):
        if repeats.leaked.get(split):
            where = "test" if split == "validation" else "validation or test"
            lines.append(f"{split}: dropped {repeats.leaked[split]:,} text(s) that are also in {where}")
    for split in _PRECEDENCE[::-1] if len(repeats.repeated) > 1 else ():
        if repeats.repeated.get(split):
            lines.append(f"{split}: dropped {repeats.repeated[split]:,} repeated text(s)")
    if repeats.conflicting:
        lines.append(
            f"{repeats.conflicting:,} text(s) repeat with different labels: the most frequent label is kept, "
            "the first where they are equally frequent"
        )
    return lines


def _share(share: float) -> str:
    for least, words in ((0.9, "nearly all"), (0.55, "more than half"), (0.45, "half")):
        if share >= least:
            return words
    return f"{share:.0%}"
