"""What the stored splits of a run can prove: about variants to come, and about the PyTorch model itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sentopt import backbones, gate, model_files
from sentopt.data import store
from sentopt.errors import BackboneError
from sentopt.measure import label_sets
from sentopt.measure.label_sets import IntArray
from sentopt.recipe import ModelSection, Recipe
from sentopt.results import PrepareResult, ReferenceCheck
from sentopt.run_dir import RunDir


def foresee(recipe: Recipe, run_dir: RunDir, prepared: PrepareResult) -> tuple[str, ...]:
    """In words, what the test and validation splits can decide."""
    test_rows, validation_rows = store.read_distinct(run_dir)
    if not gate.validation_counts(recipe, len(test_rows)):
        validation_rows = []
    test, validation = (
        dict(zip(prepared.labels, _counts(examples.labels[rows], prepared), strict=True))
        for rows, examples in (
            (test_rows, store.read_split(run_dir, "test")),
            (validation_rows, store.read_split(run_dir, "validation")),
        )
    )
    texts = (len(test_rows), len(validation_rows))
    unlabelled = recipe.counts_unlabelled and not prepared.is_multi_label
    rules = gate.Rules.of(recipe)
    if prepared.is_multi_label:
        rules = replace(rules, unlabelled_counts=False)  # so that they are not proposed either
    return gate.foresee(test, validation, rules, texts=texts, unlabelled=unlabelled)


def _counts(labels: IntArray, prepared: PrepareResult) -> list[int]:
    """How many texts have each label."""
    names = prepared.labels
    found = (
        label_sets.counts(labels, len(names)) if prepared.is_multi_label else np.bincount(labels, minlength=len(names))
    )
    return [int(count) for count in found]


def check_reference(recipe: Recipe, run_dir: RunDir) -> ReferenceCheck:
    """Whether the PyTorch model is proven better than always giving the same label: else nothing may ship."""
    distinct, _ = store.read_distinct(run_dir)
    truth = store.read_split(run_dir, "test").labels[distinct]
    decision = store.read_decision(run_dir)
    answers = decision.answers(np.load(run_dir.reference, allow_pickle=False))[distinct]
    if decision.is_multi_label:
        return gate.check_reference_of_sets(
            truth,
            answers,
            store.read_labels(run_dir),
            confidence=recipe.verify.confidence,
            allowed=recipe.verify.allow_weak_reference,
        )
    return gate.check_reference(
        truth,
        answers,
        confidence=recipe.verify.confidence,
        allowed=recipe.verify.allow_weak_reference,
        unnamed=recipe.model.tuned and _has_unnamed_labels(recipe.model),
    )


def _has_unnamed_labels(model: ModelSection) -> bool:
    """Whether a fine-tuned model names its outputs LABEL_0 and so on; no where it is no longer where it was."""
    try:
        return model_files.has_unnamed_labels(backbones.resolve(model.backbone, model.revision))
    except BackboneError:
        return False
