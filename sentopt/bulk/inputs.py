"""Which files are scored: those that are named, those of a pattern, and the tables of a folder."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sentopt._optional import require
from sentopt.bulk import places
from sentopt.data import formats
from sentopt.errors import DataError
from sentopt.runtime.description import sha256_file

KINDS = ("parquet", "csv", "tsv", "jsonl")
JOB = "_sentopt/job.json"
"""In the folder of a job: what describes it."""
_END = 1 << 16  # bytes


@dataclass(frozen=True)
class Source:
    """A file to score.

    Attributes:
        place: its absolute path, or its URL.
        kind: its format, one of `KINDS`.
        size: in bytes.
        fingerprint: SHA-256 in hexadecimal digits: of a text file, which is read as a whole to count its rows; of the
            size, the first and the last 64 KiB of a Parquet file, whose end describes its row groups.
    """

    place: str
    kind: str
    size: int
    fingerprint: str

    @property
    def key(self) -> str:
        """A file name that no other source has: the stem, and a part of the hash of the place."""
        stem = re.sub(r"[^\w.-]+", "_", self.place.rstrip("/").rpartition("/")[2].partition(".")[0])[:40]
        return f"{stem.lstrip('._') or 'part'}-{hashlib.sha256(os.fsencode(self.place)).hexdigest()[:10]}"

    @property
    def suffix(self) -> str:
        """That of the files with its scored rows."""
        return f".{self.kind}"

    @property
    def is_remote(self) -> bool:
        """Whether it is in an object store."""
        return places.is_url(self.place)


def found(inputs: Sequence[str], *, output: str = "") -> list[Source]:
    """The files, each once, in the order of the inputs and then of their names.

    Args:
        inputs: paths, patterns such as `data/*.parquet`, folders (all tables in them and below), and URLs.
        output: a folder whose files are not meant, though it may be in a folder that is named: its absolute path.

    Raises:
        DataError: there is no such file, a pattern or folder has none, or one is no table that can be scored in units.
    """
    named = dict.fromkeys(place for one in inputs for place in _places(one))
    own = f"{output.rstrip('/')}{'/' if places.is_url(output) else os.sep}" if output else ""
    files = [place for place in named if not own or not place.startswith(own)]
    if not files:
        raise DataError(
            "there is nothing to score: "
            + ("all files are those of the output" if named else "name files, patterns or folders")
        )
    return [_source(place) for place in files]


def _places(named: str) -> list[str]:
    named = places.without_file_scheme(named)
    return _remote(named) if places.is_url(named) else _local(named)


def _local(named: str) -> list[str]:
    path = Path(named).expanduser()
    if path.is_dir():
        tables = sorted(str(file) for file in path.rglob("*") if _is_wanted(file.relative_to(path)) and _is_input(file))
        if not tables:
            raise DataError(f"the folder {named} has no table in it; expected {_expected()}")
    elif path.exists() or not re.search(r"[*?\[]", named):
        formats.check_file(path)
        tables = [str(path)]
    else:
        anchor = Path(path.anchor or ".")
        tables = sorted(str(file) for file in anchor.glob(str(path.relative_to(path.anchor))) if file.is_file())
        if not tables:
            raise DataError(f"no file matches {named}")
    return [places.absolute(table) for table in tables]


def _is_wanted(path: Path) -> bool:
    """Whether a file below a folder is meant: a table whose name, and those of its folders, do not hide it."""
    return not any(part.startswith((".", "_")) for part in path.parts) and _kind(path) in KINDS


def _is_input(path: Path) -> bool:
    """Whether this is a file, and not the output of a job."""
    return path.is_file() and not (path.parent / JOB).is_file()


def _remote(named: str) -> list[str]:
    fs = require("pyarrow.fs", extra=places.EXTRA)
    scheme = named.partition("://")[0]
    start = re.split(r"[*?\[]", named)[0]
    whole = start == named
    system, path = places.filesystem(named if whole else start.rpartition("/")[0])
    try:
        info = system.get_file_info([path])[0]
        if whole and info.is_file:
            return [_url(scheme, path)]
        listed = system.get_file_info(fs.FileSelector(path, recursive=True, allow_not_found=True))
    except (OSError, require("pyarrow", extra=places.EXTRA).ArrowException) as error:
        raise DataError(f"{named} cannot be listed: {error}") from error
    pattern = f"{path.rstrip('/')}/*" if whole else f"{path}{named[len(start.rpartition('/')[0]) :]}"
    tables = [
        _url(scheme, one.path)
        for one in sorted(listed, key=lambda entry: str(entry.path))
        if one.is_file
        and fnmatch.fnmatchcase(one.path, pattern)
        and _is_wanted(Path(one.path[len(path) :].lstrip("/")))
    ]
    if not tables:
        raise DataError(f"{named} has no table; expected {_expected()}")
    return tables


def _url(scheme: str, path: str) -> str:
    """One spelling of a place in an object store."""
    return f"{scheme}://{quote(path.lstrip('/'), safe='/:@=+,~')}"


def _source(place: str) -> Source:
    kind = _kind(Path(place))
    if kind not in KINDS:
        raise DataError(
            f"{place} cannot be scored in units; expected {_expected()}. "
            "A single table of another kind: sentopt predict --input FILE --output FILE"
        )
    if not places.is_url(place):
        size = Path(place).stat().st_size
        if kind != "parquet":
            return Source(place, kind, size, sha256_file(Path(place)))
        with Path(place).open("rb") as stream:
            return Source(place, kind, size, _fingerprint(stream, size))
    if kind != "parquet":
        raise DataError(f"{place}: files of an object store are read as Parquet alone; convert it, or copy it here")
    system, path = places.filesystem(place)
    try:
        with system.open_input_file(path) as stream:
            return Source(place, kind, stream.size(), _fingerprint(stream, stream.size()))
    except (OSError, require("pyarrow", extra=places.EXTRA).ArrowException) as error:
        raise DataError(f"{place} cannot be read: {error}") from error


def _fingerprint(stream: Any, size: int) -> str:
    digest = hashlib.sha256(str(size).encode())
    digest.update(stream.read(_END))
    stream.seek(max(0, size - _END))
    digest.update(stream.read(_END))
    return digest.hexdigest()


def _kind(path: Path) -> str:
    """The format by the name; empty if that is none that is read."""
    try:
        return formats.reading_format(path)
    except DataError:
        return ""


def _expected() -> str:
    return "*.parquet, *.csv, *.tsv, *.jsonl (these three also .gz)"
