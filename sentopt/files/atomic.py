"""Atomic writes that never replace files of the user.

A temporary file or folder is written beside the target, flushed to disk, then renamed over it. A killed process leaves
the old content and possibly a `.tmp-` leftover, which nothing reads; the next write of the same folder removes it. Only
files and folders in the journal of the parent folder may be replaced.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from sentopt.files import durable, journal


def write_bytes(path: Path, content: bytes) -> None:
    """Replace the file at `path` by `content` in one step; creates missing parent folders.

    Raises:
        RunDirError: `path` is in a folder that sentopt manages, and holds a file that sentopt did not write.
    """
    journal.admit(path)
    durable.write(path, content)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` for UTF-8 text."""
    write_bytes(path, content.encode("utf-8"))


@contextlib.contextmanager
def replace_folder(path: Path, *, put_aside: bool = False) -> Iterator[Path]:
    """Yield an empty folder that replaces `path` when the block ends without an exception.

    The swap takes two renames, because POSIX cannot portably exchange non-empty folders. A crash between them leaves no
    `path`, which every reader treats as "this stage has not run".

    Args:
        path: the folder; its parents are created.
        put_aside: if `path` holds files that sentopt did not write, rename it to `<path>-kept-1` instead of refusing.

    Raises:
        RunDirError: `path` holds files that sentopt did not write, and `put_aside` is false.
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
        remove_now(fresh, retired)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder with a temporary name like that of `path`, which is removed when the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    scratch = durable.temporary(path)
    journal.record_unfinished(scratch)
    try:
        scratch.mkdir()
        yield scratch
    except BaseException as error:
        durable.blame_full_disk(error, path)
        raise
    finally:
        gc.collect()  # a network file system removes no folder with a file that is still mapped
        remove_now(scratch)


def _swap(fresh: Path, path: Path, old: Path) -> None:
    """Rename `path` to `old`, then `fresh` to `path`."""
    names = journal.files_below(fresh)
    journal.record_folder(path, [*journal.known_files(path), *names])
    if os.path.lexists(path):
        os.replace(path, old)
    os.replace(fresh, path)
    journal.record_folder(path, names)


def _free_name(path: Path) -> Path:
    return next(name for i in count(1) if not os.path.lexists(name := path.with_name(f"{path.name}-kept-{i}")))


def remove_folder(path: Path) -> None:
    """Remove a folder atomically.

    Raises:
        RunDirError: it holds files that sentopt did not write.
    """
    journal.check(path)
    _remove_leftovers(path)
    retired = durable.temporary(path)
    journal.record_unfinished(retired)
    os.replace(path, retired)
    remove_now(retired, path)


def _remove_leftovers(path: Path) -> None:
    if leftovers := journal.unfinished(path):
        remove_now(*leftovers)


def remove_now(*folders: Path) -> None:
    """Remove folders that nobody reads any more, and forget those that are gone."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # if the disk is full, the next write removes them
        if gone := [folder for folder in folders if not folder.exists()]:
            journal.forget(*gone)
