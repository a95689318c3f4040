"""What sentopt wrote may be replaced and removed, and nothing else, whatever happens in between."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from folder_state import state

from sentopt import manifest
from sentopt.errors import RunDirError
from sentopt.files import atomic, durable, journal
from sentopt.run_dir import RunDir


def written(path: Path, *names: str) -> Path:
    """A folder that sentopt wrote."""
    with atomic.replace_folder(path) as folder:
        for name in names or ("ours.txt",):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("ours")
    return path


def foreign_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine.csv").write_text("mine")


def foreign_file_in_ours(path: Path) -> None:
    (written(path) / "mine.csv").write_text("mine")


def foreign_file_deep_in_ours(path: Path) -> None:
    (written(path, "deep/ours.txt") / "deep" / "mine.csv").write_text("mine")


def foreign_empty_folder_in_ours(path: Path) -> None:
    (written(path) / "mine").mkdir()


def foreign_link_in_ours(path: Path) -> None:
    (written(path) / "mine").symlink_to(path.parent)


def a_file(path: Path) -> None:
    path.write_text("mine")


def a_link(path: Path) -> None:
    foreign_folder(path.parent / "elsewhere")
    path.symlink_to(path.parent / "elsewhere")


@pytest.mark.parametrize(
    "put",
    [
        foreign_folder,
        foreign_file_in_ours,
        foreign_file_deep_in_ours,
        foreign_empty_folder_in_ours,
        foreign_link_in_ours,
        a_file,
        a_link,
    ],
)
def test_what_is_not_ours_is_neither_replaced_nor_removed(put: object, tmp_path: Path) -> None:
    put(tmp_path / "out")  # type: ignore[operator]
    before = state(tmp_path)
    for change in (atomic.replace_folder(tmp_path / "out").__enter__, lambda: atomic.remove_folder(tmp_path / "out")):
        with pytest.raises(RunDirError, match="was not written by sentopt, and would be replaced: move it elsewhere"):
            change()
        assert state(tmp_path) == before


def test_a_file_that_appears_during_the_work_is_kept(tmp_path: Path) -> None:
    out = written(tmp_path / "out")

    def work() -> None:
        with atomic.replace_folder(out) as folder:
            (folder / "new.txt").write_text("new")
            (out / "mine.csv").write_text("mine")

    with pytest.raises(RunDirError, match=r"out/mine\.csv was not written"):
        work()
    assert sorted(path.name for path in out.iterdir()) == ["mine.csv", "ours.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [journal.FILE, "out"]


def test_ours_is_replaced_even_where_it_was_changed_or_is_empty(tmp_path: Path) -> None:
    (written(tmp_path / "out") / "ours.txt").write_text("damaged")
    (tmp_path / "empty").mkdir()
    for name in ("out", "empty"):
        assert (written(tmp_path / name, "new.txt") / "new.txt").read_text() == "ours"
        assert [path.name for path in (tmp_path / name).iterdir()] == ["new.txt"]


def test_leftovers_are_removed_only_where_sentopt_made_them(tmp_path: Path) -> None:
    for name in (".tmp-out-mine", ".tmp-out-a1b2c3d4e5f6"):
        foreign_folder(tmp_path / name)
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom sentopt.files import atomic\n"
        "with atomic.replace_folder(Path(sys.argv[1])) as folder:\n    (folder / 'half').touch()\n    os._exit(9)\n"
    )
    root = str(Path(atomic.__file__).parents[2])
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "out"], check=False, env={"PYTHONPATH": root})
    assert killed.returncode == 9
    assert len(list(tmp_path.glob(".tmp-*"))) == 3
    written(tmp_path / "out")
    assert sorted(path.name for path in tmp_path.glob(".tmp-*")) == [".tmp-out-a1b2c3d4e5f6", ".tmp-out-mine"]
    assert set(json.loads((tmp_path / journal.FILE).read_text())["written"]) == {"out"}


@pytest.mark.parametrize("step", [1, 2])
def test_a_kill_at_any_rename_leaves_nothing_that_is_not_known(
    step: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, renames = written(tmp_path / "out", "old.txt"), iter(range(1, 99))
    honest = os.replace

    def killed(source: Path, target: Path) -> None:
        if Path(target).name != journal.FILE and next(renames) == step:
            raise SystemExit("killed")
        honest(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        patch.setattr(atomic, "remove_now", lambda *folders: None)  # nobody cleans up after a kill
        with pytest.raises(SystemExit):
            written(out, "new.txt")
    assert [path.name for path in written(out, "newest.txt").iterdir()] == ["newest.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [journal.FILE, "out"]


def test_put_aside(tmp_path: Path) -> None:
    foreign_folder(tmp_path / "out")
    foreign_folder(tmp_path / "out-kept-1")
    with atomic.replace_folder(tmp_path / "out", put_aside=True) as folder:
        (folder / "new.txt").touch()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new.txt"]
    assert (tmp_path / "out-kept-2" / "mine.csv").read_text() == "mine"


def test_single_files_of_a_managed_folder(tmp_path: Path) -> None:
    journal.remember(tmp_path)
    atomic.write_text(tmp_path / "report.md", "ours")
    atomic.write_text(tmp_path / "report.md", "ours again")
    (tmp_path / "report.html").write_text("mine")
    out = written(tmp_path / "out")
    atomic.write_text(out / "flips.csv", "ours")
    atomic.write_text(out / "flips.csv", "ours again")
    (out / "notes.csv").write_text("mine")
    for path in (tmp_path / "report.html", out / "notes.csv"):
        with pytest.raises(RunDirError, match=f"{path.name} was not written by sentopt"):
            atomic.write_text(path, "ours")
        assert path.read_text() == "mine"
    (out / "notes.csv").unlink()
    assert [path.name for path in written(out).iterdir()] == ["ours.txt"]


def test_only_what_sentopt_wrote_is_removed(tmp_path: Path) -> None:
    trainer = tmp_path / "trainer"
    journal.remember(trainer)
    for step in (10, 20):
        written(trainer / f"checkpoint-{step}", "deep/model.bin")
    (trainer / "checkpoint-20" / "mine.txt").touch()
    (trainer / "checkpoint-30-backup").mkdir()
    (trainer / "checkpoint-30-backup" / "optimizer.pt").touch()
    journal.remove(trainer)
    kept = sorted(path.relative_to(trainer).as_posix() for path in trainer.rglob("*") if path.name != journal.FILE)
    assert [name for name in kept if "deep" not in name] == [
        "checkpoint-20",
        "checkpoint-20/mine.txt",
        "checkpoint-30-backup",
        "checkpoint-30-backup/optimizer.pt",
    ]
    assert not list(trainer.rglob("model.bin"))
    journal.remove(trainer / "nothing")


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 9, "written": {"out": ["mine.csv"]}}', "{}"])
def test_a_journal_that_cannot_be_read_takes_nothing_for_ours(content: str, tmp_path: Path) -> None:
    foreign_folder(tmp_path / "out")
    (tmp_path / journal.FILE).write_text(content)
    with pytest.raises(RunDirError, match=r"mine\.csv was not written"):
        journal.check(tmp_path / "out")


# ---- run directories


@pytest.mark.parametrize(
    "name",
    ["report.md", "run.json", ".hidden", ".tmp-mine", "data/reviews.csv", "checkpoint/model.safetensors", "mine/"],
)
def test_a_directory_with_anything_in_it_is_refused_and_stays_as_it_is(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text('{"run": "of another tool", "stages": {}}')
    before = state(tmp_path)
    for claim in (RunDir(tmp_path).locked().__enter__, lambda: manifest.claim(RunDir(tmp_path))):
        with pytest.raises(RunDirError, match=f"it holds {name.partition('/')[0]}. Nothing was changed. Name a new"):
            claim()
        assert state(tmp_path) == before


def test_a_lock_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("pid 7")
    with pytest.raises(RunDirError, match=r"it holds \.lock"), RunDir(tmp_path).locked():
        pass
    assert (tmp_path / ".lock").read_text() == "pid 7"


@pytest.mark.parametrize("leftover", [None, ".lock", f".tmp-{journal.FILE}-0123456789ab"])
def test_new_and_empty_directories_are_claimed_at_once(leftover: str | None, tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "new")
    if leftover:
        run_dir.root.mkdir()
        (run_dir.root / leftover).touch()
    with run_dir.locked():
        manifest.claim(run_dir)
    assert manifest.read(run_dir.manifest).stages == {}
    (run_dir.root / "mine.txt").touch()
    with run_dir.locked():
        manifest.claim(run_dir)


def test_a_run_directory_that_is_a_file_or_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for root, said in ((tmp_path / "file", "is no folder"), (tmp_path / "file" / "x", "cannot write in")):
        with pytest.raises(RunDirError, match=said), RunDir(root).locked():
            pass


def test_a_full_disk_is_known_by_its_number_and_by_words(tmp_path: Path) -> None:
    quota = RuntimeError("write failed")
    quota.__cause__ = OSError(122, "Disk quota exceeded")
    for error in (OSError(28, "x"), quota, ValueError("I/O error: No space left on device (os error 28)")):
        assert durable.is_disk_full(error)
    assert not durable.is_disk_full(OSError(13, "Permission denied"))
    assert not durable.has_no_space(tmp_path / "not" / "there")
