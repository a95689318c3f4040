"""The `sentopt` command: one verb, one function, thin over `sentopt.api`.

Only this package prints and decides exit codes: 0 done, 1 could not be done, 2 wrong usage, 3 no variant passed
verification, 130 interrupted. Progress goes to stderr, results to stdout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from sentopt.cli import failures, parser
from sentopt.cli.printing import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_USAGE, WrongUsage, fail
from sentopt.errors import NodeError, RankError, RecipeError, SentoptError, TrainingInterrupted
from sentopt.files import streams
from sentopt.wording import for_command_line


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    streams.use_utf8()
    arguments = parser.build().parse_args(argv)
    try:
        with for_command_line(), failures.warnings_in_one_line():
            code: int = arguments.verb(arguments)
            print(end="", flush=True)  # here, and not at exit, where nobody could tell what went wrong
        return code
    except KeyboardInterrupt:
        return fail("interrupted; the same command continues where it can", EXIT_INTERRUPTED)
    except (NodeError, RankError) as error:
        from sentopt.training import distributed

        return fail(str(error), EXIT_ERROR) if distributed.speaks_for_node(error) else EXIT_ERROR
    except Exception as error:
        return _failed(error, arguments)


def _failed(error: Exception, arguments: argparse.Namespace) -> int:
    """Say what went wrong in words, and return the exit code."""
    if streams.nobody_reads(error):
        streams.leave_stdout()
        return 0
    if isinstance(error, RecipeError):
        return fail(str(failures.as_typed(error)), EXIT_USAGE)
    if isinstance(error, WrongUsage):
        return fail(str(error), EXIT_USAGE)
    if isinstance(error, TrainingInterrupted):
        return fail(str(error), EXIT_INTERRUPTED)
    if full := failures.full_disk(error, arguments):
        try:
            sys.stdout.flush()
        except OSError:
            streams.leave_stdout()  # it is what cannot be written
        return fail(full, EXIT_ERROR)
    if isinstance(error, SentoptError):
        return fail(str(error), EXIT_ERROR)
    if isinstance(error, OSError):
        return fail(failures.system(error), EXIT_ERROR)
    return fail(failures.unforeseen(error), EXIT_ERROR)
