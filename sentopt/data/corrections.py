"""Corrected labels (`data.corrections`): the list that `sentopt data check` writes, with its last column filled in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sentopt import records
from sentopt.data import fields, labels, tables
from sentopt.data.duplicates import normal_form
from sentopt.data.examples import as_text
from sentopt.data.labels import Labelled, Named
from sentopt.errors import DataError
from sentopt.files import safe_csv
from sentopt.recipe import DataSection
from sentopt.run_dir import Split
from sentopt.runtime.description import sha256_file

TEXT, PAIR, CORRECTED = "text", "pair", "corrected"
DROP = "<drop>"
"""In the column `corrected`: leave the text out. Data with a label of this name cannot use it."""
_OUT = -1
_SHOWN = 5


@dataclass(frozen=True)
class _Correction:
    """A label as a person wrote it, and where."""

    label: str
    where: str


def check(data: DataSection) -> None:
    """That the file is there, if one is named.

    Raises:
        DataError: it is not.
    """
    if data.corrections and not _path(data).is_file():
        raise DataError(
            f"data.corrections: no such file: {_path(data)}; `sentopt data check --output FILE` writes one to fill in"
        )


def identify(data: DataSection) -> dict[str, str]:
    """SHA-256 of the file under the name of its key; empty without a file.

    Raises:
        DataError: the file does not exist.
    """
    check(data)
    return {"data.corrections": sha256_file(_path(data))} if data.corrections else {}


def apply(named: Named, data: DataSection, notices: list[str]) -> Named:
    """The rows with the labels that `data.corrections` gives to their texts; those to be dropped are left out.

    A correction holds for every row whose text has its normal form, in all splits.

    Raises:
        DataError: the file cannot be read, corrects nothing, or names a label that the data does not have.
    """
    if not data.corrections:
        return named
    check(data)
    path = _path(data)
    wanted = _resolved(_read(path, (TEXT, PAIR) if data.pair_column else (TEXT,)), named.names)
    found: set[str] = set()
    changed, dropped = Counter[Split](), Counter[Split]()
    splits: dict[Split, Labelled] = {}
    for split, part in named.splits.items():
        corrected = part.labels.copy()
        for row, text in enumerate(part.rows.texts):
            form = normal_form(text)
            if form in wanted:
                found.add(form)
                corrected[row] = wanted[form]
        kept = np.flatnonzero(corrected != _OUT)
        dropped[split] = len(corrected) - len(kept)
        changed[split] = int((corrected[kept] != part.labels[kept]).sum())
        splits[split] = Labelled(part.rows.take(kept), corrected[kept])
    if not found:
        raise DataError(
            f"data.corrections: none of the {len(wanted):,} corrected texts of {path} is in the data; name the list "
            "that was made of this data"
        )
    notices.append(_notice(path, changed, dropped, len(wanted) - len(found)))
    return Named(named.names, splits)


def _path(data: DataSection) -> Path:
    return Path(data.corrections).expanduser()


def _notice(path: Path, changed: Counter[Split], dropped: Counter[Split], unused: int) -> str:
    done = [
        f"{verb} {count:,} row(s) of {split}"
        for verb, counts in (("corrected the label of", changed), ("left out", dropped))
        for split, count in counts.items()
        if count
    ]
    lost = [f"{unused:,} correction(s) are of no text that the data has"] if unused else []
    return f"{path.name}: {'; '.join([*done, *lost]) or 'the data has these labels already'}"


def _read(path: Path, texts: tuple[str, ...]) -> dict[str, _Correction]:
    """The filled cells of the column `corrected`, by the normal form of the text, which a pair has in two columns."""
    expected = " and ".join([", ".join(map(repr, texts)), repr(CORRECTED)])
    found: dict[str, _Correction] = {}
    for place, row in tables.read_numbered(path):
        where = f"{path.name} {place}"
        missing = [name for name in (*texts, CORRECTED) if fields.find(row, name) is fields.MISSING]
        if missing:
            raise DataError(
                f"data.corrections: {path} has no column {missing[0]!r}; it has {', '.join(map(repr, row))}. "
                f"Expected the columns {expected}, as `sentopt data check --output FILE` writes them"
            )
        label = labels.as_written(fields.get(row, CORRECTED), where)
        if not label:
            continue
        first, *second = (safe_csv.restored(as_text(fields.get(row, name), where)) for name in texts)
        form = normal_form((first, second[0]) if second else first)
        before = found.setdefault(form, _Correction(label, where))
        if normal_form(before.label) != normal_form(label):
            raise DataError(
                f"data.corrections: one text is corrected to {before.label!r} ({before.where}) and to {label!r} "
                f"({where}); keep one of them"
            )
    if not found:
        raise DataError(
            f"data.corrections: no cell of the column {CORRECTED!r} is filled in in {path}: write the "
            f"right label there, or {DROP} to leave the text out"
        )
    return found


def _resolved(corrections: dict[str, _Correction], names: tuple[str, ...]) -> dict[str, int]:
    """The position of each corrected label among `names`, by the normal form of the text; -1 leaves it out."""
    exact = {name: i for i, name in enumerate(names)}
    forms = Counter(map(normal_form, names))
    folded = {normal_form(name): i for i, name in enumerate(names) if forms[normal_form(name)] == 1}
    resolved: dict[str, int] = {}
    wrong: list[_Correction] = []
    for form, correction in corrections.items():
        is_drop = normal_form(correction.label) == DROP
        if is_drop and DROP in forms:
            raise DataError(
                f"data.corrections: {correction.where}: {DROP} leaves a text out, and the data has a label of that "
                "name; rename the label in the data"
            )
        position = _OUT if is_drop else exact.get(correction.label, folded.get(normal_form(correction.label)))
        if position is None:
            wrong.append(correction)
        else:
            resolved[form] = position
    if wrong:
        shown = ", ".join(f"{c.where}: {c.label!r}{records.nearest(c.label, [*names, DROP])}" for c in wrong[:_SHOWN])
        more = f", and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
        raise DataError(
            f"data.corrections: {len(wrong):,} label(s) are none of {', '.join(names)}: {shown}{more}. "
            f"Write one of these labels, or {DROP} to leave the text out"
        )
    return resolved
