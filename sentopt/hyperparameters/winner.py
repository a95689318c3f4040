"""The recipe file that a search leaves: the best trial's recipe, with what was searched and found in its comments."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sentopt import recipe as recipes
from sentopt.hyperparameters import space as spaces
from sentopt.hyperparameters.space import Dimension
from sentopt.recipe import Recipe

if TYPE_CHECKING:
    from sentopt.hyperparameters.study import Tried


def toml(
    recipe: Recipe,
    values: Mapping[str, Any],
    *,
    own: Mapping[str, Any],
    tried: Sequence[Tried],
    space: Sequence[Dimension],
) -> str:
    """The recipe with the best `values`, as `sentopt train` takes it.

    Args:
        recipe: what was searched around.
        values: of the best trial.
        own: the recipe's own values.
        tried: all trials.
        space: what was searched.
    """
    best = spaces.applied(recipe, values, own)
    name = {"run.name": f"{recipe.run.name}-searched"}
    return _comment(recipe, values, own, tried, space) + recipes.to_toml(
        recipes.with_overrides(best, name, source="search")
    )


def _comment(
    recipe: Recipe,
    values: Mapping[str, Any],
    own: Mapping[str, Any],
    tried: Sequence[Tried],
    space: Sequence[Dimension],
) -> str:
    scores = [trial.score for trial in tried if trial.score is not None]
    metric = recipe.train.metric
    changed = [f"{key} = {value} (before: {own[key]})" for key, value in values.items() if value != own[key]]
    own_score = tried[0].score
    others = "no score" if own_score is None else f"{own_score:.4f}"
    others += " with the recipe as it was"
    lines = [
        f"Found by `sentopt search` in {len(tried)} trials around {recipe.run.name}, {len(scores)} of them trained to "
        f"their end. {metric} on the validation split: {max(scores):.4f}, and {others}. The highest of several "
        "scores on the same texts promises too much: what the model is worth, its test split says.",
        "",
        *(
            ["Changed:", *(f"  {line}" for line in changed)]
            if changed
            else ["Nothing was better than the recipe as it was."]
        ),
        "",
        "Searched:",
        *(f"  {dimension}" for dimension in space),
    ]
    wrapped = [part for line in lines for part in (textwrap.wrap(line, 98, subsequent_indent="") or [""])]
    return "".join(f"# {line}".rstrip() + "\n" for line in wrapped) + "\n"
