"""Clean splits of texts that have any number of labels (multi-label). `splits` does it for texts with one label.

A text's labels are one number, bit i for label i (`measure.label_sets`). A text without any label is a text like others;
a row whose labels are missing is one without a label, as `data.missing_labels` sees it.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sentopt import records
from sentopt.data import labels, shares, splits
from sentopt.data.examples import RawData, explained_by
from sentopt.data.labels import Labelled, Named
from sentopt.data.rows import Examples, Positions, Rows
from sentopt.data.splits import CleanData, quoted
from sentopt.errors import DataError
from sentopt.measure import label_sets
from sentopt.measure.label_sets import MOST_LABELS
from sentopt.recipe import DataSection
from sentopt.run_dir import SPLITS, Split

Splits = dict[Split, Examples]


def are_sets(raw: RawData, data: DataSection) -> bool:
    """Whether texts have any number of labels: the recipe says so, or every label is a list and some list is not of one.

    The label of a row is missing where it is None or empty; such rows do not count.
    """
    if data.label_columns or data.label_separator or raw.multi_label:
        return True
    several = False
    for rows in raw.splits.values():
        for value in Rows.of(rows).distinct():
            if _is_missing(value):
                continue
            items = labels.items_of(value)
            if items is None:
                return False
            several = several or len(items) != 1
    return several


def clean(raw: RawData, data: DataSection, *, seed: int, tuned: bool = False) -> CleanData:
    """Apply the recipe's data section, as `splits.clean` does.

    `tuned` means that the model is already fine-tuned, so most texts can be test texts.

    Raises:
        DataError: labels are missing or unknown, a label has no text to learn from, or there are too few texts to split.
            The message includes the notices so far, which may explain it.
    """
    notices = list(raw.notices)
    with explained_by(notices):
        return _clean(raw, data, notices, seed=seed, tuned=tuned)


def _clean(raw: RawData, data: DataSection, notices: list[str], *, seed: int, tuned: bool) -> CleanData:
    named = labelled_rows(raw, data, notices)
    found: Splits = {
        split: Examples(part.rows.checked_texts(), part.labels) for split, part in named.splits.items() if len(part.rows)
    }
    if "train" not in found:
        raise DataError(f"there is no text to train on: the train split is empty ({raw.description})")
    names = named.names
    as_validation = splits.same_as_test(found, data, notices)
    found = splits.without_repeats(found, data, notices)
    wanted: tuple[Split, ...] = ("test",) if as_validation else ("test", "validation")
    missing = [split for split in wanted if split not in found]
    if tuned:
        found, names = _only(found, names, _occurring(found, names))
    else:
        found, names = _without_rare(found, named, len(missing) + 1, data, notices)
    _check_several(found["train"], names)
    _note_odd(found, names, notices)
    given = {split: len(examples) for split, examples in found.items()}
    for split, size in shares.sizes(given, missing, data, tuned=tuned).items():
        _split_off(found, split, size, len(names), seed, notices)
    if as_validation:
        found["validation"] = found["test"]
    found = {split: splits.limited(found[split], getattr(data, f"{split}_limit"), seed) for split in SPLITS}
    _note_few(found["train"], names, notices)
    notices.append(_described(found["train"], len(names)))
    return CleanData(found, names, tuple(notices), multi_label=True)


def labelled_rows(raw: RawData, data: DataSection, notices: list[str]) -> Named:
    """The usable rows of each split that is given, with the code of each one's labels.

    Raises:
        DataError: a row has no labels, or some that cannot be used.
    """
    written = {split: _as_items(Rows.of(rows), data) for split, rows in raw.splits.items()}
    if data.validation == "test":
        written.pop("validation", None)
    rows = splits.given_rows(dataclasses.replace(raw, splits=written), data, notices, _is_hidden)
    return _named(rows, raw.labels, data, notices, by_position=raw.by_position)


def _as_items(rows: Rows, data: DataSection) -> Rows:
    """The rows with the labels of each as a tuple of texts; None where they are missing."""
    values: list[Any] = [None] * len(rows.values)
    for code, row in rows.labels():
        values[code] = _items(rows.values[code], rows.where(row), data)
    return dataclasses.replace(rows, values=tuple(values))


def _items(value: Any, where: str, data: DataSection) -> tuple[str, ...] | None:
    """The labels of a row, each once.

    Raises:
        DataError: they are no list, or no text with the separator, or a label is empty or there twice.
    """
    given = labels.items_of(value)
    if given is None and data.label_separator:
        written = "" if _is_missing(value) else labels.Values().text(value, where)
        given = [part for part in written.split(data.label_separator) if part.strip()]
    if given is None:
        if _is_missing(value):
            return None
        raise DataError(
            f"{where}: the label is {str(value)[:60]!r}, and others are lists; expected a list of labels for each text, "
            "an empty one where a text has none"
        )
    texts = [labels.Values().text(item, where) for item in given]
    if "" in texts:
        raise DataError(f"{where}: an empty label in the list {str(value)[:60]}; leave it out")
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice:
        raise DataError(
            f"{where}: the label {twice[0]!r} is there twice ({str(value)[:60]}); expected the labels of the text, each "
            "once. Where these are 0 and 1 for each label, give them as columns: data.label_columns names the labels"
        )
    return tuple(texts)


def _is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in ("", "nan")


def _is_hidden(rows: Rows, others: Sequence[Rows]) -> str:
    """How the labels of a split are hidden: no row has any, and rows of other splits have."""
    if any(rows.distinct()):
        return ""
    missing = all(value is None for value in rows.distinct())
    return "all empty" if missing or any(any(other.distinct()) for other in others) else ""


def _named(
    rows: Mapping[Split, Rows], declared: tuple[str, ...], data: DataSection, notices: list[str], *, by_position: bool
) -> Named:
    """Give every row the code of its labels among `declared` or, if none are declared, among all that occur."""
    counts = Counter[str]()
    for part in rows.values():
        of_code = np.bincount(part.codes, minlength=len(part.values)).tolist()
        for code, _ in part.labels():
            counts.update(dict.fromkeys(part.values[code] or (), of_code[code]))
    if declared:
        names, position = declared, labels.match_names(counts, declared, by_position, notices)
    else:
        names, position = labels.infer_names(counts, notices)
    _check_number(names)
    unlabelled, wrong = labels.RowSet(), labels.RowSet()
    named = {split: _coded(part, position, unlabelled, wrong) for split, part in rows.items()}
    if wrong.size:
        raise DataError(labels.wrong_labels(wrong, names))
    labels.drop_unlabelled(unlabelled, "", data, notices)
    return Named(names, named)


def _check_number(names: Sequence[str]) -> None:
    if len(names) < 2:
        raise DataError(
            f"the texts have {len(names)} label(s) in all ({', '.join(names) or 'none'}); at least two are needed where a "
            "text may have any number of them. For one label that a text has or not, name both cases in a column"
        )
    if len(names) > MOST_LABELS:
        raise DataError(
            f"found {len(names)} different labels, for example {', '.join(names[:3])}; at most {MOST_LABELS} are "
            "supported where a text may have any number of them"
        )


def _coded(part: Rows, position: Mapping[str, int], unlabelled: labels.RowSet, wrong: labels.RowSet) -> Labelled:
    """The rows that have labels, with their codes; the others go to `unlabelled` or `wrong`."""
    codes = np.zeros(len(part.values), dtype=np.int64)
    is_missing = np.zeros(len(part.values), dtype=np.bool_)
    unknown: dict[int, str] = {}
    for code, _ in part.labels():
        items = part.values[code]
        is_missing[code] = items is None
        for item in items or ():
            if item in position:
                codes[code] |= np.int64(1) << np.int64(position[item])
            else:
                unknown.setdefault(code, item)
    for row in np.flatnonzero(np.isin(part.codes, list(unknown))).tolist() if unknown else ():
        wrong.add_one(part.where(row), unknown[int(part.codes[row])])
    missing = is_missing[part.codes]
    for row in np.flatnonzero(missing).tolist():
        unlabelled.add_one(part.where(row), "")
    kept = np.flatnonzero(~missing)
    return Labelled(part.take(kept), codes[part.codes[kept]])


def _occurring(found: Splits, names: Sequence[str]) -> list[int]:
    every = np.sum([label_sets.counts(examples.labels, len(names)) for examples in found.values()], axis=0)
    return [i for i in range(len(names)) if every[i]]


def _only(found: Splits, names: tuple[str, ...], kept: Sequence[int]) -> tuple[Splits, tuple[str, ...]]:
    """The same texts with only the labels at the positions `kept`."""
    target = [kept.index(i) if i in kept else None for i in range(len(names))]
    moved = {s: Examples(e.texts, label_sets.moved(e.labels, target)) for s, e in found.items()}
    return moved, tuple(names[i] for i in kept)


def _without_rare(
    found: Splits, named: Named, needed: int, data: DataSection, notices: list[str]
) -> tuple[Splits, tuple[str, ...]]:
    """Refuse labels with fewer training texts than splits that need one, or take them from the texts that have them."""
    names = named.names
    counts = label_sets.counts(found["train"].labels, len(names))
    rare = [i for i in range(len(names)) if counts[i] < needed]
    if not rare:
        return found, names
    told = [f"{names[i]!r} {splits.times(int(counts[i]))}{_first(named, i)}" for i in rare[: labels.SHOWN]]
    more = f"; and {len(rare) - labels.SHOWN} more labels" if len(rare) > labels.SHOWN else ""
    if data.rare_labels == "error":
        hint = records.nearest(names[rare[0]], [name for i, name in enumerate(names) if i not in rare])
        raise DataError(
            f"label {'; '.join(told)}{more}{hint}. A label needs at least {needed} distinct text(s): train, and each "
            "split that is split off it, need one. Correct the label, add texts, or leave such labels out with "
            "--set data.rare_labels=drop; the texts stay"
        )
    kept = [i for i in range(len(names)) if i not in rare]
    if len(kept) < 2:
        raise DataError(f"fewer than two labels have {needed} training texts: {'; '.join(told)}{more}")
    notices.append(
        f"left out {len(rare)} label(s) with fewer than {needed} training texts ({quoted([names[i] for i in rare])}); "
        "the texts stay"
    )
    return _only(found, names, kept)


def _first(named: Named, label: int) -> str:
    """The place of the first row with a label, after a comma; empty if no row has it."""
    for part in named.splits.values():
        has = (part.labels >> np.int64(label)) & 1
        if has.any():
            return f", {part.rows.where(int(np.argmax(has)))}"
    return ""


def _check_several(train: Examples, names: tuple[str, ...]) -> None:
    if len(np.unique(train.labels)) < 2:
        held = label_sets.in_words(int(train.labels[0]), names) if len(train) else "none"
        raise DataError(
            f"all texts of the train split have the same labels ({held}); at least two sets of labels are needed to "
            "learn a difference"
        )


def _note_odd(found: Splits, names: tuple[str, ...], notices: list[str]) -> None:
    """Note labels that every training text has, and those that another split lacks."""
    train = found["train"]
    everywhere = np.flatnonzero(label_sets.counts(train.labels, len(names)) == len(train)).tolist()
    if everywhere:
        notices.append(
            f"WARNING: every training text has the label(s) {quoted([names[i] for i in everywhere])}: a model cannot "
            "learn when a text lacks them. Leave them out, or add texts without them"
        )
    for split in ("test", "validation"):
        if split not in found:
            continue
        counts = label_sets.counts(found[split].labels, len(names))
        lacking = [name for name, count in zip(names, counts, strict=True) if not count]
        if lacking:
            notices.append(
                f"WARNING: the {split} split has no text of {len(lacking)} label(s) of train ({quoted(lacking)}): "
                "its figures say nothing about them"
            )


def _note_few(train: Examples, names: tuple[str, ...], notices: list[str]) -> None:
    counts = label_sets.counts(train.labels, len(names)).tolist()
    few = sorted((count, name) for count, name in zip(counts, names, strict=True) if count < labels.FEW)
    if few:
        shown = ", ".join(f"{name!r}: {count}" for count, name in few[: labels.SHOWN])
        more = f" and {len(few) - labels.SHOWN} more" if len(few) > labels.SHOWN else ""
        notices.append(
            f"{len(few)} label(s) have fewer than {labels.FEW} training texts ({shown}{more}): add texts, such labels "
            "are hardly learned"
        )


def _described(train: Examples, count: int) -> str:
    """How many labels a training text has."""
    sizes = label_sets.matrix(train.labels, count).sum(axis=1)
    none = int((sizes == 0).sum())
    without = f"; {none:,} of {len(train):,} have none" if none else ""
    return (
        f"texts have any number of {count} labels (multi-label): {sizes.mean():.2f} for a training text on average, "
        f"{int(sizes.max())} at most{without}"
    )


def _split_off(found: Splits, split: Split, wanted: int, count: int, seed: int, notices: list[str]) -> None:
    """Split `split` off train, stratified by label."""
    train = found["train"]
    if wanted < 1 or len(train) - wanted < 1:
        raise DataError(
            f"too few texts ({len(train)}) to split off a {split} part of {wanted}: add texts, or name a file of its own "
            "for each split"
        )
    held = stratified(train.labels, count, wanted, seed=seed)
    found["train"] = train.take(np.setdiff1d(np.arange(len(train)), held))
    found[split] = train.take(held)
    share = f"{len(held) / len(train):.0%}"
    notices.append(f"{split}: split off train, {len(held)} texts ({share}, each label in proportion, seed {seed})")


def stratified(codes: Positions, labels: int, wanted: int, *, seed: int) -> Positions:
    """Positions of about `wanted` texts that have each label in proportion, ascending.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011) for two parts: the rarest label first, as many
    of its texts as its share asks for, less those that are chosen already. A label of two texts or more is in both parts
    unless its texts were chosen for a rarer one.

    Args:
        codes: of label sets, int64 of shape (texts,).
        labels: how many there are.
        wanted: number of texts to choose.
        seed: of the choice.
    """
    random = np.random.default_rng(seed)
    has = label_sets.matrix(codes, labels)
    share, is_open = wanted / len(codes), np.ones(len(codes), dtype=np.bool_)
    chosen = np.zeros(len(codes), dtype=np.bool_)
    while True:
        left = has[is_open].sum(axis=0)
        if not left.any():
            break
        label = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        texts = np.flatnonzero(is_open & has[:, label])
        everywhere = int(has[:, label].sum())
        most = min(len(texts), max(0, everywhere - 1 - int(chosen[has[:, label]].sum())))
        due = max(1, round(share * everywhere)) - int(chosen[has[:, label]].sum())
        chosen[random.permutation(texts)[: max(0, min(due, most))]] = True
        is_open[texts] = False
    rest = np.flatnonzero(is_open)  # texts without any label
    due = max(0, min(wanted - int(chosen.sum()), len(rest)))
    chosen[random.permutation(rest)[:due]] = True
    return np.flatnonzero(chosen).astype(np.int64)
