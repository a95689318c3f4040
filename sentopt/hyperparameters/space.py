"""Which keys of a recipe are searched, and between which values: around those of the recipe, which are among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sentopt import recipe as recipes
from sentopt.recipe import Recipe
from sentopt.training import schedule

_SMALLEST_BATCH, _LARGEST_BATCH = 4, 256
_EMA_DECAYS = (0.9, 0.99, 0.999)
_EMA_SPANS = 3  # spans of an average that a training must have, for the average to be more than its beginning
_ADVERSARIAL = 0.5  # as in `sst2-minilm`
_CUT_SHARE = 0.05  # of training texts, from which more tokens are tried: they cost much, and change no other text


@dataclass(frozen=True)
class Dimension:
    """One searched key: `choices`, or all numbers from `low` to `high`, evenly on a logarithmic scale with `log`."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False

    def suggest(self, trial: Any) -> Any:
        """The value of a trial of Optuna's."""
        if self.choices:
            return trial.suggest_categorical(self.key, self.choices)
        return trial.suggest_float(self.key, self.low, self.high, log=self.log)

    def __str__(self) -> str:
        if self.choices:
            return f"{self.key}: {', '.join(map(str, self.choices))}"
        return f"{self.key}: {self.low:g} to {self.high:g}"


def of(recipe: Recipe, *, train_texts: int, share_cut: float, longest: int) -> tuple[Dimension, ...]:
    """The dimensions that make sense for a recipe.

    Args:
        recipe: what is searched around.
        train_texts: texts of its training split.
        share_cut: share of them that have more tokens than the recipe lets the model read.
        longest: the most tokens that the model reads.
    """
    train, steps = recipe.train, schedule.steps_for(recipe.train, train_texts)
    epochs = schedule.epochs_for(train, train_texts)
    batches = [
        size for size in (train.batch_size // 2, train.batch_size, 2 * train.batch_size) if _is_batch(size, train_texts)
    ]
    decays = [decay for decay in _EMA_DECAYS if steps * (1 - decay) >= _EMA_SPANS]
    adversarial, rate = train.adversarial or _ADVERSARIAL, train.learning_rate
    lengths = [recipe.model.max_length]
    if share_cut >= _CUT_SHARE:
        lengths.append(min(2 * recipe.model.max_length, longest))
    found = [
        Dimension("train.learning_rate", low=rate / 4, high=max(rate, min(0.5, rate * 4)), log=True),
        _choices("train.epochs", [] if train.max_steps else [epochs / 2, epochs, 1.5 * epochs]),
        _choices("train.batch_size", [*batches, train.batch_size]),
        _choices(
            "train.warmup_ratio", [] if train.scheduler == "constant" else [0.0, 0.06, 0.1, 0.2, train.warmup_ratio]
        ),
        _choices("train.encoder_dropout", [False, True]),
        _choices("train.adversarial", [0.0, adversarial / 2, adversarial]),
        _choices("train.ema_decay", [0.0, *decays, train.ema_decay]),
        _choices("model.max_length", lengths),
    ]
    return tuple(dimension for dimension in found if dimension.log or len(dimension.choices) > 1)


def own_values(recipe: Recipe, space: Sequence[Dimension], *, train_texts: int) -> dict[str, Any]:
    """The values that the recipe itself has, by key."""
    values: dict[str, Any] = {}
    for dimension in space:
        section, _, name = dimension.key.partition(".")
        values[dimension.key] = getattr(getattr(recipe, section), name)
    if "train.epochs" in values:
        values["train.epochs"] = schedule.epochs_for(recipe.train, train_texts)
    return values


def applied(recipe: Recipe, values: Mapping[str, Any], own: Mapping[str, Any]) -> Recipe:
    """The recipe with the values of a trial; the recipe itself, where they are its own."""
    others = {key: value for key, value in values.items() if value != own[key]}
    if others and "train.epochs" in values:  # the trial says how long to train, whatever its batches
        others |= {"train.epochs": values["train.epochs"], "train.min_steps": 0}
    return recipes.with_overrides(recipe, others, source="search")


def _is_batch(size: int, texts: int) -> bool:
    return _SMALLEST_BATCH <= size <= min(_LARGEST_BATCH, max(_SMALLEST_BATCH, texts // 8))


def _choices(key: str, values: Sequence[Any]) -> Dimension:
    return Dimension(key, choices=tuple(sorted(set(values))))
