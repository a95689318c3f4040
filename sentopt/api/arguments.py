"""From what a caller gives to a recipe, the folder of the run, and rows that are in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from sentopt import recipe as recipes
from sentopt.data import memory, names
from sentopt.data.examples import RawData
from sentopt.errors import RecipeError
from sentopt.recipe import Recipe
from sentopt.run_dir import EXPORTS, RunDir

StrPath: TypeAlias = "str | os.PathLike[str]"
NAMED = "overrides"


@dataclass(frozen=True)
class Data:
    """The recipe keys that say which data it is, and its rows where they are in memory."""

    overrides: dict[str, Any]
    rows: RawData | None = None


def settings_of(overrides: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """`overrides` and bare keywords as recipe keys with values of plain types.

    Raises:
        RecipeError: a key is not known, or is given twice.
    """
    twice = sorted(set(overrides or {}) & set(keywords))
    if twice:
        raise RecipeError(NAMED, [f"{key}: given twice, in overrides and as a keyword; give it once" for key in twice])
    return recipes.normalize({**(overrides or {}), **keywords}, named=NAMED)


def data_of(data: object, settings: Mapping[str, Any], *, labels: Sequence[str] = (), tuned: bool = False) -> Data:
    """What `data` is: the name of something, or rows.

    Args:
        data: see `sentopt.train`; None leaves the data to the recipe.
        settings: recipe keys; those of the text and label columns count.
        labels: names that whole numbers among the labels stand for, where the rows have no names of their own.
        tuned: a lone test split is all the data there is.

    Raises:
        DataError: it is nothing that can be read.
    """
    if data is None:
        return Data({})
    if not memory.is_data(data):
        return Data(names.overrides(os.fspath(data), tuned=tuned))  # type: ignore[call-overload]
    columns = {
        name: str(settings[f"data.{name}"]) for name in ("text_column", "label_column") if f"data.{name}" in settings
    }
    rows = memory.read(data, **columns)
    if tuned:
        rows = memory.as_one_table(rows)
    if labels and not rows.labels and memory.has_numbers(rows):
        rows = memory.with_labels(rows, labels)
    digest = next(iter(memory.digests(rows).values()), "sha256:").partition(":")[2]
    return Data({"run.name": f"data-{digest[:8]}", **memory.overrides(rows)}, rows)


def recipe_of(recipe: StrPath | Recipe, overrides: Mapping[str, Any]) -> Recipe:
    """The recipe that is named or given, with `overrides`.

    Raises:
        RecipeError: there is no such recipe, or a value cannot be used.
    """
    if isinstance(recipe, Recipe):
        return recipes.with_overrides(recipe, overrides, source=NAMED)
    return recipes.load(os.fspath(recipe), overrides, named=NAMED)


def run_dir_of(run_dir: StrPath | None, name: str) -> RunDir:
    """The run directory that is given, else the one of that name below `exports/`."""
    return RunDir(Path(run_dir).expanduser() if run_dir is not None else EXPORTS / name)


def check_changes_nothing_trained(before: Recipe, after: Recipe) -> None:
    """That overrides of a finished training leave alone what decides the checkpoint.

    Raises:
        RecipeError: they do not.
    """
    if recipes.identity_of_training(before) != recipes.identity_of_training(after):
        raise RecipeError(
            NAMED,
            [
                "run.seed, data (but data.unlabelled), model and train keys decide the checkpoint: give them to "
                "`sentopt train`"
            ],
        )
