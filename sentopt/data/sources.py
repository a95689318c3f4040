"""Raw rows from wherever a recipe says: the bundled corpus, files, a hub dataset, or a local mirror of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sentopt import records
from sentopt._optional import require
from sentopt.data import tables
from sentopt.data.catalog import DATASETS, DatasetSpec, MirrorFile
from sentopt.errors import DataError
from sentopt.recipe import TEST_AS_VALIDATION, DataSection
from sentopt.run_dir import SPLITS, Split
from sentopt.runtime.bundle import sha256_file

SAMPLE_FOLDER = Path(__file__).parent.parent / "sample"
MIRROR_VARIABLE = "SENTOPT_DATA_DIR"


@dataclass(frozen=True)
class RawRow:
    """Text and label exactly as found, and where, for error messages."""

    text: Any
    label: Any
    where: str


@dataclass(frozen=True)
class RawData:
    """Rows per split that the source has, the label names it declares, and a line that describes it."""

    splits: dict[Split, list[RawRow]]
    labels: tuple[str, ...]
    description: str


def load(data: DataSection) -> RawData:
    """Read every split that the source has.

    Raises:
        DataError: unknown dataset, unreadable file, missing column, or unreachable hub.
    """
    files = _files(data)
    if files is not None:
        text, label = _columns(data)
        splits = {split: list(_rows(file, text, label)) for split, file in files.items()}
        described = ", ".join(f"{split}: {file.path.name}" for split, file in files.items())
        return RawData(splits, data.labels or _declared_labels(data), described)
    return _load_hub(data, DATASETS.get(data.dataset))


def identify(data: DataSection) -> dict[str, str]:
    """What determines the rows: SHA-256 of each file, or hub id and revision. Cheap enough to ask on every call."""
    files = _files(data)
    if files is not None:
        return {split: f"{_digest(file.path)}[{file.start}:{file.stop}]" for split, file in files.items()}
    spec = DATASETS.get(data.dataset)
    return {"hub": spec.hub_id, "revision": spec.revision} if spec else {"hub": data.hub_id, "revision": data.revision}


def local_files(data: DataSection) -> list[Path]:
    """The files on this machine that the rows come from; none where they come from the hub."""
    return [file.path for file in (_files(data) or {}).values()]


@dataclass(frozen=True)
class _File:
    path: Path
    start: int = 0
    stop: int | None = None


def _files(data: DataSection) -> dict[Split, _File] | None:
    """The local files of each split, or None where the data must come from the hub."""
    if data.dataset == "sample":
        return {split: _File(SAMPLE_FOLDER / f"{split}.csv") for split in SPLITS}
    if data.dataset == "files":
        return {split: _File(Path(path).expanduser()) for split, path in _named(data).items()}
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
    return {split: _mirrored(Path(mirror), file) for split, file in spec.mirror.items()} if mirror else None


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


def _rows(file: _File, text: str, label: str) -> Iterator[RawRow]:
    rows = enumerate(tables.read_rows(file.path), 1)
    for number, row in islice(rows, file.start, file.stop):
        _check_columns(row, text, label, file.path)
        yield RawRow(row[text], row[label], f"{file.path.name} row {number}")


def _check_columns(row: tables.Row, text: str, label: str, path: Path) -> None:
    for key, column in (("data.text_column", text), ("data.label_column", label)):
        if column not in row:
            found = ", ".join(repr(name) for name in row)
            hint = records.nearest(column, [str(name) for name in row])
            raise DataError(
                f"{path} has no column {column!r}{hint}; it has {found}. Name the right one with --set {key}=NAME"
            )


def _load_hub(data: DataSection, spec: DatasetSpec | None) -> RawData:
    hub_id, revision = (spec.hub_id, spec.revision) if spec else (data.hub_id, data.revision)
    names = spec.hub_splits if spec else _named(data)
    text = (spec.hub_text_column or spec.text_column) if spec else data.text_column
    label = (spec.hub_label_column or spec.label_column) if spec else data.label_column
    datasets = require("datasets", extra="train")
    splits: dict[Split, list[RawRow]] = {}
    labels = data.labels or (spec.labels if spec else ())
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
            _check_columns(table[0], text, label, Path(hub_id))
        labels = labels or tuple(getattr(table.features[label], "names", None) or ())
        splits[split] = [RawRow(row[text], row[label], f"{hub_id} {name} row {i}") for i, row in enumerate(table, 1)]
    return RawData(splits, labels, f"{hub_id} at {revision[:12]}")
