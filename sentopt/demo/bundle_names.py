"""Which bundles are served, and under which names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sentopt.errors import ServingError
from sentopt.runtime.description import read_description

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")


def read_bundles(given: Iterable[str]) -> dict[str, Path]:
    """The folders of `--bundle NAME=PATH`, by name; a single one needs no name, and has the empty one then.

    A name has no slash, so that `runs/a=b` is a path; so is what is there as a folder.

    Raises:
        ServingError: a name is missing, is given twice, or cannot stand in an address.
    """
    pairs = []
    for text in given:
        name, separator, folder = text.partition("=")
        is_path = not separator or "/" in name or "\\" in name or Path(text).is_dir()
        pairs.append(("", Path(text)) if is_path else (check_name(name), Path(folder).expanduser()))
    if len(pairs) > 1:
        for name, path in pairs:
            if not name:
                raise ServingError(f"--bundle {path}: several bundles need names, such as --bundle NAME={path}")
    repeated = _repeated([name for name, _ in pairs])
    if repeated:
        raise ServingError(f"--bundle {repeated}=: two bundles have this name; give each another")
    return dict(pairs)


def checked_names(folders: Mapping[str, Path]) -> dict[str, Path]:
    """Folders by names that can stand in an address; a single one may have the empty name.

    Raises:
        ServingError: there is none, or a name cannot be used.
    """
    if not folders:
        raise ServingError("there is no bundle to serve: give one at least")
    return {name if len(folders) == 1 and not name else check_name(name): path for name, path in folders.items()}


def check_name(name: str) -> str:
    """A name that can stand in an address.

    Raises:
        ServingError: it cannot.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise ServingError(
            f"--bundle {name}=: a name has letters of a to z, digits, '_', '-' and '.', no '.' or '-' first, "
            "and at most 100 of them"
        )
    return name


def check_folders(folders: Mapping[str, Path]) -> None:
    """Whether each folder is a bundle, before anything is loaded.

    Raises:
        BundleError: one is none.
    """
    for folder in folders.values():
        read_description(folder)


def _repeated(names: Sequence[str]) -> str:
    return next((name for position, name in enumerate(names) if name in names[:position]), "")
