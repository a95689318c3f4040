"""A run's teacher: tuned first where it is a backbone; and the training without one, which shows what it gained."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sentopt import recipe as recipes
from sentopt._optional import is_installed, needs_extra
from sentopt.data import store
from sentopt.errors import BackboneError
from sentopt.measure.stats import paired_non_inferiority
from sentopt.pipeline import dependencies, steps
from sentopt.progress import Part, Progress
from sentopt.recipe import ENOUGH_STEPS, Recipe
from sentopt.results import TeachingGain, TeachResult
from sentopt.run_dir import RunDir

if TYPE_CHECKING:
    from sentopt.pipeline.order import Pipeline
    from sentopt.training.teachers import Place, Teacher

_WORTH_INT8 = 5  # answers for each test text, from which INT8 saves more than its verification takes
# As a large backbone is tuned: one pass with dropout at a low rate (docs/questions/teachers.md has the measurements).
_TUNING: dict[str, Any] = {
    "train.epochs": 1.0,
    "train.max_steps": 0,
    "train.min_steps": ENOUGH_STEPS,
    "train.learning_rate": 3e-5,
    "train.adversarial": 0.0,
    "train.ema_decay": 0.0,
    "train.encoder_dropout": True,
    "train.freeze_embeddings": False,
    "train.eval_strategy": "epoch",
}
_GRAPHS: dict[str, Any] = {
    "distill.layers": [0],
    "export.variants": ["lean-fp32", "lean-int8"],
    "verify.cpu_texts": 0,
    "bench.texts": 20,
}


def teach(pipeline: Pipeline) -> TeachResult | None:
    """The teacher's answers in the run directory; None where the recipe names none.

    Raises:
        BackboneError, DataError: a teacher cannot be had or used, or was trained on test texts.
    """
    recipe, cache = pipeline.recipe, pipeline.cache
    if not recipe.train.teacher:
        return None
    with needs_extra("train"):
        from sentopt.training import teachers
    places = [teachers.place(name) for name in recipe.train.teacher]  # all of them, before one takes its time
    test = [e.text for e in store.read_split(pipeline.run_dir, "test")]
    for place in places:
        if place.kind == "run":
            teachers.check_unseen(place.name, place.run_dir, test)
    found = [_ready(pipeline, place) for place in places]
    work = partial(steps.teach, recipe, pipeline.run_dir, found, pipeline.progress)
    depends = dependencies.teach(recipe, cache, [teacher.digest for teacher in found])
    result = cache.run("teach", TeachResult, depends, [pipeline.run_dir.taught], work)
    cache.note(*result.notices)
    return result


def compare(pipeline: Pipeline) -> TeachingGain | None:
    """What the teacher gained, with the student trained without it where the recipe wants that; None without one."""
    recipe, run_dir = pipeline.recipe, pipeline.run_dir
    if not recipe.train.teacher:
        return None
    alone = None
    if recipe.train.without_teacher:
        progress = Part("without teacher", pipeline.progress)
        alone = _within(pipeline, without_teacher(recipe), run_dir.without_teacher, progress)
        alone.train()
    depends = [
        pipeline.cache.outputs("teach"),
        pipeline.cache.outputs("train"),
        alone.cache.outputs("train") if alone else [],
        recipe.verify.confidence,
    ]
    return pipeline.cache.run("gain", TeachingGain, depends, [], partial(_gain, recipe, run_dir))


def without_teacher(recipe: Recipe) -> Recipe:
    """The same training on the labels alone."""
    overrides = {"run.name": "without-teacher", "train.teacher": [], "data.unlabelled": ""}
    return recipes.with_overrides(recipe, overrides, source="train.without_teacher")


def tuning_of(recipe: Recipe, place: Place) -> Recipe:
    """How a backbone is tuned to be the teacher of `recipe`: on the same splits."""
    overrides = {
        **_TUNING,
        **_GRAPHS,
        "run.name": place.slug,
        "run.description": f"the teacher of {recipe.run.name}",
        "data.unlabelled": "",
        "model.backbone": place.model,
        "model.revision": place.revision,
        "train.teacher": [],
    }
    return recipes.with_overrides(recipe, overrides, source="train.teacher")


def _ready(pipeline: Pipeline, place: Place) -> Teacher:
    from sentopt import backbones
    from sentopt.training.teachers import Teacher

    if place.kind == "run":
        return Teacher.of_run(place.name, place.run_dir)
    if place.kind == "classifier":
        folder = backbones.resolve(place.model, place.revision)
        return Teacher.of_classifier(place.name, folder, pipeline.recipe.model.max_length)
    return Teacher.of_run(place.name, _tuned_first(pipeline, place))


def _tuned_first(pipeline: Pipeline, place: Place) -> RunDir:
    """The run that tunes a backbone; with verified INT8 where there is so much to answer that it saves time."""
    run_dir = pipeline.run_dir.teacher(place.slug)
    progress = Part(f"teach: {place.name}", pipeline.progress)
    nested = _within(pipeline, tuning_of(pipeline.recipe, place), run_dir, progress)
    nested.train()
    split = {name: len(store.read_split(pipeline.run_dir, name)) for name in ("train", "test")}
    answers = split["train"] * (1 + pipeline.recipe.train.teacher_copies)
    if answers > _WORTH_INT8 * split["test"] and is_installed("onnx") and _has_lean_graph(run_dir):
        nested.verify()
    return run_dir


def _within(pipeline: Pipeline, recipe: Recipe, run_dir: RunDir, progress: Progress) -> Pipeline:
    """A run that is a part of another one, on the same rows."""
    return replace(pipeline, recipe=recipe, run_dir=run_dir, progress=progress, inputs=())


def _has_lean_graph(run_dir: RunDir) -> bool:
    from sentopt.graph import families

    try:
        return families.unsupported_reason(run_dir.checkpoint) is None
    except BackboneError:
        return False


def _gain(recipe: Recipe, run_dir: RunDir) -> TeachingGain:
    """On the distinct test texts."""
    from sentopt.training import lessons

    distinct, _ = store.read_distinct(run_dir)
    truth = np.array([e.label for e in store.read_split(run_dir, "test")])[distinct]

    def is_right(logits: np.ndarray) -> np.ndarray:
        return np.asarray(logits.argmax(axis=1)[distinct] == truth)

    def reference(of: RunDir) -> np.ndarray:
        return is_right(np.load(of.reference, allow_pickle=False))

    teacher, taught = is_right(lessons.on_test(run_dir.taught)), reference(run_dir)
    alone = reference(run_dir.without_teacher) if recipe.train.without_teacher else None
    limits = {"margin": recipe.verify.margin / 100.0, "confidence": recipe.verify.confidence}
    return TeachingGain(
        texts=len(distinct),
        teacher=float(teacher.mean()),
        taught=float(taught.mean()),
        untaught=None if alone is None else float(alone.mean()),
        against_teacher=paired_non_inferiority(teacher, taught, **limits),
        against_untaught=None if alone is None else paired_non_inferiority(alone, taught, **limits),
    )
