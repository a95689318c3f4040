"""Find duplicate texts within and across splits. Texts that differ only in case, blanks or Unicode form are duplicates.

A text of the test split is dropped from validation and train, a text of validation from train. Within a split, each
text is kept once. If duplicates have different labels, the most frequent label is kept; if there is a tie, the first.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentopt.data.examples import Example
from sentopt.run_dir import Split

_LARGE_SHARE = 0.1
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufe0e\ufe0f\ufeff]")
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


def normal_form(text: str) -> str:
    """The text with case folded, NFKC applied, invisible characters removed and runs of blanks collapsed."""
    if text.isascii():
        return " ".join(text.lower().split())
    folded = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def distinct_rows(texts: Sequence[str], seen: set[str] | None = None) -> list[int]:
    """Positions of the first text of each normal form that is not in `seen`, which is updated."""
    seen = set() if seen is None else seen
    rows = []
    for row, text in enumerate(texts):
        key = normal_form(text)
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows


def without_repeats(splits: Mapping[Split, Sequence[Example]]) -> tuple[dict[Split, list[Example]], Repeats]:
    """Each text once, in the first of test, validation and train that has it, and the counts of duplicates."""
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
