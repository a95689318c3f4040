"""Turn raw rows into three clean splits with named labels. Notices report what was dropped or looks wrong."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sentopt import records
from sentopt._optional import require
from sentopt.data import corrections, duplicates, labels, pairs, shares
from sentopt.data.duplicates import normal_form
from sentopt.data.examples import Example, RawData, explained_by
from sentopt.data.rows import Examples, Rows
from sentopt.errors import DataError
from sentopt.recipe import TEST_AS_VALIDATION, DataSection
from sentopt.run_dir import SPLITS, Split
from sentopt.runtime.description import Text

__all__ = ["CleanData", "Example", "clean"]

_BROKEN = re.compile("[\u00c3\u00c2][\u0080-\u00bf]|\u00e2\u20ac|\ufffd")
Splits = dict[Split, Examples]


@dataclass(frozen=True)
class CleanData:
    """Three non-empty splits, the label names, and notices for the user.

    With `multi_label`, the label of an example is the code of its labels (`measure.label_sets`).
    """

    splits: Splits
    labels: tuple[str, ...]
    notices: tuple[str, ...]
    multi_label: bool = False


def clean(raw: RawData, data: DataSection, *, seed: int, tuned: bool = False) -> CleanData:
    """Apply the recipe's data section: labels, empty and duplicate texts, missing splits, limits.

    `tuned` means that the model is already fine-tuned, so most texts can be test texts.

    Raises:
        DataError: labels are missing or unknown, there is only one class, or there are too few texts to split. The
            message includes the notices so far, which may explain it.
    """
    notices = list(raw.notices)
    with explained_by(notices):
        return _clean(raw, data, notices, seed=seed, tuned=tuned)


def _clean(raw: RawData, data: DataSection, notices: list[str], *, seed: int, tuned: bool) -> CleanData:
    named = labelled_rows(raw, data, notices)
    splits = examples_of(named, raw)
    if tuned:
        splits, named = _without_unused(splits, named)
    names = named.names
    _check_several(splits["train"], names)
    as_validation = same_as_test(splits, data, notices)
    splits = without_repeats(splits, data, notices)
    wanted: tuple[Split, ...] = ("test",) if as_validation else ("test", "validation")
    splits, names = _without_rare(splits, named, wanted, data, notices)
    missing = [split for split in wanted if split not in splits]
    _check_classes(splits["train"], names)
    _note_lacking(splits, names, notices)
    _note_typos(splits["train"], named, names, notices)
    given = {split: len(examples) for split, examples in splits.items()}
    for split, size in shares.sizes(given, missing, data, tuned=tuned).items():
        _split_off(splits, split, size, seed, notices)
    if as_validation:
        splits["validation"] = splits["test"]
    splits = {split: limited(splits[split], getattr(data, f"{split}_limit"), seed) for split in SPLITS}
    _check_classes(splits["train"], names)
    _note_few(splits["train"], names, notices)
    return CleanData(splits, names, tuple(notices))


def examples_of(named: labels.Named, raw: RawData) -> Splits:
    """The labelled texts of each split that has any.

    Raises:
        DataError: there are none to train on, or a row has no text.
    """
    splits: Splits = {
        split: Examples(labelled.rows.checked_texts(), labelled.labels)
        for split, labelled in named.splits.items()
        if len(labelled.rows)
    }
    if "train" not in splits:
        raise DataError(f"there is no text to train on: the train split is empty ({raw.description})")
    return splits


def labelled_rows(raw: RawData, data: DataSection, notices: list[str]) -> labels.Named:
    """The usable rows of each split that is given, with their labels as `data.corrections` has them.

    Raises:
        DataError: a row has no label, labels cannot be used, or corrections are wrong.
    """
    rows = given_rows(raw, data, notices)
    named = labels.name_rows(rows, raw.labels, data, notices, by_position=raw.by_position)
    return corrections.apply(named, data, notices)


def given_rows(
    raw: RawData,
    data: DataSection,
    notices: list[str],
    is_hidden: Callable[[Rows, Sequence[Rows]], str] = labels.is_hidden,
) -> dict[Split, Rows]:
    """The usable rows by split: without empty texts, splits with hidden labels, and empty splits."""
    labelled = _without_hidden({split: Rows.of(rows) for split, rows in raw.splits.items()}, notices, is_hidden)
    if data.validation == TEST_AS_VALIDATION:
        labelled.pop("validation", None)
    given: dict[Split, Rows] = {}
    for split, rows in labelled.items():
        texts = rows.checked_texts()
        filled = np.fromiter((not is_empty(text) for text in texts), dtype=np.bool_, count=len(rows))
        if empty := len(rows) - int(filled.sum()):
            notices.append(f"{split}: dropped {empty} empty text{'s' if empty != 1 else ''}")
        if filled.any():
            given[split] = rows.take(np.flatnonzero(filled)) if empty else rows
            _note_broken(given[split], split, notices)
            _note_half(given[split], data, split, notices)
        elif split != "train":
            notices.append(f"{split}: no text is left of its {len(rows)} row(s); it is split off train instead")
    return given


def is_empty(text: Text) -> bool:
    """Whether a text, or both texts of a pair, have no visible character."""
    if not isinstance(text, str):
        return all(map(is_empty, text))
    return not normal_form(text[:64]) and not normal_form(text)


def _note_half(rows: Rows, data: DataSection, split: str, notices: list[str]) -> None:
    """Note pairs that lack one of their texts: the model reads the other one alone."""
    lacking: Counter[str] = Counter()
    for text in rows.texts if data.pair_column else ():
        if not isinstance(text, str):
            lacking.update(name for name, part in zip(pairs.columns(data), text, strict=True) if is_empty(part))
    for column, count in sorted(lacking.items()):
        notices.append(f"{split}: {count:,} pair(s) have an empty {column!r}; the other text is used alone")


def _note_broken(rows: Rows, split: str, notices: list[str]) -> None:
    """Note texts that were damaged by a wrong encoding."""
    broken = [row for row, text in enumerate(rows.texts) if any(map(_is_broken, pairs.parts(text)))]
    if broken:
        text = next(filter(_is_broken, pairs.parts(rows.texts[broken[0]])))
        at = _BROKEN.search(text)
        start = at.start() if at else 0
        notices.append(
            f"{split}: {len(broken):,} text(s) hold characters that a wrong encoding leaves, such as "
            f"{text[max(0, start - 10) : start + 10]!r} ({rows.where(broken[0])}); they are used as they are"
        )


def _is_broken(text: str) -> bool:
    return not text.isascii() and _BROKEN.search(text) is not None


def _without_hidden(
    splits: Mapping[Split, Rows], notices: list[str], is_hidden: Callable[[Rows, Sequence[Rows]], str]
) -> dict[Split, Rows]:
    """Drop test and validation splits without labels. If test is dropped, validation becomes the test split."""
    usable = dict(splits)
    hidden: dict[Split, str] = {}
    for split in ("test", "validation"):
        others = [rows for other, rows in splits.items() if other != split]
        if split in usable and (reason := is_hidden(usable[split], others)):
            hidden[split] = reason
            del usable[split]
    if "validation" in hidden:
        notices.append(
            f"the labels of the validation split are hidden ({hidden['validation']}): it is split off train instead"
        )
    if "test" in hidden and "validation" in usable:
        usable["test"] = usable.pop("validation")
        notices.append(
            f"the labels of the test split are hidden ({hidden['test']}): "
            "the validation split is the test split, validation is split off train"
        )
    elif "test" in hidden:
        notices.append(f"the labels of the test split are hidden ({hidden['test']}): a test split is split off train")
    return usable


def _check_several(train: Examples, names: tuple[str, ...]) -> None:
    present = [names[i] for i in sorted(train.counts())]
    if len(present) < 2:
        raise DataError(
            f"the train split has one class only ({', '.join(present) or 'none'}); "
            "at least two are needed to learn a difference"
        )


def _check_classes(train: Examples, names: tuple[str, ...]) -> None:
    _check_several(train, names)
    counts = train.counts()
    missing = [label for i, label in enumerate(names) if i not in counts]
    if missing:
        present = [names[i] for i in sorted(counts)]
        raise DataError(
            f"no training text has the label {', '.join(missing)}; the train split has {', '.join(present)}. "
            "Correct the rows or data.labels, or leave such rows out with --set data.rare_labels=drop"
        )


def same_as_test(splits: Splits, data: DataSection, notices: list[str]) -> bool:
    """Whether validation is the test split, either by the recipe or because both have the same texts."""
    flatters = "the best checkpoint is selected on the texts that also test it, which flatters the test figures"
    if data.validation == TEST_AS_VALIDATION:
        notices.append(f"validation: the test split itself, as data.validation asks: {flatters}")
        return True
    if "validation" not in splits or "test" not in splits:
        return False
    validation, test = ({*map(normal_form, splits[split].texts)} for split in ("validation", "test"))
    if validation == test:
        del splits["validation"]
        notices.append(
            f"validation: the same texts as the test split: {flatters}; "
            "to split validation off train instead: --set data.validation="
        )
    return validation == test


def without_repeats(splits: Splits, data: DataSection, notices: list[str]) -> Splits:
    kept, repeats = duplicates.without_repeats(splits)
    drop = data.duplicates == "drop"
    if drop and not len(kept["train"]):
        others = " and ".join(split for split in ("validation", "test") if split in splits)
        raise DataError(
            f"every training text is also in {others}; nothing is left to train on. Name other files, or none for a "
            "split that is to be split off train, for example --set data.test="
        )
    notices.extend(duplicates.notices(repeats, dropped=drop))
    if drop and "validation" in kept and not len(kept["validation"]):
        del kept["validation"]
        notices.append("validation: all of its texts are also in test; it is split off train instead")
    return kept if drop else splits


def _without_unused(splits: Splits, named: labels.Named) -> tuple[Splits, labels.Named]:
    """Drop labels that no text has. An already fine-tuned model does not have to learn them."""
    used = sorted({label for examples in splits.values() for label in examples.counts()})
    position = {label: i for i, label in enumerate(used)}
    return {split: examples.relabelled(position) for split, examples in splits.items()}, named.only(used)


def _without_rare(
    splits: Splits, named: labels.Named, wanted: Sequence[Split], data: DataSection, notices: list[str]
) -> tuple[Splits, tuple[str, ...]]:
    """Refuse or drop labels with fewer training texts than splits that need one.

    If a validation or test split is empty without those labels, it is split off train as well.
    """
    counts = Counter(splits["train"].counts())
    occurring = {label for examples in splits.values() for label in examples.counts()}
    needed = sum(split not in splits for split in wanted) + 1
    rare = [label for label in range(len(named.names)) if label in occurring and counts[label] < needed]
    unused = [label for label in range(len(named.names)) if label not in occurring and data.rare_labels == "drop"]
    if not rare and not unused:
        return splits, named.names
    if data.rare_labels == "error":
        raise DataError(_rare(rare, counts, named, needed, len(splits["train"])))
    out = {*rare, *unused}
    kept = [label for label in range(len(named.names)) if label not in out]
    if len(kept) < 2:
        raise DataError(f"fewer than two labels have {needed} texts: {_rare(rare, counts, named, needed, 0)}")
    left = {
        split: examples.take(np.flatnonzero(~np.isin(examples.labels, [*out]))) for split, examples in splits.items()
    }
    if emptied := [split for split, examples in left.items() if not len(examples)]:
        for split in emptied:
            notices.append(_emptied(split, splits[split], named))
        others = {split: examples for split, examples in splits.items() if split not in emptied}
        return _without_rare(others, named, wanted, data, notices)
    notices.extend(_left_out(splits, rare, unused, named, needed))
    position = {label: i for i, label in enumerate(kept)}
    return (
        {split: examples.relabelled(position) for split, examples in left.items()},
        tuple(named.names[label] for label in kept),
    )


def _emptied(split: Split, examples: Examples, named: labels.Named) -> str:
    names = [named.names[label] for label in sorted(examples.counts())]
    return (
        f"{split}: none of its {len(examples):,} text(s) has a label that is kept (it has {quoted(names)}); "
        "it is split off train instead"
    )


def _left_out(
    splits: Splits, rare: Sequence[int], unused: Sequence[int], named: labels.Named, needed: int
) -> list[str]:
    """Notices about dropped labels. Labels without a training text are grouped by the splits that have them."""
    texts = {split: Counter(examples.counts()) for split, examples in splits.items()}
    groups: dict[str, list[int]] = {}
    for label in rare:
        where = "" if texts["train"][label] else " and ".join(split for split in texts if texts[split][label])
        groups.setdefault(where, []).append(label)
    notices = []
    for where, group in groups.items():
        dropped = sum(counts[label] for counts in texts.values() for label in group)
        names = quoted([named.names[label] for label in group])
        why = f"that occur in {where} only" if where else f"with fewer than {needed} texts"
        notices.append(f"left out {len(group)} label(s) {why} ({names}): {dropped:,} text(s)")
    if unused:
        notices.append(
            f"left out {len(unused)} label(s) that no training text has ({quoted([named.names[i] for i in unused])})"
        )
    return notices


def quoted(names: Sequence[str]) -> str:
    more = f" and {len(names) - labels.SHOWN} more" if len(names) > labels.SHOWN else ""
    return f"{', '.join(map(repr, names[: labels.SHOWN]))}{more}"


def _rare(rare: Sequence[int], counts: Counter[int], named: labels.Named, needed: int, texts: int) -> str:
    if texts and all(label in rare for label in counts):
        return (
            f"too few texts ({texts}) for {len(counts)} labels: each label needs at least {needed}, so that train, "
            "validation and test have one"
        )
    common = [name for i, name in enumerate(named.names) if i not in rare]
    reports = [
        f"label {named.names[label]!r} {times(counts[label])}, {named.first(label)}"
        f"{'' if named.names[label].isdigit() else records.nearest(named.names[label], common)}"
        for label in rare[: labels.SHOWN]
    ]
    more = f"; and {len(rare) - labels.SHOWN} more labels" if len(rare) > labels.SHOWN else ""
    why = "train, validation and test each need one" if needed > 1 else "training needs one"
    return (
        f"{'; '.join(reports)}{more}. A label needs at least {needed} distinct text(s), because {why}. "
        "Correct the label, add texts, or leave such rows out with --set data.rare_labels=drop"
    )


def _note_lacking(splits: Splits, names: tuple[str, ...], notices: list[str]) -> None:
    """Note labels of train that the test or validation split lacks: their quality is not measured there."""
    for split in ("test", "validation"):
        present = set(splits[split].counts()) if split in splits else set()
        lacking = [name for i, name in enumerate(names) if i not in present]
        if not present or not lacking:
            continue
        if len(present) == 1:
            one = names[present.pop()]
            notices.append(
                f"WARNING: the {split} split has one label only ({one!r}): its figures say nothing about "
                f"{quoted(lacking)}, and a model that always answers {one!r} is right everywhere. "
                f"Correct its labels, or split it off train with --set data.{split}="
            )
        else:
            notices.append(
                f"WARNING: the {split} split has no text of {len(lacking)} label(s) of train ({quoted(lacking)}): "
                "its figures say nothing about them"
            )


def _note_typos(train: Examples, named: labels.Named, names: tuple[str, ...], notices: list[str]) -> None:
    counts = {names[label]: count for label, count in train.counts().items()}
    few = {name: named.first(named.names.index(name)) for name, count in counts.items() if count <= labels.FEW}
    labels.note_typos(counts, few, notices)


def _note_few(train: Examples, names: tuple[str, ...], notices: list[str]) -> None:
    counts = Counter(train.counts())
    few = [(counts[label], label) for label in range(len(names)) if counts[label] < labels.FEW]
    if few:
        shown = ", ".join(f"{names[label]!r}: {count}" for count, label in sorted(few)[: labels.SHOWN])
        more = f" and {len(few) - labels.SHOWN} more" if len(few) > labels.SHOWN else ""
        notices.append(
            f"{len(few)} label(s) have fewer than {labels.FEW} training texts ({shown}{more}): add texts, such labels "
            "are hardly learned"
        )


def times(count: int) -> str:
    return {0: "has no training text", 1: "occurs once"}.get(count, f"has {count} distinct texts")


def _split_off(splits: Splits, split: Split, wanted: int, seed: int, notices: list[str]) -> None:
    """Split `split` off train, stratified by label. A label with a single text stays in train."""
    train = splits["train"]
    counts = train.counts()
    often = np.isin(train.labels, [label for label, count in counts.items() if count > 1])
    shared, alone = np.flatnonzero(often), np.flatnonzero(~often)
    names = sum(count > 1 for count in counts.values())
    size = max(wanted, names)
    if not names or len(shared) - size < names:
        raise DataError(
            f"too few texts ({len(train)}) to split off a {split} part of {wanted} with each of {len(counts)} "
            "labels in it: add texts, or name a file of its own for each split"
        )
    selection = require("sklearn.model_selection", extra="train")
    kept, held = selection.train_test_split(shared, test_size=size, random_state=seed, stratify=train.labels[shared])
    splits["train"], splits[split] = train.take(np.concatenate([kept, alone])), train.take(held)
    least = "" if size == wanted else ", one for each label at least"
    share = f"{len(held) / len(train):.0%}"
    notices.append(f"{split}: split off train, {len(held)} texts ({share}{least}, stratified, seed {seed})")


def limited(examples: Examples, limit: int, seed: int) -> Examples:
    if not limit or limit >= len(examples):
        return examples
    return examples.take(sampled(len(examples), limit, seed))


def sampled(count: int, most: int, seed: int) -> np.ndarray:
    """Positions of at most `most` of `count` rows, chosen at random, ascending; int64."""
    return np.sort(np.random.default_rng(seed).permutation(count)[:most])
