"""What each stage does when it is not current, handed to `StageCache.run`.

A stage is imported when it runs: a run whose stages are all current imports none of them, and neither what they need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from sentopt._optional import needs_extra
from sentopt.data.examples import RawData
from sentopt.pipeline import continuation
from sentopt.progress import Progress
from sentopt.recipe import Recipe, SelectSection
from sentopt.results import (
    BenchResult,
    BenchRow,
    BundleResult,
    Confidence,
    DistillResult,
    ExamineResult,
    ExportResult,
    PrepareResult,
    QuantizeResult,
    ReferenceCheck,
    Selection,
    TeachResult,
    TrainResult,
    Verdict,
    VerifyResult,
)
from sentopt.run_dir import RunDir
from sentopt.variants import VariantSpec

if TYPE_CHECKING:
    from sentopt.stages.bench import Depth
    from sentopt.stages.bundle import Shipment
    from sentopt.stages.teach import Lessons
    from sentopt.training.teachers import Teacher


def prepare(recipe: Recipe, run_dir: RunDir, given: RawData | None) -> PrepareResult:
    """Read, clean and store the data."""
    with needs_extra("train"):
        from sentopt.stages import prepare
    return prepare.run(recipe, run_dir, given=given)


def teach(
    recipe: Recipe, run_dir: RunDir, teachers: Sequence[Teacher], progress: Progress, *, again: bool
) -> TeachResult:
    """Let the teachers answer."""
    with needs_extra("train"):
        from sentopt.stages import teach
    return teach.run(recipe, run_dir, teachers, again=again, progress=progress)


def lessons(recipe: Recipe, run_dir: RunDir) -> Lessons:
    """What the teachers of a recipe answer.

    Raises:
        DataError: the texts without labels cannot be read.
    """
    with needs_extra("train"):
        from sentopt.stages import teach
    return teach.lessons(recipe, run_dir)


def train(
    recipe: Recipe, run_dir: RunDir, *, resume_key: str, note: Callable[..., None], progress: Progress
) -> TrainResult:
    """Fine-tune, record what the model answers, and remember what it was trained with."""
    with needs_extra("train"):
        from sentopt.stages import train
    result = train.run(recipe, run_dir, resume_key=resume_key, note=note, progress=progress)
    continuation.remember(run_dir, recipe)
    return result


def join_training(recipe: Recipe, run_dir: RunDir, *, resume_key: str) -> None:
    """Take part in what rank 0 trains."""
    with needs_extra("train"):
        from sentopt.stages import train
    train.join_training(recipe, run_dir, resume_key=resume_key)


def export(recipe: Recipe, run_dir: RunDir, specs: Sequence[VariantSpec], progress: Progress) -> ExportResult:
    """Write the FP32 graphs."""
    with needs_extra("export"):
        from sentopt.stages import export
    return export.run(recipe, run_dir, specs=specs, progress=progress)


def distill(recipe: Recipe, run_dir: RunDir, *, resume_key: str, progress: Progress) -> DistillResult:
    """Train the student."""
    with needs_extra("train"):
        from sentopt.stages import distill
    return distill.run(recipe, run_dir, resume_key=resume_key, progress=progress)


def quantize(recipe: Recipe, run_dir: RunDir, specs: Sequence[VariantSpec], progress: Progress) -> QuantizeResult:
    """Write the INT8 graphs."""
    with needs_extra("export"):
        from sentopt.stages import quantize
    return quantize.run(recipe, run_dir, specs=specs, progress=progress)


def verify(
    recipe: Recipe,
    run_dir: RunDir,
    specs: Sequence[VariantSpec],
    progress: Progress,
    *,
    check_reference: Callable[[], ReferenceCheck],
) -> VerifyResult:
    """Judge every variant."""
    with needs_extra("train"):
        from sentopt.stages import verify
    return verify.run(recipe, run_dir, specs=specs, reference_check=check_reference(), progress=progress)


def bench(
    recipe: Recipe, run_dir: RunDir, specs: Sequence[VariantSpec], progress: Progress, *, depth: Depth
) -> BenchResult:
    """Measure every variant."""
    with needs_extra("bench"):
        from sentopt.stages import bench
    return bench.run(recipe, run_dir, specs=specs, depth=depth, progress=progress)


def select(
    rules: SelectSection, specs: Sequence[VariantSpec], verdicts: Sequence[Verdict], rows: Sequence[BenchRow]
) -> Selection:
    """Choose among the variants that passed."""
    with needs_extra("train"):
        from sentopt.stages import select
    return select.run(rules, specs, verdicts, rows)


def examine(
    recipe: Recipe, run_dir: RunDir, variant: str, trained: Confidence, inexact: Sequence[str]
) -> ExamineResult:
    """Look at the answers of what ships, and at what other variants change."""
    with needs_extra("train"):
        from sentopt.stages import examine
    return examine.run(recipe, run_dir, variant, trained, inexact)


def refuse(check: ReferenceCheck, rules: SelectSection) -> Selection:
    """Choose nothing, because of the reference."""
    with needs_extra("train"):
        from sentopt.stages import select
    return select.refuse(check, rules)


def bundle(recipe: Recipe, run_dir: RunDir, shipment: Shipment, progress: Progress) -> BundleResult:
    """Write what ships, with a graph that takes texts if the recipe asks for one."""
    with needs_extra("export"):
        from sentopt.stages import bundle, string_input
    add = partial(string_input.add, run_dir, seed=recipe.run.seed) if recipe.export.string_input else None
    return bundle.run(recipe, run_dir, shipment, add=add, progress=progress)
