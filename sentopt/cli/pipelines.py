"""From a verb's options to the pipeline of a run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentopt.data import names as data_names
from sentopt.errors import RecipeError, RunDirError

if TYPE_CHECKING:
    from sentopt.pipeline import Pipeline
    from sentopt.recipe import Recipe
    from sentopt.run_dir import RunDir


def of_recipe(arguments: argparse.Namespace) -> Pipeline:
    """The run of a recipe, with the verb's options laid over it."""
    from sentopt import recipe as recipes_module
    from sentopt.run_dir import EXPORTS, RunDir

    if arguments.recipe and arguments.recipe_option and arguments.recipe != arguments.recipe_option:
        raise RecipeError("command line", [f"two recipes are named: {arguments.recipe} and {arguments.recipe_option}"])
    name = arguments.recipe or arguments.recipe_option or recipes_module.DEFAULT_RECIPE
    recipe = recipes_module.load(
        name,
        {
            **data_names.overrides(arguments.data),
            **_model_overrides(arguments.model),
            **recipes_module.parse_settings(arguments.set),
        },
    )
    root = Path(arguments.run_dir) if arguments.run_dir else EXPORTS / recipe.run.name
    return of(recipe, RunDir(root), arguments, inputs=[Path(name)] if Path(name).is_file() else [])


def of_tuned_model(arguments: argparse.Namespace) -> Pipeline:
    """The run of a classifier that was tuned elsewhere, cut at as many tokens as it was made for."""
    from sentopt import backbones
    from sentopt import recipe as recipes_module
    from sentopt.run_dir import EXPORTS, RunDir

    if not arguments.data:
        raise RecipeError("--model", ["a tuned model is verified on data: name labelled texts with --data"])
    if arguments.recipe_option:
        raise RecipeError("--recipe", ["a recipe says how to train; --model names a model that is tuned already"])
    settings = recipes_module.parse_settings(arguments.set)
    options = {
        **data_names.overrides(arguments.data),
        **_model_overrides(arguments.model),
        "run.name": data_names.run_name(Path(arguments.model).name),
        "model.tuned": True,
        "train.calibrate": False,
        **settings,
    }
    recipe = recipes_module.resolve({}, options, source="command line")
    if "model.max_length" not in settings:
        folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
        longest = {"model.max_length": backbones.longest_input(folder)}
        recipe = recipes_module.with_overrides(recipe, longest, source="command line")
    root = Path(arguments.run_dir) if arguments.run_dir else EXPORTS / recipe.run.name
    return of(recipe, RunDir(root), arguments)


def of_existing_run(arguments: argparse.Namespace) -> Pipeline:
    """The run that `train` left: --run-dir, else the recipe's, else the newest below exports/."""
    from sentopt import recipe as recipes_module
    from sentopt.run_dir import EXPORTS, RunDir, latest

    if arguments.run_dir:
        run_dir = RunDir(Path(arguments.run_dir))
    elif arguments.recipe_option:
        run_dir = RunDir(EXPORTS / recipes_module.load(arguments.recipe_option).run.name)
    else:
        run_dir = latest()
        print(f"run: {run_dir.root}", file=sys.stderr)
    if not run_dir.recipe.is_file() or not run_dir.manifest.is_file():
        raise RunDirError(
            f"{run_dir.root} holds no run of sentopt's: start one with `sentopt train --run-dir NEW_FOLDER`"
        )
    saved = recipes_module.load(str(run_dir.recipe))
    recipe = recipes_module.with_overrides(
        saved, recipes_module.parse_settings(getattr(arguments, "set", [])), source="--set"
    )
    if (recipe.run.seed, replace(recipe.data, unlabelled=""), recipe.model, recipe.train) != (
        saved.run.seed,
        replace(saved.data, unlabelled=""),
        saved.model,
        saved.train,
    ):
        raise RecipeError(
            "--set",
            [
                "run.seed, data (but data.unlabelled), model and train keys decide the checkpoint: "
                "give them to `sentopt train` or `sentopt run`"
            ],
        )
    return of(recipe, run_dir, arguments)


def of(recipe: Recipe, run_dir: RunDir, arguments: argparse.Namespace, *, inputs: Sequence[Path] = ()) -> Pipeline:
    """The pipeline that runs `recipe` in `run_dir`, reads `inputs` besides, and says on stderr what it does."""
    from sentopt.pipeline import Pipeline

    return Pipeline(
        recipe,
        run_dir,
        say=lambda line: print(line, file=sys.stderr),
        force=getattr(arguments, "force", False),
        inputs=inputs,
    )


def _model_overrides(model: str | None) -> dict[str, Any]:
    return {"model.backbone": model} if model else {}
