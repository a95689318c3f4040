"""Read table files row by row, so that files larger than memory can be scored.

CSV, TSV and JSON (plain or .gz) need the standard library only; Parquet, Arrow and Excel need packages of the extras.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sentopt.data import columnar, delimited, documents, encodings, formats, workbooks
from sentopt.data.options import TableOptions

__all__ = ["DETECTED", "Row", "class_names", "count_rows", "read_lines", "read_numbered", "read_rows"]

Row = Mapping[str, Any]
DETECTED = TableOptions()


def _ignore(notice: object) -> None: ...


def read_rows(path: Path, options: TableOptions = DETECTED, notify: Callable[[str], None] = _ignore) -> Iterator[Row]:
    """Yield each row as a mapping from column name to value.

    `notify` receives notices about how the file was read, at the latest with the last row.

    Raises:
        DataError: the file is missing, malformed, or has another format than its name; the message says where.
    """
    return (row for _, row in read_numbered(path, options, notify))


def read_numbered(
    path: Path,
    options: TableOptions = DETECTED,
    notify: Callable[[str], None] = _ignore,
    header: Callable[[Sequence[str]], None] = _ignore,
) -> Iterator[tuple[str, Row]]:
    """Like `read_rows`, with the place of each row in the file, such as `line 7`.

    `header` receives the names of the columns before the first row, unless they may differ from row to row.
    """
    formats.check_file(path)
    kind = formats.reading_format(path)
    if kind in ("parquet", "arrow"):
        header(columnar.schema(path, kind).names)
        yield from columnar.read(path, kind)
    elif kind == "xlsx":
        yield from workbooks.read(path, notify, header)
    else:
        yield from _read_text(path, kind, options, notify, header)


def read_lines(path: Path, options: TableOptions = DETECTED, notify: Callable[[str], None] = _ignore) -> Iterator[str]:
    """Each line of a text file, without its line end.

    Raises:
        DataError: the file is missing, has another format than its name, or cannot be decoded.
    """
    formats.check_file(path)
    with path.open("rb") as stream:
        formats.check_is_text(path, stream.read(512), packed=False)
    encoding = encodings.detect(path, options)
    if encoding.notice:
        notify(encoding.notice)
    try:
        with path.open(encoding=encoding.codec) as lines:
            for line in lines:
                yield line.rstrip("\n")
    except UnicodeError as error:
        raise encodings.wrong_byte(path, encoding.codec, error, options) from error


def count_rows(path: Path) -> int | None:
    """Number of rows for a progress bar; None if counting would cost as much as reading the file."""
    return columnar.row_count(path) if formats.reading_format(path) == "parquet" else None


def class_names(path: Path, column: str) -> tuple[str, ...]:
    """The label names of `column` that `datasets` stored in the file; empty if there are none."""
    kind = formats.reading_format(path)
    return columnar.class_names(path, kind, column) if kind in ("parquet", "arrow") else ()


def _read_text(
    path: Path,
    kind: str,
    options: TableOptions,
    notify: Callable[[str], None],
    header: Callable[[Sequence[str]], None],
) -> Iterator[tuple[str, Row]]:
    try:
        with path.open("rb") as stream:
            packed = path.suffix.lower() == ".gz"
            formats.check_is_text(path, b"" if packed else stream.read(512), packed=False)
        if packed:
            with encodings.open_bytes(path) as unpacked:
                formats.check_is_text(path, unpacked.read(512), packed=True)
        if kind == "json":
            yield from documents.read_document(path, options, notify)
        elif kind == "jsonl":
            yield from documents.read_lines(path, options, notify)
        else:
            yield from delimited.read(path, "\t" if kind == "tsv" else ",", options, notify, header)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise encodings.damaged(path, error) from error
