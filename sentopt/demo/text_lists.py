"""A list of texts that a visitor brings: lines, a pasted table or a table file; and what its columns are for."""

from __future__ import annotations

import base64
import binascii
import csv
import itertools
import json
import re
import secrets
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentopt.data import tables
from sentopt.data.options import TableOptions
from sentopt.errors import DataError, InputError, SentoptError
from sentopt.runtime.names import printable
from sentopt.runtime.surrogates import repaired

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".xlsx")
TOO_LARGE = "too large"
"""What the page sends in the place of a file's content."""
TEXT = "text"
"""The column of a list that has no columns of its own."""

_TEXT_NAMES = ("text", "texts", "review", "reviews", "sentence", "comment", "tweet", "message", "content", "body")
_LABEL_NAMES = ("label", "labels", "sentiment", "class", "target", "category", "y")
_DELIMITERS = "\t,;|"
_BETWEEN_LABELS = ";|,"
_DIGITS = 5  # of a number that may be a position
_LOOKED_AT = 200  # lines that tell a table from texts
_LONGEST_NAME = 40  # characters of a column's name
_BLANK_LINES = re.compile(r"\A(?:[ \t]*\r?\n)+")
_LINE_END = re.compile(r"\r\n|\r|\n")  # `str.splitlines` knows others, which stand within texts
_NUMBER = re.compile(r"[-+]?[\d.,]+%?")
_OPTIONS = TableOptions(setting="sentopt predict --{} {}")  # where what was detected can be corrected
_COLUMNS = 200
_UNPACKED = 2**23  # bytes of a workbook, which is a ZIP archive: a hundred times as much in memory


@dataclass(frozen=True)
class TextList:
    """A table of strings with a cell for each of `columns` in every row; `notices` say how it was read."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notices: tuple[str, ...] = ()

    def column(self, position: int) -> list[str]:
        """The cells of a column, by its position.

        Raises:
            InputError: there is none.
        """
        if not 0 <= position < len(self.columns):
            raise InputError(f"the table has {len(self.columns)} columns, and no column {position + 1}")
        return [row[position] for row in self.rows]


def from_lines(pasted: str) -> TextList:
    """A row for every line; blank ones stay where they are, except at the end."""
    lines = [line.strip() for line in _LINE_END.split(pasted.rstrip())] if pasted.strip() else []
    return TextList((TEXT,), tuple((line,) for line in lines))


def from_table(pasted: str, *, most: int) -> TextList:
    """A pasted table, whose first line names the columns; spreadsheets put tabs between the cells.

    Raises:
        InputError: it cannot be read, or has more than `most` rows.
    """
    pasted = _BLANK_LINES.sub("", pasted)
    suffix = ".tsv" if "\t" in pasted.partition("\n")[0] else ".csv"
    return _read("the pasted table", suffix, pasted.encode("utf-8", "replace"), most)


def from_upload(sent: str, *, most: int) -> TextList:
    """A table file as the page sends it: its name, a line end, and its content in base64.

    Raises:
        InputError: it is not such a file, cannot be read, or has more than `most` rows.
    """
    name, content = name_of(sent), sent.partition("\n")[2]
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{name}: expected a table, with a name that ends in {', '.join(SUFFIXES)}")
    if content == TOO_LARGE:
        raise InputError(f"{name} is too large for this page; use sentopt predict --input FILE on your machine")
    try:
        content_bytes = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name} did not arrive whole; choose it again") from error
    return _read(name, suffix, content_bytes, most)


def name_of(sent: str) -> str:
    """The name of an uploaded file, fit to be shown."""
    return printable(Path(sent.partition("\n")[0]).name, longest=80) or "the file"


def _read(name: str, suffix: str, content: bytes, most: int) -> TextList:
    """By the reader of tables, which takes files: this one is there for as long as it is read."""
    notices: list[str] = []
    columns: list[str] = []

    def keep(names: Sequence[str]) -> None:
        if len(names) > _COLUMNS:  # a DataError, which the reader of workbooks takes for no damage
            raise DataError(f"{name} has {len(names):,} columns; at most {_COLUMNS} are taken here")
        columns.extend(names)

    with tempfile.TemporaryDirectory(prefix="sentopt-") as folder:
        path = Path(folder) / f"{secrets.token_hex(8)}{suffix}"
        path.write_bytes(content)
        try:
            if suffix == ".xlsx":
                _check_size(path)
            numbered = tables.read_numbered(path, _OPTIONS, notices.append, keep)
            rows = [row for _, row in itertools.islice(numbered, most + 1)]
        except SentoptError as error:
            raise InputError(_named(str(error), path, name)) from None
    if len(rows) > most:
        raise InputError(f"{name} has more than {most:,} rows; at most {most:,} are answered here")
    if not rows:
        raise InputError(f"{name} has no rows below the names of its columns")
    names = tuple(columns or dict.fromkeys(key for row in rows for key in row))
    if not names or len(names) > _COLUMNS:
        raise InputError(f"{name} has {len(names):,} columns; from 1 to {_COLUMNS} are taken here")
    cells = tuple(tuple(_cell(row.get(column)) for column in names) for row in rows)
    shown = tuple(column.strip() or f"column {i} without a name" for i, column in enumerate(names, 1))
    return TextList(shown, cells, tuple(_named(notice, path, name) for notice in notices))


def _check_size(path: Path) -> None:
    """Refuse a workbook that would fill the memory when it is unpacked.

    Raises:
        InputError: it would.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except zipfile.BadZipFile:
        return  # the reader says what it is
    if size > _UNPACKED:
        raise InputError(f"{path} is too large when it is unpacked ({size / 2**20:.0f} MiB); save it as CSV")


def _named(message: str, path: Path, name: str) -> str:
    """A message of the reader with the visitor's name for the file."""
    return re.sub(f"{re.escape(str(path))}|{re.escape(path.name)}", lambda _: name, message)


def _cell(value: Any) -> str:
    if value is None or value != value:  # NaN is not equal to itself
        return ""
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return repaired(str(value))


def looks_like_table(pasted: str) -> bool:
    """Whether the first line names columns and the others have as many cells; said so that it can be corrected.

    Texts have commas, too: without a usual name in the first line, there must be no blank behind a delimiter.
    """
    lines = [line for line in pasted.strip().splitlines() if line.strip()][:_LOOKED_AT]
    if len(lines) < 2:
        return False
    if lines[0].strip().casefold() in (*_TEXT_NAMES, *_LABEL_NAMES):
        return True
    return any(_are_rows(lines, delimiter) for delimiter in _DELIMITERS)


def _are_rows(lines: Sequence[str], delimiter: str) -> bool:
    try:
        head, *rows = list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:  # a cell that is longer than any of a pasted table
        return False
    names = [cell.strip() for cell in head]
    if len(names) < 2 or not all(_is_name(name) for name in names) or len(set(names)) < len(names):
        return False
    usual = any(name.casefold() in (*_TEXT_NAMES, *_LABEL_NAMES) for name in names)
    same = sum(len(row) == len(names) for row in rows) / max(1, len(rows))
    plain = delimiter == "\t" or not any(cell.startswith(" ") for cell in head)
    return same >= 0.5 if usual else same == 1 and plain


def _is_name(cell: str) -> bool:
    return 0 < len(cell) <= _LONGEST_NAME and not _NUMBER.fullmatch(cell) and cell[-1] not in ".!?"


def likely_text(texts: TextList) -> int:
    """The column that most likely holds the texts: one with a usual name, else the one with the longest cells."""
    names = [name.casefold() for name in texts.columns]
    usual = [names.index(name) for name in _TEXT_NAMES if name in names]
    return usual[0] if usual else max(range(len(names)), key=lambda i: sum(len(row[i]) for row in texts.rows))


def likely_pair(texts: TextList, names: tuple[str, str], labels: Sequence[str]) -> tuple[int, int]:
    """The columns that most likely hold both texts of pairs: those of their names, else those with the longest cells.

    Raises:
        InputError: there is only one column.
    """
    if len(texts.columns) < 2:
        raise InputError(
            f"the table has one column, {texts.columns[0]!r}; expected one for each text of a pair: "
            f"{' and '.join(map(repr, names))}"
        )
    folded = [name.casefold() for name in texts.columns]
    found = [folded.index(name.casefold()) if name.casefold() in folded else None for name in names]
    taken = [i for i in found if i is not None]
    left = [i for i in range(len(folded)) if i not in taken]
    label = likely_label(texts, labels, *taken)
    if label is not None and len(left) > found.count(None):
        left.remove(label)
    by_length = sorted(left, key=lambda i: -sum(len(row[i]) for row in texts.rows))
    rest = iter(sorted(by_length[: found.count(None)]))
    first, second = (next(rest) if i is None else i for i in found)
    return first, second


def likely_label(texts: TextList, labels: Sequence[str], *text_columns: int, sets: bool = False) -> int | None:
    """The column that holds labels of the model, if there is one: by its values, one with a usual name first.

    `sets`: a cell may hold several labels, see `sets_of`.
    """
    others = [i for i in range(len(texts.columns)) if i not in text_columns]
    usual = [i for i in others if texts.columns[i].casefold() in _LABEL_NAMES]
    for i in [*usual, *(i for i in others if i not in usual)]:
        values = [value for value in texts.column(i) if value.strip()]
        if sets:
            known = sum(found is not None for found in sets_of(values, labels))
        else:
            known = sum(place is not None for place in positions(values, labels))
        if i in usual and 2 * known >= len(values) > 0:
            return i
        if values and known == len(values) and not are_numbers(values):
            return i
    return None


def sets_of(values: Sequence[str], labels: Sequence[str]) -> list[frozenset[int] | None]:
    """For each value the positions of the labels that it names, none of them where it is blank; None where one is none.

    A value is a list as JSON has it, or names with one of the characters ; | , between them. The name of a label may
    hold such a character.
    """
    folded = {_plain(label): i for i, label in enumerate(labels)}
    return [_set_of(value, folded) for value in values]


def _set_of(value: str, folded: Mapping[str, int]) -> frozenset[int] | None:
    written = value.strip()
    if written.startswith("["):
        try:
            items = json.loads(written)
        except ValueError:
            items = written.strip("[]").replace("'", "").split(",")  # as Python writes a list
        names = [str(item) for item in items] if isinstance(items, list) else [written]
    else:
        names = [written]
        for delimiter in _BETWEEN_LABELS:
            names = [part for name in names for part in ([name] if _plain(name) in folded else name.split(delimiter))]
    found = [folded.get(_plain(name)) for name in names if name.strip()]
    return None if None in found else frozenset(place for place in found if place is not None)


def positions(values: Sequence[str], labels: Sequence[str]) -> list[int | None]:
    """For each value the position of the label that it names, or None for a blank one and one that names no label.

    Labels are compared without regard to case, and "1.0" is 1: tables write whole numbers so where a cell is blank. If
    no value names a label, and all numbers among them are positions of labels, they count the labels from 0.
    """
    folded = [_plain(label) for label in labels]
    given = [_plain(value) for value in values]
    if not any(value in folded for value in given if value):
        numbers = [int(value) for value in given if value.isdecimal() and len(value) < _DIGITS]
        if numbers and max(numbers) < len(labels):
            return [int(value) if value.isdecimal() and len(value) < _DIGITS else None for value in given]
    return [folded.index(value) if value in folded else None for value in given]


def names_label(value: str, labels: Sequence[str]) -> bool:
    """Whether a value is the name of a label."""
    return _plain(value) in map(_plain, labels)


def are_numbers(values: Sequence[str]) -> bool:
    """Whether all values that are not blank are whole numbers, and there are any."""
    filled = [_plain(value) for value in values if value.strip()]
    return bool(filled) and all(value.isdecimal() for value in filled)


def _plain(value: str) -> str:
    return re.sub(r"\A(\d+)\.0+\Z", r"\1", value.strip().casefold())
