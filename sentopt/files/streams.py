"""The standard streams of a command: UTF-8 in pipes and files, whatever code page or locale the system has."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TextIO


def use_utf8() -> None:
    """Make the standard streams read and write UTF-8, and let no character end a command.

    A terminal keeps its encoding, and so does whoever sets PYTHONIOENCODING. A character that cannot be written becomes
    its number, such as `\\u2713`. A byte order mark at the start of the input, which PowerShell writes, is dropped.
    """
    _reconfigure(sys.stdin, "utf-8-sig", None)
    for stream in (sys.stdout, sys.stderr):
        _reconfigure(stream, "utf-8", "backslashreplace")


def _reconfigure(stream: TextIO | None, encoding: str, errors: str | None) -> None:
    if not isinstance(stream, io.TextIOWrapper):
        return  # somebody replaced it, or there is none, as under pythonw
    kept = stream.isatty() or os.environ.get("PYTHONIOENCODING")
    with contextlib.suppress(io.UnsupportedOperation):  # something was read already
        stream.reconfigure(encoding=stream.encoding if kept else encoding, errors=errors or stream.errors)


def nobody_reads(error: BaseException) -> bool:
    """Whether an exception says that the reader of a pipe has gone. Windows calls that an invalid argument."""
    if isinstance(error, BrokenPipeError):
        return True
    return (
        sys.platform == "win32" and isinstance(error, OSError) and (error.errno, error.filename) == (errno.EINVAL, None)
    )


def leave_stdout() -> None:
    """Send the rest of the output nowhere, so that the end of the process raises nothing."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
