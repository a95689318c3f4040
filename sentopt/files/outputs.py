"""Output files that the user names: existing files are replaced only on request."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from sentopt.errors import OutputError
from sentopt.files import durable


def check(path: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Check that a file may be written at `path`. Call this before the work starts.

    Raises:
        OutputError: `path` is one of `inputs`, cannot be a file, or exists and `overwrite` is false.
    """
    for source in inputs:
        if path.resolve() == source.resolve() or (path.exists() and source.exists() and path.samefile(source)):
            raise OutputError(f"{source} would overwrite itself; choose another output file")
    if not os.path.lexists(path):
        _check_folder(path)
    elif path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it")
    elif path.exists() and not path.is_file():
        raise OutputError(f"{path} is not a regular file; name another one")
    elif not overwrite:
        raise OutputError(f"{path} is there already; name another file, or replace it with --overwrite")


def write(path: Path, content: bytes, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Write a file atomically; a file that already has this content is left unchanged.

    Raises:
        OutputError: see `check`.
    """
    same = path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content
    check(path, overwrite=overwrite or same, inputs=inputs)
    if not same:
        durable.write(path, content)


def _check_folder(path: Path) -> None:
    """Check that the folder of a new file exists or can be created."""
    for parent in path.parents:
        if os.path.lexists(parent):
            if not parent.is_dir():
                raise OutputError(f"{path} cannot be written: {parent} is not a folder")
            if not os.access(parent, os.W_OK | os.X_OK):
                raise OutputError(f"{path} cannot be written: the folder {parent} is read-only")
            return
