"""The bundle format: a folder with everything an application needs, described by `sentopt.json`.

Reading is strict. The schema version must be known, every listed file must have its recorded size and SHA-256, and no
path may leave the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sentopt.errors import BundleError, BundleIntegrityError, BundleVersionError
from sentopt.runtime.names import refusal, same_file

SCHEMA_VERSION = 2
"""The newest schema that this runtime reads. A bundle is written with the oldest sufficient schema, see `schema_of`."""
DESCRIPTION_FILE = "sentopt.json"
ENGINES = ("onnxruntime", "openvino")

Side = Literal["left", "right"]
"""The end at which a text longer than `max_length` is truncated."""

Source = Path | Mapping[str, bytes]
"""A bundle: its folder, or the contents of its files by relative name."""


@dataclass(frozen=True)
class Golden:
    """A text of the test split with the PyTorch model's probabilities, in label order."""

    text: str
    probabilities: tuple[float, ...]


@dataclass(frozen=True)
class BundleDescription:
    """The fields of `sentopt.json` that the runtime uses; `facts` holds the whole document.

    `files` maps each relative name to its size in bytes and its SHA-256. `fallback` describes the optional FP32 graph
    of an INT8 bundle; it differs in variant, engine, model file, output and tolerance only.
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
    """`value` as a truncation side.

    Raises:
        BundleError: `value` is neither "right" nor "left".
    """
    if value == "right":
        return "right"
    if value == "left":
        return "left"
    raise BundleError(f"a truncation_side must be 'right' or 'left', found {value!r}")


def schema_of(side: Side) -> int:
    """The schema of a bundle: 2 if texts are truncated on the left (schema 1 truncates on the right), else 1."""
    return 2 if side == "left" else 1


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def display_path(source: Source, name: str) -> str:
    """A bundle file as messages name it."""
    return str(source / name) if isinstance(source, Path) else name


def read_file(source: Source, name: str) -> bytes:
    """The content of one file.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file cannot be read.
    """
    if isinstance(source, Path):
        return (source / name).read_bytes()
    try:
        return source[name]
    except KeyError:
        raise FileNotFoundError(name) from None


def read_description(source: Source) -> BundleDescription:
    """Parse `sentopt.json` without reading the other files.

    Raises:
        BundleError: `source` is not a bundle, or the description is malformed.
        BundleVersionError: the description has a newer schema.
    """
    path = display_path(source, DESCRIPTION_FILE)
    try:
        facts = json.loads(read_file(source, DESCRIPTION_FILE))
    except FileNotFoundError as error:
        raise BundleError(
            f"{_display_source(source)} is not a bundle: it has no {DESCRIPTION_FILE}. "
            "`sentopt export` writes one into exports/<run>/bundle"
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read {path}: {error}") from error
    _check_version(path, facts)
    try:
        return _parse(facts)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} is malformed: {type(error).__name__}: {error}") from error


def _display_source(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "in memory"


def _engine(name: object) -> str:
    if name not in ENGINES:
        raise ValueError(f"engine {name!r} is not one of {', '.join(ENGINES)}")
    return str(name)


def check_files(source: Source, description: BundleDescription) -> None:
    """Compare every listed file with its recorded size and SHA-256.

    Raises:
        BundleIntegrityError: files are missing or changed; the message names all of them.
    """
    problems = []
    for name, (size, digest) in sorted(description.files.items()):
        actual = _size(source, name)
        if actual is None:
            problems.append(f"{name}: missing")
        elif actual != size:
            problems.append(f"{name}: {actual} bytes, expected {size}")
        elif _sha256(source, name) != digest:
            problems.append(f"{name}: content differs from what was verified (SHA-256)")
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise BundleIntegrityError(
            f"the bundle {_display_source(source)} is damaged:\n{listed}\n"
            "Copy it again, or rebuild it with `sentopt export`."
        )


def read_files(source: Source) -> tuple[BundleDescription, dict[str, bytes]]:
    """Contents of the bundle's listed files and of `sentopt.json`, hash-verified.

    Raises:
        BundleError: `source` is not a bundle, or a file differs from the one that was verified.
    """
    description = read_description(source)
    names = [name for name in (*description.files, DESCRIPTION_FILE) if _size(source, name) is not None]
    files = {name: read_file(source, name) for name in names}
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
        if reason := refusal(name):
            raise ValueError(f"file {name!r} {reason}")
    if pair := same_file((*files, DESCRIPTION_FILE)):
        raise ValueError(f"files {pair[0]!r} and {pair[1]!r} are one file where case does not count")
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
