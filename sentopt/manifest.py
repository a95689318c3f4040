"""`run.json`: per stage, what it read and wrote (with hashes), under which versions, how long it took, its findings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from sentopt import atomic, records
from sentopt.errors import RunDirError
from sentopt.runtime.bundle import sha256_file

SCHEMA_VERSION = 1
R = TypeVar("R")


@dataclass(frozen=True)
class Artefact:
    """A file of the run directory: its path relative to it, its size and its SHA-256."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class StageEntry:
    """One finished stage. `fingerprint` covers everything it depended on; the same one means nothing need be redone."""

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
        """A copy in which the stage `name` has `entry`."""
        return replace(self, stages={**self.stages, name: entry})

    def result(self, stage: str, kind: type[R]) -> R:
        """The typed result of a finished stage.

        Raises:
            RunDirError: the stage has not finished, or its record does not fit `kind`.
        """
        if stage not in self.stages:
            raise RunDirError(f"this run has not finished its {stage!r} stage")
        try:
            return records.from_json(kind, self.stages[stage].result)
        except ValueError as error:
            raise RunDirError(
                f"run.json: the record of stage {stage!r} is of another version of sentopt, or damaged ({error}); "
                "run the stage again with --force"
            ) from error


def read(path: Path) -> Manifest:
    """Read `run.json`; a missing file is an empty manifest.

    Raises:
        RunDirError: the file is damaged or of a newer schema.
    """
    if not path.exists():
        return Manifest()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunDirError(f"{path} is damaged ({error}); delete it to start this run again") from error
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RunDirError(
            f"{path} has schema {version}, this sentopt reads up to {SCHEMA_VERSION}: "
            "upgrade sentopt, or use another --run-dir"
        )
    try:
        return records.from_json(Manifest, document)
    except ValueError as error:
        raise RunDirError(f"{path} is damaged ({error}); delete it to start this run again") from error


def write(path: Path, manifest: Manifest) -> None:
    """Replace `run.json` in one step."""
    atomic.write_text(path, json.dumps(records.to_json(manifest), indent=1, ensure_ascii=False) + "\n")


def artefacts(root: Path, paths: Iterable[Path]) -> tuple[Artefact, ...]:
    """Hash files, and all files below folders, in a stable order."""
    files = [
        file for path in paths for file in (sorted(path.rglob("*")) if path.is_dir() else [path]) if file.is_file()
    ]
    return tuple(Artefact(file.relative_to(root).as_posix(), file.stat().st_size, sha256_file(file)) for file in files)


def is_intact(root: Path, outputs: Iterable[Artefact]) -> bool:
    """Whether every file is still there with the content that was recorded."""
    return all(
        (root / a.path).is_file()
        and (root / a.path).stat().st_size == a.bytes
        and sha256_file(root / a.path) == a.sha256
        for a in outputs
    )


def fingerprint(parts: object) -> str:
    """A SHA-256 over the canonical JSON of `parts`."""
    return hashlib.sha256(json.dumps(records.to_json(parts), sort_keys=True).encode()).hexdigest()
