"""Writes that either happen completely or not at all, and never in place of what sentopt did not write.

A temporary file (or folder) is made beside the target, flushed to disk, then renamed over it. A process that is killed
half-way leaves the old content, or a `.tmp-` leftover that nothing reads and, for a folder, the next write of the same
target removes. What may be replaced is what the journal of the parent folder lists.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from sentopt.files import durable, journal


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content` in one step; creates missing parent folders.

    Raises:
        RunDirError: `path` is in a folder that sentopt manages, and there already without being sentopt's.
    """
    journal.admit(path)
    durable.write(path, content)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, content.encode("utf-8"))


@contextlib.contextmanager
def replace_folder(path: Path, *, put_aside: bool = False) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `path` when the block ends without an exception.

    The swap is two renames (POSIX cannot exchange non-empty folders portably): a crash between them leaves `path`
    absent, which every reader treats as "this stage has not run".

    Args:
        path: the folder; its parents are made.
        put_aside: what `path` holds that sentopt did not write gets another name, `<path>-kept-1`.

    Raises:
        RunDirError: `path` holds something that sentopt did not write, and it is not put aside.
        OSError: the disk is full.
    """
    if not put_aside:
        journal.check(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    fresh, retired = durable.temporary(path), durable.temporary(path)
    journal.record_unfinished(fresh, retired)
    try:
        fresh.mkdir()
        yield fresh
        for file in fresh.rglob("*"):
            if file.is_file():
                durable.fsync(file)
        if not put_aside:
            journal.check(path)  # again: the work may have taken hours
        _swap(fresh, path, _free_name(path) if journal.foreign(path) else retired)
    except BaseException as error:
        durable.blame_full_disk(error, path)
        raise
    finally:
        _remove(fresh, retired)


def _swap(fresh: Path, path: Path, old: Path) -> None:
    """`fresh` becomes `path`, and that becomes `old`."""
    names = journal.files_below(fresh)
    journal.record_folder(path, [*journal.known_files(path), *names])
    if os.path.lexists(path):
        os.replace(path, old)
    os.replace(fresh, path)
    journal.record_folder(path, names)


def _free_name(path: Path) -> Path:
    return next(name for i in count(1) if not os.path.lexists(name := path.with_name(f"{path.name}-kept-{i}")))


def remove_folder(path: Path) -> None:
    """Remove a folder so that a reader sees all of it or none of it.

    Raises:
        RunDirError: it holds something that sentopt did not write.
    """
    journal.check(path)
    _remove_leftovers(path)
    retired = durable.temporary(path)
    journal.record_unfinished(retired)
    os.replace(path, retired)
    _remove(retired, path)


def _remove_leftovers(path: Path) -> None:
    if leftovers := journal.unfinished(path):
        _remove(*leftovers)


def _remove(*folders: Path) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # where the disk is full, the next write removes them
        if gone := [folder for folder in folders if not folder.exists()]:
            journal.forget(*gone)
