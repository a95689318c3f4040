"""From raw rows to three clean splits with named labels, counting everything that was dropped or suspicious."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sentopt import records
from sentopt._optional import require
from sentopt.data.sources import RawData, RawRow
from sentopt.errors import DataError
from sentopt.recipe import TEST_AS_VALIDATION, DataSection
from sentopt.run_dir import SPLITS, Split

_SHOWN = 5


@dataclass(frozen=True)
class Example:
    """One text and the position of its label in the label list."""

    text: str
    label: int


@dataclass(frozen=True)
class CleanData:
    """Three non-empty splits, the label names, and notices that a user should read."""

    splits: dict[Split, list[Example]]
    labels: tuple[str, ...]
    notices: tuple[str, ...]


def clean(raw: RawData, data: DataSection, *, seed: int) -> CleanData:
    """Apply the recipe's data section: labels, empty and repeated texts, missing splits, limits.

    Raises:
        DataError: labels that are missing or not in the list, one class only, or too few texts to split.
    """
    notices: list[str] = []
    raw = _without_hidden_test(raw, notices)
    labels = raw.labels or _inferred_labels(raw, notices)
    splits = {split: _examples(rows, labels, split, notices) for split, rows in raw.splits.items()}
    splits = {split: rows for split, rows in splits.items() if rows}
    if "train" not in splits:
        raise DataError("there is no text to train on: the train split is empty")
    _check_classes(splits["train"], labels)
    splits = _split_off_missing(splits, data, seed, notices)
    if data.duplicates == "drop":
        splits = _without_duplicates(splits, notices)
    splits = {split: _limited(splits[split], getattr(data, f"{split}_limit"), seed) for split in SPLITS}
    _check_classes(splits["train"], labels)
    return CleanData(splits, labels, tuple(notices))


def reorder(data: CleanData, labels: Sequence[str]) -> CleanData:
    """The same texts with `labels` in this order; it may hold names that no text has."""
    position = {label: i for i, label in enumerate(labels)}
    splits = {
        split: [Example(e.text, position[data.labels[e.label]]) for e in examples]
        for split, examples in data.splits.items()
    }
    return replace(data, splits=splits, labels=tuple(labels))


def majority_accuracy(labels: Sequence[int]) -> float:
    """Accuracy of always answering the most frequent label: what a model must beat."""
    return max(Counter(labels).values()) / len(labels)


def _without_hidden_test(raw: RawData, notices: list[str]) -> RawData:
    test = raw.splits.get("test")
    if not test or any(str(row.label) != "-1" for row in test):
        return raw
    splits: dict[Split, list[RawRow]] = {split: rows for split, rows in raw.splits.items() if split != "test"}
    if "validation" in splits:
        splits["test"] = splits.pop("validation")
        notices.append(
            "the labels of the test split are hidden (all -1): "
            "the validation split is the test split, validation is split off train"
        )
    else:
        notices.append("the labels of the test split are hidden (all -1): a test split is split off train")
    return replace(raw, splits=splits)


def _inferred_labels(raw: RawData, notices: list[str]) -> tuple[str, ...]:
    values = {_label_text(row.label) for rows in raw.splits.values() for row in rows} - {""}
    if values and all(value.lstrip("-").isdigit() for value in values):
        ordered = sorted(values, key=int)
        notices.append(
            f"labels are numbers ({', '.join(ordered[:_SHOWN])}); "
            'give them names with --set \'data.labels=["...", "..."]\''
        )
    else:
        ordered = sorted(values)
    if len(ordered) > 1000:
        raise DataError(
            f"found {len(ordered)} different labels, for example {', '.join(ordered[:3])}: is data.label_column right?"
        )
    return tuple(ordered)


def _label_text(value: object) -> str:
    """A label as a string: `1`, `1.0` and `"1"` are the same label; None, NaN and blanks are none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    if text.lower() == "nan":
        return ""
    return text[:-2] if text.endswith(".0") and text[:-2].lstrip("-").isdigit() else text


def _examples(rows: Sequence[RawRow], labels: tuple[str, ...], split: Split, notices: list[str]) -> list[Example]:
    position = {label: i for i, label in enumerate(labels)}
    position |= {str(i): i for i in range(len(labels)) if str(i) not in position}
    examples, empty, wrong = [], 0, []
    for row in rows:
        text = "" if row.text is None or (isinstance(row.text, float) and math.isnan(row.text)) else str(row.text)
        label = _label_text(row.label)
        if not text.strip():
            empty += 1
        elif label not in position:
            wrong.append((row.where, label))
        else:
            examples.append(Example(text, position[label]))
    if wrong:
        raise DataError(_wrong_labels(wrong, labels))
    if empty:
        notices.append(f"{split}: dropped {empty} empty text{'s' if empty != 1 else ''}")
    return examples


def _wrong_labels(wrong: Sequence[tuple[str, str]], labels: tuple[str, ...]) -> str:
    shown = ", ".join(
        f"{where}: {repr(label) + records.nearest(label, labels) if label else 'no label'}"
        for where, label in wrong[:_SHOWN]
    )
    more = f", and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    return (
        f"{len(wrong)} row(s) have a label that is not one of {', '.join(labels)}: {shown}{more}. "
        "Correct the rows, or the list with --set data.labels"
    )


def _check_classes(train: Sequence[Example], labels: tuple[str, ...]) -> None:
    counts = Counter(example.label for example in train)
    present = [labels[i] for i in sorted(counts)]
    if len(present) < 2:
        raise DataError(
            f"the train split has one class only ({', '.join(present) or 'none'}); "
            "at least two are needed to learn a difference"
        )
    missing = [label for i, label in enumerate(labels) if i not in counts]
    if missing:
        raise DataError(
            f"no training text has the label {', '.join(missing)}; the train split has {', '.join(present)}"
        )


def _split_off_missing(
    splits: dict[Split, list[Example]], data: DataSection, seed: int, notices: list[str]
) -> dict[Split, list[Example]]:
    result = dict(splits)
    missing: tuple[tuple[Split, float], ...] = (
        ("test", data.test_fraction),
        ("validation", data.validation_fraction),
    )
    for split, fraction in missing:
        if split == "validation" and data.validation == TEST_AS_VALIDATION:
            result["validation"] = result["test"]
            notices.append(
                "validation: the test split itself, as data.validation asks: the best checkpoint is chosen by the "
                "texts that it is judged by, which flatters the test figures"
            )
        elif split not in result:
            result["train"], result[split] = _stratified(result["train"], fraction, seed, split)
            notices.append(
                f"{split}: split off train, {len(result[split])} texts ({fraction:.0%}, stratified, seed {seed})"
            )
    return result


def _stratified(examples: list[Example], fraction: float, seed: int, split: str) -> tuple[list[Example], list[Example]]:
    selection = require("sklearn.model_selection", extra="train")
    try:
        kept, held = selection.train_test_split(
            examples, test_size=fraction, random_state=seed, stratify=[example.label for example in examples]
        )
    except ValueError as error:
        raise DataError(
            f"too few texts ({len(examples)}) to split off a stratified {split} part of {fraction:.0%}: {error}"
        ) from error
    return list(kept), list(held)


def _without_duplicates(splits: dict[Split, list[Example]], notices: list[str]) -> dict[Split, list[Example]]:
    """Drop training texts that are also evaluated on (they would flatter the figures), and repeats within train."""
    evaluated = {example.text.strip() for split in SPLITS if split != "train" for example in splits[split]}
    first: dict[str, Example] = {}
    leaked = repeated = conflicting = 0
    for example in splits["train"]:
        key = example.text.strip()
        if key in evaluated:
            leaked += 1
        elif key in first:
            repeated += 1
            conflicting += example.label != first[key].label
        else:
            first[key] = example
    if leaked:
        notices.append(f"train: dropped {leaked} text(s) that are also in validation or test")
    if repeated:
        notices.append(
            f"train: dropped {repeated} repeated text(s), {conflicting} of them with another label than the first"
        )
    if not first:
        raise DataError("every training text is also in validation or test; nothing is left to train on")
    return {**splits, "train": list(first.values())}


def _limited(examples: list[Example], limit: int, seed: int) -> list[Example]:
    if not limit or limit >= len(examples):
        return examples
    numpy = require("numpy", extra="train")
    chosen = numpy.random.default_rng(seed).permutation(len(examples))[:limit]
    return [examples[i] for i in sorted(chosen)]
