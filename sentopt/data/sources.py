"""Raw rows from wherever a recipe says: the bundled corpus, files, a hub dataset, or a local mirror of one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sentopt import records
from sentopt._optional import require
from sentopt.data import folders, stored_names, tables
from sentopt.data.catalog import DATASETS, DatasetSpec, MirrorFile
from sentopt.data.examples import RawData, RawRow, explained_by
from sentopt.data.options import TableOptions
from sentopt.errors import DataError
from sentopt.recipe import TEST_AS_VALIDATION, DataSection
from sentopt.run_dir import SPLITS, Split
from sentopt.runtime.bundle import sha256_file

SAMPLE_FOLDER = Path(__file__).parent.parent / "sample"
MIRROR_VARIABLE = "SENTOPT_DATA_DIR"
_SHOWN = 5

__all__ = ["MIRROR_VARIABLE", "SAMPLE_FOLDER", "RawData", "RawRow", "identify", "load", "local_files"]


def load(data: DataSection) -> RawData:
    """Read every split that the source has.

    Raises:
        DataError: unknown dataset, unreadable file, missing column, or unreachable hub.
    """
    files = _files(data)
    return _load_hub(data, DATASETS.get(data.dataset)) if files is None else _load_files(data, files)


def identify(data: DataSection) -> dict[str, str]:
    """What determines the rows: SHA-256 of each file, or hub id and revision. Cheap enough to ask on every call."""
    files = _files(data)
    if files is not None:
        return {
            split if len(parts) == 1 else f"{split} {number}: {part.path.name}": (
                f"{_digest(part.path)}[{part.start}:{part.stop}]"
            )
            for split, parts in files.items()
            for number, part in enumerate(parts, 1)
        }
    spec = DATASETS.get(data.dataset)
    return {"hub": spec.hub_id, "revision": spec.revision} if spec else {"hub": data.hub_id, "revision": data.revision}


def local_files(data: DataSection) -> list[Path]:
    """The files on this machine that the rows come from; none where they come from the hub."""
    return [part.path for parts in (_files(data) or {}).values() for part in parts]


@dataclass(frozen=True)
class _File:
    path: Path
    start: int = 0
    stop: int | None = None


def _files(data: DataSection) -> dict[Split, list[_File]] | None:
    """The local files of each split, or None where the data must come from the hub."""
    if data.dataset == "sample":
        return {split: [_File(SAMPLE_FOLDER / f"{split}.csv")] for split in SPLITS}
    if data.dataset == "files":
        return {split: [_File(path) for path in folders.expand(name)] for split, name in _named(data).items()}
    if data.dataset == "hub":
        return None
    spec = DATASETS.get(data.dataset)
    if spec is None:
        choices = ["sample", "files", "hub", *DATASETS]
        raise DataError(
            f"unknown dataset {data.dataset!r}{records.nearest(data.dataset, choices)}; "
            f"expected one of {', '.join(choices)}"
        )
    mirror = os.environ.get(MIRROR_VARIABLE)
    return {split: [_mirrored(Path(mirror), file)] for split, file in spec.mirror.items()} if mirror else None


def _named(data: DataSection) -> dict[Split, str]:
    """The file or hub split that the recipe names for each split."""
    named = {split: str(getattr(data, split)) for split in SPLITS}
    if data.validation == TEST_AS_VALIDATION:
        named.pop("validation")
    return {split: name for split, name in named.items() if name}


def _mirrored(root: Path, file: MirrorFile) -> _File:
    path = root.expanduser() / file.path
    if not path.is_file():
        raise DataError(f"{MIRROR_VARIABLE} is {root}, but {path} is not there; correct it, or unset it to use the hub")
    return _File(path, file.start, file.stop)


def _columns(data: DataSection) -> tuple[str, str]:
    spec = DATASETS.get(data.dataset)
    return (spec.text_column, spec.label_column) if spec else (data.text_column, data.label_column)


def _declared_labels(data: DataSection) -> tuple[str, ...]:
    if data.dataset == "sample":
        return ("negative", "neutral", "positive")
    spec = DATASETS.get(data.dataset)
    return spec.labels if spec else ()


def _digest(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    return sha256_file(path)


def _load_files(data: DataSection, files: dict[Split, list[_File]]) -> RawData:
    text, label = _columns(data)
    notices: list[str] = []
    splits: dict[Split, list[RawRow]] = {}
    stored: dict[stored_names.Names, str] = {}
    for split, parts in files.items():
        splits[split] = []
        for part in parts:
            with explained_by(notices):
                rows = _rows(part, text, label, data, notices, may_lack_labels=split == "test")
            names = tables.class_names(part.path, label)
            splits[split] += stored_names.named(rows, names)
            if names:
                stored.setdefault(names, part.path.name)
    if data.dataset == "files":
        notices += _about_files(files)
    labels, others = stored_names.reconcile(data.labels or _declared_labels(data), stored, notices)
    splits = {split: stored_names.renamed(rows, others) for split, rows in splits.items()}
    return RawData(splits, labels, _described(files), tuple(dict.fromkeys(notices)), by_position=not data.labels)


def _rows(
    file: _File, text: str, label: str, data: DataSection, notices: list[str], *, may_lack_labels: bool
) -> list[RawRow]:
    options = TableOptions(data.encoding, data.delimiter, data.quote)
    found: list[RawRow] = []
    columns: dict[str, None] = {}
    for place, row in islice(tables.read_numbered(file.path, options, notices.append), file.start, file.stop):
        columns |= dict.fromkeys(row)
        found.append(RawRow(row.get(text), row.get(label), f"{file.path.name} {place}"))
    if found:
        _check_columns(columns, text, "", file.path)
        if may_lack_labels and label not in columns:
            notices.append(f"{file.path.name} has no column {label!r}")
        else:
            _check_columns(columns, text, label, file.path)
    return found


def _described(files: dict[Split, list[_File]]) -> str:
    def named(parts: list[_File]) -> str:
        return parts[0].path.name if len(parts) == 1 else f"{parts[0].path.name} and {len(parts) - 1} more"

    return ", ".join(f"{split}: {named(parts)}" for split, parts in files.items())


def _about_files(files: dict[Split, list[_File]]) -> list[str]:
    """What is read as which split where the names do not say it alone, and what is left aside."""
    told = [
        f"{parts[0].path.name} is read as the validation split"
        for split, parts in files.items()
        if split == "validation" and not parts[0].path.name.startswith("validation")
    ]
    if aside := folders.left_aside([part.path for parts in files.values() for part in parts]):
        more = f" and {len(aside) - _SHOWN} more" if len(aside) > _SHOWN else ""
        told.append(f"not read, though beside the files that are: {', '.join(aside[:_SHOWN])}{more}")
    return told


def _check_columns(columns: Iterable[str], text: str, label: str, path: Path) -> None:
    found = [str(name) for name in columns]
    for key, column in (("data.text_column", text), ("data.label_column", label)):
        if column and column not in found:
            hint = records.nearest(column, found)
            raise DataError(
                f"{path} has no column {column!r}{hint}; it has {', '.join(map(repr, found[:20]))}. "
                f"{_headless(found)}Name the right one with --set {key}=NAME"
            )


def _headless(columns: Sequence[str]) -> str:
    """What to say where the first row looks like a text and its label, not like names."""
    looks = any(
        len(name) > 40 or len(name.split()) > 4 or re.fullmatch(r"[-+]?\d+([.,]\d+)?", name) for name in columns
    )
    return (
        "Its first row looks like data: if it has no header, add a line with names, such as text,label. "
        if looks
        else ""
    )


def _load_hub(data: DataSection, spec: DatasetSpec | None) -> RawData:
    hub_id, revision = (spec.hub_id, spec.revision) if spec else (data.hub_id, data.revision)
    names = spec.hub_splits if spec else _named(data)
    text = (spec.hub_text_column or spec.text_column) if spec else data.text_column
    label = (spec.hub_label_column or spec.label_column) if spec else data.label_column
    datasets = require("datasets", extra="train")
    splits: dict[Split, list[RawRow]] = {}
    stored: dict[stored_names.Names, str] = {}
    for split, name in (names or {"train": "train"}).items():
        try:
            table = datasets.load_dataset(hub_id, data.hub_config or None, split=name, revision=revision)
        except Exception as error:  # the hub client raises dozens of unrelated classes
            raise DataError(
                f"cannot load {hub_id} (split {name!r}, revision {revision[:12]}) from the Hugging Face Hub: {error}\n"
                f"Without the hub: put a copy below a folder and point {MIRROR_VARIABLE} at it, "
                "or use local files with --data PATH"
            ) from error
        if table.num_rows:
            _check_columns(table.column_names, text, label, Path(hub_id))
        rows = [RawRow(row[text], row[label], f"{hub_id} {name} row {i}") for i, row in enumerate(table, 1)]
        class_names = () if spec else tuple(getattr(table.features[label], "names", None) or ())
        splits[split] = stored_names.named(rows, class_names)
        if class_names:
            stored.setdefault(class_names, hub_id)
    notices: list[str] = []
    labels, others = stored_names.reconcile(data.labels or (spec.labels if spec else ()), stored, notices)
    splits = {split: stored_names.renamed(rows, others) for split, rows in splits.items()}
    return RawData(splits, labels, f"{hub_id} at {revision[:12]}", tuple(notices), by_position=not data.labels)
