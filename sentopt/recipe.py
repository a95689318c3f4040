"""Recipes: everything a run depends on, as frozen dataclasses read from TOML.

A recipe file states only what differs from the defaults below; the resolved recipe, every value explicit, is written
into the run directory. All problems of a recipe are reported at once.
"""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from sentopt import records
from sentopt.errors import RecipeError

BUILTIN_FOLDER = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = "quickstart"
TEST_AS_VALIDATION = "test"
SAMPLE_TEXTS = (
    "This is a great product!",
    "I am very disappointed with the service.",
    "It was an average experience.",
    "The movie was not good at all",
    "The movie was amazing",
)


@dataclass(frozen=True)
class RunSection:
    """`name` is the folder under `exports/`; `seed` fixes splits, initial head, shuffling and dropout.

    For the last two, `train.seed` comes before it.
    """

    name: str
    description: str = ""
    seed: int = 42


@dataclass(frozen=True)
class DataSection:
    """Where texts and labels come from.

    `dataset` is `sample` (the bundled corpus), `files` (then `train`, `validation`, `test` are paths of table files, or
    patterns such as `data/train-*.parquet`), `hub` (then they are split names of `hub_id` at `revision`), or a name of
    the dataset table.

    `validation = "test"` evaluates on the test split while training, as many published examples do: the best checkpoint
    is then chosen by the very texts that it is judged by.

    `test_fraction`, where it is 0, follows from the number of texts: a fifth, or up to two fifths where that lets
    verification decide; all but the texts for calibration where the model was tuned already.

    `unlabelled` is a file of further texts of the same kind, without labels: the labels that a variant changes on them
    bound what it can lose.

    `labels` names the labels in the order of the model's outputs; numbers in the data stand for them in that order.
    `encoding` and `delimiter` of a CSV or TSV file are detected where they are empty; `quote` is the character around
    fields, empty where there is none. `duplicates`, `missing_labels` and `rare_labels` say what becomes of repeated
    texts, of rows without a label, and of labels with fewer texts than there are splits to fill.
    """

    dataset: str = "sample"
    train: str = ""
    validation: str = ""
    test: str = ""
    unlabelled: str = ""
    hub_id: str = ""
    hub_config: str = ""
    revision: str = ""
    text_column: str = "text"
    label_column: str = "label"
    labels: tuple[str, ...] = ()
    validation_fraction: float = 0.1
    test_fraction: float = 0.0
    train_limit: int = 0
    validation_limit: int = 0
    test_limit: int = 0
    duplicates: Literal["drop", "keep"] = "drop"
    missing_labels: Literal["error", "drop"] = "error"
    rare_labels: Literal["error", "drop"] = "error"
    encoding: str = ""
    delimiter: str = ""
    quote: str = "auto"


@dataclass(frozen=True)
class ModelSection:
    """`backbone` is a name of the backbone table, a local folder, or a hub id (then `revision` pins it).

    `tuned` says that it is a classifier already: it is not trained, but exported, verified and measured as it is.
    """

    backbone: str = "minilm"
    revision: str = ""
    max_length: int = 128
    tuned: bool = False


@dataclass(frozen=True)
class TrainSection:
    """Hyperparameters, named as in `transformers.TrainingArguments` where it has them.

    `seed`, where it is not 0, draws the order of texts and dropout in place of `run.seed`: trainings that differ in it
    alone have the same splits and the same start, so they can be averaged.
    `encoder_dropout = false` switches dropout off inside the encoder (the head keeps it): drawing its random masks is a
    third of a training step on a CPU. `freeze_embeddings` keeps the embeddings, half of MiniLM's parameters, as
    pretrained, which saves another tenth. `class_weights = "balanced"` gives every label the same weight in the loss,
    however rare it is. With `ema_decay`, a moving average of the weights is what is evaluated and kept; 0.999 remembers
    a thousand steps, 0 switches it off. With `adversarial`, every batch is learnt a second time, its word embeddings
    shifted against the model by that many lengths of a word's embedding, which doubles the time. `calibrate` fits a
    temperature on the validation split and divides it out of the head, so that scores are probabilities; no label
    changes.
    """

    epochs: float = 3.0
    max_steps: int = 0
    batch_size: int = 32
    eval_batch_size: int = 64
    gradient_accumulation: int = 1
    learning_rate: float = 5e-5
    weight_decay: float = 0.01
    warmup_ratio: float = 0.1
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    adversarial: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    calibrate: bool = True
    eval_strategy: Literal["epoch", "steps"] = "epoch"
    eval_steps: int = 0
    logging_steps: int = 10
    metric: Literal["accuracy", "macro_f1"] = "macro_f1"
    save_total_limit: int = 2
    group_by_length: bool = True
    encoder_dropout: bool = True
    freeze_embeddings: bool = False
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    seed: int = 0
    sample_texts: tuple[str, ...] = SAMPLE_TEXTS


@dataclass(frozen=True)
class ExportSection:
    """`variants` limits what is made (empty: every variant this machine can make and run).

    `tolerance` is the largest difference of a logit between an FP32 graph and PyTorch; `opset` is the traced graph's.
    A trimmed variant keeps the `trim_keep` first pieces of the vocabulary beside those of the training texts: BERT's
    family lists them by falling frequency. `string_input` adds a graph to the bundle that takes texts,
    `fp32_fallback` adds the fastest verified FP32 graph to an INT8 bundle, for CPUs that answer differently.
    """

    opset: int = 17
    tolerance: float = 1e-4
    variants: tuple[str, ...] = ()
    trim_keep: int = 10_000
    string_input: bool = False
    fp32_fallback: bool = False


@dataclass(frozen=True)
class VerifySection:
    """What a variant must prove, at `confidence`, in percentage points; see `gate`.

    Its accuracy is less than `margin` below PyTorch's, and so is macro F1 where `train.metric` is that; the recall of
    no label is `recall_margin` or more below; fewer than `max_changed` percent of the labels change. Nothing ships
    where PyTorch itself is not proven to know more than the majority answer, unless `allow_weak_reference`.

    Variants are tested up to the first failure, in the `order` of their agreement on the validation split, or in that
    of the table of variants; then validation texts count as evidence, too. `auto` is the latter with under 1,000 test
    texts.

    Where qemu-user is installed, the INT8 variants also answer the first `cpu_texts` test texts on an emulated `cpu`:
    INT8 products are what differs between CPUs in more than the last digit.
    """

    margin: float = 1.0
    recall_margin: float = 3.0
    max_changed: float = 5.0
    confidence: float = 0.95
    order: Literal["auto", "validation", "table"] = "auto"
    allow_weak_reference: bool = False
    cpu: str = "EPYC-Milan"
    cpu_texts: int = 16


@dataclass(frozen=True)
class BenchSection:
    """`texts` of the test split are timed one by one in each of `rounds`; `grid` is (batch, tokens) cells."""

    rounds: int = 5
    texts: int = 40
    throughput_texts: int = 128
    grid: tuple[tuple[int, int], ...] = ((1, 16), (1, 32), (1, 64), (1, 128), (16, 32), (16, 128))
    threads: int = 0


@dataclass(frozen=True)
class SelectSection:
    """What "fastest" means: median milliseconds of one text, or texts per second of many."""

    objective: Literal["latency", "throughput"] = "latency"
    tie: float = 0.03


@dataclass(frozen=True)
class Recipe:
    """A complete, checked recipe."""

    run: RunSection
    data: DataSection = field(default_factory=DataSection)
    model: ModelSection = field(default_factory=ModelSection)
    train: TrainSection = field(default_factory=TrainSection)
    export: ExportSection = field(default_factory=ExportSection)
    verify: VerifySection = field(default_factory=VerifySection)
    bench: BenchSection = field(default_factory=BenchSection)
    select: SelectSection = field(default_factory=SelectSection)


def builtin_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(path.stem for path in BUILTIN_FOLDER.glob("*.toml"))


def load(name_or_path: str, overrides: Mapping[str, Any] | None = None, *, named: str = "--set") -> Recipe:
    """Read a shipped recipe by name, or a TOML file by path, and apply overrides such as `{"train.epochs": 2}`.

    `named` is what messages call the overrides.

    Raises:
        RecipeError: not found, not TOML, or any unknown key, wrong type or impossible value (all listed).
    """
    path = _find(name_or_path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(str(path), [f"cannot be read as TOML: {error}"]) from error
    return resolve(document, overrides, source=str(path), named=named)


def resolve(
    document: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, source: str, named: str = "--set"
) -> Recipe:
    """A checked recipe from parsed TOML plus overrides; see `load`."""
    problems: list[str] = []
    merged = {section: dict(values) if isinstance(values, Mapping) else values for section, values in document.items()}
    for key, value in (overrides or {}).items():
        section, _, name = key.partition(".")
        table = merged.setdefault(section, {})
        if isinstance(table, dict):
            table[name] = value
    recipe = records.decode(Recipe, merged, "", problems)
    if isinstance(recipe, Recipe):
        problems.extend(_impossible_values(recipe))
    if problems:
        raise _blame(problems, overrides or {}, source, named)
    assert isinstance(recipe, Recipe)
    return recipe


def _blame(problems: Sequence[str], overrides: Mapping[str, Any], source: str, named: str) -> RecipeError:
    """The error names the file, or the overrides for the keys that came from there."""

    def is_overridden(problem: str) -> bool:
        return re.split(r"[:\[]", problem)[0] in overrides

    overridden = [problem for problem in problems if is_overridden(problem)]
    if len(overridden) == len(problems):
        return RecipeError(named, problems)
    return RecipeError(
        source, [f"{problem} (from {named})" if problem in overridden else problem for problem in problems]
    )


def with_overrides(recipe: Recipe, overrides: Mapping[str, Any], *, source: str) -> Recipe:
    """The same recipe with overrides such as `{"train.epochs": 2}` applied."""
    return resolve(records.to_json(recipe), overrides, source=source) if overrides else recipe


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Overrides from texts such as `train.epochs=2`: a TOML value where it is one, else the bare word.

    Raises:
        RecipeError: texts of another form (all listed).
    """
    overrides: dict[str, Any] = {}
    problems = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        section, dot, name = key.strip().partition(".")
        if equals and dot and name:
            overrides[f"{section}.{name}"] = _setting_value(section, name, text.strip())
        else:
            problems.append(f"--set {setting}: expected section.key=value, for example train.epochs=2")
    if problems:
        raise RecipeError("--set", problems)
    return overrides


def to_toml(recipe: Recipe) -> str:
    """The recipe as TOML with every value explicit; `load` of the result gives an equal recipe."""
    lines = []
    for section in dataclasses.fields(recipe):
        lines.append(f"[{section.name}]")
        values = getattr(recipe, section.name)
        lines.extend(f"{key.name} = {_toml_value(getattr(values, key.name))}" for key in dataclasses.fields(values))
        lines.append("")
    return "\n".join(lines)


def _find(name_or_path: str) -> Path:
    builtin = BUILTIN_FOLDER / f"{name_or_path}.toml"
    if re.fullmatch(r"[\w.-]+", name_or_path) and builtin.is_file():
        return builtin
    path = Path(name_or_path)
    if path.is_file():
        return path
    hint = records.nearest(name_or_path, builtin_names())
    raise RecipeError(
        name_or_path,
        [f"no such recipe and no such file{hint}; shipped recipes: {', '.join(builtin_names())}"],
    )


def _setting_value(section: str, name: str, text: str) -> Any:
    """A TOML value where that is what was typed, else the bare word as a string (shells eat quotes)."""
    if _is_string_key(section, name):
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _is_string_key(section: str, name: str) -> bool:
    defaults = {field.name: field.default_factory for field in dataclasses.fields(Recipe)}
    factory = RunSection if section == "run" else defaults.get(section)
    if factory is None or not dataclasses.is_dataclass(factory):
        return False
    kinds = {field.name: str(field.type) for field in dataclasses.fields(factory)}
    return kinds.get(name) == "str"


def _impossible_values(recipe: Recipe) -> list[str]:
    """Every value that has the right type and cannot work, with its bounds."""
    r = recipe
    checks: list[tuple[bool, str]] = [
        (
            bool(re.fullmatch(r"[A-Za-z0-9][\w.-]*", r.run.name)),
            f"run.name: a folder name is expected, found {r.run.name!r}",
        ),
        (0 <= r.run.seed < 2**32, f"run.seed: expected 0 to 2**32 - 1, found {r.run.seed}"),
        (0 <= r.train.seed < 2**32, f"train.seed: expected 0 to 2**32 - 1, found {r.train.seed}"),
        (bool(r.data.dataset), "data.dataset: expected a name, found an empty string"),
        (r.data.dataset != "files" or bool(r.data.train), "data.train: a path is needed when data.dataset is 'files'"),
        (r.data.dataset != "hub" or bool(r.data.hub_id), "data.hub_id: an id is needed when data.dataset is 'hub'"),
        (r.data.dataset != "hub" or bool(r.data.revision), "data.revision: hub data must be pinned to a commit hash"),
        (len(set(r.data.labels)) == len(r.data.labels), "data.labels: a label is listed twice"),
        (len(r.data.labels) != 1, "data.labels: at least two labels are needed"),
        (0 < r.data.validation_fraction < 0.5, "data.validation_fraction: expected more than 0 and less than 0.5"),
        (0 <= r.data.test_fraction < 1, "data.test_fraction: expected 0 (by the number of texts) to less than 1"),
        (8 <= r.model.max_length <= 8192, f"model.max_length: expected 8 to 8192 tokens, found {r.model.max_length}"),
        (r.train.epochs > 0, f"train.epochs: expected more than 0, found {r.train.epochs}"),
        (
            0 < r.train.learning_rate < 1,
            f"train.learning_rate: expected more than 0 and less than 1, found {r.train.learning_rate}",
        ),
        (0 <= r.train.weight_decay < 1, f"train.weight_decay: expected 0 to 1, found {r.train.weight_decay}"),
        (0 <= r.train.warmup_ratio < 1, f"train.warmup_ratio: expected 0 to 1, found {r.train.warmup_ratio}"),
        (0 <= r.train.label_smoothing < 1, f"train.label_smoothing: expected 0 to 1, found {r.train.label_smoothing}"),
        (0 <= r.train.ema_decay < 1, f"train.ema_decay: expected 0 to 1, found {r.train.ema_decay}"),
        (0 <= r.train.adversarial <= 10, f"train.adversarial: expected 0 to 10, found {r.train.adversarial}"),
        (
            r.train.eval_strategy != "steps" or r.train.eval_steps > 0,
            "train.eval_steps: must be positive when train.eval_strategy is 'steps'",
        ),
        (r.export.opset >= 14, f"export.opset: expected 14 or more, found {r.export.opset}"),
        (r.export.tolerance > 0, f"export.tolerance: expected more than 0, found {r.export.tolerance}"),
        (
            0.1 <= r.verify.margin <= 20,
            f"verify.margin: expected percentage points, 0.1 to 20, found {r.verify.margin}",
        ),
        (
            0.1 <= r.verify.recall_margin < 100,
            f"verify.recall_margin: expected percentage points, 0.1 to less than 100, found {r.verify.recall_margin}",
        ),
        (
            0.1 <= r.verify.max_changed < 100,
            f"verify.max_changed: expected percent, 0.1 to less than 100, found {r.verify.max_changed}",
        ),
        (
            0.95 <= r.verify.confidence < 1,  # the score test keeps its level from there on
            f"verify.confidence: expected 0.95 or more and less than 1, found {r.verify.confidence}",
        ),
        (len(r.bench.grid) > 0, "bench.grid: at least one [batch, tokens] cell is needed"),
        (all(b > 0 and t > 1 for b, t in r.bench.grid), "bench.grid: batches must be positive and tokens at least 2"),
        (0 <= r.select.tie < 1, f"select.tie: expected 0 to 1, found {r.select.tie}"),
    ]
    problems = [message for ok, message in checks if not ok]
    problems.extend(_too_small(recipe))
    problems.extend(_unreadable(recipe.data))
    return problems


def _unreadable(data: DataSection) -> list[str]:
    checks = [
        (data.text_column != data.label_column, "data.label_column: it is data.text_column as well"),
        (
            not data.encoding or _is_encoding(data.encoding),
            f"data.encoding: expected a name such as utf-8, utf-16 or windows-1252, found {data.encoding!r}",
        ),
        (
            len(data.delimiter) < 2 or data.delimiter in _DELIMITERS,
            f"data.delimiter: expected one character or one of {', '.join(_DELIMITERS)}, found {data.delimiter!r}",
        ),
        (
            data.quote == "auto" or len(data.quote) < 2,
            f"data.quote: expected auto, nothing, or one character, found {data.quote!r}",
        ),
    ]
    return [message for ok, message in checks if not ok]


def _is_encoding(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return True


_DELIMITERS = ("tab", "\\t", "comma", "semicolon", "pipe", "space")
_AT_LEAST: tuple[tuple[str, str, int], ...] = (
    ("data", "train_limit", 0),
    ("data", "validation_limit", 0),
    ("data", "test_limit", 0),
    ("train", "max_steps", 0),
    ("train", "batch_size", 1),
    ("train", "eval_batch_size", 1),
    ("train", "gradient_accumulation", 1),
    ("train", "eval_steps", 0),
    ("train", "logging_steps", 1),
    ("train", "save_total_limit", 1),
    ("export", "trim_keep", 0),
    ("bench", "rounds", 1),
    ("bench", "texts", 1),
    ("bench", "throughput_texts", 1),
    ("bench", "threads", 0),
)


def _too_small(recipe: Recipe) -> list[str]:
    found = [(section, key, least, getattr(getattr(recipe, section), key)) for section, key, least in _AT_LEAST]
    return [
        f"{section}.{key}: expected {least} or more, found {value}"
        for section, key, least, value in found
        if value < least
    ]


def _toml_value(value: Any) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        # JSON's string escapes are TOML's, except DEL, which JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def identity_of_training(recipe: Recipe) -> tuple[object, ...]:
    """What decides a checkpoint: seed, data (but further texts without labels), model and hyperparameters."""
    return recipe.run.seed, dataclasses.replace(recipe.data, unlabelled=""), recipe.model, recipe.train
