"""The limits of this process's control groups.

A process is in a group of groups, and the limit of each counts: what a container, a pod or a service grants lies often
in a group above the process's own. Both versions are read, because hosts of today still mix them. See cgroups(7).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
_USUAL = PurePosixPath("/sys/fs/cgroup")  # where there is no list of mounts


def folders(controller: str, root: Path = ROOT) -> Iterator[tuple[int, Path]]:
    """The version (1 or 2) and folder of each group that holds this process, from its own up to the highest seen.

    Args:
        controller: of version 1, such as "cpu". Version 2 has one tree for all.
        root: below which `proc` and `sys` lie.
    """
    groups = _groups(root)
    usual = [(2, PurePosixPath("/"), _USUAL), (1, PurePosixPath("/"), _USUAL / controller)]
    for version, inside, mount in list(_mounts(controller, root)) or usual:
        path = groups.get(controller if version == 1 else "")
        # In a container the mount shows a part of the host's tree. A group that is not below its top is not seen.
        below = _below(path, inside)
        top = root / mount.relative_to("/")
        yield from ((version, top / part) for part in (below, *below.parents))


def least(controller: str, old: str, new: str, root: Path = ROOT) -> int | None:
    """The smallest number in the files `old` (version 1) or `new` (version 2) of all groups; None without a limit."""
    found = []
    for version, folder in folders(controller, root):
        words = read(folder / (old if version == 1 else new))
        if words and words[0].isdecimal():
            found.append(int(words[0]))
    return min(found, default=None)


def read(path: Path) -> list[str]:
    """The words of a file; none if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return []


def _groups(root: Path) -> dict[str, PurePosixPath]:
    """The process's group of each controller; of version 2 under the empty name."""
    groups = {}
    for line in _lines(root / "proc/self/cgroup"):
        _, _, named = line.partition(":")
        controllers, _, path = named.partition(":")
        groups.update(dict.fromkeys(controllers.split(","), PurePosixPath(path)))
    return groups


def _mounts(controller: str, root: Path) -> Iterator[tuple[int, PurePosixPath, PurePosixPath]]:
    """Version, group at the top, and folder of each mounted tree that limits `controller`; see proc(5), mountinfo."""
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if len(place) < 5 or len(kind) < 3:
            continue
        version = {"cgroup": 1, "cgroup2": 2}.get(kind[0])
        if version == 2 or (version == 1 and controller in kind[2].split(",")):
            yield version, PurePosixPath(_plain(place[3])), PurePosixPath(_plain(place[4]))


def _below(path: PurePosixPath | None, inside: PurePosixPath) -> PurePosixPath:
    """The group relative to the group at the top of the mount; the top itself if it lies elsewhere."""
    if path is None or ".." in path.parts or not path.is_relative_to(inside):
        return PurePosixPath()
    return path.relative_to(inside)


def _plain(name: str) -> str:
    """A path of mountinfo, where spaces are written as octal numbers."""
    return name.replace(r"\040", " ").replace(r"\011", "\t").replace(r"\012", "\n").replace(r"\134", "\\")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
