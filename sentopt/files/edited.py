"""Files that sentopt writes again and that a person may have edited in between: the edited version is kept.

The journal of the folder remembers the SHA-256 of what sentopt wrote. A file with other content was changed by
somebody, and gets another name before the new one is written.
"""

from __future__ import annotations

import hashlib
import os
from itertools import count
from pathlib import Path
from typing import Any

from sentopt.files import atomic, journal

_FACT = "written_sha256"


def write_text(path: Path, content: str, *, recorded: str | None = None) -> Path | None:
    """Write a UTF-8 text file; what somebody has made of the earlier one is kept as `<name>-edited-1<suffix>`.

    Args:
        path: in a folder that sentopt manages.
        content: the new text.
        recorded: SHA-256 of what sentopt wrote there before journals remembered it.

    Returns:
        The path of the edited version, or None where there is none.

    Raises:
        RunDirError: the file at `path` was never sentopt's.
    """
    journal.admit(path)
    new, known = _sha256(content.encode()), _known(path)
    ours = known or ([recorded] if recorded else [])
    kept = None
    if path.is_file() and _sha256(path.read_bytes()) not in (*ours, new):
        kept = _free_name(path)
        path.rename(kept)
    _remember(path, [*known, new])  # the old one, too: a process that is killed here has not written yet
    atomic.write_text(path, content)
    _remember(path, [new])
    return kept


def _known(path: Path) -> list[str]:
    return [str(digest) for digest in _all(path.parent).get(path.name, [])]


def _all(folder: Path) -> dict[str, Any]:
    found = journal.facts(folder).get(_FACT)
    return found if isinstance(found, dict) else {}


def _remember(path: Path, digests: list[str]) -> None:
    journal.remember(path.parent, **{_FACT: {**_all(path.parent), path.name: sorted(set(digests))}})


def _free_name(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}-edited-{i}{path.suffix}") for i in count(1))
    return next(name for name in names if not os.path.lexists(name))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
