import dataclasses
import enum
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from sentopt import recipe
from sentopt.backbones import BACKBONES
from sentopt.errors import RecipeError
from sentopt.recipe.fields import REQUIRED


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
    assert "train.epoch: unknown key (did you mean 'train.epochs'?)" in message
    assert "train.batch_size: expected a whole number, found 'big' (str)" in message
    assert "exprot: unknown section (did you mean 'export'?)" in message
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


@pytest.mark.parametrize("override", ["train.epochs", "epochs", "=3", "train.=1", ".epochs=1"])
def test_malformed_overrides_are_explained(override: str) -> None:
    with pytest.raises(RecipeError, match="expected key=value, for example"):
        recipe.load("quickstart", recipe.parse_settings([override]))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("train.epochs", "train.epochs"),
        ("epochs", "train.epochs"),
        ("num_train_epochs", "train.epochs"),
        ("train.num_train_epochs", "train.epochs"),
        ("per_device_train_batch_size", "train.batch_size"),
        ("per_device_eval_batch_size", "train.eval_batch_size"),
        ("gradient_accumulation_steps", "train.gradient_accumulation"),
        ("lr_scheduler_type", "train.scheduler"),
        ("label_smoothing_factor", "train.label_smoothing"),
        ("metric_for_best_model", "train.metric"),
        ("fp16", "train.precision"),
        ("run_name", "run.name"),
        ("seed", "run.seed"),
        ("train.seed", "train.seed"),
        ("max_length", "model.max_length"),
        ("text_column", "data.text_column"),
        ("model_name_or_path", "model.backbone"),
        ("margin", "verify.margin"),
    ],
)
def test_keys_answer_to_their_bare_names_and_to_those_of_training_arguments(name: str, path: str) -> None:
    assert recipe.key_of(name) == path


def test_every_key_answers_to_its_full_name_and_to_its_spellings() -> None:
    for key in recipe.KEYS:
        assert recipe.key_of(key.path) == key.path
        for spelling in key.declaration.also:
            assert recipe.key_of(spelling.name) == recipe.key_of(f"{key.section}.{spelling.name}") == key.path


def test_names_that_are_only_suggested_belong_to_one_key_and_are_none() -> None:
    suggested = Counter(name for key in recipe.KEYS for name in key.declaration.like)
    assert [name for name, count in suggested.items() if count > 1] == []
    known = {key.name for key in recipe.KEYS} | {s.name for key in recipe.KEYS for s in key.declaration.also}
    assert known & suggested.keys() == set()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("lr", "(did you mean 'train.learning_rate'?)"),
        ("train.lr", "(did you mean 'train.learning_rate'?)"),
        ("bs", "(did you mean 'train.batch_size'?)"),
        ("max_len", "(did you mean 'model.max_length'?)"),
        ("max-length", "(did you mean 'model.max_length'?)"),
        ("text", "(did you mean 'data.text_column'?)"),
        ("label", "(did you mean 'data.label_column'?)"),
        ("model", "(did you mean 'model.backbone'?)"),
        ("train", "(did you mean 'data.train'?)"),
        ("train.max_length", "(did you mean 'model.max_length'?)"),
        ("trian.epochs", "(did you mean 'train.epochs'?)"),
        ("learning_rat", "(did you mean 'train.learning_rate'?)"),
        ("warmup_steps", "(did you mean 'train.warmup_ratio'?)"),
        ("revision", "ambiguous: write data.revision or model.revision"),
        ("exprot.x", "(did you mean 'export'?)"),
        ("adam_beta1", "adam_beta1: unknown key\n"),
    ],
)
def test_unknown_names_suggest_the_key_that_is_meant(name: str, meant: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.key_of(name)
    assert meant in f"{caught.value}\n"


def test_overrides_under_any_spelling_become_values_by_full_name() -> None:
    class SchedulerType(enum.Enum):
        COSINE = "cosine"

    given = {
        "num_train_epochs": 2,
        "max_length": 256,
        "lr_scheduler_type": SchedulerType.COSINE,
        "bf16": True,
        "max_steps": -1,
        "metric_for_best_model": "eval_accuracy",
        "data": {"train": Path("a.csv"), "max_train_samples": 100},
    }
    assert recipe.normalize(given) == {
        "train.epochs": 2,
        "model.max_length": 256,
        "train.scheduler": "cosine",
        "train.precision": "bf16",
        "train.max_steps": 0,
        "train.metric": "accuracy",
        "data.train": "a.csv",
        "data.train_limit": 100,
    }


def test_all_wrong_names_of_overrides_are_listed() -> None:
    with pytest.raises(RecipeError, match="keyword arguments: 4 problems") as caught:
        recipe.normalize(
            {"lr": 1e-4, "epochs": 1, "num_train_epochs": 2, "train": 3, "trian": {"epochs": 3}},
            named="keyword arguments",
        )
    for problem in (
        "lr: unknown key (did you mean 'train.learning_rate'?)",
        "train.epochs: given twice, as epochs and as num_train_epochs; give it once",
        "train: names a section; a key such as train.epochs is expected (did you mean 'data.train'?)",
        "trian: unknown section (did you mean 'train'?)",
    ):
        assert f"  - {problem}" in str(caught.value)


def test_settings_take_every_spelling() -> None:
    assert recipe.parse_settings(
        ["epochs=3", "run_name=12", "fp16=true", "train.lr_scheduler_type=cosine", "nosuch=1"]
    ) == {"train.epochs": 3, "run.name": "12", "train.precision": "fp16", "train.scheduler": "cosine", "nosuch": 1}
    with pytest.raises(RecipeError, match=r"train\.epochs: given twice, as epochs and as train\.epochs"):
        recipe.parse_settings(["epochs=3", "train.epochs=2"])
    assert recipe.parse_settings(["epochs=3", "epochs=2"]) == {"train.epochs": 2}


def test_files_take_every_spelling(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('seed = 7\n[run]\nname = "x"\n[train]\nnum_train_epochs = 2\nfp16 = false\n')
    mine = recipe.load(str(path), {"per_device_train_batch_size": 4})
    assert (mine.run.seed, mine.train.epochs, mine.train.precision, mine.train.batch_size) == (7, 2.0, "fp32", 4)


def test_messages_say_under_which_name_a_wrong_value_was_given() -> None:
    document = {"run": {"name": "x"}, "train": {"num_train_epochs": -1}}
    with pytest.raises(RecipeError) as caught:
        recipe.resolve(document, {"batch_size": 0}, source="mine.toml", named="overrides")
    assert caught.value.source == "mine.toml"
    assert caught.value.problems == (
        "train.epochs: expected more than 0, found -1.0 (given as train.num_train_epochs)",
        "train.batch_size: expected 1 or more texts, found 0 (from overrides)",
    )


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
    assert text == recipe.annotated("trainer-basics"), "stale: write the text of recipe.annotated into the file"


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_a_shown_recipe_explains_every_key_and_reads_back_equal(name: str, tmp_path: Path) -> None:
    path = tmp_path / "shown.toml"
    path.write_text(recipe.shown(name), encoding="utf-8")
    assert recipe.load(str(path)) == recipe.load(name)
    assert recipe.shown(str(path)) == recipe.shown(name)
    lines = recipe.shown(name).splitlines()
    keys = [i for i, line in enumerate(lines) if re.match(r"\w+ = ", line)]
    assert len(keys) == len(recipe.KEYS.all)
    assert [lines[i] for i in keys if not lines[i - 1].startswith("# ")] == []
    introduction = lines.index("")
    assert [line for line in lines[introduction:] if line.startswith("#") and len(line) > 100] == []


def test_a_shown_recipe_keeps_what_its_file_says_at_the_top() -> None:
    assert recipe.shown("tweets-minilm").startswith("# The task of tweets-gpt2 on the pinned MiniLM: a fifth of")


def test_a_file_without_an_introduction_is_shown_without_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('# the run\n[run]\nname = "mine"\n', encoding="utf-8")
    shown = recipe.shown(str(path))
    assert shown.startswith("# Name and seed of the run.\n[run]\n")
    path.write_text(shown, encoding="utf-8")
    assert recipe.shown(str(path)) == shown


def test_comments_give_bounds_choices_and_the_default_where_it_differs() -> None:
    text = recipe.to_toml(recipe.load("quickstart"), comments=True)
    assert "# Highest learning rate of AdamW. Allowed: more than 0 and less than 1. Default: 5e-05.\n" in text
    assert "# What becomes of repeated texts. Allowed: 'drop', 'keep'.\nduplicates = \"drop\"\n" in text


def test_an_annotated_recipe_states_the_keys_of_its_file_alone() -> None:
    document = tomllib.loads((recipe.BUILTIN_FOLDER / "sst2-minilm.toml").read_text(encoding="utf-8"))
    assert tomllib.loads(recipe.annotated("sst2-minilm")) == document


def test_every_key_is_listed_with_default_and_help() -> None:
    lines = recipe.help_lines()
    assert len(lines) == len(recipe.KEYS.all)
    assert re.search(r"^train\.epochs +3\.0 +Passes over the training texts;", "\n".join(lines), re.MULTILINE)
    assert re.search(r"^run\.name +\(required\) +Name of the run", "\n".join(lines), re.MULTILINE)


@pytest.mark.parametrize(
    ("word", "path"), [("num_train_epochs", "train.epochs"), ("LR", "train.learning_rate"), ("qemu", "verify.cpu")]
)
def test_a_word_finds_keys_by_any_of_their_names_and_by_their_help(word: str, path: str) -> None:
    found = [line.split()[0] for line in recipe.help_lines(word)]
    assert path in found
    assert len(found) < 10


def test_no_key_is_listed_for_a_word_that_none_mentions() -> None:
    assert recipe.help_lines("zzz") == []


def test_the_reference_has_a_row_for_every_key_and_every_shipped_recipe() -> None:
    rows = [line.split(" | ") for line in recipe.reference().splitlines() if line.startswith("| `")]
    assert [row[0].strip("| `") for row in rows] == [*recipe.builtin_names(), *(key.path for key in recipe.KEYS)]
    assert {len(row) for row in rows} == {4}
    by_key = {row[0].strip("| `"): row for row in rows}
    assert by_key["train.epochs"][1:3] == ["number, more than 0", "`3.0`"]
    assert by_key["train.epochs"][3].endswith("Also accepted: `num_train_epochs`. |")
    assert by_key["verify.order"][1] == "one of 'auto', 'validation', 'table'"


def test_every_default_is_within_its_bounds_and_every_help_is_a_sentence() -> None:
    for key in recipe.KEYS:
        assert key.default is REQUIRED or key.problem(key.default) == ""
        assert re.fullmatch(r"[A-Z0-9'].*\.", key.declaration.help), key.path


def test_sections_without_a_stated_value_equal_their_defaults() -> None:
    made = recipe.resolve({"run": {"name": "x"}, "train": {"epochs": 3.0}}, source="test")
    assert made == recipe.Recipe(recipe.RunSection("x"))


STATED = {"run": {"name": "x"}, "data": {"dataset": "imdb"}, "train": {"epochs": 3}}


@pytest.mark.parametrize(
    ("document", "overrides", "min_steps"),
    [
        ({"run": {"name": "x"}}, {}, recipe.ENOUGH_STEPS),
        (STATED, {}, 0),
        (STATED, {"data.dataset": "imdb"}, 0),
        (STATED, {"data.dataset": "sst2"}, recipe.ENOUGH_STEPS),
        (STATED, {"data.dataset": "sst2", "epochs": 2}, 0),
        (STATED, {"data.dataset": "sst2", "max_steps": 2}, 0),
        (STATED, {"data.dataset": "sst2", "min_steps": 50}, 50),
        (STATED, {"data.train_limit": 10}, 0),
        ({"run": {"name": "x"}, "train": {"max_steps": 5}}, {}, 0),
        ({"run": {"name": "x"}, "train": {"epochs": 1}}, {"data.dataset": "memory"}, 0),
        ({"run": {"name": "x"}, "train": {"epochs": 1}}, {"data.dataset": "sst2"}, recipe.ENOUGH_STEPS),
        (STATED, {"data.dataset": "memory"}, recipe.ENOUGH_STEPS),
        ({"run": {"name": "x"}, "model": {"tuned": True}}, {}, 0),
    ],
)
def test_the_least_number_of_steps_is_set_where_nobody_says_how_long_to_train(
    document: dict[str, object], overrides: dict[str, object], min_steps: int
) -> None:
    made = recipe.resolve(document, overrides, source="test")
    assert made.train.min_steps == min_steps
    assert recipe.with_overrides(made, {"train.batch_size": 8}, source="test").train.min_steps == min_steps


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


@pytest.mark.parametrize("given", ["neoverse-n1", ["neoverse-n1"], ("neoverse-n1",)])
def test_one_cpu_model_is_a_list_of_one(given: object) -> None:
    assert recipe.load("quickstart", {"verify.cpu": given}).verify.cpu == ("neoverse-n1",)
    assert recipe.load("quickstart", {"verify": {"cpu": given}}).verify.cpu == ("neoverse-n1",)


def test_cpu_models_are_given_as_a_word_or_a_list() -> None:
    assert recipe.parse_settings(["verify.cpu=neoverse-n1"]) == {"verify.cpu": ["neoverse-n1"]}
    assert recipe.parse_settings(["cpu=['EPYC-Milan', 'cortex-a72']"]) == {"verify.cpu": ["EPYC-Milan", "cortex-a72"]}
    assert recipe.load("quickstart", {"verify.cpu": []}).verify.cpu == ()
    for wrong in ("[EPYC-Milan,neoverse-n1]", "", "-cpu", "a b"):
        with pytest.raises(RecipeError, match="expected names of CPU models, such as EPYC-Milan and neoverse-n1"):
            recipe.load("quickstart", {"verify.cpu": wrong})
    with pytest.raises(RecipeError, match=r"verify\.cpu: expected a list, found 7"):
        recipe.load("quickstart", {"verify.cpu": 7})


def test_a_recipe_of_before_names_one_cpu_model(tmp_path: Path) -> None:
    text = recipe.to_toml(recipe.load("quickstart")).replace('cpu = ["EPYC-Milan"]', 'cpu = "Nehalem"')
    (tmp_path / "old.toml").write_text(text, encoding="utf-8")
    assert recipe.load(str(tmp_path / "old.toml")).verify.cpu == ("Nehalem",)


def test_keys_that_change_nothing_are_idle_and_decide_nothing() -> None:
    settings = ["train.lora_rank=4", "train.teacher_weight=0.5", "train.eval_steps=7", "train.teacher_copies=0"]
    loaded = recipe.load("quickstart", recipe.parse_settings(settings)).train
    assert [*loaded.idle] == ["teacher_weight", "lora_rank", "eval_steps"]
    assert loaded.decisive == recipe.load("quickstart").train.decisive
    used = ["train.peft=lora", "train.teacher=mpnet", "train.eval_strategy=steps"]
    loaded = recipe.load("quickstart", recipe.parse_settings([*settings, *used])).train
    assert not loaded.idle
    assert (loaded.decisive.lora_rank, loaded.decisive.teacher_weight, loaded.decisive.eval_steps) == (4, 0.5, 7)


@pytest.mark.parametrize("name", recipe.builtin_names())
def test_no_key_of_a_shipped_recipe_is_idle(name: str) -> None:
    assert not recipe.load(name).train.idle
