"""From TOML documents and overrides, under any accepted spelling of the keys, to a checked recipe."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentopt import records
from sentopt.errors import RecipeError
from sentopt.recipe.fields import REQUIRED, UnknownKeyError
from sentopt.recipe.sections import ENOUGH_STEPS, KEYS, DataSection, ExportSection, Recipe, TrainSection
from sentopt.variants import LONG, VARIANTS

BUILTIN_FOLDER = Path(__file__).parent.parent / "recipes"
DEFAULT_RECIPE = "quickstart"
_MEMORY = "memory"  # what data.dataset says of rows in memory


def key_of(name: str) -> str:
    """The full name of the key that `name` stands for: `train.epochs` for `epochs` or `num_train_epochs`.

    Raises:
        RecipeError: no key has this name, or several do; the message says which one may be meant.
    """
    try:
        return KEYS.find(name).path
    except UnknownKeyError as error:
        raise RecipeError(name, [str(error)]) from error


def normalize(overrides: Mapping[str, Any], *, named: str = "overrides") -> dict[str, Any]:
    """Overrides under any accepted spelling, as values by full name: `{"train.epochs": 2}` for `{"epochs": 2}`.

    A section may be given as a table: `{"train": {"epochs": 2}}`. Enum members and paths become plain values; values
    are not checked otherwise. `named` is what the message calls the overrides.

    Raises:
        RecipeError: unknown keys, and keys that are given twice under two spellings (all listed).
    """
    settings = _Settings.of(overrides)
    if settings.problems:
        raise RecipeError(named, settings.problems)
    return settings.values


@dataclass
class _Settings:
    """Values by full name, the names that they were given under, and what is wrong with those names."""

    values: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> _Settings:
        """Of a parsed TOML document, of overrides, or of a mixture of both."""
        settings = cls()
        for name, value in ((str(name), value) for name, value in given.items()):
            if name in KEYS.sections and isinstance(value, Mapping):
                for inner, item in value.items():
                    settings._add(f"{name}.{inner}", item)
            elif isinstance(value, Mapping) and "." not in name:
                settings.problems.append(f"{name}: unknown section{records.nearest(name, KEYS.sections)}")
            else:
                settings._add(name, value)
        return settings

    def _add(self, name: str, value: Any) -> None:
        try:
            key, plain = KEYS.translate(name, value)
        except UnknownKeyError as error:
            self.problems.append(str(error))
            return
        if key.path in self.values:
            self.problems.append(f"{key.path}: given twice, as {self.names[key.path]} and as {name}; give it once")
        self.values[key.path] = plain
        self.names[key.path] = name


def builtin_names() -> list[str]:
    """Names of the recipes that ship with the package."""
    return sorted(path.stem for path in BUILTIN_FOLDER.glob("*.toml"))


def load(name_or_path: str, overrides: Mapping[str, Any] | None = None, *, named: str = "--set") -> Recipe:
    """Read a shipped recipe by name, or a TOML file by path, and apply overrides such as `{"train.epochs": 2}`.

    Both take every accepted spelling of a key. `named` is what messages call the overrides.

    Raises:
        RecipeError: not found, not TOML, or any unknown key, wrong type or impossible value (all listed).
    """
    path = find(name_or_path)
    return resolve(_read(path), overrides, source=str(path), named=named)


def resolve(
    document: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, *, source: str, named: str = "--set"
) -> Recipe:
    """A checked recipe from parsed TOML plus overrides; see `load`."""
    stated, overridden = _Settings.of(document), _Settings.of(overrides or {})
    values = {**stated.values, **overridden.values, **_schedule(stated.values, overridden.values)}
    problems: list[str] = []
    recipe = _decode(values, problems)
    if recipe:
        problems.extend(_impossible_values(recipe))
    ours = [_as_given(problem, overridden.names) for problem in problems if _key_in(problem) in overridden.names]
    theirs = [_as_given(problem, stated.names) for problem in problems if _key_in(problem) not in overridden.names]
    _refuse(source, [*stated.problems, *theirs], named, [*overridden.problems, *ours])
    assert recipe is not None
    return recipe


def _decode(values: Mapping[str, Any], problems: list[str]) -> Recipe | None:
    """The unchecked recipe; what is missing or of the wrong type is appended to `problems`, and there is none then."""
    sections: dict[str, dict[str, Any]] = {section: {} for section in KEYS.sections}
    for key in KEYS:
        if key.path in values:
            sections[key.section][key.name] = records.decode(key.kind, values[key.path], key.path, problems)
        elif key.default is REQUIRED:
            problems.append(f"{key.path}: missing")
    if problems:
        return None
    return Recipe(**{section: kind(**sections[section]) for section, kind in KEYS.sections.items()})


def _impossible_values(recipe: Recipe) -> list[str]:
    """Values that have the right type and are out of bounds, or contradict each other."""
    values = ((key, getattr(getattr(recipe, key.section), key.name)) for key in KEYS)
    return [*(problem for key, value in values if (problem := key.problem(value))), *_contradictions(recipe)]


def _refuse(source: str, problems: Sequence[str], named: str, overridden: Sequence[str]) -> None:
    """Raise what is wrong with the file, and what with the overrides, as one error."""
    if problems:
        raise RecipeError(source, [*problems, *(f"{problem} (from {named})" for problem in overridden)])
    if overridden:
        raise RecipeError(named, overridden)


def _key_in(problem: str) -> str:
    return re.split(r"[:\[]", problem)[0]


def _as_given(problem: str, names: Mapping[str, str]) -> str:
    """Messages name the key; where it was given under another name, that one, too."""
    key = _key_in(problem)
    given = names.get(key, key)
    return problem if key.rpartition(".")[2] == given.rpartition(".")[2] else f"{problem} (given as {given})"


def _schedule(document: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """`train.min_steps` where nobody has stated how long to train on these data.

    A recipe's schedule is for its own data; where it names none, rows in memory are its own. What is stated is obeyed,
    and a recipe that a sentopt without min_steps resolved states its epochs.
    """
    own = document.get("data.dataset", _MEMORY)
    other_data = overrides.get("data.dataset", own) != own
    stated = {**({} if other_data else document), **overrides}
    if "train.min_steps" in document:
        return {}
    is_tuned = {**document, **overrides}.get("model.tuned") is True
    if is_tuned or stated.keys() & {"train.epochs", "train.max_steps", "train.min_steps"}:
        return {}
    return {"train.min_steps": ENOUGH_STEPS}


def with_overrides(recipe: Recipe, overrides: Mapping[str, Any], *, source: str) -> Recipe:
    """The same recipe with overrides such as `{"train.epochs": 2}` applied."""
    return resolve(records.to_json(recipe), overrides, source=source) if overrides else recipe


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Overrides by full name from texts such as `epochs=2`: a TOML value where it is one, else the bare word.

    Unknown keys are kept as they are, so that `resolve` reports them together with everything else.

    Raises:
        RecipeError: texts of another form, and keys that are given twice under two spellings (all listed).
    """
    overrides: dict[str, Any] = {}
    names: dict[str, str] = {}
    problems = []
    for setting in settings:
        name, equals, given = setting.partition("=")
        name, text = name.strip(), given.strip()
        if not equals or not name or name.startswith(".") or name.endswith("."):
            problems.append(f"--set {setting}: expected key=value, for example train.epochs=2 or epochs=2")
            continue
        path, value = _setting(name, text or given)
        if names.setdefault(path, name) != name:
            problems.append(f"{path}: given twice, as {names[path]} and as {name}; give it once")
        overrides[path] = value
    if problems:
        raise RecipeError("--set", problems)
    return overrides


def _setting(name: str, text: str) -> tuple[str, Any]:
    """Full name and value of `name=text`."""
    try:
        key = KEYS.find(name)
    except UnknownKeyError:
        return name, _setting_value(text)
    if key.is_text:
        return key.path, text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    return key.path, KEYS.translate(name, _setting_value(text))[1]


def _setting_value(text: str) -> Any:
    """A TOML value where that is what was typed, else the bare word as a string (shells eat quotes)."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def find(name_or_path: str) -> Path:
    """The file of a shipped recipe, or the path itself.

    Raises:
        RecipeError: neither is there.
    """
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


def stated(path: Path) -> dict[str, Any]:
    """The values that a recipe file states, by full name."""
    return _Settings.of(_read(path)).values


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RecipeError(str(path), [f"cannot be read as TOML: {error}"]) from error


def _contradictions(recipe: Recipe) -> list[str]:
    """Values that are each within their bounds and cannot be combined."""
    data, train = recipe.data, recipe.train
    named = [VARIANTS[name] for name in recipe.export.variants if name in VARIANTS]
    staged, tiled = [spec.name for spec in named if spec.stages], [spec.name for spec in named if spec.tiled]
    checks = [
        (data.dataset != "files" or data.train, "data.train: a path is needed when data.dataset is 'files'"),
        (data.dataset != "hub" or data.hub_id, "data.hub_id: an id is needed when data.dataset is 'hub'"),
        (data.dataset != "hub" or data.revision, "data.revision: hub data must be pinned to a commit hash"),
        (
            data.text_column != data.label_column,
            f"data.label_column: expected another column than data.text_column, found {data.label_column!r} for both",
        ),
        *_of_label_sets(data),
        (
            data.pair_column not in (data.text_column, data.label_column),
            f"data.pair_column: expected another column than data.text_column and data.label_column, found "
            f"{data.pair_column!r} again",
        ),
        (
            train.eval_strategy != "steps" or train.eval_steps > 0,
            "train.eval_steps: expected 1 or more steps when train.eval_strategy is 'steps', found 0",
        ),
        (
            not (train.teacher and recipe.model.tuned),
            "train.teacher: a model that is fine-tuned already is not trained again (model.tuned)",
        ),
        (
            not staged or recipe.distill.layers != (0,),
            f"distill.layers: 0 makes no student, and export.variants names {', '.join(staged)}",
        ),
        (
            not (staged and data.pair_column),
            f"data.pair_column: {', '.join(staged)} in export.variants cannot be made for pairs of texts",
        ),
        (
            not tiled or recipe.has_long_texts,
            f"export.variants: {', '.join(tiled)} needs model.max_length of {LONG} or more, found "
            f"{recipe.model.max_length}, and not export.standard_operators",
        ),
    ]
    return [message for holds, message in checks if not holds]


def _of_label_sets(data: DataSection) -> list[tuple[object, str]]:
    """Whether each of these holds, and what to say if it does not."""
    several, separator = data.label_columns, data.label_separator
    own_columns = data.dataset in ("files", "hub", "sample", _MEMORY)
    return [
        (
            not (several and separator),
            "data.label_separator: the labels are in columns of their own (data.label_columns); give one of the two",
        ),
        (
            not several or not data.labels or set(data.labels) == set(several),
            f"data.labels: the names of data.label_columns are the labels ({', '.join(several)}); leave it empty",
        ),
        (
            data.text_column not in several,
            f"data.label_columns: expected other columns than data.text_column, found {data.text_column!r} in both",
        ),
        (
            data.pair_column not in several,
            f"data.label_columns: expected other columns than data.pair_column, found {data.pair_column!r} in both",
        ),
        (
            not (several or separator) or own_columns,
            f"data.label_{'columns' if several else 'separator'}: the dataset {data.dataset!r} has one label for each "
            "text; it is for files, data of the hub, and data from Python",
        ),
        (
            not (several or separator) or not data.corrections,
            "data.corrections: corrects the one label of a text; where it has any number of labels, correct the data",
        ),
    ]


def identity(section: DataSection | TrainSection | ExportSection) -> dict[str, Any]:
    """A section as fingerprints take it: a key that older runs did not have is left out where it changes nothing."""
    later = {
        key.name: records.to_json(key.default)
        for key in KEYS
        if key.added_later and isinstance(section, KEYS.sections[key.section])
    }
    values = records.to_json(section)
    return {name: value for name, value in values.items() if name not in later or value != later[name]}


def values_of(recipe: Recipe, sections: Sequence[str]) -> dict[str, Any]:
    """The keys of these sections by path ("data.train"), with their values as JSON."""
    document = records.to_json(recipe)
    return {f"{section}.{key}": value for section in sections for key, value in document[section].items()}


def identity_of_training(recipe: Recipe) -> tuple[object, ...]:
    """What decides a checkpoint: seed, model, hyperparameters, and data; texts without labels if there is a teacher."""
    return recipe.run.seed, data_of_training(recipe), recipe.model, recipe.train.decisive


def data_of_training(recipe: Recipe) -> DataSection:
    """With defaults for the keys of texts without labels, unless a teacher answers them."""
    is_answered = bool(recipe.train.teacher and recipe.data.unlabelled)
    return recipe.data if is_answered else recipe.data.labelled
