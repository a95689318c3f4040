import dataclasses
import re
import tomllib
from pathlib import Path

import pytest

from sentopt import recipe
from sentopt.backbones import BACKBONES
from sentopt.errors import RecipeError


def problems_of(document: dict[str, object], *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe.resolve(document, recipe.parse_settings(overrides), source="test")
    return str(caught.value)


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_every_shipped_recipe_is_valid_and_named_as_its_file(name: str) -> None:
    loaded = recipe.load(name)
    assert loaded.run.name == name
    assert loaded.run.description


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_resolved_toml_reads_back_equal(name: str, tmp_path: Path) -> None:
    loaded = recipe.load(name, {"data.train": 'a "quoted" \\ path\x7f.csv', "data.labels": ["bad", "gut😀"]})
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(loaded), encoding="utf-8")
    assert recipe.load(str(path)) == loaded


def test_all_problems_are_reported_at_once_with_the_nearest_key() -> None:
    message = problems_of(
        {"run": {"name": "x"}, "train": {"epoch": 3, "batch_size": "big", "learning_rate": 2.0}, "exprot": {}},
    )
    assert "train.epoch: unknown key (did you mean 'epochs'?)" in message
    assert "train.batch_size: expected a whole number, found 'big' (str)" in message
    assert "exprot: unknown key (did you mean 'export'?)" in message
    assert "3 problems" in message


def test_impossible_values_are_reported_together() -> None:
    message = problems_of(
        {"run": {"name": "../up"}},
        "train.epochs=-1",
        "train.batch_size=0",
        "verify.margin=0",
        "data.labels=['a', 'a']",
        "train.eval_strategy=steps",
        "bench.grid=[]",
    )
    for key in (
        "run.name",
        "train.epochs",
        "train.batch_size",
        "verify.margin",
        "data.labels",
        "train.eval_steps",
        "bench.grid",
    ):
        assert f"  - {key}" in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.epochs=2", 2.0),
        ("train.group_by_length=false", False),
        ("train.metric=accuracy", "accuracy"),
        ("run.name=123", "123"),
        ('run.name="quoted"', "quoted"),
        ("bench.grid=[[1, 4]]", ((1, 4),)),
        ("data.labels=['no', 'yes']", ("no", "yes")),
    ],
)
def test_overrides_are_typed(override: str, expected: object) -> None:
    section, key = override.partition("=")[0].split(".")
    assert getattr(getattr(recipe.load("quickstart", recipe.parse_settings([override])), section), key) == expected


@pytest.mark.parametrize("override", ["train.epochs", "epochs=3", "=3", "train.=1"])
def test_malformed_overrides_are_explained(override: str) -> None:
    with pytest.raises(RecipeError, match=r"expected section\.key=value"):
        recipe.load("quickstart", recipe.parse_settings([override]))


@pytest.mark.parametrize("value", ["nan", "inf", "true", "'x'"])
def test_numbers_must_be_finite_numbers(value: str) -> None:
    with pytest.raises(RecipeError, match=r"train\.learning_rate"):
        recipe.load("quickstart", recipe.parse_settings([f"train.learning_rate={value}"]))


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'quickstart'"):
        recipe.load("quikstart")


def test_broken_toml_is_reported_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[run\n")
    with pytest.raises(RecipeError, match=r"broken\.toml.*\n.*cannot be read as TOML"):
        recipe.load(str(path))


def test_hub_data_must_be_pinned() -> None:
    assert "data.revision" in problems_of({"run": {"name": "x"}, "data": {"dataset": "hub", "hub_id": "a/b"}})


def test_the_basics_recipe_explains_every_training_key() -> None:
    text = (recipe.BUILTIN_FOLDER / "trainer-basics.toml").read_text(encoding="utf-8")
    stated = set(tomllib.loads(text)["train"])
    assert stated == {field.name for field in dataclasses.fields(recipe.TrainSection)}


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_backbones_of_shipped_recipes_are_pinned(name: str) -> None:
    model = recipe.load(name).model
    if model.backbone in BACKBONES:
        assert not model.revision
    else:
        assert re.fullmatch(r"[0-9a-f]{40}", model.revision)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("imdb-2k-distilbert", (1.0, 0, 8, 5e-5, 0.0, "epoch", 20)),
        ("tweets-gpt2", (3.0, 0, 4, 5e-5, 0.0, "epoch", 100)),
        ("imdb-8k-distilbert", (3.0, 250, 64, 1e-5, 0.01, "steps", 20)),
        ("sst2-distilbert", (2.0, 0, 16, 2e-5, 0.01, "epoch", 500)),
    ],
)
def test_published_hyperparameters(name: str, expected: tuple[object, ...]) -> None:
    train = recipe.load(name).train
    found = (
        train.epochs,
        train.max_steps,
        train.batch_size,
        train.learning_rate,
        train.weight_decay,
        train.eval_strategy,
        train.logging_steps,
    )
    assert found == expected
    assert (train.scheduler, train.warmup_ratio, train.encoder_dropout) == ("linear", 0.0, True)
