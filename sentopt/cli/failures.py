"""What a person is told when a command fails for a reason that its author did not foresee."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sentopt._version import __version__
from sentopt.errors import OutputError, RecipeError, SentoptError
from sentopt.files import durable

DEBUG_VARIABLE = "SENTOPT_DEBUG"
NAMED = "overrides"  # as `sentopt.api` calls them


def full_disk(error: BaseException, arguments: argparse.Namespace) -> str:
    """One line about a full disk, where that is why `error` was raised; else nothing."""
    from sentopt.run_dir import EXPORTS
    from sentopt.runtime.tuning import cache_folder

    named = (getattr(arguments, name, None) for name in ("output", "log_texts", "run_dir"))
    folders = [*(Path(path) for path in named if path), EXPORTS]
    for folder in (cache_folder, tempfile.gettempdir):
        with contextlib.suppress(OutputError, OSError):  # there is no home folder, or nothing can be written
            folders.append(Path(folder()))
    where = durable.full_disk(error, folders, explained=isinstance(error, SentoptError))
    return f"no space left on the disk ({where}); free some and run the same command again" if where else ""


def as_typed(error: RecipeError) -> RecipeError:
    """The same error in the words of the command line, whose overrides are `--set`."""
    source = "--set" if error.source == NAMED else error.source
    return RecipeError(source, [problem.replace(f"(from {NAMED})", "(from --set)") for problem in error.problems])


def system(error: OSError) -> str:
    """One line about what the operating system refused."""
    hint = "; set TMPDIR to a folder that can be written" if "usable temporary directory" in str(error) else ""
    if not error.strerror or not error.filename:
        return f"{type(error).__name__}: {first_line(error)}{hint}"
    return f"{error.filename}: {error.strerror}"


def unforeseen(error: BaseException) -> str:
    """One line about any other exception; the full traceback goes to a file in the temporary folder."""
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    said = f"{type(error).__name__}: {first_line(error)}"
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error).lower():
        said = f"not enough memory ({said})"
    return f"{said} [sentopt {__version__}; {_kept(error)}]"


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, if it says anything."""
    return (str(error).strip().splitlines() or ["no reason given"])[0][:500]


@contextlib.contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Warnings of libraries come without the line of source code that raised them, which looks like a traceback."""
    before = warnings.formatwarning

    def one_line(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> str:
        words = " ".join(str(message).split())
        return f"warning: {words[:500]} ({category.__name__})\n"

    warnings.formatwarning = one_line
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'HTTP_422_UNPROCESSABLE_ENTITY' is")  # of Gradio
            yield
    finally:
        warnings.formatwarning = before


def _kept(error: BaseException) -> str:
    """Where the traceback is; never in a folder of the person's."""
    try:
        folder = Path(tempfile.gettempdir()).resolve()
        if folder == Path.cwd().resolve():  # what Python falls back on where no temporary folder can be written
            raise OSError("no temporary folder")
        handle, name = tempfile.mkstemp(prefix="sentopt-error-", suffix=".txt", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as stream:
            print(f"sentopt {__version__}, Python {sys.version}", file=stream)
            traceback.print_exception(error, file=stream)
    except OSError:
        return f"{DEBUG_VARIABLE}=1 shows the traceback"
    return f"the full traceback is in {name}"
