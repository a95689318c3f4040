"""What a user should know of a dataset before training. It is read as `prepare` does; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from sentopt import backbones
from sentopt._optional import check_installed
from sentopt.audit import backbone_fit, near_duplicates, wrong_labels
from sentopt.audit.backbone_fit import BackboneFit
from sentopt.audit.doubts import Doubt, Kind
from sentopt.audit.near_duplicates import Near
from sentopt.data import duplicates, label_lists, labels, set_splits, sources, splits
from sentopt.data.examples import RawData, explained_by
from sentopt.data.labels import Labelled, Named
from sentopt.data.rows import Examples, Positions, Rows, Texts
from sentopt.data.splits import CleanData
from sentopt.errors import DataError
from sentopt.measure import label_sets
from sentopt.recipe import Recipe
from sentopt.run_dir import Split

Count: TypeAlias = dict[str, int]
_NOT_OF_PAIRS = (
    "the texts are pairs, in which likely wrong labels and nearly equal texts are not looked for: one word may be all "
    "that two pairs with different labels differ by"
)
_ORDER: tuple[Split, ...] = ("test", "validation", "train")  # a text of train that is in test, too, leaks from there


@dataclass(frozen=True)
class DataCheck:
    """What is known of a dataset before training.

    Args:
        source: what was read.
        texts: rows by split, and the labels of all of them.
        labels: how often each label occurs in all splits.
        judged: distinct texts whose labels were looked at.
        doubts: rows to look at: likely wrong labels first, the likeliest of them first.
        backbone: how the backbone of the recipe reads the texts; None where it is not on this machine.
        notices: what reading and cleaning the data told.
        refusal: why training would refuse the data; empty if it would not.
        left_out: kinds of doubts that were not looked for.
    """

    source: str
    texts: Count
    labels: Count
    judged: int
    doubts: tuple[Doubt, ...]
    backbone: BackboneFit | None
    notices: tuple[str, ...]
    refusal: str = ""
    left_out: tuple[Kind, ...] = ()

    def of_kind(self, kind: str) -> tuple[Doubt, ...]:
        """The doubts of one kind."""
        return tuple(doubt for doubt in self.doubts if doubt.kind == kind)


def run(recipe: Recipe, *, given: RawData | None = None, fetch: bool = False) -> DataCheck:
    """Look at the data of a recipe.

    Args:
        recipe: names the data, the seed, and the backbone with its `max_length`.
        given: the rows of data in memory.
        fetch: the backbone is downloaded if it is not on this machine.

    Raises:
        DataError: the data cannot be read, or rows have no label or one that cannot be used.
        BackboneError: the backbone was asked for, and cannot be had.
        MissingExtraError: the packages of `sentopt[clean]` are not installed.
    """
    check_installed("cleanlab", extra="clean")  # now, and not when the data has been read
    raw = sources.load(recipe.data, given)
    notices = list(raw.notices)
    with explained_by(notices):
        is_multi_label = label_lists.are_sets(raw, recipe.data)
        reading = label_lists.labelled_rows if is_multi_label else splits.labelled_rows
        named = reading(raw, recipe.data, notices)
    seen = _Seen.of(named, multi_label=is_multi_label)
    refusal = _refusal(raw, recipe, notices, set_splits.clean if is_multi_label else splits.clean)
    similar, told, judged = list[Doubt](), [_NOT_OF_PAIRS], 0
    if texts := seen.texts:
        wrong, judged, told = _wrong_labels(seen, texts, recipe.run.seed)
        similar = [*wrong, *_conflicts(seen, texts), *_leaks(seen, texts)]
    folder = backbones.at_hand(recipe.model.backbone, recipe.model.revision)
    if folder is None and fetch:
        folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
    fit = folder and backbone_fit.measure(
        folder, recipe.model.backbone, seen.examples.texts, max_length=recipe.model.max_length
    )
    counts = seen.counts()
    return DataCheck(
        raw.description,
        {split: len(part.rows) for split, part in named.splits.items()},
        dict(zip(named.names, counts, strict=True)),
        judged,
        (*similar, *_empty(raw.splits)),
        fit or None,
        tuple(dict.fromkeys([*notices, *told])),
        refusal,
        seen.left_out,
    )


@dataclass(frozen=True)
class _Seen:
    """All rows of all splits one after another, with the number of each one's split in `_ORDER`."""

    names: tuple[str, ...]
    rows: Rows
    examples: Examples
    splits: Positions
    multi_label: bool

    @classmethod
    def of(cls, named: Named, *, multi_label: bool) -> _Seen:
        parts: dict[Split, Labelled] = {split: named.splits[split] for split in _ORDER if split in named.splits}
        rows = Rows.joined([part.rows for part in parts.values()])
        labels = np.concatenate([part.labels for part in parts.values()])
        numbers = [np.full(len(part.rows), _ORDER.index(split)) for split, part in parts.items()]
        examples, numbered = Examples(rows.checked_texts(), labels), np.concatenate(numbers).astype(np.int64)
        return cls(named.names, rows, examples, numbered, multi_label)

    def counts(self) -> list[int]:
        """How many rows have each label."""
        if self.multi_label:
            return [int(count) for count in label_sets.counts(self.examples.labels, len(self.names))]
        counts = Counter(self.examples.counts())
        return [counts[label] for label in range(len(self.names))]

    def label_of(self, row: int) -> str:
        """The label of a row in words, or all of its labels."""
        label = int(self.examples.labels[row])
        return label_sets.in_words(label, self.names) if self.multi_label else self.names[label]

    @property
    def texts(self) -> Texts | None:
        """The texts; None where they are pairs."""
        return self.rows.texts if isinstance(self.rows.texts, Texts) else None

    @property
    def left_out(self) -> tuple[Kind, ...]:
        """The kinds of doubts that are not looked for."""
        if self.texts is None:
            return ("wrong label", "conflict", "leak")
        return ("wrong label",) if self.multi_label else ()

    def doubt(self, row: int, **about: object) -> Doubt:
        split, label = _ORDER[int(self.splits[row])], self.label_of(row)
        return Doubt(split=split, place=self.rows.where(row), text=self.rows.texts[row], label=label, **about)  # type: ignore[arg-type]

    def is_like(self, near: Near) -> str:
        """In words, which row is nearly the same."""
        other = _ORDER[int(self.splits[near.other])]
        return f"{near.likeness}: {self.rows.where(near.other)} ({other}), labelled {self.label_of(near.other)}"


def _refusal(raw: RawData, recipe: Recipe, notices: list[str], clean: Callable[..., CleanData]) -> str:
    """Why training would refuse the data; `notices` gets what it would tell."""
    try:
        notices.extend(clean(raw, recipe.data, seed=recipe.run.seed, tuned=recipe.model.tuned).notices)
    except DataError as error:
        return str(error).partition("\nnote: ")[0]
    return ""


def _wrong_labels(seen: _Seen, texts: Texts, seed: int) -> tuple[list[Doubt], int, list[str]]:
    """The likely wrong labels, how many distinct texts were looked at, and notices."""
    if seen.multi_label:
        return [], 0, ["likely wrong labels are not looked for where texts have any number of labels"]
    numbers = duplicates.numbered([texts])[0]
    distinct = duplicates.one_of_each(numbers, seen.examples.labels)[0]
    found = wrong_labels.find(seen.examples.take(distinct), seed=seed)
    doubts = [
        seen.doubt(row, kind="wrong label", suggested=seen.names[label], confidence=round(float(confidence), 4))
        for row, label, confidence in zip(
            distinct[found.rows].tolist(), found.suggested.tolist(), found.confidence, strict=True
        )
    ]
    told = []
    if found.unjudged:
        few = ", ".join(repr(seen.names[label]) for label in found.unjudged[:5])
        more = f" and {len(found.unjudged) - 5} more" if len(found.unjudged) > 5 else ""
        told.append(
            f"labels with fewer than {wrong_labels.FEWEST} distinct texts are not looked at ({few}{more}): add "
            "texts of them"
        )
    return doubts, found.judged, told


def _conflicts(seen: _Seen, texts: Texts) -> list[Doubt]:
    found = near_duplicates.conflicts(texts, seen.examples.labels)
    return [
        seen.doubt(
            near.row,
            kind="conflict",
            suggested=seen.label_of(near.other),
            because=seen.is_like(near),
        )
        for near in found
    ]


def _leaks(seen: _Seen, texts: Texts) -> list[Doubt]:
    found = near_duplicates.leaks(texts, seen.splits)
    return [seen.doubt(near.row, kind="leak", because=seen.is_like(near)) for near in found]


def _empty(given: Mapping[Split, object]) -> list[Doubt]:
    """Rows without a visible character, which training drops."""
    doubts = []
    for split, listed in given.items():
        rows = Rows.of(listed)  # type: ignore[arg-type]
        for row, text in enumerate(rows.checked_texts()):
            if splits.is_empty(text):
                label = rows.values[int(rows.codes[row])]
                shown = ", ".join(map(str, labels.items_of(label) or [])) or ("" if label is None else str(label))
                doubts.append(Doubt(split, rows.where(row), "empty text", "", shown, because="training drops it"))
    return doubts
