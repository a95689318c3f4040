"""Uniform model soup: the mean of the weights of several fine-tuned models.

Models that are fine-tuned from the same weights with different seeds or hyperparameters end in the same basin of the
loss. The mean of their weights is often more accurate than each of them, and as fast (Wortsman et al., "Model soups",
ICML 2022).
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from sentopt import manifest, recipe, records
from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.errors import BackboneError, RunDirError
from sentopt.files import atomic
from sentopt.measure import metrics, set_metrics
from sentopt.recipe import Recipe
from sentopt.run_dir import AVERAGE_FILE, RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.session import FloatArray
from sentopt.training import checkpoints

_SAME_START = 0.5  # cosine of two weight matrices: over 0.95 with a common start, about 0 without


@dataclass(frozen=True)
class Soup:
    """An averaged model: scores by `metric` on the validation split, of each run and of the average.

    The logits of the average were divided by `temperature`, or by one for each label where a text may have any number
    of them; then it is 1 here.
    """

    metric: str
    runs: tuple[str, ...]
    scores: tuple[float, ...]
    average: float
    temperature: float

    @property
    def is_best(self) -> bool:
        """Whether no single run has a higher score."""
        return self.average >= max(self.scores)


def average(runs: Sequence[RunDir], target: RunDir) -> Soup:
    """Write the mean of the runs' fine-tuned weights to `target.averaged`, a folder for the Auto classes.

    The average is calibrated on the validation split, like a single training.

    Raises:
        RunDirError: there are fewer than two runs, a run has no model, their data differ, or `target` exists. An empty
            `target` is accepted, and so is one with an unfinished average.
        BackboneError: the models differ in shape, or did not start from the same weights.
    """
    _check_free(target)
    if len({run.root.resolve() for run in runs}) < max(2, len(runs)):
        raise RunDirError("an average needs two or more different runs")
    recipes = [_recipe_of(run) for run in runs]
    check_same_data(runs)
    _check_same_tokens(runs, recipes)
    first, labels = recipes[0], store.read_labels(runs[0])
    validation = store.read_split(runs[0], "validation")
    tokenizer = checkpoints.load_tokenizer(runs[0].checkpoint, first.model.max_length)

    def classifier_of(model: Any) -> Classifier:
        encoder = checkpoints.encoder_of(tokenizer, first.model.max_length, pairs=store.are_pairs(runs[0]))
        return Classifier(TorchEngine(model), encoder, labels)

    texts, truth = [e.text for e in validation], np.array([e.label for e in validation], dtype=np.int64)

    multi_label = store.is_multi_label(runs[0])

    def score_of(logits: FloatArray) -> float:
        if multi_label:  # with thresholds that suit the logits, as the average gets them
            return set_metrics.while_training(logits, truth)[first.train.metric]
        return float(getattr(metrics.score(logits.argmax(axis=1), truth, labels), first.train.metric))

    members = [checkpoints.load_tuned(run.checkpoint, labels, tokenizer, multi_label=multi_label) for run in runs]
    scores = tuple(score_of(classifier_of(model).logits(texts)) for model in members)
    model = _mean(members, runs)
    logits = classifier_of(model).logits(texts)
    with target.locked():
        manifest.claim(target)
        calibrated = checkpoints.save_calibrated(
            model,
            tokenizer,
            target.averaged,
            logits=logits,
            truth=truth,
            calibrate=first.train.calibrate,
            multi_label=multi_label,
        )
    temperature = 1.0 if multi_label else calibrated.temperatures[0]
    soup = Soup(first.train.metric, tuple(str(run.root) for run in runs), scores, score_of(logits), temperature)
    atomic.write_text(target.averaged / AVERAGE_FILE, json.dumps(records.to_json(soup), indent=1) + "\n")
    return soup


def _check_free(target: RunDir) -> None:
    if target.is_claimed and not target.checkpoint.exists() and not manifest.read(target.manifest).stages:
        return
    if os.path.lexists(target.root) and not (target.root.is_dir() and not any(target.root.iterdir())):
        raise RunDirError(f"{target.root} is there already: choose another --run-dir for the average, or remove it")


def recipe_of(runs: Sequence[RunDir], target: RunDir, *, name: str) -> Recipe:
    """The recipe that makes a bundle of the average in `target`, on the data of the first of `runs`.

    Texts without labels that a teacher answered for any of them are no evidence for the average.
    """
    first, *others = map(_recipe_of, runs)
    is_taught = any(recipe.train.teacher for recipe in (first, *others))
    return replace(
        first,
        data=first.data.labelled if is_taught else first.data,
        run=replace(first.run, name=name),
        model=replace(first.model, backbone=str(target.averaged), revision="", tuned=True),
        train=replace(first.train, calibrate=False, teacher=()),
    )


def check_same_data(runs: Sequence[RunDir]) -> None:
    """Check that all runs have the same labels, validation texts and test texts.

    Otherwise one run may be trained on texts that another is scored on.

    Raises:
        RunDirError: labels, validation texts or test texts differ.
    """
    for name, of in (
        ("labels", store.read_labels),
        ("validation texts", lambda run: store.read_split(run, "validation")),
        ("test texts", lambda run: store.read_split(run, "test")),
    ):
        for run in runs[1:]:
            if of(run) != of(runs[0]):
                raise RunDirError(
                    f"{runs[0].root} and {run.root} differ in their {name}: an average needs runs on the same data, "
                    "unchanged since. run.seed determines the splits: give all runs the same one, and vary train.seed"
                )


def _recipe_of(run: RunDir) -> Recipe:
    if not run.recipe.is_file() or not run.checkpoint.is_dir():
        raise RunDirError(f"{run.root} holds no fine-tuned model: train one with `sentopt train --run-dir {run.root}`")
    return recipe.load(str(run.recipe))


def _check_same_tokens(runs: Sequence[RunDir], recipes: Sequence[Recipe]) -> None:
    for run, other in zip(runs[1:], recipes[1:], strict=True):
        which = f"{runs[0].root} and {run.root} differ in their"
        if other.model.max_length != recipes[0].model.max_length:
            raise RunDirError(f"{which} model.max_length: all runs of an average must have the same")
        if _tokenizer_of(run) != _tokenizer_of(runs[0]):
            raise RunDirError(f"{which} tokenizer: all models of an average must have the same")


def _tokenizer_of(run: RunDir) -> bytes:
    return (run.checkpoint / "tokenizer.json").read_bytes()


def _mean(members: Sequence[Any], runs: Sequence[RunDir]) -> Any:
    """The first model, with the mean of all weights."""
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
        raise BackboneError(f"{which} have weights of different shapes: start both from the same --model")
    for name, value in first.items():
        if value.ndim < 2:
            continue
        cosine = torch.nn.functional.cosine_similarity(value.flatten(), other[name].flatten(), dim=0).item()
        if cosine < _SAME_START:
            raise BackboneError(
                f"{which} did not start from the same weights (the cosine of their {name} is {cosine:.2f}), so their "
                "mean would be useless. run.seed initializes a new head: give all runs the same one and vary "
                "train.seed, or start all from one fine-tuned classifier"
            )
