"""Files and folders here and in object stores: plain paths, and URLs such as `s3://bucket/folder`, by pyarrow.fs."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from sentopt._optional import require
from sentopt.errors import DataError, OutputError
from sentopt.files import durable

EXTRA = "score"
_LEFT = 86_400  # seconds after which nobody is writing a file any more


def is_url(place: str) -> bool:
    """Whether this names something in an object store: `scheme://...`; not `C:/...`."""
    return "://" in place


def without_file_scheme(place: str) -> str:
    """A path for a `file://` URL; anything else as it is."""
    return filesystem(place)[1] if place.startswith("file://") else place


def absolute(place: str) -> str:
    """A URL of an object store as it is; the path, without links and `..`, of anything on this machine.

    Raises:
        DataError: it names nothing.
    """
    if not place.strip():
        raise DataError("expected a path or a URL, found an empty one")
    place = without_file_scheme(place)
    return place if is_url(place) else str(Path(place).expanduser().resolve())


def filesystem(place: str) -> tuple[Any, str]:
    """The pyarrow file system of a URL, and the path in it.

    Raises:
        DataError: the scheme is not known, or pyarrow cannot connect.
    """
    pyarrow, fs = require("pyarrow", extra=EXTRA), require("pyarrow.fs", extra=EXTRA)
    try:
        system, path = fs.FileSystem.from_uri(place)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"{place} cannot be opened: {error}. Known are paths, s3://, gs:// and file://") from error
    return system, str(path)


class OutputFolder:
    """The folder that a job writes into: here, or in an object store.

    A file appears when it is complete: by a rename here, by the end of its upload there.
    """

    def __init__(self, place: str) -> None:
        """
        Raises:
            DataError: as `filesystem`.
        """
        self.place = place.rstrip("/")
        self._local = None if is_url(place) else Path(place)
        self._system: Any = None
        self._root = ""
        if self._local is None:
            self._system, self._root = filesystem(self.place)

    @contextlib.contextmanager
    def adding(self, name: str) -> Iterator[Path]:
        """Give a path to write a complete file to; when the block ends, it is the file `name` of this folder."""
        if self._local is not None:
            yield self._local / name
            return
        with tempfile.TemporaryDirectory(prefix="sentopt-score-") as scratch:
            path = Path(scratch) / name
            yield path
            fs = require("pyarrow.fs", extra=EXTRA)
            with self._in_words(name):
                fs.copy_files(
                    str(path),
                    self._at(name),
                    source_filesystem=fs.LocalFileSystem(),
                    destination_filesystem=self._system,
                )

    def write(self, name: str, content: bytes) -> None:
        """Replace a small file in one step."""
        if self._local is not None:
            durable.write(self._local / name, content)
            return
        with self._in_words(name):
            self._system.create_dir(self._at(name).rpartition("/")[0], recursive=True)
            with self._system.open_output_stream(self._at(name)) as stream:
                stream.write(content)

    def read(self, name: str) -> bytes | None:
        """What a small file holds; None if there is none."""
        if self._local is not None:
            path = self._local / name
            return path.read_bytes() if path.is_file() else None
        if not self._info(name).is_file:
            return None
        with self._in_words(name), self._system.open_input_stream(self._at(name)) as stream:
            return bytes(stream.read())

    def size(self, name: str) -> int | None:
        """The size of a file in bytes; None if there is none."""
        if self._local is not None:
            path = self._local / name
            return path.stat().st_size if path.is_file() else None
        info = self._info(name)
        return int(info.size) if info.is_file else None

    def names(self, folder: str = "") -> list[str]:
        """The names of what is in it, or in a folder of it, sorted; none if it is not there."""
        if self._local is not None:
            path = self._local / folder
            return sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        fs = require("pyarrow.fs", extra=EXTRA)
        selector = fs.FileSelector(self._at(folder) if folder else self._root, allow_not_found=True)
        with self._in_words(folder):
            return sorted(info.base_name for info in self._system.get_file_info(selector))

    def remove_leftovers(self, names: Collection[str]) -> None:
        """Remove what processes that were killed a day ago left of these files."""
        begun = {durable.beginning(name) for name in names}
        if self._local is not None and self._local.is_dir():
            for path in list(self._local.iterdir()):
                if durable.beginning_of_temporary(path.name) in begun:
                    with contextlib.suppress(FileNotFoundError):
                        if path.stat().st_mtime < time.time() - _LEFT:
                            path.unlink()

    def check(self) -> None:
        """That it can be a folder.

        Raises:
            OutputError: a file has its name.
        """
        if self._local is not None and self._local.exists() and not self._local.is_dir():
            raise OutputError(f"{self._local} is a file, expected the folder of a job: name another one")

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _info(self, name: str) -> Any:
        with self._in_words(name):
            return self._system.get_file_info([self._at(name)])[0]

    @contextlib.contextmanager
    def _in_words(self, name: str) -> Iterator[None]:
        pyarrow = require("pyarrow", extra=EXTRA)
        try:
            yield
        except (pyarrow.ArrowException, OSError) as error:
            raise OutputError(f"{self.place}/{name}: {error}") from error
