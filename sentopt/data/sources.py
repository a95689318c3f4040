"""Read raw rows from the source of a recipe: the bundled corpus, files, a hub dataset, or its local mirror."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from sentopt import records
from sentopt._optional import require
from sentopt.data import columnar, corrections, fields, folders, formats, pairs, stored_names, tables
from sentopt.data.catalog import DATASETS, DatasetSpec, MirrorFile
from sentopt.data.examples import RawData, RawRow, explained_by
from sentopt.data.label_cells import LabelCells
from sentopt.data.memory import MEMORY
from sentopt.data.options import TableOptions
from sentopt.data.rows import Rows, RowsBuilder
from sentopt.errors import DataError
from sentopt.recipe import TEST_AS_VALIDATION, DataSection
from sentopt.run_dir import SPLITS, Split
from sentopt.runtime.description import sha256_file

SAMPLE_FOLDER = Path(__file__).parent.parent / "sample"
MIRROR_VARIABLE = "SENTOPT_DATA_DIR"
_SHOWN = 5

__all__ = ["MIRROR_VARIABLE", "SAMPLE_FOLDER", "RawData", "RawRow", "identify", "load", "local_files"]


def load(data: DataSection, given: RawData | None = None, *, scratch: Path | None = None) -> RawData:
    """Read every split that the source has; `given` are the rows of data in memory.

    Texts are written into files below the folder `scratch`, or else stay in memory.

    Raises:
        DataError: the dataset is unknown, a file is unreadable, a column is missing, the hub is unreachable, or rows in
            memory are not given again.
    """
    if data.dataset == MEMORY:
        if given is None:
            raise DataError(
                "the data of this run was given from Python and is not stored as it was: call sentopt.train(data, ...) "
                "again with the same data, or name files with --data"
            )
        return _with_declared_labels(given, data.labels)
    files = _files(data)
    if files is None:
        return _load_hub(data, DATASETS.get(data.dataset), scratch)
    return _load_files(data, files, scratch)


def _with_declared_labels(given: RawData, declared: tuple[str, ...]) -> RawData:
    """The rows with the label names that the recipe declares, as if they came from files."""
    if not declared:
        return given
    notices = list(given.notices)
    stored = {given.labels: "the dataset"} if given.labels else {}
    rows = {split: Rows.of(rows) for split, rows in given.splits.items()}
    labels, splits = stored_names.apply(rows, declared, stored, notices)
    return replace(given, splits=splits, labels=labels, notices=tuple(dict.fromkeys(notices)), by_position=False)


def identify(data: DataSection) -> dict[str, str]:
    """The identity of the rows: SHA-256 of each file, or hub id and revision, and of the corrections of their labels.

    Much cheaper than reading the rows.
    """
    return _identify_rows(data) | corrections.identify(data)


def _identify_rows(data: DataSection) -> dict[str, str]:
    if data.dataset == MEMORY:
        return {str(split): digest for split, digest in _named(data).items()}
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
    """The local files that hold the rows; empty if the rows come from the hub."""
    return [part.path for parts in (_files(data) or {}).values() for part in parts]


@dataclass(frozen=True)
class _File:
    path: Path
    start: int = 0
    stop: int | None = None


def _files(data: DataSection) -> dict[Split, list[_File]] | None:
    """The local files of each split, or None if the data come from the hub."""
    if data.dataset == "sample":
        return {split: [_File(SAMPLE_FOLDER / f"{split}.csv")] for split in SPLITS}
    if data.dataset == "files":
        return {split: [_File(path) for path in folders.expand(name)] for split, name in _named(data).items()}
    if data.dataset in ("hub", MEMORY):
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
    """The file or hub split of each split, as the recipe names them."""
    named = {split: str(getattr(data, split)) for split in SPLITS}
    if data.validation == TEST_AS_VALIDATION:
        named.pop("validation")
    return {split: name for split, name in named.items() if name}


def _mirrored(root: Path, file: MirrorFile) -> _File:
    path = root.expanduser() / file.path
    if not path.is_file():
        raise DataError(f"{MIRROR_VARIABLE} is {root}, but {path} is not there; correct it, or unset it to use the hub")
    return _File(path, file.start, file.stop)


def text_columns(data: DataSection) -> tuple[str, ...]:
    """The column of the texts, or those of both texts of pairs."""
    return _columns(data)[0]


def _columns(data: DataSection) -> tuple[tuple[str, ...], LabelCells]:
    """Those of the texts, of which a pair has two, and those of the labels."""
    spec = DATASETS.get(data.dataset)
    if not spec:
        return pairs.columns(data), LabelCells(data.label_column, data.label_columns)
    return pairs.columns(replace(data, text_column=spec.text_column)), LabelCells(spec.label_column)


def _declared_labels(data: DataSection) -> tuple[str, ...]:
    if data.dataset == "sample":
        return ("negative", "neutral", "positive")
    spec = DATASETS.get(data.dataset)
    return spec.labels if spec else ()


def _digest(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    return sha256_file(path)


def _load_files(data: DataSection, files: dict[Split, list[_File]], scratch: Path | None) -> RawData:
    texts, cells = _columns(data)
    notices: list[str] = []
    splits: dict[Split, Rows] = {}
    stored: dict[stored_names.Names, str] = {}
    for split, parts in files.items():
        found: list[Rows] = []
        for number, part in enumerate(parts):
            builder = RowsBuilder(scratch / f"{split}-{number}" if scratch else None, pairs=len(texts) > 1)
            with explained_by(notices):
                rows = _rows(part, texts, cells, data, notices, builder, may_lack_labels=split == "test")
            names = () if cells.flags else tables.class_names(part.path, cells.column)
            found.append(stored_names.named(rows, names))
            if names:
                stored.setdefault(names, part.path.name)
        splits[split] = Rows.joined(found)
    if data.dataset == "files":
        notices += _about_files(files)
    declared = data.labels or cells.flags or _declared_labels(data)
    labels, named = stored_names.apply(splits, declared, stored, notices)
    return RawData(named, labels, _described(files), tuple(dict.fromkeys(notices)), by_position=not data.labels)


def _rows(
    file: _File,
    texts: tuple[str, ...],
    cells: LabelCells,
    data: DataSection,
    notices: list[str],
    builder: RowsBuilder,
    *,
    may_lack_labels: bool,
) -> Rows:
    options = TableOptions(data.encoding, data.delimiter, data.quote)
    wanted = (*texts, *cells.names)
    names, rows = _table(file.path, wanted, options, notices)
    columns, kind, text_of = dict.fromkeys(names), formats.reading_format(file.path), pairs.getter(texts)
    for position, row in islice(rows, file.start, file.stop):
        if not names:
            columns |= dict.fromkeys(row)
            columns |= {name: None for name in wanted if name not in columns and _has(row, name)}
        if cells.flags and columns.keys() & {*cells.flags} and not columns.keys() >= {*wanted}:
            _check_columns(columns, texts, cells, file.path, kind)
        where = f"{file.path.name} {position}"
        builder.add(text_of(row), cells.of(row, where), where)
    if len(builder):
        columns |= {} if {*wanted} <= columns.keys() else dict.fromkeys(fields.names(row))
        unlabelled = may_lack_labels and not columns.keys() & {*cells.names}
        _check_columns(columns, texts, None if unlabelled else cells, file.path, kind)
        if unlabelled:
            notices.append(f"{file.path.name} has no column {cells.names[0]!r}")
    return builder.finish()


def _has(row: tables.Row, name: str) -> bool:
    return fields.find(row, name) is not fields.MISSING


def _table(
    path: Path, wanted: Sequence[str], options: TableOptions, notices: list[str]
) -> tuple[Sequence[str], Iterator[tuple[str, tables.Row]]]:
    """The columns of a file (empty if unknown before reading rows), and its rows with at least the `wanted` columns."""
    formats.check_file(path)
    kind = formats.reading_format(path)
    if kind in ("parquet", "arrow"):  # other columns cost time, and Python may be unable to represent their values
        return columnar.names(path, kind, wanted), columnar.read(path, kind, wanted)
    return (), tables.read_numbered(path, options, notices.append)


def _described(files: dict[Split, list[_File]]) -> str:
    def named(parts: list[_File]) -> str:
        return parts[0].path.name if len(parts) == 1 else f"{parts[0].path.name} and {len(parts) - 1} more"

    return ", ".join(f"{split}: {named(parts)}" for split, parts in files.items())


def _about_files(files: dict[Split, list[_File]]) -> list[str]:
    """Notices about files that are used for a split of another name, and about unused files."""
    notices = [
        f"{parts[0].path.name} is read as the validation split"
        for split, parts in files.items()
        if split == "validation" and not parts[0].path.name.startswith("validation")
    ]
    if unused_names := folders.unused([part.path for parts in files.values() for part in parts]):
        more = f" and {len(unused_names) - _SHOWN} more" if len(unused_names) > _SHOWN else ""
        notices.append(f"other files in the same folder are not read: {', '.join(unused_names[:_SHOWN])}{more}")
    return notices


def _check_columns(
    columns: Iterable[str], texts: Sequence[str], cells: LabelCells | None, path: Path, kind: str = ""
) -> None:
    names = [str(name) for name in columns]
    labels = [(cells.key, column) for column in cells.names] if cells else []
    for key, column in (*zip(("data.text_column", "data.pair_column"), texts, strict=False), *labels):
        if column not in names:
            has = f"{path} has no column {column!r}"
            its = f"it has {', '.join(map(repr, names[:20]))}"
            wanted = (*texts, *(name for _, name in labels))
            if delimiter := _delimiter(names, wanted) if kind in ("csv", "tsv") else "":
                raise DataError(
                    f"{has}; {its}, which looks like several names with {delimiter!r} between them. "
                    f"Say so with --set {shlex.quote(f'data.delimiter={json.dumps(delimiter)}')}"
                )
            raise DataError(f"{has}{records.nearest(column, names)}; {its}. {_misread(names, kind)}{_remedy(key)}")


def _remedy(key: str) -> str:
    if key == "data.label_columns":
        return f"Correct the names in {key}"
    return f"Name the right one with --set {key}=NAME"


def _delimiter(columns: Sequence[str], wanted: Sequence[str]) -> str:
    """The character that separates the wanted names in the name of the only column, or an empty text."""
    if len(columns) != 1:
        return ""
    names = {name.casefold() for name in wanted if name}
    no_delimiter = "_\"'\n\r" if len(names) > 1 else " _\"'\n\r"  # "review text" is one name
    for character in sorted({c for c in columns[0] if not c.isalnum() and c not in no_delimiter}):
        parts = {part.strip(" \"'").casefold() for part in columns[0].split(character)}
        if len(parts) > 1 and names <= parts:
            return character
    return ""


def _misread(columns: Sequence[str], kind: str) -> str:
    """A hint if the column names look like data or row numbers, else an empty text."""
    looks = any(
        len(name) > 40 or len(name.split()) > 4 or re.fullmatch(r"[-+]?\d+([.,]\d+)?", name) for name in columns
    )
    if looks and kind in ("csv", "tsv", "xlsx"):
        return "Its first row looks like data: if it has no header, add a line with names, such as text,label. "
    if kind == "json" and columns and all(name.isdigit() for name in columns):
        return (
            'Its columns look like numbers of rows: if pandas wrote it with orient="index", write it with '
            'orient="records". '
        )
    return ""


def _load_hub(data: DataSection, spec: DatasetSpec | None, scratch: Path | None) -> RawData:
    hub_id, revision = (spec.hub_id, spec.revision) if spec else (data.hub_id, data.revision)
    names = spec.hub_splits if spec else _named(data)
    text = (spec.hub_text_column or spec.text_column) if spec else data.text_column
    label = (spec.hub_label_column or spec.label_column) if spec else data.label_column
    cells = LabelCells(label, () if spec else data.label_columns)
    texts = pairs.columns(replace(data, text_column=text))
    text_of = pairs.getter(texts)
    datasets = require("datasets", extra="train")
    splits: dict[Split, Rows] = {}
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
            first = table[0]
            inner = [column for column in (*texts, *cells.names) if _has(first, column)]
            _check_columns(
                dict.fromkeys([*table.column_names, *fields.names(first), *inner]), texts, cells, Path(hub_id)
            )
        builder = RowsBuilder(scratch / split if scratch else None, pairs=len(texts) > 1)
        for i, row in enumerate(table, 1):
            where = f"{hub_id} {name} row {i}"
            builder.add(text_of(row), cells.of(row, where), where)
        class_names = () if spec or cells.flags else stored_names.of_feature(fields.get(table.features, label))
        splits[split] = stored_names.named(builder.finish(), class_names)
        if class_names:
            stored.setdefault(class_names, hub_id)
    notices: list[str] = []
    declared = data.labels or cells.flags or (spec.labels if spec else ())
    labels, named = stored_names.apply(splits, declared, stored, notices)
    return RawData(named, labels, f"{hub_id} at {revision[:12]}", tuple(notices), by_position=not data.labels)
