"""The `sentopt` command: one verb, one function, thin over `pipeline` and `runtime`.

Only this package prints and decides exit codes: 0 done, 1 could not be done, 2 wrong usage, 3 no variant passed
verification, 130 interrupted. Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Callable, Sequence

from sentopt.cli import parser
from sentopt.cli.printing import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_USAGE, fail
from sentopt.errors import RecipeError, SentoptError, TrainingInterrupted


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    arguments = parser.build().parse_args(argv)
    verb: Callable[[argparse.Namespace], int] = arguments.verb
    try:
        return verb(arguments)
    except RecipeError as error:
        return fail(str(error), EXIT_USAGE)
    except TrainingInterrupted as error:
        return fail(str(error), EXIT_INTERRUPTED)
    except SentoptError as error:
        return fail(str(error), EXIT_ERROR)
    except KeyboardInterrupt:
        return fail("interrupted; the same command continues where it can", EXIT_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads: leave without a second complaint
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            return fail(
                f"no space left on the disk ({error.filename or 'unknown file'}); "
                "free some and run the same command again",
                EXIT_ERROR,
            )
        return fail(f"{type(error).__name__}: {error}", EXIT_ERROR)
