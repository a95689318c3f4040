from pathlib import Path

import pytest

from sentopt.files import atomic, journal


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.name != journal.FILE}


def test_text_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    atomic.write_text(target, "one")
    atomic.write_text(target, "two")
    assert target.read_text() == "two"
    assert names(target.parent) == {"file.txt"}


def test_failed_write_keeps_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "file.txt"
    atomic.write_text(target, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic.write_text(target, "new")
    assert target.read_text() == "old"
    assert names(tmp_path) == {"file.txt"}


def test_folder_is_swapped_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for content in ("first", "second"):
        with atomic.replace_folder(target) as folder:
            (folder / content).write_text(content)
    assert names(target) == {"second"}
    assert names(tmp_path) == {"out"}


def test_failed_folder_keeps_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic.replace_folder(target) as folder:
        (folder / "old").touch()

    def stop_half_way() -> None:
        with atomic.replace_folder(target) as folder:
            (folder / "new").touch()
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        stop_half_way()
    assert names(target) == {"old"}
    assert names(tmp_path) == {"out"}
