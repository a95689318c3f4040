"""Whether a recipe may go on in a run directory, or would replace what another one left there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sentopt import backbones
from sentopt import recipe as recipes
from sentopt.data import corrections, sources, unlabelled
from sentopt.errors import RecipeError, RunDirError
from sentopt.files import journal
from sentopt.manifest import Manifest
from sentopt.pipeline.cache import StageCache
from sentopt.recipe import Recipe
from sentopt.run_dir import SPLITS, RunDir

_SECTIONS = ("data", "model", "train")
_PATHS = ("unlabelled", "corrections")  # keys of the data section that name a file, besides the splits
_SHOWN = 12
_TEACHER, _UNLABELLED, _CORRECTIONS = "train.teacher", "data.unlabelled", "data.corrections"


def begin(cache: StageCache, recipe: Recipe, inputs: Iterable[Path], *, replaces: bool) -> None:
    """Make the directory of `cache` the run directory of `recipe`, or go on in it.

    Args:
        cache: of the directory.
        recipe: what will be run.
        inputs: files that are read besides those that the recipe names.
        replaces: a checkpoint that was trained otherwise may be replaced.

    Raises:
        RunDirError: the directory is not sentopt's, holds what the run is to read, or a checkpoint that was trained
            otherwise.
        DataError: a file that a later stage reads is not there.
    """
    check_inputs(cache.run_dir, recipe, inputs)
    corrections.check(recipe.data)
    unlabelled.check(recipe.data)  # now, and not when `verify` reads it
    cache.claim()
    if not replaces:
        check(cache.run_dir, cache.manifest, recipe)


def check_inputs(run_dir: RunDir, recipe: Recipe, others: Iterable[Path] = ()) -> None:
    """That nothing that the run reads is in its directory, but for what sentopt put there to be read.

    Raises:
        RunDirError: data, model or one of `others` (the recipe) is.
    """
    own = {run_dir.recipe.resolve(), run_dir.averaged.resolve()}
    live = run_dir.live("").resolve()
    for path in [*_local_inputs(recipe), *others]:
        is_own = path.resolve() in own or path.resolve().parent == live
        if path.exists() and not is_own and _is_below(path, run_dir.root):
            raise RunDirError(
                f"the run directory {run_dir.root} holds {path}, which the run is to read: "
                "name another one with --run-dir NEW_FOLDER"
            )


def check(run_dir: RunDir, manifest: Manifest, recipe: Recipe) -> None:
    """That `recipe` would not replace a finished checkpoint by that of other data, another model or other settings.

    Raises:
        RunDirError: it would; what differs is listed.
    """
    trained = _trained(run_dir, manifest)
    if trained and (differences := _differences(trained, _identity(recipe))):
        raise RunDirError(
            f"{run_dir.root} holds a checkpoint that was trained otherwise:\n{_listed(differences)}\n"
            "Keep it and name another folder with --run-dir NAME, or replace it with --force"
        )


def check_trained(run_dir: RunDir, manifest: Manifest, recipe: Recipe) -> None:
    """That the checkpoint is what `recipe` and the stored splits were made for: training anew may have been stopped.

    Raises:
        RunDirError: it is not.
    """
    trained = journal.facts(run_dir.root).get("trained")
    now = {"keys": _keys(recipe), "files": _prepared(manifest), "model": ""}
    if trained and (differences := _differences(trained, now)):
        raise RunDirError(
            f"the checkpoint in {run_dir.root} is older than its recipe.toml and data/, for training was started anew "
            f"and has not finished:\n{_listed(differences)}\nFinish it with `sentopt train --force`"
        )


def remember(run_dir: RunDir, recipe: Recipe) -> None:
    """The checkpoint of `run_dir` is what `recipe` gives."""
    journal.remember(run_dir.root, trained=_identity(recipe))


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What determines a checkpoint: recipe keys, digests of the data and of teachers, identity of the model."""
    return {
        "keys": _keys(recipe),
        "files": {**sources.identify(recipe.data), **_taught_by(recipe)},
        "model": backbones.identify(recipe.model.backbone, recipe.model.revision),
    }


def _taught_by(recipe: Recipe) -> dict[str, str]:
    """Digests of the teachers, and of the texts without labels that they answer, by recipe key."""
    if not recipe.train.teacher:
        return {}
    from sentopt.training import teachers

    digests = {_TEACHER: ",".join(map(teachers.identify, recipe.train.teacher))}
    return digests | ({_UNLABELLED: unlabelled.depends(recipe.data)[0]} if recipe.data.unlabelled else {})


def _keys(recipe: Recipe) -> dict[str, Any]:
    """Texts without labels may change under a finished checkpoint, unless a teacher answered them."""
    decisive = replace(recipe, data=recipes.data_of_training(recipe), train=recipe.train.decisive)
    return recipes.values_of(decisive, _SECTIONS) | {"run.seed": recipe.run.seed}


def _trained(run_dir: RunDir, manifest: Manifest) -> dict[str, Any]:
    """The identity of the finished checkpoint; empty where there is none."""
    trained = journal.facts(run_dir.root).get("trained")
    if isinstance(trained, dict):
        return trained if run_dir.checkpoint.exists() else {}
    if "train" not in manifest.stages or not run_dir.recipe.is_file():
        return {}
    try:  # of a sentopt that did not remember it
        saved = recipes.load(str(run_dir.recipe))
    except RecipeError as error:
        raise RunDirError(f"what {run_dir.root} was trained with cannot be read: {error}") from error
    return {"keys": _keys(saved), "files": _prepared(manifest), "model": ""}


def _prepared(manifest: Manifest) -> dict[str, str]:
    """Digests of the data that the stored splits were made of."""
    entry = manifest.stages.get("prepare")
    return dict(entry.result.get("identity", {})) if entry else {}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """In words, what determines a checkpoint and is not the same; defaults stand for keys that one does not have.

    Files count by their content: where they lie may change.
    """
    defaults = _keys(Recipe(recipes.RunSection("defaults")))
    before, after = {**defaults, **old["keys"]}, {**defaults, **new["keys"]}
    contents = {"model.backbone": (old["model"], new["model"])} if old["model"] and new["model"] else {}
    are_files = before["data.dataset"] == after["data.dataset"] == "files"
    for split in SPLITS:
        digests = _digests(old["files"], split), _digests(new["files"], split)
        if all(digests) or (are_files and any(digests)):
            contents[f"data.{split}"] = digests
    for key in (_TEACHER, _UNLABELLED, _CORRECTIONS):
        if key in old["files"] and key in new["files"]:
            contents[key] = old["files"][key], new["files"][key]
    differences = []
    for key in before:
        if before[key] != after.get(key) and not (key in contents and contents[key][0] == contents[key][1]):
            differences.append(f"{key}: {_shown(before[key])} -> {_shown(after.get(key))}")
        elif key in contents and contents[key][0] != contents[key][1]:
            name = before[key] or before["data.dataset"]
            name = ", ".join(name) if isinstance(name, list) else name
            differences.append(f"{key}: {name} has changed since this run was trained, or is another of that name")
    return differences


def _digests(files: Mapping[str, str], split: str) -> list[str]:
    """Of all files that a split is read from, in their order."""
    return [digest for name, digest in files.items() if name == split or name.startswith(f"{split} ")]


def _shown(value: Any) -> str:
    return "(none)" if value in ("", [], None) else str(value)


def _listed(differences: Sequence[str]) -> str:
    more = [f"and {len(differences) - _SHOWN} more"] if len(differences) > _SHOWN else []
    return "\n".join(f"  - {line}" for line in [*differences[:_SHOWN], *more])


def _local_inputs(recipe: Recipe) -> list[Path]:
    """Files and folders that a recipe names."""
    named = [getattr(recipe.data, key) for key in _PATHS]
    model = Path(recipe.model.backbone).expanduser()
    return [
        *sources.local_files(recipe.data),
        *(Path(value).expanduser() for value in named if value),
        *map(Path, map(os.path.expanduser, recipe.train.teacher)),  # Path's own fails for ~somebody
        *([model] if (model / "config.json").is_file() else []),
    ]


def _is_below(path: Path, folder: Path) -> bool:
    """By name or behind links."""
    return path.resolve().is_relative_to(folder.resolve()) or path.absolute().is_relative_to(folder.absolute())
