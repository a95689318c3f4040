"""Runs that are made or found: train, optimize a tuned model, average, open."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentopt import backbones, model_files
from sentopt import progress as progress_module
from sentopt import recipe as recipes
from sentopt._optional import needs_extra
from sentopt.api import arguments
from sentopt.api.arguments import NAMED, Data, StrPath
from sentopt.api.run import Run
from sentopt.data import memory, names
from sentopt.errors import DataError, RunDirError
from sentopt.pipeline import Depth, Pipeline, ranks
from sentopt.progress import Choice
from sentopt.recipe import Recipe
from sentopt.run_dir import EXPORTS, RunDir, latest
from sentopt.runtime.arguments import path, whole_number
from sentopt.runtime.description import DESCRIPTION_FILE
from sentopt.training import distributed
from sentopt.training.caller import kept_for_programs
from sentopt.wording import for_python

if TYPE_CHECKING:
    from sentopt.hyperparameters.study import SearchResult
    from sentopt.training.soup import Soup


@for_python
def train(
    data: object = None,
    *,
    recipe: StrPath | Recipe = recipes.DEFAULT_RECIPE,
    model: StrPath | None = None,
    revision: str = "",
    run_dir: StrPath | None = None,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
    progress: Choice = True,
    dry_run: bool = False,
    until: Depth | None = None,
    **settings: Any,
) -> Run:
    """Fine-tune a pretrained model on labelled texts. Stages that are unchanged since an earlier call are skipped.

    Under torchrun every process calls it; rank 0 writes the run, and the others return when it is written.

    Args:
        data: a table file or a pattern of them, a folder with `train.*` (`validation.*`, `test.*`), the name of a
            known dataset, a `datasets.DatasetDict` or `Dataset`, a pandas or polars DataFrame, a pyarrow Table,
            `(texts, labels)`, a list of rows, or a dict of these by split. None takes the data of the recipe. Splits
            that are missing are drawn from `train`. Where texts have any number of labels, these are lists, or
            columns of 0 and 1 that `label_columns` names.
        recipe: name of a shipped recipe, path of a TOML file, or a `Recipe`.
        model: the pretrained model: a local folder, `minilm`, or a hub id with `revision`.
        revision: commit hash of a hub id.
        run_dir: where the run is kept; by default a folder below `exports/`, named after the data or the recipe.
        overrides: recipe keys with their values, such as `{"train.epochs": 2}`.
        force: redo stages that are unchanged, and replace a checkpoint that was trained otherwise.
        progress: True for bars or lines on stderr, False for none, or a function that receives lines.
        dry_run: stop when the data is prepared, and say what it can decide and what the run will take.
        until: the benchmark that will follow, for the forecast of time and memory. A training alone, None, writes a
            report.
        settings: recipe keys without their section, or as `transformers.TrainingArguments` spells them: `epochs=2`,
            `max_length=256`, `text_column="review"`. `teacher=` takes a `Run`, too, or a list of them.

    Returns:
        The run. `optimize()` makes the fastest verified classifier of it.

    Raises:
        RecipeError: a key or a value cannot be used.
        DataError: the data cannot be read or learned from.
        BackboneError: the pretrained model cannot be had or used.
        RunDirError: the run directory is in use, is not sentopt's, or holds another run.
        MissingExtraError: the packages of `sentopt[train]` are not installed.
        TrainingInterrupted: a signal stopped the training; the same call continues it.
    """
    made, rows = arguments.recipe_and_rows(
        data, recipe=recipe, model=model, revision=revision, overrides=overrides, settings=settings
    )
    inputs = [Path(recipe)] if not isinstance(recipe, Recipe) and Path(recipe).is_file() else []
    target = arguments.run_dir_of(run_dir, made.run.name)
    pipeline = Pipeline(made, target, progress_module.of(progress), force and not dry_run, inputs, rows)
    return _train(pipeline, until, dry_run=dry_run)


@for_python
def optimize(
    model: object,
    test: object = None,
    *,
    tokenizer: object = None,
    revision: str = "",
    run_dir: StrPath | None = None,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
    progress: Choice = True,
    depth: Depth = "quick",
    **settings: Any,
) -> Run:
    """The fastest verified classifier of a model that is tuned already. The model is neither trained nor changed.

    Under torchrun rank 0 alone does it; the other ranks return before it is done.

    Args:
        model: a `transformers.Trainer`, `(model, tokenizer)`, a model with `tokenizer=`, the folder of a tuned model,
            or a hub id with `revision`.
        test: labelled texts to verify it on, as `train` takes them, of which the model has seen none; a small part of
            them calibrates INT8. Whole numbers among the labels are positions of the model's outputs.
        tokenizer: the tokenizer of a model in memory.
        revision: commit hash of a hub id.
        run_dir: where the run is kept; by default a folder below `exports/`, named after the model.
        overrides: recipe keys with their values, such as `{"verify.margin": 0.5}`.
        force: redo stages that are unchanged.
        progress: True for bars or lines on stderr, False for none, or a function that receives lines.
        depth: "quick" measures what the selection needs, "full" also a grid of batches and lengths.
        settings: recipe keys without their section, such as `text_column="review"`, `margin=0.5`.

    Returns:
        The run, with its verdicts and, where a variant passed, a bundle.

    Raises:
        BackboneError: the model cannot be used.
        DataError: there are no labelled texts, or they have labels that the model does not know.
        RecipeError: a key or a value cannot be used.
        RunDirError: the run directory is in use, is not sentopt's, or holds another run.
        MissingExtraError: the packages of `sentopt[export]` are not installed.
    """
    reports = progress_module.of(progress)
    run = take_over(
        model,
        test,
        tokenizer=tokenizer,
        revision=revision,
        run_dir=run_dir,
        overrides=overrides,
        force=force,
        progress=reports,
        **settings,
    )
    return run.optimize(depth=depth, force=force, progress=reports)


@for_python
def take_over(
    model: object,
    test: object,
    *,
    tokenizer: object = None,
    revision: str = "",
    run_dir: StrPath | None = None,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
    progress: Choice = True,
    **settings: Any,
) -> Run:
    """The run of a model that is tuned already, up to its answers on the test split; see `optimize`."""
    if test is None:
        raise DataError("a tuned model is verified on data: give labelled texts that it was not tuned on with test=")
    given = arguments.settings_of(overrides, settings, revision)
    arguments.check_trains_nothing(given)
    if not isinstance(model, str | os.PathLike):
        return _take_over_live(model, tokenizer, test, given, run_dir, force, progress)
    stored = os.fspath(model)
    of_data = arguments.data_of(test, given, labels=_label_names(stored, given, test), tuned=True)
    name = names.run_name(Path(stored).name)
    return _take_over(stored, name, of_data, given, arguments.run_dir_of(run_dir, name), force, progress)


@for_python
def open(run_dir: StrPath) -> Run:
    """A run that was made earlier, here or on another machine.

    Raises:
        RunDirError: there is none in `run_dir`.
    """
    folder = RunDir(path("run_dir", run_dir).expanduser())
    if (folder.root / DESCRIPTION_FILE).is_file():
        raise RunDirError(
            f"{folder.root} is a bundle, not a run: load it with sentopt.Classifier.load({str(folder.root)!r})"
        )
    if not folder.recipe.is_file() or not folder.manifest.is_file():
        raise RunDirError(
            f"{folder.root} holds no run of sentopt's: start one with `sentopt train --run-dir NEW_FOLDER`"
        )
    return Run(folder, recipes.load(str(folder.recipe)))


@for_python
def find(recipe: str = "", *, exports: StrPath = EXPORTS) -> Run:
    """The run of a recipe below `exports/`, or the newest run there.

    Raises:
        RunDirError: there is none.
    """
    if recipe:
        return open(Path(exports) / recipes.load(recipe).run.name)
    return open(latest(Path(exports)).root)


@for_python
def average(
    runs: Sequence[StrPath | Run], *, run_dir: StrPath | None = None, progress: Choice = True
) -> tuple[Run, Soup]:
    """One run from several that started from the same weights: the mean of their weights, evaluated like a training.

    Returns:
        The run, and the score of each of `runs` and of the average on the validation split.

    Raises:
        RunDirError: there are fewer than two runs, they had other data, or `run_dir` is there already.
        BackboneError: the models differ in more than their weights, or their weights had no common start.
    """
    members = [run.run_dir if isinstance(run, Run) else RunDir(Path(run)) for run in runs]
    target = arguments.run_dir_of(run_dir, "average")
    with kept_for_programs():
        with needs_extra("train"):
            from sentopt.training import soup
        scores = soup.average(members, target)
        recipe = soup.recipe_of(members, target, name=names.run_name(target.root.name))
    pipeline = Pipeline(recipe, target, progress_module.of(progress), given=arguments.stored_rows(members[0], recipe))
    with kept_for_programs(), target.locked():
        pipeline.prepare()
        soup.check_same_data([members[0], target])
    return _train(pipeline, None), scores


@for_python
def search(
    data: object = None,
    *,
    recipe: StrPath | Recipe = recipes.DEFAULT_RECIPE,
    model: StrPath | None = None,
    revision: str = "",
    trials: int = 20,
    folder: StrPath | None = None,
    overrides: Mapping[str, Any] | None = None,
    progress: Choice = True,
    dry_run: bool = False,
    **settings: Any,
) -> SearchResult:
    """Search hyperparameters around those of a recipe. Validation texts decide; the test split is not looked at.

    Each trial is a training with other values of the keys that make sense for the recipe: learning rate, epochs, batch
    size, warm-up, dropout, adversarial length, average of the weights, and longer texts where many are cut. The first
    one is the recipe as it is, and a trial that is not among the best is ended early. What has finished is kept: the
    same call continues an interrupted search, and one with more `trials` goes further.

    Args:
        data: as `train` takes it.
        recipe: as `train` takes it.
        model: as `train` takes it.
        revision: commit hash of a hub id.
        trials: how many trainings, with those of earlier calls.
        folder: where the search is kept; by default `exports/search-NAME`.
        overrides: recipe keys with their values, for all trials.
        progress: True for bars or lines on stderr, False for none, or a function that receives lines.
        dry_run: prepare the data, and only forecast the time.
        settings: recipe keys without their section.

    Returns:
        The trials, and the file of the best recipe, which `train` takes.

    Raises:
        RecipeError: a key or a value cannot be used, or the recipe cannot be searched.
        DataError: the data cannot be read or learned from.
        BackboneError: the pretrained model cannot be had or used.
        RunDirError: the folder is in use, is not sentopt's, or holds the search of another recipe.
        MissingExtraError: the packages of `sentopt[search]` are not installed.
    """
    made, rows = arguments.recipe_and_rows(
        data, recipe=recipe, model=model, revision=revision, overrides=overrides, settings=settings
    )
    inputs = [Path(recipe)] if not isinstance(recipe, Recipe) and Path(recipe).is_file() else []
    target = Path(folder).expanduser() if folder is not None else EXPORTS / f"search-{made.run.name}"
    with kept_for_programs():
        with needs_extra("search"):
            from sentopt.hyperparameters.study import Search
        return Search(made, target, progress_module.of(progress), inputs, rows).run(
            whole_number("trials", trials), dry_run=dry_run
        )


def _train(pipeline: Pipeline, until: Depth | None, *, dry_run: bool = False) -> Run:
    """Train in rank 0, take part in the other ranks, which return when the run is written."""
    with kept_for_programs():
        if distributed.is_rank_zero():
            with ranks.leading(), pipeline.run_dir.locked():
                pipeline.forecast(until)
                if not dry_run:
                    pipeline.train()
                if not (dry_run or until):  # else what follows writes the report
                    pipeline.report()
        else:
            with ranks.following():
                pipeline.join_training()
    return Run(pipeline.run_dir, pipeline.recipe)


def _take_over(
    model: str,
    name: str,
    data: Data,
    settings: Mapping[str, Any],
    target: RunDir,
    force: bool,
    progress: Choice,
) -> Run:
    """The run of a tuned model, its texts cut at as many tokens as the model was made for."""
    fixed = {"run.name": name, "model.backbone": model, "model.tuned": True, "train.calibrate": False}
    recipe = recipes.resolve({}, {**data.overrides, **fixed, **settings}, source=NAMED, named=NAMED)
    if "model.max_length" not in settings and distributed.is_rank_zero():
        folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
        longest = {"model.max_length": backbones.longest_input(folder)}
        recipe = recipes.with_overrides(recipe, longest, source=NAMED)
    return _train(Pipeline(recipe, target, progress_module.of(progress), force, (), data.rows), "quick")


def _take_over_live(
    model: object,
    tokenizer: object,
    test: object,
    settings: Mapping[str, Any],
    run_dir: StrPath | None,
    force: bool,
    progress: Choice,
) -> Run:
    with kept_for_programs():
        with needs_extra("train"):
            from sentopt.training import live
        held = live.of(model, tokenizer)
        data = arguments.data_of(test, settings, labels=live.label_names(held), tuned=True)
        target = arguments.run_dir_of(run_dir, f"model-{held.digest[:8]}")
        folder = target.live(held.digest[:12])
        if distributed.is_rank_zero():
            with target.locked():
                live.save(held, target)
    run = _take_over(str(folder), names.run_name(target.root.name), data, settings, target, force, progress)
    if distributed.is_rank_zero():
        with kept_for_programs(), target.locked():
            live.record(held, target)
    return run


def _label_names(model: str, settings: Mapping[str, Any], test: object) -> list[str]:
    """The names of a stored model's outputs, for numbers in rows of memory; their numbers where they have none."""
    if not memory.is_data(test):
        return []
    folder = backbones.resolve(model, str(settings.get("model.revision", "")))
    model_files.check(folder, tuned=True)
    return model_files.names_or_numbers(model_files.label_names(folder))
