"""A run's teacher: tuned first where it is a backbone; and the baseline, the same training without a teacher."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from sentopt import manifest
from sentopt import recipe as recipes
from sentopt._optional import is_installed, needs_extra
from sentopt.data import store
from sentopt.errors import RecipeError, RunDirError, SentoptError
from sentopt.measure.stats import paired_non_inferiority
from sentopt.pipeline import continuation, dependencies, steps
from sentopt.progress import Part, Progress
from sentopt.recipe import ENOUGH_STEPS, TEST_AS_VALIDATION, Recipe, TrainSection
from sentopt.results import TeachingGain, TeachResult, TrainResult
from sentopt.run_dir import RunDir

if TYPE_CHECKING:
    from sentopt.pipeline.order import Pipeline
    from sentopt.training.teachers import Source, Teacher

# Answers for each test text, from which INT8 saves more than its verification takes. On MPNet with one thread, INT8 and
# its verification on 1,821 texts take about 300 s, and it saves 9 ms with each answer.
_WORTH_INT8 = 20
# As MPNet was tuned on 9,600 phrases of SST-2 (docs/questions/teacher.md): one pass with dropout at a low rate.
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
    "train.eval_steps": TrainSection().eval_steps,
}
_LEAN_GRAPHS: dict[str, Any] = {
    "distill.layers": [0],
    "export.variants": ["lean-fp32", "lean-int8"],
    "export.string_input": False,
    "export.fp32_fallback": False,
    "export.full_graph": False,
    "verify.cpu_texts": 0,
}


def teach(pipeline: Pipeline) -> TeachResult | None:
    """The teacher's answers in the run directory; None where the recipe names none.

    Raises:
        BackboneError, DataError, RunDirError: a teacher cannot be had or used, or was trained on test texts.
    """
    recipe, cache = pipeline.recipe, pipeline.cache
    if not recipe.train.teacher:
        cache.forget("teach", "gain")
        return None
    asked = _teachers(pipeline)
    work = partial(steps.teach, recipe, pipeline.run_dir, asked, pipeline.progress, again=pipeline.force)
    depends = dependencies.teach(recipe, cache, [teacher.identity for teacher in asked])
    result = cache.run("teach", TeachResult, depends, [pipeline.run_dir.soft_labels], work)
    cache.note(*result.notices)
    return result


def compare(pipeline: Pipeline) -> TeachingGain | None:
    """What the teacher gained over the baseline, if the recipe wants one; None without a teacher."""
    recipe, run_dir, cache = pipeline.recipe, pipeline.run_dir, pipeline.cache
    if not recipe.train.teacher:
        return None
    baseline = None
    if recipe.train.without_teacher:
        progress = Part("without teacher", pipeline.progress)
        baseline = _part(pipeline, without_teacher(recipe), run_dir.without_teacher, progress)
        baseline.train()
    others = baseline.cache if baseline else None
    trained = cache.result("train", TrainResult).steps, others.result("train", TrainResult).steps if others else None
    work = partial(_gain, recipe, run_dir, *trained)
    return cache.run("gain", TeachingGain, dependencies.gain(recipe, cache, others), [], work)


def without_teacher(recipe: Recipe) -> Recipe:
    """The same training on the labels alone."""
    return _untaught(recipe, {"run.name": "without-teacher"}, "train.without_teacher")


def tuning_of(recipe: Recipe, source: Source) -> Recipe:
    """How a backbone is tuned to be the teacher of `recipe`: on the same splits."""
    overrides = {
        **_TUNING,
        **_LEAN_GRAPHS,
        "run.name": source.folder_name,
        "run.description": f"the teacher of {recipe.run.name}",
        "model.backbone": source.model,
        "model.revision": source.revision,
    }
    return _untaught(recipe, overrides, "train.teacher")


def ready(recipe: Recipe, run_dir: RunDir, source: Source) -> Teacher | None:
    """A teacher that seems to be tuned, by its files; None for a backbone that is not.

    Raises:
        BackboneError, RecipeError, RunDirError: it cannot be used.
    """
    from sentopt.training.teachers import Teacher

    if source.kind != "backbone":
        return _tuned(recipe, source)
    try:
        return Teacher.of_run(source.name, run_dir.teacher(source.folder_name))
    except (RecipeError, RunDirError):  # not there, or not finished
        return None


def _untaught(recipe: Recipe, overrides: dict[str, Any], source: str) -> Recipe:
    """`recipe` with overrides and without anything of a teacher, so that no change of such a key changes it."""
    usual = TrainSection()
    keys = ("teacher_weight", "teacher_temperature", "teacher_copies", "without_teacher")
    nothing = {f"train.{key}": getattr(usual, key) for key in keys}
    return recipes.with_overrides(
        replace(recipe, data=recipe.data.labelled), {**nothing, "train.teacher": [], **overrides}, source=source
    )


def _teachers(pipeline: Pipeline) -> list[Teacher]:
    """All teachers; what can be refused is refused before a backbone is tuned for it."""
    from sentopt.training.teachers import Teacher

    with needs_extra("train"):
        from sentopt.training import teachers
    recipe, labels = pipeline.recipe, store.read_labels(pipeline.run_dir)
    sources = [teachers.locate(name, progress=pipeline.progress) for name in recipe.train.teacher]
    test = list(store.read_split(pipeline.run_dir, "test").texts)
    tuned = {source.name: _tuned(recipe, source) for source in sources if source.kind != "backbone"}
    for source in sources:
        if source.name in tuned:
            tuned[source.name].columns(labels)
        if source.kind == "run":
            validation_is_test = recipe.data.validation == TEST_AS_VALIDATION
            teachers.check_unseen(source.name, source.run_dir, test, validation_is_test=validation_is_test)
    return [tuned.get(source.name) or Teacher.of_run(source.name, _tuned_first(pipeline, source)) for source in sources]


def _tuned(recipe: Recipe, source: Source) -> Teacher:
    """A teacher that need not be tuned."""
    from sentopt import backbones
    from sentopt.training.teachers import Teacher

    if source.kind == "run":
        run_dir = source.run_dir
        continuation.check_trained(run_dir, manifest.read(run_dir.manifest), recipes.load(str(run_dir.recipe)))
        return Teacher.of_run(source.name, run_dir)
    folder = backbones.resolve(source.model, source.revision)
    return Teacher.of_classifier(source.name, folder, recipe.model.max_length)


def _tuned_first(pipeline: Pipeline, source: Source) -> RunDir:
    """The run that tunes a backbone; with verified INT8 where there is so much to answer that it saves time."""
    run_dir = pipeline.run_dir.teacher(source.folder_name)
    progress = Part(f"teach: {source.name}", pipeline.progress)
    tuning = _part(pipeline, tuning_of(pipeline.recipe, source), run_dir, progress)
    tuning.train()
    lessons = steps.lessons(pipeline.recipe, pipeline.run_dir)
    if len(lessons.all) > (_WORTH_INT8 + 1) * len(lessons.test) and is_installed("onnx") and _has_lean_graph(run_dir):
        try:
            tuning.verify()
        except SentoptError as error:  # its FP32 graph answers as well
            pipeline.cache.note(f"{source.name} answers in FP32: {error}")
    return run_dir


def _part(pipeline: Pipeline, recipe: Recipe, run_dir: RunDir, progress: Progress) -> Pipeline:
    """A run that is a part of another one, on the same rows; what was said of these is not said again."""
    part = replace(pipeline, recipe=recipe, run_dir=run_dir, progress=progress, inputs=())
    part.cache.noted.extend(pipeline.cache.noted)
    return part


def _has_lean_graph(run_dir: RunDir) -> bool:
    from sentopt.graph import families

    return families.unsupported_reason(run_dir.checkpoint) is None


def _gain(recipe: Recipe, run_dir: RunDir, steps: int, baseline_steps: int | None) -> TeachingGain:
    """On the distinct test texts."""
    from sentopt.training import soft_labels

    distinct, _ = store.read_distinct(run_dir)
    truth = store.read_split(run_dir, "test").labels[distinct]

    def is_right(logits: np.ndarray) -> np.ndarray:
        return np.asarray(logits.argmax(axis=1)[distinct] == truth)

    def reference(of: RunDir) -> np.ndarray:
        return is_right(np.load(of.reference, allow_pickle=False))

    teacher, taught = is_right(soft_labels.on_test(run_dir.soft_labels)), reference(run_dir)
    baseline = reference(run_dir.without_teacher) if recipe.train.without_teacher else None
    limits = {"margin": recipe.verify.margin / 100.0, "confidence": recipe.verify.confidence}
    return TeachingGain(
        texts=len(distinct),
        teacher=float(teacher.mean()),
        taught=float(taught.mean()),
        baseline=None if baseline is None else float(baseline.mean()),
        steps=steps,
        baseline_steps=baseline_steps,
        against_teacher=paired_non_inferiority(teacher, taught, **limits),
        against_baseline=None if baseline is None else paired_non_inferiority(baseline, taught, **limits),
    )
