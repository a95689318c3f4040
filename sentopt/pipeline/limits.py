"""A recipe within the limits of its model."""

from __future__ import annotations

from sentopt import backbones
from sentopt import recipe as recipes
from sentopt.recipe import Recipe


def within_model(recipe: Recipe) -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with texts cut where its model ends, and what to say if that changed anything.

    Raises:
        BackboneError: the model cannot be used.
    """
    model = recipe.model
    longest = backbones.check(model.backbone, model.revision, tuned=model.tuned)
    if longest is None or model.max_length <= longest:
        return recipe, ()
    shorter = recipes.with_overrides(recipe, {"model.max_length": longest}, source=model.backbone)
    return shorter, (f"texts are cut at {longest} tokens, not at {model.max_length}: {model.backbone} reads no more",)
