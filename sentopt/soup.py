"""One model from several trainings: the mean of their weights.

Trainings that start from the same weights and differ in seed or hyperparameters end in one valley of the loss. The mean
of where they ended lies deeper in it, and answers as fast as any one of them: Wortsman et al., "Model soups", ICML
2022, the uniform soup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sentopt import calibration, metrics, recipe
from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.data.splits import Example
from sentopt.errors import BackboneError, RunDirError
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.stages import models

_SAME_START = 0.5  # cosine of two weight matrices: over 0.95 where trainings had one start, about 0 where they had not


@dataclass(frozen=True)
class Soup:
    """Scores by `metric` on the validation split: each run's, and the average's, whose logits `temperature` divides."""

    metric: str
    runs: tuple[float, ...]
    average: float
    temperature: float

    @property
    def is_best(self) -> bool:
        """Whether no single run scores higher."""
        return self.average >= max(self.runs)


def average(runs: Sequence[RunDir], target: Path) -> Soup:
    """Write the mean of the runs' tuned weights to `target`, a folder that the Auto classes load.

    Scores are calibrated on the validation split, as those of a single training are.

    Raises:
        RunDirError: there is only one run, one was not trained, they had other data, or `target` is there already.
        BackboneError: the models differ in more than their weights, or their weights had no common start.
    """
    if target.exists():
        raise RunDirError(f"{target} is there already: choose another folder for the average, or remove that one")
    recipes = [_recipe_of(run) for run in runs]
    _check_same_task(runs, recipes)
    first, labels = recipes[0], store.read_labels(runs[0])
    validation = store.read_split(runs[0], "validation")
    tokenizer = models.load_tokenizer(runs[0].checkpoint, first.model.max_length)

    def classifier_of(model: Any) -> Classifier:
        return Classifier(TorchEngine(model), models.encoder_of(tokenizer, first.model.max_length), labels)

    members = [models.load_tuned(run.checkpoint, labels, tokenizer) for run in runs]
    scores = tuple(_score(classifier_of(model), validation, first.train.metric) for model in members)
    model = _mean(members, runs)
    classifier = classifier_of(model)
    score = _score(classifier, validation, first.train.metric)
    temperature = 1.0
    if first.train.calibrate:
        truth = np.array([e.label for e in validation])
        temperature = calibration.temperature(classifier.logits([e.text for e in validation]), truth)
        models.divide_logits(model, temperature)
    models.save(model, tokenizer, target)
    return Soup(first.train.metric, scores, score, temperature)


def _recipe_of(run: RunDir) -> Recipe:
    if not run.recipe.is_file() or not run.checkpoint.is_dir():
        raise RunDirError(f"{run.root} holds no tuned model: tune one with `sentopt train --run-dir {run.root}`")
    return recipe.load(str(run.recipe))


def _check_same_task(runs: Sequence[RunDir], recipes: Sequence[Recipe]) -> None:
    if len({run.root.resolve() for run in runs}) < max(2, len(runs)):
        raise RunDirError("an average is of two or more runs, each named once")
    for name, of in (
        ("labels", lambda run, _: store.read_labels(run)),
        ("validation texts", lambda run, _: store.read_split(run, "validation")),
        ("model.max_length", lambda _, given: given.model.max_length),
        ("tokenizer", lambda run, _: (run.checkpoint / "tokenizer.json").read_bytes()),
    ):
        for run, given in zip(runs[1:], recipes[1:], strict=True):
            if of(run, given) != of(runs[0], recipes[0]):
                raise RunDirError(f"{runs[0].root} and {run.root} differ in their {name}: train both on the same data")


def _score(classifier: Classifier, examples: Sequence[Example], metric: str) -> float:
    answers = classifier.logits([e.text for e in examples]).argmax(axis=1)
    found = metrics.score(answers, np.array([e.label for e in examples]), classifier.labels)
    return float(getattr(found, metric))


def _mean(members: Sequence[Any], runs: Sequence[RunDir]) -> Any:
    """The first model with the mean of all weights."""
    states = [model.state_dict() for model in members]
    for state, run in zip(states[1:], runs[1:], strict=True):
        _check_common_start(states[0], state, f"{runs[0].root} and {run.root}")
    for name, value in states[0].items():
        if value.is_floating_point():
            value.copy_(torch.stack([state[name].double() for state in states]).mean(dim=0))
    return members[0]


def _check_common_start(first: dict[str, torch.Tensor], other: dict[str, torch.Tensor], which: str) -> None:
    shapes = ({name: tuple(value.shape) for name, value in state.items()} for state in (first, other))
    if next(shapes) != next(shapes):
        raise BackboneError(f"{which} are models of different shape: start both from the same --model")
    for name, value in first.items():
        if value.ndim < 2:
            continue
        cosine = torch.nn.functional.cosine_similarity(value.flatten(), other[name].flatten(), dim=0).item()
        if cosine < _SAME_START:
            raise BackboneError(
                f"{which} did not start from the same weights (the cosine of their {name} is {cosine:.2f}), so their "
                "mean would be neither. A fresh head is drawn by run.seed: give all of them the same one and vary "
                "other keys, or start all from one tuned classifier"
            )
