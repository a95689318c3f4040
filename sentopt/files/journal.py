"""The journal of a folder: the files that sentopt wrote there. No other files are ever replaced or removed.

A folder that sentopt manages holds a journal, `.sentopt-files.json`. It lists the files and subfolders that sentopt
wrote, and the files of these subfolders. Names are recorded before the files appear: a process that is killed at any
point leaves no file of sentopt's that is not in the journal.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sentopt.errors import RunDirError
from sentopt.files import durable

FILE = ".sentopt-files.json"
_SCHEMA = 1
_UNFINISHED = "unfinished"  # a subfolder that is being written; all its content is sentopt's


def exists(folder: Path) -> bool:
    """Whether `folder` has a readable journal."""
    return bool(_read(folder))


def facts(folder: Path) -> dict[str, Any]:
    """The facts that were recorded about the folder itself."""
    recorded = _read(folder).get("facts")
    return recorded if isinstance(recorded, dict) else {}


def remember(folder: Path, **changes: Any) -> None:
    """Record facts about the folder itself; creates the journal if there is none."""
    _update(folder, {}, facts={**facts(folder), **changes})


def record_file(path: Path) -> None:
    """Record that sentopt writes the file at `path`."""
    _update(path.parent, {path.name: None})


def record_folder(path: Path, files: Iterable[str]) -> None:
    """Record that sentopt writes these files (relative paths) in the folder at `path`."""
    _update(path.parent, {path.name: sorted(set(files))})


def record_unfinished(*paths: Path) -> None:
    """Record that sentopt is writing these folders, which have the same parent."""
    _update(paths[0].parent, dict.fromkeys((path.name for path in paths), _UNFINISHED))


def forget(*paths: Path) -> None:
    """Remove these paths, which have the same parent, from the journal."""
    names = {path.name for path in paths}
    written = _written(paths[0].parent)
    if names & set(written):
        _update(paths[0].parent, {name: files for name, files in written.items() if name not in names}, keep=False)


def known_files(path: Path) -> list[str]:
    """The files that sentopt wrote in the folder at `path`, as relative paths."""
    files = _written(path.parent).get(path.name)
    return [str(name) for name in files] if isinstance(files, list) else []


def is_known(path: Path) -> bool:
    """Whether sentopt wrote the file or folder at `path`."""
    return path.name in _written(path.parent)


def unfinished(path: Path) -> list[Path]:
    """Temporary folders that a killed write or removal of `path` left."""
    written = _written(path.parent)
    names = [n for n, files in written.items() if files == _UNFINISHED and durable.is_temporary(n, path.name)]
    return [path.with_name(name) for name in names]


def admit(path: Path) -> None:
    """Record that sentopt is about to write the file at `path`, if a folder above it has a journal.

    Raises:
        RunDirError: `path` exists and sentopt did not write it.
    """
    owner = next((folder for folder in path.parents if exists(folder)), None)
    if owner is None or _is_known_file(path):
        return
    _refuse_if(path, os.path.lexists(path))
    name, *rest = path.relative_to(owner).parts
    if rest:
        record_folder(owner / name, [*known_files(owner / name), "/".join(rest)])
    else:
        record_file(path)


def check(path: Path) -> None:
    """Check that sentopt wrote everything at `path`, a file or a folder.

    Raises:
        RunDirError: sentopt did not write a file there; the message names it.
    """
    others = foreign(path)
    _refuse_if(others[0] if others else path, bool(others), more=len(others) - 1)


def foreign(path: Path) -> list[Path]:
    """The files, links and folders at `path` that sentopt did not write."""
    if not os.path.lexists(path):
        return []
    if path.is_symlink() or not path.is_dir():
        return [] if _is_known_file(path) else [path]
    entry = _written(path.parent).get(path.name)
    if entry == _UNFINISHED:
        return []
    if exists(path):
        return [other for child in sorted(path.iterdir()) if child.name != FILE for other in foreign(child)]
    return _unknown(path, set(entry or ()))


def remove(path: Path) -> None:
    """Remove the files that sentopt wrote at `path`; a folder without other files is removed completely."""
    if not os.path.lexists(path):
        return
    if not foreign(path):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        if not os.path.lexists(path):
            forget(path)
        return
    for name in list(_written(path)):
        remove(path / name)
    for name in known_files(path):
        (path / name).unlink(missing_ok=True)


def files_below(folder: Path) -> list[str]:
    """Relative paths of all files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _is_known_file(path: Path) -> bool:
    """Whether the nearest journal above `path` lists it as a file."""
    for folder in path.parents:
        if exists(folder):
            name, *rest = path.relative_to(folder).parts
            entry = _written(folder).get(name, ())
            return entry == _UNFINISHED or ("/".join(rest) in (entry or ()) if rest else entry is None)
    return False


def _unknown(folder: Path, known: set[str]) -> list[Path]:
    """Files below `folder` that are not `known`, and empty subfolders without known files."""
    ours = {parent for name in known for parent in Path(name).parents}
    unknown = []
    for directory, folders, files in os.walk(folder):
        parent = Path(directory)
        names = [*files, *(name for name in folders if (parent / name).is_symlink())]
        unknown += [parent / name for name in names if (parent / name).relative_to(folder).as_posix() not in known]
        empty = parent != folder and not folders and not files
        if empty and parent.relative_to(folder) not in ours:
            unknown.append(parent)
    return sorted(unknown)


def _refuse_if(path: Path, refused: bool, *, more: int = 0) -> None:
    if refused:
        others = f" (and {more} more there)" if more > 0 else ""
        raise RunDirError(
            f"{path} was not written by sentopt{others}, and would be replaced: "
            "move it elsewhere and run the same command again, or choose another --run-dir"
        )


def _read(folder: Path) -> Mapping[str, Any]:
    """The journal of a folder. An unreadable journal is treated as empty, so that no file counts as sentopt's."""
    try:
        document = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    known = isinstance(document, dict) and document.get("schema_version") == _SCHEMA
    return document if known and isinstance(document.get("written"), dict) else {}


def _written(folder: Path) -> dict[str, Any]:
    return dict(_read(folder).get("written", {}))


def _update(
    folder: Path, changes: Mapping[str, Any], *, keep: bool = True, facts: Mapping[str, Any] | None = None
) -> None:
    before = _read(folder)
    written = {**(before.get("written", {}) if keep else {}), **changes}
    document = {
        "made_by": "sentopt",
        "schema_version": _SCHEMA,
        "facts": before.get("facts", {}) if facts is None else facts,
        "written": written,
    }
    if document != before:
        durable.write(folder / FILE, (json.dumps(document, indent=1, sort_keys=True) + "\n").encode())
