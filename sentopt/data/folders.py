"""Find the splits in a folder of tables: `train.csv`, shards in the hub's layout, and folders saved by `datasets`."""

from __future__ import annotations

import glob
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentopt.data import formats
from sentopt.errors import DataError
from sentopt.run_dir import Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}
_SHARD = re.compile(r"(?P<name>[a-z]+)(?:-(?P<part>\d{5})-of-(?P<of>\d{5})(?:-[0-9a-f]{16})?)?", re.IGNORECASE)
_SAVED = re.compile(r"data-\d{5}-of-(\d{5})\.arrow")
_SHOWN = 5


@dataclass(frozen=True)
class _Member:
    """A file of a split, and the pattern that matches all shards of the split (or the file's path)."""

    split: Split
    pattern: str
    file: Path
    shards: int = 1


def find(folder: Path, *, lone_test: bool = False) -> dict[Split, str]:
    """The file of each split, or the pattern of its shards, as a recipe names them.

    With `lone_test`, a test split that has no other beside it is named as the train split: what is missing is drawn
    from that.

    Raises:
        DataError: there is no train file, several files fit one split, or shards are missing.
    """
    members = _members(folder)
    if not any(member.split == "train" for member in members) and (folder / "data").is_dir():
        members += _members(folder / "data")
    patterns: dict[Split, str] = {}
    for member in members:
        other = patterns.setdefault(member.split, member.pattern)
        if other != member.pattern:
            raise DataError(
                f"{folder} holds two candidates for the {member.split} split: {Path(other).name} and "
                f"{Path(member.pattern).name}; keep one of them in the folder"
            )
    for pattern in patterns.values():
        _check_complete(pattern, [member for member in members if member.pattern == pattern])
    if lone_test and set(patterns) == {"test"}:
        return {"train": patterns["test"]}
    if "train" not in patterns:
        raise DataError(_no_train(folder))
    return patterns


def expand(name: str) -> list[Path]:
    """The files that match a path or pattern of a recipe, sorted by name.

    Raises:
        DataError: no file matches.
    """
    path = Path(name).expanduser()
    if path.exists() or not glob.has_magic(name):
        formats.check_file(path)
        return [path]
    try:
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        hidden = not _is_visible(path)  # requested explicitly
        files = sorted(match for match in matches if match.is_file() and (hidden or _is_visible(match)))
    except (ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is not a pattern of file names: {error}") from error
    if not files:
        raise DataError(f"no file matches {path}")
    return files


def unused(used: Sequence[Path]) -> list[str]:
    """Names of unused tables, archives and folders in the folders of the splits."""
    folders = {path.parent for path in used}
    if not used or not all(_member(path) or _SAVED.fullmatch(path.name) or _is_inner(path.parent) for path in used):
        return []
    folders |= {folder.parent for folder in folders if _is_inner(folder)}
    beside = {file for folder in folders for file in _listing(folder) if file not in used}
    files = {file.name for file in beside if file.is_file() and formats.is_data(file.name)}
    inner = {f"{file.name}/" for file in beside - folders if file.is_dir() and _holds_split(file)}
    return sorted(files | inner)


def _is_inner(folder: Path) -> bool:
    """Whether the name of a folder means that it may hold a split."""
    return folder.name.lower() in (*SPLIT_NAMES, "data")


def _holds_split(folder: Path) -> bool:
    return _is_inner(folder) and any(formats.is_table(file.name) for file in _listing(folder))


def _is_visible(file: Path) -> bool:
    """Whether a file is the user's, not a hidden file of macOS (`._a.csv`), Office (`~$a.xlsx`) or sentopt."""
    return not file.name.startswith((".", "~$"))


def _listing(folder: Path) -> list[Path]:
    """The visible files and folders in a folder, sorted by name."""
    return sorted(file for file in folder.iterdir() if _is_visible(file))


def _members(folder: Path) -> list[_Member]:
    if (folder / "state.json").is_file() and any(_SAVED.fullmatch(file.name) for file in _listing(folder)):
        return [_Member("train", *_saved(folder))]
    members = [member for file in _listing(folder) if file.is_file() and (member := _member(file))]
    for inner in _listing(folder):
        split = SPLIT_NAMES.get(inner.name.lower())
        if split and inner.is_dir() and any(formats.is_table(file.name) for file in _listing(inner)):
            members.append(_Member(split, *_tables_of(inner)))
    return members


def _member(file: Path) -> _Member | None:
    stem, _, suffix = file.name.partition(".")
    match = _SHARD.fullmatch(stem)
    if not match or not formats.is_table(file.name) or match["name"].lower() not in SPLIT_NAMES:
        return None
    split = SPLIT_NAMES[match["name"].lower()]
    if not match["part"]:
        return _Member(split, str(file), file)
    pattern = f"{match['name']}-?????-of-{match['of']}*.{suffix}"
    return _Member(split, f"{glob.escape(str(file.parent))}/{pattern}", file, int(match["of"]))


def _tables_of(folder: Path) -> tuple[str, Path, int]:
    """Pattern, first file and number of the tables in a folder named like a split; all must have the same format."""
    if (folder / "state.json").is_file():
        return _saved(folder)
    files = [file for file in _listing(folder) if formats.is_table(file.name)]
    suffixes = sorted({file.name.partition(".")[2] for file in files})
    if len(suffixes) > 1:
        raise DataError(f"{folder} holds tables of several kinds ({', '.join(suffixes)}); keep those of one")
    if len(files) == 1:
        return str(files[0]), files[0], 1
    return f"{glob.escape(str(folder))}/*.{suffixes[0]}", files[0], len(files)


def _saved(folder: Path) -> tuple[str, Path, int]:
    """Pattern, first file and number of shards in a folder written by `datasets.save_to_disk`."""
    files = [file for file in _listing(folder) if _SAVED.fullmatch(file.name)]
    if not files:
        raise DataError(f"{folder} looks saved by datasets, but holds no data-*.arrow")
    of = int(_SAVED.fullmatch(files[0].name)[1])  # type: ignore[index]
    pattern = str(files[0]) if of == 1 else f"{glob.escape(str(folder))}/data-?????-of-{of:05}.arrow"
    return pattern, files[0], of


def _check_complete(pattern: str, members: Sequence[_Member]) -> None:
    files, shards = expand(pattern), members[0].shards
    if len(files) != shards:
        raise DataError(f"{pattern}: {len(files)} of {shards} parts are there; fetch the others")


def _no_train(folder: Path) -> str:
    names = [file.name for file in _listing(folder)]
    tables = [name for name in names if formats.is_table(name)]
    expected = f"expected train with one of {', '.join(formats.SUFFIXES)}"
    if tables:
        likely = next((name for name in tables if "train" in name.lower()), tables[0])
        advice = f"; rename one, or name it: --data {folder / likely}"
        return f"the folder {folder} holds no train file; {expected}. It holds {_listed(tables)}{advice}"
    classes = [inner for inner in (folder, folder / "train") if _has_text_folders(inner)]
    if classes:
        return (
            f"the folder {folder} holds no train file; {expected}. A folder of .txt files for each label is not read: "
            "write them into one table with the columns text and label"
        )
    holds = f"It holds {_listed(names)}" if names else "It is empty"
    return f"the folder {folder} holds no train file; {expected}. {holds}"


def _has_text_folders(folder: Path) -> bool:
    return folder.is_dir() and any(
        inner.is_dir() and any(file.suffix == ".txt" for file in _listing(inner)) for inner in _listing(folder)
    )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
