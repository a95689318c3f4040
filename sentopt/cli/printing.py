"""Exit codes, and how results and failures are said."""

from __future__ import annotations

import json
import sys
from typing import Any

EXIT_ERROR, EXIT_USAGE, EXIT_NONE_PASSED, EXIT_INTERRUPTED = 1, 2, 3, 130


class WrongUsage(Exception):
    """Options that do not go together; the exit code is `EXIT_USAGE`."""


def as_json(record: object) -> Any:
    """A record of findings as dicts, lists and scalars."""
    from sentopt.records import to_json

    return to_json(record)


def print_json(document: object) -> int:
    """Print on stdout, and return the exit code of success."""
    print(json.dumps(document, indent=1, ensure_ascii=False))
    return 0


def note(*lines: str) -> None:
    """Tell on stderr what is good to know about a result."""
    for line in lines:
        print(f"note: {line}", file=sys.stderr)


def fail(message: str, code: int) -> int:
    """Say on stderr what went wrong, and return the exit code."""
    print(f"sentopt: {message}", file=sys.stderr)
    return code
