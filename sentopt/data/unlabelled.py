"""Texts without labels (`data.unlabelled`): evidence for verification, because an unchanged answer is not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from sentopt.data import fields, pairs, splits, store, tables
from sentopt.data.duplicates import distinct_rows, normal_form
from sentopt.data.examples import as_text
from sentopt.data.options import TableOptions
from sentopt.errors import DataError
from sentopt.recipe import DataSection
from sentopt.run_dir import SPLITS, RunDir
from sentopt.runtime.description import Text, sha256_file


@dataclass(frozen=True)
class Unlabelled:
    """Distinct texts that are in no split, and a notice about them."""

    texts: tuple[Text, ...]
    notice: str


def check(data: DataSection) -> None:
    """That the file is there, if one is named.

    Raises:
        DataError: it is not.
    """
    if data.unlabelled and not Path(data.unlabelled).expanduser().is_file():
        raise DataError(f"data.unlabelled: no such file: {Path(data.unlabelled).expanduser()}")


def depends(data: DataSection) -> list[str]:
    """The identity of the texts: SHA-256 of the file and the options for reading it; empty without a file.

    An option that older runs did not have is left out where it changes nothing.

    Raises:
        DataError: the file does not exist.
    """
    check(data)
    if not data.unlabelled:
        return []
    return [
        sha256_file(Path(data.unlabelled).expanduser()),
        data.text_column,
        data.encoding,
        data.delimiter,
        data.quote,
        *([data.pair_column] if data.pair_column else []),
        *([f"at most {data.unlabelled_limit}"] if data.unlabelled_limit != DataSection().unlabelled_limit else []),
    ]


def load(data: DataSection, known: Iterable[Text], *, seed: int) -> Unlabelled:
    """The texts of `data.unlabelled` without empty texts, duplicates and `known` texts of the splits.

    Of more than `data.unlabelled_limit`, a sample.

    Training texts are excluded: INT8 is calibrated on them, so it changes fewer answers there.

    Raises:
        DataError: the file cannot be read, has no text column, or holds no text that is new.
    """
    path = Path(data.unlabelled).expanduser()
    notices: list[str] = []
    texts = list(_texts(path, data, notices.append))
    distinct = [
        texts[row]
        for row in distinct_rows(texts, {normal_form(("", "") if data.pair_column else ""), *map(normal_form, known)})
    ]
    if not distinct:
        raise DataError(f"data.unlabelled: none of the {len(texts)} rows of {path} is a text that is not in a split")
    notice = f"{path.name}: {len(distinct):,} of {len(texts):,} rows are distinct texts that are in no split"
    if 0 < data.unlabelled_limit < len(distinct):
        distinct = [distinct[i] for i in splits.sampled(len(distinct), data.unlabelled_limit, seed)]
        notice += f"; {data.unlabelled_limit:,} of them are used (data.unlabelled_limit)"
    return Unlabelled(tuple(distinct), "; ".join([notice, *notices]))


def beside_splits(data: DataSection, run_dir: RunDir, *, seed: int) -> Unlabelled:
    """`load`, for the splits that a run directory holds.

    Raises:
        DataError: see `load`.
        RunDirError: there are no splits.
    """
    known = (example.text for split in SPLITS for example in store.read_split(run_dir, split))
    return load(data, known, seed=seed)


def _texts(path: Path, data: DataSection, notify: Callable[[str], None]) -> Iterable[Text]:
    """The values of the text column, of the only column of a table, or the lines of a .txt file; of pairs, both."""
    options, column = TableOptions(data.encoding, data.delimiter, data.quote), data.text_column
    if data.pair_column:
        yield from _pairs(path, data, options, notify)
        return
    if path.suffix.lower() == ".txt":
        yield from tables.read_lines(path, options, notify)
        return
    name = _column(path, column, options)
    for row in tables.read_rows(path, options, notify):
        yield as_text(fields.get(row, name), path.name)


def _pairs(
    path: Path, data: DataSection, options: TableOptions, notify: Callable[[str], None]
) -> Iterable[tuple[str, str]]:
    """The values of both columns.

    Raises:
        DataError: the file is no table, or lacks one of them.
    """
    names = pairs.columns(data)
    if path.suffix.lower() == ".txt":
        raise DataError(
            f"data.unlabelled: {path} has lines of text, and the texts are pairs: expected a table with the columns "
            f"{names[0]!r} and {names[1]!r}"
        )
    lacking, seen = set(names), dict[str, None]()
    for row in tables.read_rows(path, options, notify):
        lacking -= {name for name in lacking if fields.find(row, name) is not fields.MISSING}
        seen |= dict.fromkeys(row)
        first, second = (as_text(fields.get(row, name), path.name) for name in names)
        yield first, second
    if lacking:
        raise DataError(
            f"data.unlabelled: {path} has no column {min(lacking)!r}; it has {', '.join(map(repr, seen))}. Its rows "
            f"must be pairs of texts, as those of the data are: the columns {names[0]!r} and {names[1]!r}"
        )


def _column(path: Path, column: str, options: TableOptions) -> str:
    """The name of the column of texts: `column` if any row has it, else that of the only column."""
    names: dict[str, None] = {}
    for row in tables.read_rows(path, options):
        if fields.find(row, column) is not fields.MISSING:
            return column
        names |= dict.fromkeys(row)
    if len(names) > 1:
        raise DataError(
            f"data.unlabelled: {path} has no column {column!r}; it has {', '.join(map(repr, names))}. Give its column "
            "of texts that name, or leave no other column in it"
        )
    return next(iter(names), column)
