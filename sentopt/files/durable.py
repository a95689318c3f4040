"""Durable writes of single files, and detection of full disks."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from sentopt.errors import SentoptError

_PREFIX = ".tmp-"
_TEMPORARY = re.compile(rf"{re.escape(_PREFIX)}(.+)-[0-9a-f]{{12}}", re.DOTALL)
_FULL = (errno.ENOSPC, errno.EDQUOT)
# in messages of libraries written in Rust and C++; the last one is that of Windows
_IN_WORDS = ("No space left on device", "Disk quota exceeded", "There is not enough space on the disk")
_TOO_LITTLE = 2**20


def temporary(path: Path) -> Path:
    """A new, unused path beside `path`, for writing before a rename."""
    return path.with_name(f"{_PREFIX}{beginning(path.name)}-{secrets.token_hex(6)}")


def beginning(name: str) -> str:
    """The part of the name of a file or folder that its temporary names have."""
    return name[:60]


def beginning_of_temporary(name: str) -> str:
    """The `beginning` of what a temporary name stands for; empty if it is no temporary name."""
    found = _TEMPORARY.fullmatch(name)
    return found[1] if found else ""


def is_temporary(name: str, of: str) -> bool:
    """Whether `name` is a temporary name for a file or folder called `of`."""
    return name.startswith(f"{_PREFIX}{beginning(of)}-")


def write(path: Path, content: bytes) -> None:
    """Replace the file at `path` in one step; creates missing parent folders.

    A killed process leaves the old content and a `.tmp-` leftover, which nothing reads.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = temporary(path)
    try:
        with partial.open("xb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise


def fsync(path: Path) -> None:
    """Flush a file to disk. Windows does that for a file that is open for writing only."""
    handle = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_disk_full(error: BaseException) -> bool:
    """Whether an exception or one of its causes reports a full disk or quota."""
    return any(
        (isinstance(cause, OSError) and cause.errno in _FULL) or any(words in str(cause) for words in _IN_WORDS)
        for cause in causes(error)
    )


def causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and all its causes and contexts, newest first."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        cause = left.pop(0)
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        left += [cause.__cause__, cause.__context__]
        left += cause.exceptions if isinstance(cause, BaseExceptionGroup) else ()


def has_no_space(path: Path) -> bool:
    """Whether the disk of `path` (or of its nearest existing parent) has less than 1 MiB left."""
    for folder in (path, *path.absolute().parents):
        with contextlib.suppress(OSError):
            usage = shutil.disk_usage(folder)
            return usage.total > 0 and usage.free < _TOO_LITTLE
    return False


def is_explained(error: BaseException) -> bool:
    """Whether an exception explains itself: one of sentopt's without a cause, or one of the operating system."""
    return (isinstance(error, SentoptError) and error.__cause__ is None) or (
        isinstance(error, OSError) and error.errno is not None
    )


def full_disk(error: BaseException, folders: Sequence[Path], *, explained: bool) -> str:
    """Where a full disk is why `error` was raised: the file that it names, else the first full one of `folders`.

    Empty where that is not why; `explained` says that the error has another reason, which it tells.
    """
    named = [cause.filename for cause in causes(error) if isinstance(cause, OSError) and cause.filename]
    full = [path for path in folders if has_no_space(path)]
    if is_disk_full(error) or (full and not explained and not is_explained(error)):
        return str(next(iter([*named, *full]), "unknown file"))
    return ""


def blame_full_disk(error: BaseException, path: Path) -> None:
    """Raise a clear error if writing `path` failed because the disk is full; many libraries hide that cause.

    Raises:
        OSError: "No space left on device", with `error` as its cause.
    """
    if isinstance(error, Exception) and not (is_explained(error) or is_disk_full(error)) and has_no_space(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
