"""A recipe within the limits of its model, and of what this machine can make and run."""

from __future__ import annotations

from collections.abc import Collection

from sentopt import backbones
from sentopt import recipe as recipes
from sentopt._optional import check_installed
from sentopt.backends.opening import capabilities
from sentopt.errors import RecipeError
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir
from sentopt.stages import exporters
from sentopt.variants import Need, VariantSpec, runnable


def within_model(recipe: Recipe, *, fetch: bool) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with texts cut where its model ends, and what to say if that changed anything.

    With `fetch`, a model that no source has is refused now.

    Raises:
        BackboneError: the model cannot be used.
    """
    model = recipe.model
    longest = backbones.check(model.backbone, model.revision, tuned=model.tuned, fetch=fetch)
    if longest is None or model.max_length <= longest:
        return recipe, ()
    shorter = recipes.with_overrides(recipe, {"model.max_length": longest}, source=model.backbone)
    return shorter, (f"texts are cut at {longest} tokens, not at {model.max_length}: {model.backbone} reads no more",)


def check_packages(recipe: Recipe) -> None:
    """Check that what this recipe's export needs is installed: now, and not when training or the benchmark is done.

    Raises:
        MissingExtraError: a package is not installed.
        ExportError: Optimum is asked for, and does not support the installed transformers.
    """
    check_installed("onnx", extra="export")
    if recipe.export.string_input:
        check_installed("onnxruntime_extensions", extra="string")
    exporters.choose(recipe.export.exporter)


def variants(recipe: Recipe, run_dir: RunDir, *, made_by: str = "") -> list[VariantSpec]:
    """The variants of a run that this machine can make and run; with `made_by`, those that one stage makes.

    Raises:
        RecipeError: the recipe asks for others.
    """
    specs = among(capabilities(run_dir.checkpoint), recipe, source=str(run_dir.recipe))
    return [spec for spec in specs if made_by in ("", spec.made_by)]


def among(capable: Collection[Need], recipe: Recipe, *, source: str) -> list[VariantSpec]:
    """The variants of a recipe that need nothing but `capable`.

    Raises:
        RecipeError: the recipe asks for variants that do not exist, or for none that can be made.
    """
    try:
        return runnable(capable, recipe.export.variants)
    except ValueError as error:
        raise RecipeError(source, [f"export.variants: {error}"]) from error
