"""`run.json`: for every stage its outputs with hashes, its duration and its typed result; versions and hardware."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sentopt import records
from sentopt.errors import RunDirError
from sentopt.files import atomic, journal
from sentopt.run_dir import RunDir
from sentopt.runtime.description import sha256_file

SCHEMA_VERSION = 1
R = TypeVar("R")


@dataclass(frozen=True)
class Artefact:
    """A file of the run directory: relative path, size, SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class StageEntry:
    """A finished stage. `fingerprint` covers all its inputs; with an unchanged one, the stage can be skipped."""

    fingerprint: str
    seconds: float
    finished: str
    outputs: tuple[Artefact, ...]
    result: dict[str, Any]


@dataclass(frozen=True)
class Manifest:
    """The whole of `run.json`."""

    schema_version: int = SCHEMA_VERSION
    name: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    stages: dict[str, StageEntry] = field(default_factory=dict)

    def with_stage(self, name: str, entry: StageEntry) -> Manifest:
        """A copy with `entry` for the stage `name`."""
        return replace(self, stages={**self.stages, name: entry})

    def result(self, stage: str, kind: type[R]) -> R:
        """The typed result of a finished stage.

        Raises:
            RunDirError: the stage has not finished, or its record does not fit `kind`.
        """
        if stage not in self.stages:
            raise RunDirError(
                f"this run has not finished its {stage!r} stage: call train() or optimize(), or run `sentopt run` again"
            )
        try:
            return records.from_json(kind, self.stages[stage].result)
        except ValueError as error:
            raise RunDirError(
                f"run.json: the record of stage {stage!r} is of another version of sentopt, or damaged ({error}); "
                "run the stage again with --force"
            ) from error


def read(path: Path) -> Manifest:
    """Read `run.json`; a missing file gives an empty manifest.

    Raises:
        RunDirError: the file is damaged or has a newer schema.
    """
    if not path.exists():
        return Manifest()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirError(_damaged(path, error)) from error
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RunDirError(
            f"{path} has schema {version}, this sentopt reads up to {SCHEMA_VERSION}: "
            "upgrade sentopt, or use another --run-dir"
        )
    try:
        return records.from_json(Manifest, document)
    except ValueError as error:
        raise RunDirError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    if not journal.exists(path.parent):
        return f"{path} is damaged, or no run of sentopt's ({error}); choose another --run-dir"
    return f"{path} is damaged ({error}); delete it to start this run again"


def claim(run_dir: RunDir) -> None:
    """Turn a new or empty directory into a run directory, before anything else is written there.

    This identifies the directory of a run that is killed during its first stage. If an older sentopt made the directory
    without a journal, the files in its manifest count as written by sentopt.

    Raises:
        RunDirError: the directory is not empty, and sentopt did not make it.
    """
    run_dir.check_usable()
    if not journal.facts(run_dir.root).get("run"):
        if run_dir.manifest.exists():
            _adopt(run_dir)
        journal.remember(run_dir.root, run=True)
    if not run_dir.manifest.exists():
        write(run_dir.manifest, Manifest())


def _adopt(run_dir: RunDir) -> None:
    """Create the journal of a run directory without one, from its manifest."""
    references = (run_dir.reference, run_dir.validation_reference)
    for path in (run_dir.manifest, run_dir.recipe, *references, run_dir.samples, *run_dir.reports):
        if path.is_file():
            journal.record_file(path)
    outputs = [Path(a.path) for entry in read(run_dir.manifest).stages.values() for a in entry.outputs]
    folders = {run_dir.data, run_dir.checkpoint, run_dir.plots, run_dir.bundle}
    variants = run_dir.variant("").relative_to(run_dir.root)
    folders |= {run_dir.root / path.parent for path in outputs if path.is_relative_to(variants)}
    for folder in sorted(folders):
        inside = [run_dir.root / path for path in outputs if (run_dir.root / path).is_relative_to(folder)]
        if inside:
            journal.record_folder(folder, [path.relative_to(folder).as_posix() for path in inside] + _unlisted(folder))


def _unlisted(folder: Path) -> list[str]:
    """Tokenizer files of a variant with a vocabulary of its own, which older manifests do not list."""
    names = ("config.json", "tokenizer_config.json", "special_tokens_map.json")
    return [name for name in names if (folder / "tokenizer.json").is_file() and (folder / name).is_file()]


def write(path: Path, manifest: Manifest) -> None:
    """Replace `run.json` atomically."""
    atomic.write_text(path, json.dumps(records.to_json(manifest), indent=1, ensure_ascii=False) + "\n")


def artefacts(root: Path, paths: Iterable[Path]) -> tuple[Artefact, ...]:
    """Hash files and all files below folders, in a deterministic order."""
    files = [
        file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    return tuple(Artefact(file.relative_to(root).as_posix(), file.stat().st_size, sha256_file(file)) for file in files)


def is_intact(root: Path, outputs: Iterable[Artefact]) -> bool:
    """Whether every file exists with its recorded content."""
    return all(
        (root / a.path).is_file()
        and (root / a.path).stat().st_size == a.bytes
        and sha256_file(root / a.path) == a.sha256
        for a in outputs
    )


def fingerprint(parts: object) -> str:
    """A SHA-256 over the canonical JSON of `parts`."""
    return hashlib.sha256(json.dumps(records.to_json(parts), sort_keys=True).encode()).hexdigest()
