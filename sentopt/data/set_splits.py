"""Clean splits of texts that have any number of labels (multi-label). `splits` does it for texts with one label.

A text's labels are one number, bit i for label i (`measure.label_sets`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sentopt import records
from sentopt.data import label_lists, labels, shares, splits
from sentopt.data.examples import RawData, explained_by
from sentopt.data.labels import Named
from sentopt.data.rows import Examples, Positions
from sentopt.data.splits import CleanData, quoted
from sentopt.errors import DataError
from sentopt.measure import label_sets
from sentopt.recipe import DataSection
from sentopt.run_dir import SPLITS, Split

Splits = dict[Split, Examples]


def clean(raw: RawData, data: DataSection, *, seed: int, tuned: bool = False) -> CleanData:
    """Apply the recipe's data section, as `splits.clean` does.

    `tuned` means that the model is already fine-tuned, so most texts can be test texts.

    Raises:
        DataError: labels are missing or unknown, a label has no text to learn from, or there are too few texts to
            split. The message includes the notices so far, which may explain it.
    """
    notices = list(raw.notices)
    with explained_by(notices):
        return _clean(raw, data, notices, seed=seed, tuned=tuned)


def _clean(raw: RawData, data: DataSection, notices: list[str], *, seed: int, tuned: bool) -> CleanData:
    named = label_lists.labelled_rows(raw, data, notices)
    found = splits.examples_of(named, raw)
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
    if not tuned:
        _check_labels(found["train"], names)
    _note_few(found["train"], names, notices)
    notices.append(_described(found["train"], len(names)))
    return CleanData(found, names, tuple(notices), multi_label=True)


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
        others = [name for i, name in enumerate(names) if i not in rare]
        hint = records.nearest(names[rare[0]], others) if counts[rare[0]] else ""
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


def _check_labels(train: Examples, names: tuple[str, ...]) -> None:
    """Refuse labels that no training text has any more, now that there are fewer texts."""
    counts = label_sets.counts(train.labels, len(names)).tolist()
    if missing := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise DataError(
            f"no training text has the label {', '.join(missing)} among the {len(train):,} that are used: raise "
            "data.train_limit, or add texts with it"
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
            f"too few texts ({len(train)}) to split off a {split} part of {wanted}: add texts, or name a file of its "
            "own for each split"
        )
    held = stratified(train.labels, count, wanted, seed=seed)
    found["train"] = train.take(np.setdiff1d(np.arange(len(train)), held))
    found[split] = train.take(held)
    share = f"{len(held) / len(train):.0%}"
    notices.append(f"{split}: split off train, {len(held)} texts ({share}, each label in proportion, seed {seed})")


def stratified(codes: Positions, labels: int, wanted: int, *, seed: int) -> Positions:
    """Positions of about `wanted` texts that have each label in proportion, ascending.

    Iterative stratification (Sechidis, Tsoumakas and Vlahavas, ECML 2011) for two parts: the rarest label first, as
    many of its texts as its share asks for, less those that are chosen already. A label of two texts or more is in both
    parts unless its texts were chosen for a rarer one.

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
