"""What a user should know of labelled texts before training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentopt import recipe as recipes
from sentopt._optional import needs_extra
from sentopt.api import arguments
from sentopt.api.arguments import StrPath
from sentopt.data import sources
from sentopt.files import outputs
from sentopt.recipe import Recipe
from sentopt.runtime.arguments import path
from sentopt.training.caller import kept_for_programs
from sentopt.wording import for_python

if TYPE_CHECKING:
    from sentopt.audit.data_check import DataCheck


@for_python
def check_data(
    data: object = None,
    *,
    recipe: StrPath | Recipe = recipes.DEFAULT_RECIPE,
    model: StrPath | None = None,
    revision: str = "",
    output: StrPath | None = None,
    overwrite: bool = False,
    fetch: bool = False,
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> DataCheck:
    """What is doubtful in labelled texts: above all labels that are likely wrong. Nothing is trained or stored.

    A label is in doubt where models that have not seen the text find it improbable: confident learning, Northcutt et
    al. 2021 (arXiv:1911.00068).

    Args:
        data: see `sentopt.train`.
        recipe: see `sentopt.train`; the backbone, its `max_length`, and the seed of the folds count.
        model: the pretrained model that the texts are for: a local folder, `minilm`, or a hub id with `revision`.
        revision: commit hash of a hub id.
        output: CSV file for the rows in doubt. Fill in its column `corrected`, and give it to `sentopt.train` as
            `corrections`.
        overwrite: replace a file that is there already.
        fetch: download the pretrained model if it is not on this machine.
        overrides: recipe keys with their values, such as `{"data.text_column": "review"}`.
        settings: recipe keys without their section: `text_column="review"`.

    Returns:
        The findings; `print` shows the most important ones.

    Raises:
        RecipeError: a key or a value cannot be used.
        DataError: the data cannot be read, or rows have no label or one that cannot be used.
        BackboneError: the pretrained model is to be fetched, and cannot be had or used.
        OutputError: `output` is there already, or is one of the files of the data.
        MissingExtraError: the packages of `sentopt[clean]` are not installed.
    """
    made, rows = arguments.recipe_and_rows(
        data, recipe=recipe, model=model, revision=revision, overrides=overrides, settings=settings
    )
    target = path("output", output).expanduser() if output is not None else None
    inputs = [*sources.local_files(made.data), *([Path(made.data.corrections)] if made.data.corrections else [])]
    if target:
        outputs.check(target, overwrite=overwrite, inputs=inputs)
    with kept_for_programs():
        with needs_extra("train"):
            from sentopt.audit import data_check, doubts
        found = data_check.run(made, given=rows, fetch=fetch)
    if target:
        outputs.write(target, doubts.as_csv(found.doubts), overwrite=overwrite, inputs=inputs)
    return found
