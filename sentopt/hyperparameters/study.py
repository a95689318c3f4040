"""A search: trials that Optuna proposes and that are kept in a folder, so that the same call goes on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sentopt import backbones, model_files
from sentopt import recipe as recipes
from sentopt._optional import needs_extra
from sentopt.data import sources, store
from sentopt.data.examples import RawData
from sentopt.errors import RecipeError, RunDirError
from sentopt.files import atomic, journal
from sentopt.hyperparameters import space as spaces
from sentopt.hyperparameters import winner
from sentopt.hyperparameters.space import Dimension
from sentopt.pipeline import Pipeline, forecast, limits
from sentopt.progress import Part, Progress
from sentopt.recipe import TEST_AS_VALIDATION, Recipe
from sentopt.run_dir import RunDir
from sentopt.training import checkpoints, distributed, lengths

_STUDY, _BEST = "study.db", "best.toml"
_RANDOM = 8  # trials that are drawn at random before the sampler learns from them
_REDUCTION = 4  # of as many trials, a rung lets one go on
_BEGUN, _MOST_BEGUN = "begun", 3
_COMPARED = 2  # trials that a rung must have seen before it lets one go on


@dataclass(frozen=True)
class Tried:
    """One trial. `score` is that of the whole training; None where it was ended early, after `parts` of 20."""

    number: int
    values: dict[str, Any]
    score: float | None
    parts: int


@dataclass(frozen=True)
class SearchResult:
    """What a search has found so far.

    Attributes:
        folder: where it is kept; the same call continues it.
        recipe_file: the best recipe, for `sentopt train`; None after a dry run.
        metric: what the scores are, on the validation split.
        trials: all that have finished; the first one is the recipe that was given.
        seconds: forecast of a dry run; 0 otherwise.
    """

    folder: Path
    recipe_file: Path | None
    metric: str
    trials: tuple[Tried, ...]
    seconds: float = 0.0

    @property
    def best(self) -> Tried | None:
        """The trial with the highest score; of equal ones, the first."""
        whole = [trial for trial in self.trials if trial.score is not None]
        return max(whole, key=lambda trial: (trial.score or 0.0, -trial.number), default=None)

    def __str__(self) -> str:
        """A line for each trial that was trained to its end, the best first, and one for all others."""
        whole = [trial for trial in self.trials if trial.score is not None]
        ranked = sorted(whole, key=lambda trial: (-(trial.score or 0.0), trial.number))
        lines = [f"trial  {self.metric} on the validation split"]
        for trial in ranked:
            given = "  (the recipe as it was)" if trial.number == 0 else ""
            lines.append(f"{trial.number + 1:5}  {trial.score:.4f}  {words(trial.values)}{given}")
        return "\n".join([*lines, f"{len(self.trials) - len(whole)} further trials were ended early"])


@dataclass
class Search:
    """A search around `recipe` in `folder`. `given` are the rows of a recipe whose data is in memory."""

    recipe: Recipe
    folder: Path
    progress: Progress
    inputs: Sequence[Path] = ()
    given: RawData | None = None

    def run(self, trials: int, *, dry_run: bool = False) -> SearchResult:
        """Go on until `trials` have finished.

        Raises:
            RecipeError: the recipe trains nothing, needs a teacher, or names a variant that does not exist.
            RunDirError: the folder is in use, holds the search of another recipe, or is not sentopt's.
            MissingExtraError: Optuna is not installed.
        """
        check(self.recipe)
        with needs_extra("search"):
            import optuna
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        home = RunDir(self.folder)
        with home.locked():
            self._claim()
            prepared = RunDir(self.folder / "prepared")
            untracked, notices = limits.within_model(_untracked(self.recipe), fetch=True, progress=self.progress)
            for notice in notices:
                self.progress.say(f"note: {notice}")
            pipeline = Pipeline(untracked, prepared, self.progress, inputs=self.inputs, given=self.given)
            with prepared.locked():
                counts = pipeline.prepare()
            recipe = pipeline.recipe
            if dry_run:
                one = forecast.measure(recipe, prepared, counts, depth=None).seconds["train"]
                return SearchResult(self.folder, None, recipe.train.metric, (), one * expected_cost(trials))
            with _study(optuna, self.folder / _STUDY) as study:
                self._try_all(optuna, study, recipe, prepared, trials)
                return self._result(study, recipe)

    def _claim(self) -> None:
        """The folder is a search of this recipe from now on.

        Raises:
            RunDirError: it is the search of another one.
        """
        identity = _identity(self.recipe)
        known = journal.facts(self.folder).get("search")
        if known is None:
            if journal.facts(self.folder).get("run"):
                raise RunDirError(f"{self.folder} is a run directory; name another folder for the search")
            journal.remember(self.folder, run=True, search=identity)
            return
        known = _keys(Recipe(recipes.RunSection("defaults"))) | known  # an older sentopt knew fewer keys
        if changed := [key for key in identity if known.get(key) != identity[key]]:
            listed = "\n".join(f"  - {key}: {known.get(key)} -> {identity[key]}" for key in changed[:12])
            raise RunDirError(
                f"{self.folder} holds the search of another recipe:\n{listed}\n"
                "Name another folder with --folder NEW_FOLDER"
            )

    def _try_all(self, optuna: Any, study: Any, recipe: Recipe, prepared: RunDir, trials: int) -> None:
        from sentopt.hyperparameters import trial as training

        if len(_finished(study)) >= trials:
            return
        tokens, longest = _tokens(recipe, prepared, self.progress)
        whole = training.budget(recipe, tokens)
        cut = float(np.mean(tokens > recipe.model.max_length))
        space = spaces.of(recipe, train_texts=len(tokens), share_cut=cut, longest=longest)
        own = spaces.own_values(recipe, space, train_texts=len(tokens))
        if not study.trials:
            study.enqueue_trial(own)
            self.progress.say("searched:")
            for dimension in space:
                self.progress.say(f"  {dimension}")
        with self.progress.count("search", trials, "trials", done=len(_finished(study))) as advance:
            while (done := len(_finished(study))) < trials:
                study.sampler = _sampler(optuna, recipe.run.seed + done)
                trial = _interrupted(optuna, study, self.progress) or study.ask()
                trial.set_user_attr(_BEGUN, trial.user_attrs.get(_BEGUN, 0) + 1)
                values = {dimension.key: dimension.suggest(trial) for dimension in space}
                goes_on = partial(_is_promising, trial, is_first=done == 0)
                changed = spaces.applied(recipe, values, own)
                part = Part(f"trial {done + 1} of {trials}", self.progress)
                score = training.run(changed, prepared, training.rungs(changed, whole, tokens), goes_on, part)
                state = optuna.trial.TrialState
                study.tell(trial, score, state=state.PRUNED if score is None else state.COMPLETE)
                advance(1)
                self._tell(study, recipe, done, space)

    def _tell(self, study: Any, recipe: Recipe, number: int, space: Sequence[Dimension]) -> None:
        """Say what the newest trial gave, and write the best recipe so far."""
        result = self._result(study, recipe)
        newest, best = result.trials[number], result.best
        said = "ended early" if newest.score is None else f"{result.metric} {newest.score:.4f}"
        self.progress.say(f"trial {number + 1}: {said}, {words(newest.values)}")
        if best is not None:
            reporting = recipes.with_overrides(
                recipe, {"train.report_to": list(self.recipe.train.report_to)}, source="search"
            )
            text = winner.toml(reporting, best.values, own=result.trials[0].values, tried=result.trials, space=space)
            atomic.write_text(self.folder / _BEST, text)

    def _result(self, study: Any, recipe: Recipe) -> SearchResult:
        tried = tuple(
            Tried(i, dict(trial.params), trial.value if trial.state.name == "COMPLETE" else None, trial.last_step or 0)
            for i, trial in enumerate(_finished(study))
        )
        best = self.folder / _BEST
        return SearchResult(self.folder, best if best.is_file() else None, recipe.train.metric, tried)


def check(recipe: Recipe) -> None:
    """That the recipe can be searched.

    Raises:
        RecipeError: it trains nothing, or learns from a teacher; or torchrun has started several processes.
    """
    problems = []
    if recipe.model.tuned:
        problems.append(
            "model.tuned: a model that is fine-tuned already is not trained again: there is nothing to search"
        )
    if recipe.data.validation == TEST_AS_VALIDATION:
        problems.append(
            "data.validation: a search that chooses by the test split leaves nothing to judge its choice by"
        )
    if recipe.train.teacher:
        problems.append("train.teacher: search without the teacher, and add it to the recipe that is found")
    if distributed.world_size() > 1:
        problems.append("a search runs in one process, not under torchrun")
    if problems:
        raise RecipeError(recipe.run.name, problems)


def expected_cost(trials: int) -> float:
    """The cost of a search in trainings of the recipe, if no trial is any better than another.

    The first trial is a whole training. At a rung where n trials were compared, max(1, n / 4) of them rank high enough.
    """
    from sentopt.hyperparameters.trial import PARTS, RUNGS

    cost, arriving = 1.0, float(trials - 1)
    for rung, beyond in zip((0, *RUNGS), RUNGS, strict=False):
        cost += arriving * (beyond - rung) / PARTS
        seen = round(arriving) + 1
        arriving = min(arriving, sum(max(1, n // _REDUCTION) / n for n in range(_COMPARED + 1, seen + 1)))
    return cost


def words(values: Mapping[str, Any]) -> str:
    """Values of a trial in one line."""
    shown = ((key.partition(".")[2], value) for key, value in values.items())
    return ", ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown)


@contextlib.contextmanager
def _study(optuna: Any, path: Path) -> Iterator[Any]:
    """The study of a search, in a database that is sentopt's."""
    from sqlalchemy import URL

    for name in (path, path.with_name(f"{path.name}-journal")):
        if not journal.is_known(name):
            journal.admit(name)
    storage = optuna.storages.RDBStorage(URL.create("sqlite", database=str(path)).render_as_string())
    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=1, reduction_factor=_REDUCTION, bootstrap_count=_COMPARED
    )
    try:
        yield optuna.create_study(
            storage=storage, study_name="search", direction="maximize", pruner=pruner, load_if_exists=True
        )
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _sampler(optuna: Any, seed: int) -> Any:
    """A new one for each trial: a search that was interrupted goes on as it would have without that."""
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=_RANDOM)


def _interrupted(optuna: Any, study: Any, progress: Progress) -> Any | None:
    """The trial that was running when the search was stopped; it begins again with its values, up to three times.

    A trial that ends its process each time, as one that takes too much memory does, is given up then.
    """
    for frozen in study.trials:
        if frozen.state.name == "RUNNING":
            if frozen.user_attrs.get(_BEGUN, 0) < _MOST_BEGUN:
                return optuna.trial.Trial(study, frozen._trial_id)
            progress.say(f"a trial did not end in {_MOST_BEGUN} attempts, and is left out: {words(frozen.params)}")
            study.tell(frozen.number, state=optuna.trial.TrialState.FAIL)
    return None


def _finished(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.state.name in ("COMPLETE", "PRUNED")]


def _tokens(recipe: Recipe, prepared: RunDir, progress: Progress) -> tuple[NDArray[np.int64], int]:
    """Tokens of each training text, up to one more than the model reads at most, and that number."""
    folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
    longest = model_files.length_limit(folder) or lengths.LONGEST
    tokenizer = checkpoints.load_tokenizer(folder, recipe.model.max_length)
    encoder = checkpoints.encoder_of(tokenizer, longest, pairs=store.are_pairs(prepared))
    texts = store.read_split(prepared, "train").texts
    with progress.count("search: tokens", len(texts), "texts") as advance:
        return lengths.of_each(encoder, texts, advance=advance), longest


def _is_promising(trial: Any, rung: int, score: float, *, is_first: bool) -> bool:
    """Whether a trial goes on after a rung. The first one always does: it is the recipe as it was.

    A trial that begins again after an interruption keeps to what was decided before.
    """
    decision = f"goes on after {rung}"
    if decision not in trial.user_attrs:
        trial.report(score, rung)
        trial.set_user_attr(decision, not trial.should_prune() or is_first)
    return bool(trial.user_attrs[decision])


def _untracked(recipe: Recipe) -> Recipe:
    """Trials report to no trackers."""
    return recipes.with_overrides(recipe, {"train.report_to": []}, source="search")


def _keys(recipe: Recipe) -> dict[str, Any]:
    """Those that decide a training on labels alone."""
    keys = recipes.values_of(recipe, ("data", "model", "train"))
    return {key: value for key, value in keys.items() if not key.startswith("data.unlabelled")}


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What a search is of: the recipe's keys that decide a training, data and model by content."""
    return {
        **_keys(_untracked(recipe)),
        "run.seed": recipe.run.seed,
        "the data": sources.identify(recipe.data),
        "the pretrained model": backbones.identify(recipe.model.backbone, recipe.model.revision),
    }
