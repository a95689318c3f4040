"""Read JSON files: one object per line, an array of objects, or columns."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sentopt.data import encodings, surrogates
from sentopt.data.options import TableOptions
from sentopt.errors import DataError

Numbered = tuple[str, dict[str, Any]]


class ObjectLine(dict[str, Any]):
    """A row of a JSON Lines file that remembers its `line`, because numbers cannot be written again as they were."""

    line = ""


def read_lines(path: Path, options: TableOptions, notify: Callable[[str], None]) -> Iterator[Numbered]:
    """Each object of a JSON Lines file with its place, such as `line 7`.

    Raises:
        DataError: a line is not a JSON object, or the file cannot be decoded.
    """
    encoding = encodings.detect(path, options)
    if encoding.notice:
        notify(encoding.notice)
    try:
        with io.TextIOWrapper(encodings.open_bytes(path), encoding=encoding.codec, newline="") as stream:
            for number, line in enumerate(stream, 1):
                if line.strip():
                    yield f"line {number}", _object(path, number, line)
    except UnicodeError as error:
        raise encodings.wrong_byte(path, encoding.codec, error, options) from error


def read_document(path: Path, options: TableOptions, notify: Callable[[str], None]) -> Iterator[Numbered]:
    """Each row of a `.json` file: an array of objects, `{"data": [...]}`, columns, or one object per line.

    Raises:
        DataError: not JSON, or JSON of another shape.
    """
    encoding = encodings.detect(path, options)
    if encoding.notice:
        notify(encoding.notice)
    try:
        with io.TextIOWrapper(encodings.open_bytes(path), encoding=encoding.codec) as stream:
            text = stream.read()
    except UnicodeError as error:
        raise encodings.wrong_byte(path, encoding.codec, error, options) from error
    if not text.strip():
        raise DataError(f"{path} is empty: expected an array of objects")
    try:
        document = json.loads(text)
    except RecursionError as error:
        raise DataError(f"{path} is nested too deeply to be a table") from error
    except ValueError as error:
        if str(error).startswith("Extra data"):
            notify(f"{path.name}: read as JSON Lines, one object a line")
            yield from read_lines(path, options, lambda line: None)
            return
        raise DataError(f"{path} is not JSON: {error}") from error
    yield from _rows(path, document, notify, repair=surrogates.may_occur(text))


def _object(path: Path, number: int, line: str) -> ObjectLine:
    try:
        row = json.loads(line)
        row = surrogates.repaired_value(row) if surrogates.may_occur(line) else row
    except RecursionError as error:
        raise DataError(f"{path}, line {number}: nested too deeply to be a row of a table") from error
    except ValueError as error:
        raise DataError(f"{path}, line {number}: not JSON ({error}){_array_hint(number, line)}") from error
    if not isinstance(row, dict):
        raise DataError(
            f"{path}, line {number}: expected a JSON object, found {type(row).__name__}{_array_hint(number, line)}"
        )
    read = ObjectLine(row)
    read.line = line.strip()
    return read


def _array_hint(number: int, line: str) -> str:
    return "; if the file is one JSON array, give it the name .json" if number == 1 and line.lstrip()[:1] == "[" else ""


def _rows(path: Path, document: Any, notify: Callable[[str], None], *, repair: bool) -> Iterator[Numbered]:
    rows = document
    if isinstance(document, dict):
        lists = [key for key, value in document.items() if isinstance(value, list) and _are_objects(value)]
        if len(lists) == 1:
            notify(f"{path.name}: the rows are the list {lists[0]!r}")
            rows = document[lists[0]]
        elif not lists and _are_columns(document):
            rows = _of_columns(path, document)
        elif all(not isinstance(value, dict | list) for value in document.values()):
            rows = [document]  # one object: JSON Lines with one line
        else:
            raise DataError(_shape(path, document, lists))
    if not isinstance(rows, list):
        raise DataError(_shape(path, document, []))
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict):
            raise DataError(f"{path}, item {number}: expected an object with the columns, found {type(row).__name__}")
        try:
            yield f"item {number}", surrogates.repaired_value(row) if repair else row
        except RecursionError as error:
            raise DataError(f"{path}, item {number}: nested too deeply to be a row of a table") from error


def _are_objects(values: list[Any]) -> bool:
    return bool(values) and all(isinstance(value, dict) for value in values)


def _are_columns(document: Mapping[str, Any]) -> bool:
    """Whether the document holds columns: as lists, or (as pandas writes them) as objects from row number to value."""
    kinds = {type(value) for value in document.values()}
    return len(document) > 1 and kinds in ({list}, {dict})


def _of_columns(path: Path, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    keys = {tuple(v) if isinstance(v, dict) else tuple(range(len(v))) for v in document.values()}
    if len(keys) > 1:
        raise DataError(f"{path}: its columns ({', '.join(document)}) do not have the same rows")
    return [{name: values[key] for name, values in document.items()} for key in keys.pop()]


def _shape(path: Path, document: Any, lists: list[str]) -> str:
    actual = (
        f"an object with {', '.join(map(repr, list(document)[:5]))}"
        if isinstance(document, dict)
        else type(document).__name__
    )
    several = f"; it has several lists of objects ({', '.join(lists)}): save each as a file of its own" if lists else ""
    return f'{path} is JSON, but no table: expected an array of objects or {{"data": [...]}}, found {actual}{several}'
