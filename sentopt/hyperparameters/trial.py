"""One trial: the training of a recipe, evaluated on its validation split, ended early where it does not look promising.

A trial trains as `sentopt train` does, with the same seeds and schedule, so that the recipe that wins gives the model
that was judged. It saves nothing, and never reads the test split.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import TrainerCallback

from sentopt import backbones
from sentopt.data import store
from sentopt.files import atomic
from sentopt.progress import Progress
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir
from sentopt.training import checkpoints, schedule
from sentopt.training.callbacks import TellProgress
from sentopt.training.fit import evaluate_while_training, make_deterministic
from sentopt.training.sampling import EpochSampler

PARTS = 20
"""The cost of the recipe's own training is divided into so many parts."""
RUNGS = (1, 4, 20)
"""Parts after which a trial is compared with others: each lets about one of four go on."""

_DROPOUT = 1.4
"""A step with dropout in the encoder takes so many times as long (MiniLM on a CPU, batches of 64 and 128)."""

Promising = Callable[[int, float], bool]


def run(recipe: Recipe, prepared: RunDir, at: dict[int, int], promising: Promising, progress: Progress) -> float | None:
    """The best validation score of a training at the points where the recipe evaluates; None where it was ended early.

    Args:
        recipe: of the trial.
        prepared: the run directory with the splits.
        at: the steps of `rungs`, with the rung.
        promising: told of a rung and the score there, whether the trial goes on.
        progress: counts steps.
    """
    make_deterministic(recipe.run.seed)
    folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
    tokenizer = checkpoints.load_tokenizer(folder, recipe.model.max_length, pairs=store.are_pairs(prepared))
    train, validation = store.read_split(prepared, "train"), store.read_split(prepared, "validation")
    labels, multi_label = store.read_labels(prepared), store.is_multi_label(prepared)
    model = checkpoints.load_untuned(folder, labels, tokenizer, recipe.train, multi_label=multi_label)
    judge = Judge(recipe.train.metric, at, promising)
    told = TellProgress(recipe.train.metric, progress)
    with atomic.scratch_folder(prepared.root / "trial") as nowhere:
        try:
            evaluate_while_training(recipe, nowhere, model, tokenizer, train, validation, callbacks=(judge, told))
        except torch.OutOfMemoryError:
            progress.say("not enough memory on the GPU for these values")
            return None
        finally:
            told.close()
    return None if judge.is_ended else judge.best


def budget(original: Recipe, tokens: npt.NDArray[np.int64]) -> float:
    """What the training of the recipe that is searched around costs; `tokens` are those of `rungs`."""
    return float(_costs_of_steps(original, tokens).sum())


def rungs(recipe: Recipe, whole: float, tokens: npt.NDArray[np.int64]) -> dict[int, int]:
    """The optimizer steps of a trial that cost as much as each rung's share of the original's training, with the rung.

    A step costs in proportion to its tokens with their padding, twice as much with `train.adversarial`, and more with
    dropout in the encoder. The first one is not counted: it has the longest texts, and can cost as much as all others
    before the first rung, which would compare models that have hardly begun to learn. Rungs after the end are left out.

    Args:
        recipe: of the trial.
        whole: the `budget` of the search.
        tokens: of each training text, however long, shape (texts,).
    """
    spent = _costs_of_steps(recipe, tokens).cumsum()
    shares = np.asarray(RUNGS) / PARTS
    steps = np.searchsorted(spent, shares * whole * (1 - 1e-9)) + 1  # the sums are rounded
    return {int(step): rung for step, rung in zip(steps, RUNGS, strict=True) if step < len(spent)}


def _costs_of_steps(recipe: Recipe, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Of each optimizer step, in order, shape (steps,)."""
    train = recipe.train
    passes = (2.0 if train.adversarial else 1.0) * (_DROPOUT if train.encoder_dropout else 1.0)
    batches = _padded_batches(recipe, np.minimum(tokens, recipe.model.max_length))
    steps = itertools.islice(batches, schedule.steps_for(train, len(tokens)))
    costs = passes * np.fromiter(steps, dtype=np.float64)
    costs[0] = 0.0
    return costs


def _padded_batches(recipe: Recipe, tokens: npt.NDArray[np.int64]) -> Iterator[int]:
    """Tokens of each optimizer step with their padding, epoch after epoch."""
    sampler, accumulated = EpochSampler.of_recipe(recipe, tokens), recipe.train.gradient_accumulation
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        padded = [len(batch) * int(tokens[batch].max()) for batch in sampler.batches()]
        for start in range(0, len(padded), accumulated):
            yield sum(padded[start : start + accumulated])


class Judge(TrainerCallback):
    """Evaluates at the rungs as well as where the recipe does. The best score of the latter is that of the trial."""

    def __init__(self, metric: str, rungs: dict[int, int], promising: Promising) -> None:
        self._name = f"eval_{metric}"
        self._rungs, self._promising = dict(rungs), promising
        self._is_own = False
        self._random_state: torch.Tensor | None = None
        self.best: float | None = None
        self.is_ended = False

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for an evaluation at a rung; the recipe's own is asked for already, or never comes in a short trial."""
        is_last = state.global_step >= state.max_steps and self.best is None
        self._is_own = bool(control.should_evaluate) or is_last
        control.should_evaluate = self._is_own or state.global_step in self._rungs
        # An evaluation advances the random state that dropout uses, and `sentopt train` does not evaluate at rungs.
        self._random_state = torch.get_rng_state() if control.should_evaluate and not self._is_own else None

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """No evaluation of an epoch that was ended early."""
        self._is_own, self._random_state = bool(control.should_evaluate), None
        if self.is_ended:
            control.should_evaluate = False

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        """Keep the score, or end the training."""
        before, self._random_state = self._random_state, None
        if before is not None:
            torch.set_rng_state(before)
        score = float(metrics[self._name])
        if self._is_own and not math.isnan(score):
            self.best = score if self.best is None else max(self.best, score)
        rung = self._rungs.pop(state.global_step, None)
        if rung is not None and not self._promising(rung, score):
            self.is_ended = control.should_training_stop = True
