"""The bundle format: a folder with everything an application needs, described by `sentopt.json`.

A bundle is somebody else's folder, so reading is strict. The schema version must be known, every value must have its
type and be within bounds, every listed file must have its recorded size and SHA-256, no path may leave the folder, and
the model may refer to listed files only. Keys that are not known here are left alone.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from sentopt.errors import BundleError, BundleIntegrityError, BundleVersionError
from sentopt.runtime import strict_json
from sentopt.runtime.deferral import DEFERRED
from sentopt.runtime.file_names import same_file
from sentopt.runtime.names import fault_of_label, fault_of_name, fault_of_path
from sentopt.runtime.onnx_file import check_references
from sentopt.runtime.strict_json import Fields, shown

SCHEMA_VERSION = 3
"""The newest schema that this runtime reads. A bundle is written with the oldest sufficient schema, see `schema_of`."""
DESCRIPTION_FILE = "sentopt.json"
ENGINES = ("onnxruntime", "openvino")
VOCABULARY_FILE = "tokenizer.json"

_LONGEST_DESCRIPTION = 16 * 2**20  # bytes; the largest that `sentopt export` writes has a hundredth of that
_LONGEST_SETTINGS = 64 * 2**20
_MOST_TOKENS, _MOST_IDS, _MOST_BYTES = 1_000_000, 2**31 - 1, 2**50
_MOST_LAYERS, _MOST_TEXTS = 1_000, 10**12
_HEXADECIMAL = frozenset("0123456789abcdef")

MULTI_LABEL = "multi_label_classification"
"""The `problem_type` of a model that gives a text any number of labels, as transformers calls it."""

Text = str | tuple[str, str]
"""What a model is given: one text, or two of them for a model of text pairs."""

Side = Literal["left", "right"]
"""The end at which a text longer than `max_length` is truncated."""

Reads = Literal["head", "head_and_tail"]
"""Which tokens of a longer text the student of a cascade reads: the first ones, or as many first ones as last ones."""

Source = Path | Mapping[str, bytes]
"""A bundle: its folder, or the contents of its files by relative name."""


@dataclass(frozen=True)
class Golden:
    """A text (or a pair) of the test split with the PyTorch model's probabilities, in label order.

    `deferred` says whether the full model of a cascade answered it where the bundle was made; None: this is not
    recorded.
    """

    text: Text
    probabilities: tuple[float, ...]
    deferred: bool | None = None


@dataclass(frozen=True)
class Cascade:
    """What a bundle says of its cascade: a student answers, and the full model what the student is not sure of.

    Attributes:
        layers: of the student.
        threshold: the student's probability below which a text of `threshold_tokens` tokens is deferred.
        max_length: tokens that the student reads of a text at most; 0: as many as the full model.
        reads: which tokens of a longer text these are.
        deferred: the share of the test split that was deferred.
        texts: texts of the test split.
        deferred_output: the output of the graph that says which texts were deferred.
    """

    layers: int
    threshold: float
    threshold_tokens: int
    max_length: int
    reads: Reads
    deferred: float
    texts: int
    deferred_output: str = DEFERRED


@dataclass(frozen=True)
class FullGraph:
    """The full model of a cascade as a graph of its own, for hosts that cannot run an `If`."""

    variant: str
    file: str
    output: str


@dataclass(frozen=True)
class BundleDescription:
    """The fields of `sentopt.json` that the runtime uses; `facts` holds the whole document.

    `files` maps each relative name to its size in bytes and its SHA-256. `fallback` describes the optional FP32 graph
    of an INT8 bundle; it differs in variant, engine, model file, output, tolerance and cascade only. `cascade` is None
    for every other variant. `full` is the graph of a cascade's full model alone, where the bundle carries it.

    `thresholds` are those of a multi-label model, in the order of `labels`: a text has the labels whose probability
    reaches them. They are empty where each text has one label. `pair` are the names of the two texts that a model of
    text pairs is given; None: it is given one text.
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
    cascade: Cascade | None = None
    full: FullGraph | None = None
    thresholds: tuple[float, ...] = ()
    pair: tuple[str, str] | None = None


def truncation_side(value: object) -> Side:
    """`value` as a truncation side.

    Raises:
        BundleError: `value` is neither "right" nor "left".
    """
    if value == "right":
        return "right"
    if value == "left":
        return "left"
    raise BundleError(f"a truncation_side must be 'right' or 'left', found {shown(value)}")


def schema_of(side: Side, *, multi_label: bool = False, pairs: bool = False) -> int:
    """The oldest schema that says what a bundle needs.

    3 if a text has any number of labels, or the model is given two texts; 2 if texts are truncated on the left (schema
    1 truncates on the right); else 1.
    """
    if multi_label or pairs:
        return 3
    return 2 if side == "left" else 1


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def display_path(source: Source, name: str) -> str:
    """A bundle file as messages name it."""
    return str(source / name) if isinstance(source, Path) else name


def read_file(source: Source, name: str, *, longest: int | None = None) -> bytes:
    """The content of one file.

    Raises:
        FileNotFoundError: the file does not exist.
        OSError: the file cannot be read, is a device or a pipe, or has more than `longest` bytes.
    """
    if not isinstance(source, Path):
        try:
            return source[name]
        except KeyError:
            raise FileNotFoundError(name) from None
    path = source / name
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("it is no regular file")
    with path.open("rb") as stream:
        content = stream.read() if longest is None else stream.read(longest + 1)
    if longest is not None and len(content) > longest:
        raise OSError(f"it has more than {longest:,} bytes")
    return content


def read_settings(source: Source, name: str) -> dict[str, Any]:
    """A JSON object from one file of a bundle.

    Raises:
        BundleError: the file is missing, too long, or no JSON object.
    """
    try:
        return Fields.of(strict_json.parse(read_file(source, name, longest=_LONGEST_SETTINGS))).values
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read {display_path(source, name)}: {error}") from error


def read_description(source: Source) -> BundleDescription:
    """Parse `sentopt.json` without reading the other files.

    Raises:
        BundleError: `source` is not a bundle, or the description is malformed.
        BundleVersionError: the description has a newer schema.
    """
    path = display_path(source, DESCRIPTION_FILE)
    try:
        facts = strict_json.parse(read_file(source, DESCRIPTION_FILE, longest=_LONGEST_DESCRIPTION))
    except FileNotFoundError as error:
        raise BundleError(
            f"{_display_source(source)} is not a bundle: it has no {DESCRIPTION_FILE}. "
            "`sentopt export` writes one into exports/<run>/bundle"
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read {path}: {error}") from error
    _check_version(path, facts)
    try:
        return _parse(Fields.of(facts))
    except (ValueError, BundleError) as error:
        raise BundleError(f"{path} is malformed: {error}") from error


def _display_source(source: Source) -> str:
    return str(source) if isinstance(source, Path) else "in memory"


def check_files(source: Source, description: BundleDescription) -> None:
    """Compare every listed file with its recorded size and SHA-256, and then what the models refer to with that list.

    Symbolic links are followed, as in the caches of the Hugging Face Hub: what is verified is the content.

    Raises:
        BundleIntegrityError: files are missing or changed; the message names all of them.
        BundleError: a model refers to a file that is not listed, or is no ONNX file.
    """
    _check_hashes(source, description)
    # Values outside a model in memory would be looked for in the current folder.
    sizes = {name: size for name, (size, _) in description.files.items()} if isinstance(source, Path) else {}
    for name in sorted({name for name in description.files if name.endswith(".onnx")} | _models(description)):
        check_references(source / name if isinstance(source, Path) else source[name], name, sizes)


def _check_hashes(source: Source, description: BundleDescription) -> None:
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


def _models(description: BundleDescription) -> set[str]:
    fallback, full = description.fallback, description.full
    others = (fallback.model_file if fallback else None, full.file if full else None)
    return {description.model_file, *filter(None, others)}


def read_files(source: Source) -> tuple[BundleDescription, dict[str, bytes]]:
    """Contents of the bundle's listed files and of `sentopt.json`, hash-verified.

    Raises:
        BundleError: as in `read_description` and `check_files`.
    """
    description = read_description(source)
    check_files(source, description)
    files = {name: read_file(source, name) for name in (*description.files, DESCRIPTION_FILE)}
    _check_hashes(files, description)  # of what is given out, in case that a file has just changed
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
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        found = shown(version) if isinstance(facts, dict) and "schema_version" in facts else "none"
        raise BundleError(f"{path} is malformed: schema_version must be a whole number of at least 1, found {found}")
    if version > SCHEMA_VERSION:
        raise BundleVersionError(
            f"{path} has schema {shown(version)}, this sentopt reads up to {SCHEMA_VERSION}. "
            "Upgrade with: pip install -U sentopt"
        )


def _parse(facts: Fields) -> BundleDescription:
    files = _files(facts.inner("files"))
    labels = _labels(facts.texts("labels"))
    engine = facts.text("engine") if "engine" in facts else ENGINES[0]
    if engine not in ENGINES:
        raise ValueError(f"engine {shown(engine)} is not one of {', '.join(ENGINES)}")
    pair = _pair(facts)
    description = BundleDescription(
        name=facts.name("name"),
        variant=facts.name("variant"),
        engine=engine,
        labels=labels,
        max_length=facts.integer("max_length", 1, _MOST_TOKENS),
        truncation_side=truncation_side(facts.values.get("truncation_side", "right")),
        pad_token_id=facts.integer("pad_token_id", 0, _MOST_IDS),
        model_file=_listed(facts, files),
        output=facts.name("output"),
        files=files,
        golden=tuple(
            Golden(
                (golden.text("text"), golden.text("pair")) if pair else golden.text("text"),
                golden.probabilities("probabilities", len(labels)),
                golden.boolean("deferred") if "deferred" in golden else None,
            )
            for golden in facts.objects("golden")
        ),
        golden_tolerance=facts.number("golden_tolerance", 0, 1),
        facts=facts.values,
        cascade=_cascade(facts),
        full=_full(facts.inner("full"), files) if "full" in facts else None,
        thresholds=_thresholds(facts, len(labels)),
        pair=pair,
    )
    return replace(
        description, fallback=_fallback(description, facts.inner("fallback")) if "fallback" in facts else None
    )


def _files(listed: Fields) -> dict[str, tuple[int, str]]:
    files = {}
    for name in listed.values:
        if fault := fault_of_path(name):
            raise ValueError(f"{shown(name)} cannot be the name of a file in a bundle: {fault}")
        entry = listed.inner(name)
        if len(entry.text("sha256")) != 64 or not _HEXADECIMAL.issuperset(entry.text("sha256")):
            raise entry.fault("sha256", "64 hexadecimal digits")
        files[name] = (entry.integer("bytes", 0, _MOST_BYTES), entry.text("sha256"))
    if pair := same_file((*files, DESCRIPTION_FILE)):
        raise ValueError(f"{shown(pair[0])} and {shown(pair[1])} are one file where case does not count")
    if VOCABULARY_FILE not in files:
        raise ValueError(f"{VOCABULARY_FILE} is not among the hashed files")
    return files


def _labels(labels: Sequence[str]) -> tuple[str, ...]:
    if len(labels) < 2:
        raise ValueError(f"labels must be two or more, found {len(labels)}")
    for label in labels:
        if fault := fault_of_label(label):
            raise ValueError(f"labels cannot hold {shown(label)}: {fault}")
    if len(set(labels)) < len(labels):
        raise ValueError(f"labels hold {shown(strict_json.first_repeated(labels))} twice")
    return tuple(labels)


def _thresholds(facts: Fields, labels: int) -> tuple[float, ...]:
    """The thresholds of a multi-label model; none where `problem_type` is missing."""
    if "problem_type" not in facts:
        return ()
    if facts.text("problem_type") != MULTI_LABEL:
        raise facts.fault("problem_type", repr(MULTI_LABEL))
    return facts.probabilities("thresholds", labels)


def _pair(facts: Fields) -> tuple[str, str] | None:
    if "pair" not in facts:
        return None
    names = facts.texts("pair")
    faults = [fault for name in names if (fault := fault_of_name(name))]
    if len(names) != 2 or names[0] == names[1] or faults:
        raise facts.fault("pair", "the two different names of the two texts")
    return names[0], names[1]


def _listed(facts: Fields, files: Mapping[str, object], key: str = "model_file") -> str:
    name = facts.text(key)
    if name not in files:
        raise ValueError(f"{facts.where}{key} {shown(name)} is not among the hashed files")
    return name


def _cascade(holder: Fields) -> Cascade | None:
    if "cascade" not in holder:
        return None
    facts = holder.inner("cascade")
    reads = facts.text("reads")
    if reads not in ("head", "head_and_tail"):
        raise facts.fault("reads", "head or head_and_tail")
    if facts.text("deferred_output") != DEFERRED:
        raise facts.fault("deferred_output", repr(DEFERRED))
    return Cascade(
        layers=facts.integer("layers", 1, _MOST_LAYERS),
        threshold=facts.number("threshold", 0, 1),
        threshold_tokens=facts.integer("threshold_tokens", 1, _MOST_TOKENS),
        max_length=facts.integer("max_length", 0, _MOST_TOKENS),
        reads="head" if reads == "head" else "head_and_tail",
        deferred=facts.number("deferred", 0, 1),
        texts=facts.integer("texts", 1, _MOST_TEXTS),
    )


def _full(facts: Fields, files: Mapping[str, object]) -> FullGraph:
    return FullGraph(facts.name("variant"), _listed(facts, files, "file"), facts.name("output"))


def _fallback(description: BundleDescription, facts: Fields) -> BundleDescription:
    return replace(
        description,
        variant=facts.name("variant"),
        engine=ENGINES[0],
        model_file=_listed(facts, description.files),
        output=facts.name("output"),
        golden_tolerance=facts.number("golden_tolerance", 0, 1),
        golden=tuple(replace(golden, deferred=None) for golden in description.golden),
        cascade=_cascade(facts),
    )
