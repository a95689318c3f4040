"""What goes into a bundle, gathered from the results of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from sentopt.errors import RecipeError
from sentopt.pipeline import dependencies, steps
from sentopt.pipeline.cache import StageCache
from sentopt.recipe import Recipe
from sentopt.results import (
    BenchResult,
    DistillResult,
    ExamineResult,
    PrepareResult,
    QuantizeResult,
    TrainResult,
    Verdict,
    VerifyResult,
)
from sentopt.run_dir import RunDir
from sentopt.runtime.description import Cascade
from sentopt.stages import select
from sentopt.stages.bundle import Shipment
from sentopt.variants import VARIANTS, VariantSpec


def examine(recipe: Recipe, run_dir: RunDir, cache: StageCache, variant: str) -> ExamineResult:
    """What the selected variant gets right and wrong."""
    trained = cache.result("train", TrainResult).confidence
    verdicts = cache.result("verify", VerifyResult).verdicts
    inexact = [v.variant for v in verdicts if VARIANTS[v.variant].ships and not v.exact]
    work = partial(steps.examine, recipe, run_dir, variant, trained, inexact)
    depends = dependencies.examine(recipe, cache, variant, trained, inexact)
    return cache.run("examine", ExamineResult, depends, [run_dir.mistakes(variant)], work)


def shipment(recipe: Recipe, cache: StageCache, variant: str) -> Shipment:
    """The selected variant with all that its bundle says of it.

    Raises:
        RecipeError: an FP32 fallback or the full graph of a cascade is asked for, and no graph can be one.
    """
    verdicts = {verdict.variant: verdict for verdict in cache.result("verify", VerifyResult).verdicts}
    measured, spec = cache.result("bench", BenchResult), VARIANTS[variant]
    fallback = (
        select.fallback(spec, verdicts, measured.rows, percentile=recipe.select.percentile)
        if recipe.export.fp32_fallback
        else None
    )
    graphs = [spec, *([fallback] if fallback else [])]
    return Shipment(
        spec=spec,
        verdict=verdicts[variant],
        bench=measured,
        examined=cache.result("examine", ExamineResult),
        data=cache.result("prepare", PrepareResult),
        fallback=(fallback, verdicts[fallback.name]) if fallback else None,
        full=_full(spec, verdicts) if recipe.export.full_graph else None,
        cascades=dict(_cascades(recipe, cache, [verdicts[graph.name] for graph in graphs])),
    )


def _full(spec: VariantSpec, verdicts: Mapping[str, Verdict]) -> tuple[VariantSpec, Verdict] | None:
    """The graph that answers what a cascade defers; None for what is no cascade.

    Raises:
        RecipeError: it was not verified, or did not pass.
    """
    if spec.stages != "cascade" or spec.parent is None:
        return None
    verdict = verdicts.get(spec.parent)
    if verdict is None or not verdict.passed:
        why = f"was refused: {verdict.reason}" if verdict else "was not verified in this run"
        raise RecipeError(
            "export.full_graph",
            [
                f"{spec.parent}, the full model of {spec.name}, {why}. Without this key "
                "the bundle carries the cascade alone"
            ],
        )
    return VARIANTS[spec.parent], verdict


def _cascades(recipe: Recipe, cache: StageCache, verdicts: list[Verdict]) -> Iterator[tuple[str, Cascade]]:
    """What a bundle says of those of the variants that are cascades."""
    for verdict in verdicts:
        if VARIANTS[verdict.variant].stages == "cascade":
            rule = cache.result("quantize", QuantizeResult).cascades[verdict.variant]
            yield (
                verdict.variant,
                Cascade(
                    layers=cache.result("distill", DistillResult).layers,
                    threshold=rule.threshold,
                    threshold_tokens=rule.threshold_tokens,
                    max_length=recipe.distill.max_length,
                    reads=recipe.distill.reads,
                    deferred=verdict.deferred if verdict.deferred is not None else rule.deferred,
                    texts=verdict.comparison.n,
                ),
            )
