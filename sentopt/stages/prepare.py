"""Stage `prepare`: from a dataset to three clean splits in the run directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sentopt import backbones, model_files
from sentopt.data import label_lists, set_splits, sources, store
from sentopt.data.examples import RawData
from sentopt.data.rows import Examples
from sentopt.data.splits import CleanData, clean
from sentopt.errors import DataError, RecipeError
from sentopt.files import atomic
from sentopt.measure import label_sets
from sentopt.recipe import Recipe
from sentopt.results import PrepareResult
from sentopt.run_dir import AVERAGE_FILE, SPLITS, RunDir
from sentopt.runtime.names import fault_of_label, fault_of_name
from sentopt.runtime.strict_json import shown
from sentopt.variants import VARIANTS


def run(recipe: Recipe, run_dir: RunDir, *, given: RawData | None = None) -> PrepareResult:
    """Read, clean and store the dataset; for a tuned model, with the labels in its order.

    `given` are the rows of data in memory.

    Raises:
        DataError: the data cannot be read or learned from, or has labels that a tuned model does not know.
        BackboneError: the tuned model cannot be had, or does not say what its labels are.
    """
    with atomic.scratch_folder(run_dir.reading) as scratch:
        return _prepared(recipe, run_dir, given, scratch)


def _prepared(recipe: Recipe, run_dir: RunDir, given: RawData | None, scratch: Path) -> PrepareResult:
    raw = sources.load(recipe.data, given, scratch=scratch)
    cleaned = set_splits.clean if label_lists.are_sets(raw, recipe.data) else clean
    data = cleaned(raw, recipe.data, seed=recipe.run.seed, tuned=recipe.model.tuned and not _is_average(recipe))
    data = replace(data, notices=(*data.notices, *_check_task(recipe, data)))
    if recipe.model.tuned:
        folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
        model_files.check_problem(folder, multi_label=data.multi_label)
        names = model_files.label_names(folder)
        data = in_order_of_model(data, named_by_user(names, recipe.data.labels), counted=given is not None)
    _check_names(data.labels)
    store.write(run_dir, data, columns=_text_columns(recipe))
    counts: dict[str, dict[str, int]] = {split: _counts(data, data.splits[split]) for split in SPLITS}
    texts = {str(split): len(data.splits[split]) for split in SPLITS} if data.multi_label else {}
    return PrepareResult(raw.description, sources.identify(recipe.data), data.labels, counts, data.notices, texts)


def _counts(data: CleanData, examples: Examples) -> dict[str, int]:
    """How many texts have each label; of single labels, those that occur."""
    if not data.multi_label:
        return {data.labels[label]: count for label, count in sorted(examples.counts().items())}
    counts = label_sets.counts(examples.labels, len(data.labels)).tolist()
    return dict(zip(data.labels, counts, strict=True))


def _check_task(recipe: Recipe, data: CleanData) -> tuple[str, ...]:
    """What of a recipe is for texts with one label only, and left out here.

    Raises:
        RecipeError: it cannot be left out.
    """
    if not data.multi_label:
        return ()
    if recipe.train.teacher:
        raise RecipeError(
            "train.teacher", ["texts have any number of labels here, and a teacher's answers are learnt for one each"]
        )
    if staged := [name for name in recipe.export.variants if name in VARIANTS and VARIANTS[name].stages]:
        raise RecipeError(
            "export.variants",
            [f"{', '.join(staged)}: where texts have any number of labels, there is no student and no cascade"],
        )
    if recipe.data.unlabelled:
        return ("data.unlabelled is not used: where texts have any number of labels, only labelled texts are evidence",)
    return ()


def _check_names(labels: Sequence[str]) -> None:
    """Refuse labels now that no bundle could carry after training."""
    for label in labels:
        if fault := fault_of_label(label):
            raise DataError(f"the label {shown(label)} cannot be used: {fault}; rename it in the data")


def _text_columns(recipe: Recipe) -> tuple[str, ...]:
    """The columns of the texts, which are what a bundle calls the two texts of a pair.

    Raises:
        DataError: no bundle could carry their names.
    """
    columns = sources.text_columns(recipe.data)
    for column in columns if len(columns) > 1 else ():
        if fault := fault_of_name(column):
            raise DataError(f"the column {shown(column)} cannot be used: {fault}; rename it in the data")
    return columns


def _is_average(recipe: Recipe) -> bool:
    """Whether the model is the mean of other runs: it has their splits, for it was trained on those."""
    return (Path(recipe.model.backbone).expanduser() / AVERAGE_FILE).is_file()


def named_by_user(names: list[str], given: Sequence[str]) -> list[str]:
    """The names of the model's outputs; where it has none, `data.labels` gives them, in the order of the outputs."""
    return list(given) if model_files.are_unnamed(names) and len(given) == len(names) else names


def in_order_of_model(data: CleanData, names: Sequence[str], *, counted: bool = False) -> CleanData:
    """Labels are matched by name, whatever the case; nameless ones (`LABEL_0`) by position, with a notice.

    Numbers, where there are fewer of them than nameless outputs, are positions of the outputs if one of them is 0 or
    the caller `counted` from 0.

    Spellings that mean one label of the model are merged. The data may lack labels that the model has.

    Raises:
        DataError: labels that the model does not have, or as many names as outputs are missing.
    """
    matches = [model_files.output_of(label, names) for label in data.labels]
    if None in matches and model_files.are_unnamed(names):
        if not (_are_positions(data.labels, names) and (counted or "0" in data.labels)):
            return _by_position(data, names)
        matches = [int(label) for label in data.labels]
    numbers = [number for number in matches if number is not None]
    if len(numbers) < len(matches):
        raise DataError(_unknown_labels(data.labels, matches, names))
    spellings: dict[int, list[str]] = {}
    for label, number in zip(data.labels, numbers, strict=True):
        spellings.setdefault(number, []).append(label)
    merged = tuple(
        f"the labels {', '.join(map(repr, spelled))} of the data are the model's {names[number]!r}"
        for number, spelled in sorted(spellings.items())
        if len(spelled) > 1
    )
    shown = [spellings[i][0] if len(spellings.get(i, ())) == 1 else name for i, name in enumerate(names)]
    splits = {split: _moved(Examples.of(examples), numbers, data) for split, examples in data.splits.items()}
    return replace(data, splits=splits, labels=tuple(shown), notices=(*data.notices, *merged))


def _moved(examples: Examples, numbers: Sequence[int], data: CleanData) -> Examples:
    """The same texts with label i at position `numbers[i]`."""
    if data.multi_label:
        return Examples(examples.texts, label_sets.moved(examples.labels, numbers))
    return examples.relabelled(dict(enumerate(numbers)))


def _are_positions(labels: Sequence[str], names: Sequence[str]) -> bool:
    """Whether labels are numbers of outputs, of which some have no text."""
    return len(labels) < len(names) and all(label.isdecimal() and int(label) < len(names) for label in labels)


def _by_position(data: CleanData, names: Sequence[str]) -> CleanData:
    if len(names) != len(data.labels):
        raise DataError(
            f"the model has {len(names)} outputs without names, the data has {len(data.labels)} labels: "
            f"{', '.join(data.labels)}. Name them all in the order of the model's outputs, for example with "
            f"{_setting(_example_names(data.labels, len(names)))}"
        )
    told = ", ".join(f"{name} is {label}" for name, label in zip(names, data.labels, strict=True))
    notice = (
        f"the model's labels have no names; it is assumed that {told}. "
        f"For another order of the model's outputs: {_setting(tuple(reversed(data.labels)))}"
    )
    return replace(data, notices=(*data.notices, notice))


def _unknown_labels(labels: Sequence[str], found: Sequence[int | None], names: Sequence[str]) -> str:
    unknown = [label for label, number in zip(labels, found, strict=True) if number is None]
    if all(label.lstrip("-").isdigit() for label in labels):
        return (
            f"the labels of the data are numbers ({', '.join(labels)}), the model knows {', '.join(names)}. Where the "
            f"numbers count the model's outputs from 0, say so with {_setting(names)}"
        )
    hints = model_files.unknown_labels(unknown, names)
    return (
        f"the data has the label(s) {', '.join(unknown)}, the model knows {', '.join(names)}: {hints}. "
        "Name the labels in the data as the model does, or take a model that knows them"
    )


def _example_names(labels: Sequence[str], count: int) -> tuple[str, ...]:
    missing = [f"name {i}" for i in range(len(labels), count)]
    return tuple([*labels, *missing][:count])


def _setting(labels: Sequence[str]) -> str:
    return f"--set 'data.labels={json.dumps(list(labels), ensure_ascii=False, separators=(',', ':'))}'"
