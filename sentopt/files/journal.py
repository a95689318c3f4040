"""What sentopt wrote into a folder, so that nothing else in it is ever replaced or removed.

A folder that sentopt manages holds a journal, `.sentopt-files.json`: the name of each file and subfolder that sentopt
put there, and for a subfolder the files in it. Names are recorded before the files get them, so that a process that is
killed at any point leaves no file of sentopt's that the journal does not know.
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
_UNFINISHED = "unfinished"  # a subfolder that is being written: whatever is in it is sentopt's


def exists(folder: Path) -> bool:
    """Whether `folder` has a journal that can be read."""
    return bool(_read(folder))


def facts(folder: Path) -> dict[str, Any]:
    """What was remembered about the folder itself."""
    found = _read(folder).get("facts")
    return found if isinstance(found, dict) else {}


def remember(folder: Path, **changes: Any) -> None:
    """Add facts about the folder itself; starts a journal where there is none."""
    _update(folder, {}, facts={**facts(folder), **changes})


def record_file(path: Path) -> None:
    """The file at `path` is, or will be, written by sentopt."""
    _update(path.parent, {path.name: None})


def record_folder(path: Path, files: Iterable[str]) -> None:
    """The folder at `path` has, or will have, these files by sentopt: paths relative to it."""
    _update(path.parent, {path.name: sorted(set(files))})


def record_unfinished(*paths: Path) -> None:
    """Folders, all with one parent, are being written by sentopt."""
    _update(paths[0].parent, dict.fromkeys((path.name for path in paths), _UNFINISHED))


def forget(*paths: Path) -> None:
    """Nothing by sentopt is at these paths, all with one parent, any more."""
    names = {path.name for path in paths}
    written = _written(paths[0].parent)
    if names & set(written):
        _update(paths[0].parent, {name: files for name, files in written.items() if name not in names}, keep=False)


def known_files(path: Path) -> list[str]:
    """The files that sentopt wrote into the folder at `path`, relative to it."""
    files = _written(path.parent).get(path.name)
    return [str(name) for name in files] if isinstance(files, list) else []


def is_known(path: Path) -> bool:
    """Whether sentopt wrote a file or folder of this name there."""
    return path.name in _written(path.parent)


def unfinished(path: Path) -> list[Path]:
    """What writing or removing `path` left behind when it was killed."""
    written = _written(path.parent)
    names = [n for n, files in written.items() if files == _UNFINISHED and durable.is_temporary(n, path.name)]
    return [path.with_name(name) for name in names]


def admit(path: Path) -> None:
    """Record that sentopt is about to write the file at `path`, where a folder that it is in has a journal.

    Raises:
        RunDirError: there is a file that sentopt did not write.
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
    """That what is at `path`, a file or a folder, is all sentopt's.

    Raises:
        RunDirError: something in it is not, and is named.
    """
    found = foreign(path)
    _refuse_if(found[0] if found else path, bool(found), more=len(found) - 1)


def foreign(path: Path) -> list[Path]:
    """What is at `path` that sentopt did not write: files, links, and folders that hold nothing of sentopt's."""
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
    """Remove what sentopt wrote at `path`, and leave the rest: a folder goes when nothing is left in it."""
    if not os.path.lexists(path):
        return
    if not foreign(path):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        forget(path)
        return
    for name in list(_written(path)):
        remove(path / name)
    for name in known_files(path):
        (path / name).unlink(missing_ok=True)


def files_below(folder: Path) -> list[str]:
    """Paths of all files in a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())


def _is_known_file(path: Path) -> bool:
    """Whether the nearest journal above lists the file at `path`."""
    for folder in path.parents:
        if exists(folder):
            name, *rest = path.relative_to(folder).parts
            entry = _written(folder).get(name, ())
            return entry == _UNFINISHED or ("/".join(rest) in (entry or ()) if rest else entry is None)
    return False


def _unknown(folder: Path, known: set[str]) -> list[Path]:
    """Files below `folder` that are not `known`, and its subfolders that none of those is in."""
    ours = {parent for name in known for parent in Path(name).parents}
    found = []
    for place, folders, files in os.walk(folder):
        here = Path(place)
        names = [*files, *(name for name in folders if (here / name).is_symlink())]
        found += [here / name for name in names if (here / name).relative_to(folder).as_posix() not in known]
        empty = here != folder and not folders and not files
        if empty and here.relative_to(folder) not in ours:
            found.append(here)
    return sorted(found)


def _refuse_if(path: Path, refused: bool, *, more: int = 0) -> None:
    if refused:
        others = f" (and {more} more there)" if more > 0 else ""
        raise RunDirError(
            f"{path} was not written by sentopt{others}, and would be replaced: "
            "move it elsewhere and run the same command again, or choose another --run-dir"
        )


def _read(folder: Path) -> Mapping[str, Any]:
    """The journal of a folder; one that cannot be read counts as none, so that nothing is taken for sentopt's."""
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
