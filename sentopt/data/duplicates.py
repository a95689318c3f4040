"""Texts that are the same but for case, blanks and Unicode form count as one, so that nothing is judged twice or leaks.

A text of the test split is dropped from validation and train, one of validation from train; within a split it is kept
once. Where repeats disagree, the most frequent label is kept, and of equally frequent ones the first.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentopt.data.examples import Example
from sentopt.run_dir import Split

_LOUD = 0.1
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff]")
_PRECEDENCE: tuple[Split, ...] = ("test", "validation", "train")


@dataclass(frozen=True)
class Repeats:
    """How many rows there were, and how many were dropped of which split for which reason.

    `repeated` counts rows whose text their own split has already, `leaked` those that a split before it has;
    `conflicting` counts texts whose rows have different labels.
    """

    rows: int
    repeated: dict[Split, int]
    leaked: dict[Split, int]
    conflicting: int

    @property
    def dropped(self) -> int:
        """Rows that repeat another."""
        return sum(self.repeated.values()) + sum(self.leaked.values())


def normal_form(text: str) -> str:
    """What is left of a text without case, Unicode form (NFKC), invisible characters and the number of its blanks."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def distinct_rows(texts: Sequence[str], seen: set[str] | None = None) -> list[int]:
    """Positions of the texts whose normal form is not `seen`, each once; `seen` grows by them."""
    seen = set() if seen is None else seen
    rows = []
    for row, text in enumerate(texts):
        key = normal_form(text)
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def without_repeats(splits: Mapping[Split, Sequence[Example]]) -> tuple[dict[Split, list[Example]], Repeats]:
    """Each text once, in the first of test, validation and train that has it, and what was dropped."""
    kept: dict[Split, list[Example]] = {}
    repeated: dict[Split, int] = {}
    leaked: dict[Split, int] = {}
    seen: set[str] = set()
    conflicting = 0
    for split in _PRECEDENCE:
        if split not in splits:
            continue
        groups: dict[str, list[Example]] = {}
        for example in splits[split]:
            groups.setdefault(normal_form(example.text), []).append(example)
        elsewhere = [key for key in groups if key in seen]
        leaked[split] = sum(len(groups.pop(key)) for key in elsewhere)
        repeated[split] = sum(len(group) - 1 for group in groups.values())
        conflicting += sum(len({example.label for example in group}) > 1 for group in groups.values())
        kept[split] = [_one_of(group) for group in groups.values()]
        seen.update(groups)
    rows = sum(len(examples) for examples in splits.values())
    return {split: kept[split] for split in splits}, Repeats(rows, repeated, leaked, conflicting)


def _one_of(group: Sequence[Example]) -> Example:
    if len(group) == 1:
        return group[0]
    counts = Counter(example.label for example in group)
    most = max(counts.values())
    return next(example for example in group if counts[example.label] == most)


def in_words(found: Repeats, *, dropped: bool) -> list[str]:
    """What a user should know about repeats; nothing where there are none."""
    if not found.dropped:
        return []
    share = found.dropped / found.rows
    count = f"{found.dropped:,} of {found.rows:,} rows repeat another text (ignoring case, blanks and Unicode form)"
    loud = f"{_share(share)} of the data is repeats: " if share >= _LOUD else ""
    if not dropped:
        return [
            f"{loud}{count}, and data.duplicates=keep keeps them: training sees them several times, and texts of the "
            "test split may be in train; verification judges distinct texts"
        ]
    notices = [f"{loud}{count}; each of the {found.rows - found.dropped:,} distinct texts is kept once"]
    for split in ("validation", "train"):
        if found.leaked.get(split):
            where = "test" if split == "validation" else "validation or test"
            notices.append(f"{split}: dropped {found.leaked[split]:,} text(s) that are also in {where}")
    for split in _PRECEDENCE[::-1] if len(found.repeated) > 1 else ():
        if found.repeated.get(split):
            notices.append(f"{split}: dropped {found.repeated[split]:,} repeated text(s)")
    if found.conflicting:
        notices.append(
            f"{found.conflicting:,} text(s) repeat with different labels: the most frequent label is kept, "
            "the first where they are equally frequent"
        )
    return notices


def _share(share: float) -> str:
    for least, words in ((0.9, "nearly all"), (0.55, "more than half"), (0.45, "half")):
        if share >= least:
            return words
    return f"{share:.0%}"
