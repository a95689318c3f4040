"""From what a caller gives to a recipe, the folder of the run, and rows that are in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sentopt import recipe as recipes
from sentopt.data import memory, names, store
from sentopt.data.examples import RawData, RawRow
from sentopt.data.rows import Rows
from sentopt.errors import DataError, RecipeError
from sentopt.measure import label_sets
from sentopt.recipe import DataSection, Recipe
from sentopt.run_dir import EXPORTS, SPLITS, RunDir

StrPath: TypeAlias = "str | os.PathLike[str]"
NAMED = "overrides"
# pandas numbers the columns of a table without a header
_COLUMNS = ("data.text_column", "data.label_column", "data.pair_column")


@dataclass(frozen=True)
class Data:
    """The recipe keys that say which data it is, and its rows where they are in memory."""

    overrides: dict[str, Any]
    rows: RawData | None = None


def settings_of(overrides: Mapping[str, Any] | None, keywords: Mapping[str, Any], revision: str = "") -> dict[str, Any]:
    """`overrides`, bare keywords and the model's `revision` as recipe keys with values of plain types.

    Raises:
        RecipeError: a key is not known, or is given twice.
    """
    twice = sorted(set(overrides or {}) & set(keywords))
    if twice:
        raise RecipeError(NAMED, [f"{key}: given twice, in overrides and as a keyword; give it once" for key in twice])
    pinned = {"model.revision": revision} if revision else {}
    given = recipes.normalize({**(overrides or {}), **keywords, **pinned}, named=NAMED)
    return {key: str(value) if key in _COLUMNS and isinstance(value, int) else value for key, value in given.items()}


def data_of(
    data: object,
    settings: Mapping[str, Any],
    *,
    section: DataSection | None = None,
    labels: Sequence[str] = (),
    tuned: bool = False,
) -> Data:
    """What `data` is: the name of something, or rows.

    Args:
        data: see `sentopt.train`; None leaves the data to the recipe.
        settings: recipe keys; those of the text and label columns count, before those of `section`.
        section: the data section of the recipe.
        labels: names that whole numbers among the labels stand for, where the rows have no names of their own; for a
            model without names the numbers of its outputs, and as many names of a dataset are their names.
        tuned: a lone test split is all the data there is.

    Raises:
        DataError: it is nothing that can be read.
    """
    if data is None:
        return Data({})
    if isinstance(data, str) and not data:
        raise DataError("the data is an empty string; expected a file, a folder, the name of a dataset, or rows")
    if not memory.is_data(data):
        return Data(names.overrides(os.fspath(data), tuned=tuned))  # type: ignore[call-overload]
    section = section or DataSection()
    rows = memory.read(
        data,
        text_column=str(settings.get("data.text_column", section.text_column)),
        label_column=str(settings.get("data.label_column", section.label_column)),
        label_columns=tuple(map(str, settings.get("data.label_columns", section.label_columns))),
        pair_column=str(settings.get("data.pair_column", section.pair_column)),
        all_labelled=tuned,
    )
    if tuned:
        rows = memory.as_one_table(rows)
    declared = list(section.labels)
    if _are_numbers_of_outputs(labels) and len(rows.labels) == len(labels):
        declared = list(rows.labels)
    are_numbers = memory.has_numbers(rows) or memory.has_lists_of_numbers(rows)
    if labels and not rows.labels and not settings.get("data.labels") and are_numbers:
        rows = memory.with_labels(rows, labels)
    digest = next(iter(memory.digests(rows).values()), "sha256:").partition(":")[2]
    return Data({"run.name": f"data-{digest[:8]}", **memory.overrides(rows), "data.labels": declared}, rows)


def _are_numbers_of_outputs(labels: Sequence[str]) -> bool:
    return bool(labels) and list(labels) == [str(i) for i in range(len(labels))]


def recipe_of(recipe: StrPath | Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe that is named or given, with `overrides`.

    Raises:
        RecipeError: there is no such recipe, or a value cannot be used.
    """
    if isinstance(recipe, Recipe):
        return recipes.with_overrides(recipe, overrides, source=NAMED)
    return recipes.load(os.fspath(recipe), overrides, named=NAMED)


def recipe_and_rows(
    data: object,
    *,
    recipe: StrPath | Recipe,
    model: StrPath | None,
    revision: str,
    overrides: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
) -> tuple[Recipe, RawData | None]:
    """The recipe of a call of `sentopt.train` and its like, whose arguments these are, and rows that are in memory.

    Raises:
        RecipeError: there is no such recipe, or a key or a value cannot be used.
        DataError: the data is nothing that can be read.
    """
    given = settings_of(overrides, settings, revision)
    of_data = data_of(data, given, section=recipe_of(recipe, {}).data)
    of_model = {"model.backbone": os.fspath(model)} if model is not None else {}
    return recipe_of(recipe, {**of_data.overrides, **of_model, **given}), of_data.rows


def run_dir_of(run_dir: StrPath | None, name: str) -> RunDir:
    """The run directory that is given, else the one of that name below `exports/`."""
    return RunDir(Path(run_dir).expanduser() if run_dir is not None else EXPORTS / name)


def check_trains_nothing(settings: Mapping[str, Any]) -> None:
    """That nothing is set which a model that is fine-tuned already would not obey.

    Raises:
        RecipeError: something is.
    """
    obeyed = ("train.metric", "train.sample_texts", "train.eval_batch_size")
    ignored = [key for key in settings if key.startswith("train.") and key not in obeyed]
    ignored += [key for key in settings if key in ("model.tuned", "model.backbone")]
    if ignored:
        raise RecipeError(NAMED, [f"{key}: a model that is fine-tuned already is not trained again" for key in ignored])


def stored_rows(run_dir: RunDir, recipe: Recipe) -> RawData | None:
    """The rows of a run whose data was in memory, as they are stored; None where the recipe names its data."""
    if recipe.data.dataset != memory.MEMORY:
        return None
    labels, multi_label = store.read_labels(run_dir), store.is_multi_label(run_dir)

    def written(label: int) -> object:
        return tuple(labels[i] for i in label_sets.positions(label)) if multi_label else labels[label]

    splits = {
        split: Rows.of(RawRow(e.text, written(e.label), f"{split} row {i}") for i, e in enumerate(examples, 1))
        for split in SPLITS
        if (examples := store.read_split(run_dir, split))
    }
    return RawData(dict(splits), labels, "the stored rows of another run", multi_label=multi_label)


def check_changes_nothing_trained(before: Recipe, after: Recipe) -> None:
    """That overrides of a finished training leave alone what decides the checkpoint.

    Raises:
        RecipeError: they do not.
    """
    if recipes.identity_of_training(before) != recipes.identity_of_training(after):
        raise RecipeError(
            NAMED,
            [
                "run.seed, data (but texts without labels), model and train keys decide the checkpoint: give them to "
                "`sentopt train`"
            ],
        )
