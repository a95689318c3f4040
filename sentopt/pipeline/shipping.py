"""What goes into a bundle, gathered from the results of a run."""

from __future__ import annotations

from sentopt.pipeline.cache import StageCache
from sentopt.recipe import Recipe
from sentopt.results import BenchResult, PrepareResult, TrainResult, VerifyResult
from sentopt.stages import select
from sentopt.stages.bundle import Shipment
from sentopt.variants import VARIANTS


def shipment(recipe: Recipe, cache: StageCache, variant: str) -> Shipment:
    """The selected variant with all that its bundle says of it.

    Raises:
        RecipeError: an FP32 fallback is asked for, and no graph can be one.
    """
    verdicts = {verdict.variant: verdict for verdict in cache.result("verify", VerifyResult).verdicts}
    measured = cache.result("bench", BenchResult)
    fallback = select.fallback(VARIANTS[variant], verdicts, measured.rows) if recipe.export.fp32_fallback else None
    return Shipment(
        spec=VARIANTS[variant],
        verdict=verdicts[variant],
        bench=measured,
        confidence=cache.result("train", TrainResult).confidence,
        data=cache.result("prepare", PrepareResult),
        fallback=(fallback, verdicts[fallback.name]) if fallback else None,
    )
