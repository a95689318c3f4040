"""A folder as it is, to the byte: what must not change when a command is refused."""

from pathlib import Path

State = dict[str, tuple[object, ...]]


def state(folder: Path) -> State:
    """Of every path below: kind, mode, times and content."""
    found: State = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        info = path.lstat()
        if path.is_symlink():
            content: object = path.readlink()
        else:
            content = path.read_bytes() if path.is_file() else sorted(path.iterdir())
        found[str(path.relative_to(folder))] = (info.st_mode, info.st_mtime_ns, info.st_ino, content)
    return found
