"""What is searched around a recipe, when trials are compared, and what a search is expected to cost."""

import dataclasses

import numpy as np
import pytest

from sentopt import recipe
from sentopt.errors import RecipeError
from sentopt.hyperparameters import space, study, trial

QUICKSTART = recipe.load("quickstart")
USUAL = {"train_texts": 10_000, "share_cut": 0.0, "longest": 512}


def keys(changed: recipe.Recipe, **facts: float) -> set[str]:
    return {dimension.key for dimension in space.of(changed, **{**USUAL, **facts})}  # type: ignore[arg-type]


def with_(**settings: object) -> recipe.Recipe:
    return recipe.with_overrides(QUICKSTART, settings, source="test")


def test_only_keys_that_make_sense_are_searched() -> None:
    assert "train.epochs" in keys(QUICKSTART)
    assert "train.epochs" not in keys(with_(max_steps=100))
    assert "train.warmup_ratio" not in keys(with_(scheduler="constant"))
    assert "model.max_length" not in keys(QUICKSTART)
    assert "model.max_length" in keys(QUICKSTART, share_cut=0.05)
    assert "model.max_length" not in keys(QUICKSTART, share_cut=0.05, longest=128)
    assert "train.ema_decay" in keys(QUICKSTART)
    assert "train.ema_decay" not in keys(with_(max_steps=20))


@pytest.mark.parametrize("name", ["quickstart", "sst2-minilm", "tweets-gpt2", "imdb-8k-minilm"])
def test_the_values_of_the_recipe_are_among_those_that_are_tried(name: str) -> None:
    made = recipe.load(name)
    dimensions = space.of(made, **USUAL)  # type: ignore[arg-type]
    own = space.own_values(made, dimensions, train_texts=10_000)
    for dimension in dimensions:
        value = own[dimension.key]
        assert value in dimension.choices or dimension.low <= value <= dimension.high
    assert space.applied(made, own, own) == made


def test_a_trial_with_other_epochs_trains_for_them_exactly() -> None:
    few = with_(min_steps=300)
    own = space.own_values(few, space.of(few, train_texts=640, share_cut=0.0, longest=512), train_texts=640)
    assert own["train.epochs"] == 10.0  # as `min_steps` raises them
    changed = space.applied(few, {**own, "train.epochs": 5.0}, own)
    assert (changed.train.epochs, changed.train.min_steps) == (5.0, 0)
    changed = space.applied(few, {**own, "train.batch_size": 32}, own)
    assert (changed.train.epochs, changed.train.min_steps) == (10.0, 0)  # and not for as many steps


def test_a_learning_rate_above_the_usual_ones_is_within_its_own_range() -> None:
    rate = next(one for one in space.of(with_(learning_rate=0.9), **USUAL) if one.log)  # type: ignore[arg-type]
    assert rate.low <= 0.9 <= rate.high


def test_rungs_cost_the_same_whatever_a_step_costs() -> None:
    tokens = np.full(10_048, 20)  # 157 full batches
    original = with_(max_steps=161)  # the first of them is not counted
    whole = trial.budget(original, tokens)
    assert trial.rungs(original, whole, tokens) == {9: 1, 33: 4}  # not the end itself
    assert trial.rungs(with_(max_steps=160, adversarial=0.5), whole, tokens) == {5: 1, 17: 4, 81: 20}
    assert trial.rungs(with_(max_steps=160, batch_size=32), whole, tokens) == {17: 1, 65: 4}
    assert trial.rungs(with_(max_steps=160, encoder_dropout=True), whole, tokens) == {7: 1, 24: 4, 116: 20}
    accumulated = with_(max_steps=161, batch_size=16, gradient_accumulation=4)
    assert trial.rungs(accumulated, whole, tokens) == {9: 1, 33: 4}


def test_rungs_cost_the_same_however_long_the_texts_are() -> None:
    """A trial that reads more of long texts has seen fewer texts for as much."""
    tokens = np.where(np.arange(10_048) % 32 == 0, 400, 20)
    original = with_(max_steps=160)
    whole = trial.budget(original, tokens)
    longer = recipe.with_overrides(original, {"model.max_length": 400}, source="test")
    ungrouped = with_(max_steps=160, group_by_length=False)  # nearly each batch has a long text
    of_each = [[*trial.rungs(tried, whole, tokens)] for tried in (original, longer, ungrouped)]
    assert [len(steps) for steps in of_each] == [2, 3, 3]
    assert of_each[1][0] <= of_each[0][0]
    assert of_each[1][1] < of_each[0][1]
    assert of_each[2][0] < of_each[0][0] / 2


def test_what_a_search_is_expected_to_cost() -> None:
    """The page on searching says how many trainings 20 trials cost."""
    assert study.expected_cost(1) == 1.0
    assert study.expected_cost(20) == pytest.approx(3.2, abs=0.05)


def test_a_search_has_no_teacher_and_no_processes_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    tuned = dataclasses.replace(QUICKSTART, model=dataclasses.replace(QUICKSTART.model, tuned=True))
    with pytest.raises(RecipeError) as refused:
        study.check(tuned)
    assert len(refused.value.problems) == 2
