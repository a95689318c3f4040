"""The bundle on disk: one folder that is everything an application needs, and `sentopt.json` that says what it is.

Reading is strict. A bundle is only usable when its schema is known, every file it lists has the size and the SHA-256
that were recorded when it was verified, and no path leaves the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from sentopt.errors import BundleError, BundleIntegrityError, BundleVersionError

SCHEMA_VERSION = 2
"""The newest that this runtime reads. A bundle has the oldest that says all of it, see `schema_of`."""
DESCRIPTION_FILE = "sentopt.json"
ENGINES = ("onnxruntime", "openvino")

Side = Literal["left", "right"]
"""Where a text that is too long loses tokens."""

Source = Path | Mapping[str, bytes]
"""Where a bundle is: a folder, or the content of its files by relative name."""


@dataclass(frozen=True)
class Golden:
    """A text of the test split with the probabilities that the PyTorch model gave it, in label order."""

    text: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class BundleDescription:
    """The parts of `sentopt.json` that the runtime acts on; `facts` holds the whole document.

    `fallback` describes the FP32 graph that an INT8 bundle carries on request: the same but for variant, engine, model
    file, output and tolerance.
    """

    name: str
    variant: str
    engine: str
    labels: tuple[str, ...]
    max_length: int
    truncation_side: Side
    pad_token_id: int
    model_file: str
    output: str
    files: Mapping[str, tuple[int, str]]
    golden: tuple[Golden, ...]
    golden_tolerance: float
    facts: Mapping[str, Any]
    fallback: BundleDescription | None = None


def truncation_side(value: object) -> Side:
    """The side that a file names.

    Raises:
        BundleError: it is neither "right" nor "left".
    """
    if value == "right":
        return "right"
    if value == "left":
        return "left"
    raise BundleError(f"a truncation_side must be 'right' or 'left', found {value!r}")


def schema_of(side: Side) -> int:
    """The schema of a bundle: 2 where long texts are cut on the left, which an older runtime would do on the right."""
    return 2 if side == "left" else 1


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def place(source: Source, name: str) -> str:
    """How messages name a file of a bundle."""
    return str(source / name) if isinstance(source, Path) else name


def read_file(source: Source, name: str) -> bytes:
    """The content of one file.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be read.
    """
    if isinstance(source, Path):
        return (source / name).read_bytes()
    try:
        return source[name]
    except KeyError:
        raise FileNotFoundError(name) from None


def read_description(source: Source) -> BundleDescription:
    """Parse `sentopt.json` without touching the other files.

    Raises:
        BundleError: this is no bundle, or the description is malformed.
        BundleVersionError: the description has a newer schema.
    """
    path = place(source, DESCRIPTION_FILE)
    try:
        facts = json.loads(read_file(source, DESCRIPTION_FILE))
    except FileNotFoundError as error:
        raise BundleError(
            f"{_named(source)} is not a bundle: it has no {DESCRIPTION_FILE}. "
            "`sentopt export` writes one into exports/<run>/bundle"
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read {path}: {error}") from error
    _check_version(path, facts)
    try:
        return _parse(facts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} is malformed: {type(error).__name__}: {error}") from error


def _named(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "in memory"


def _engine(name: object) -> str:
    if name not in ENGINES:
        raise ValueError(f"engine {name!r} is not one of {', '.join(ENGINES)}")
    return str(name)


def check_files(source: Source, description: BundleDescription) -> None:
    """Compare every listed file with its recorded size and SHA-256.

    Raises:
        BundleIntegrityError: files are missing or changed; all of them are named.
    """
    problems = []
    for name, (size, digest) in sorted(description.files.items()):
        found = _size(source, name)
        if found is None:
            problems.append(f"{name}: missing")
        elif found != size:
            problems.append(f"{name}: {found} bytes, expected {size}")
        elif _sha256(source, name) != digest:
            problems.append(f"{name}: content differs from what was verified (SHA-256)")
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise BundleIntegrityError(
            f"the bundle {_named(source)} is damaged:\n{listed}\nCopy it again, or make it again with `sentopt export`."
        )


def read_files(source: Source) -> tuple[BundleDescription, dict[str, bytes]]:
    """The content of all that belongs to a bundle, checked, and of nothing that lies beside it.

    Raises:
        BundleError: this is no bundle, or its files are not those that were verified.
    """
    description = read_description(source)
    there = [name for name in (*description.files, DESCRIPTION_FILE) if _size(source, name) is not None]
    files = {name: read_file(source, name) for name in there}
    check_files(files, description)
    return description, files


def _size(source: Source, name: str) -> int | None:
    if isinstance(source, Path):
        return (source / name).stat().st_size if (source / name).is_file() else None
    return len(source[name]) if name in source else None


def _sha256(source: Source, name: str) -> str:
    if isinstance(source, Path):
        return sha256_file(source / name)
    return hashlib.sha256(source[name]).hexdigest()


def _check_version(path: str, facts: object) -> None:
    version = facts.get("schema_version") if isinstance(facts, dict) else None
    if not isinstance(version, int):
        raise BundleError(f"{path} is malformed: it has no schema_version")
    if version > SCHEMA_VERSION:
        raise BundleVersionError(
            f"{path} has schema {version}, this sentopt reads up to {SCHEMA_VERSION}. "
            "Upgrade with: pip install -U sentopt"
        )


def _parse(facts: dict[str, Any]) -> BundleDescription:
    files = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in facts["files"].items()}
    for name in files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts:
            raise ValueError(f"file {name!r} lies outside the bundle")
    model_file = str(facts["model_file"])
    if model_file not in files:
        raise ValueError(f"the model file {model_file!r} is not among the hashed files")
    labels = tuple(str(label) for label in facts["labels"])
    golden = tuple(Golden(str(g["text"]), tuple(float(p) for p in g["probabilities"])) for g in facts["golden"])
    if len(labels) < 2 or any(len(g.probabilities) != len(labels) for g in golden):
        raise ValueError("labels and golden probabilities do not match")
    description = BundleDescription(
        name=str(facts["name"]),
        variant=str(facts["variant"]),
        engine=_engine(facts.get("engine", ENGINES[0])),
        labels=labels,
        max_length=int(facts["max_length"]),
        truncation_side=truncation_side(facts.get("truncation_side", "right")),
        pad_token_id=int(facts["pad_token_id"]),
        model_file=model_file,
        output=str(facts["output"]),
        files=files,
        golden=golden,
        golden_tolerance=float(facts["golden_tolerance"]),
        facts=facts,
    )
    return replace(description, fallback=_fallback(description, facts["fallback"]) if "fallback" in facts else None)


def _fallback(description: BundleDescription, facts: dict[str, Any]) -> BundleDescription:
    model_file = str(facts["model_file"])
    if model_file not in description.files:
        raise ValueError(f"the fallback {model_file!r} is not among the hashed files")
    return replace(
        description,
        variant=str(facts["variant"]),
        engine=ENGINES[0],
        model_file=model_file,
        output=str(facts["output"]),
        golden_tolerance=float(facts["golden_tolerance"]),
    )
