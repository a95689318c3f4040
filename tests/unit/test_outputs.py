"""Files that a person names: nothing is replaced unless they say so."""

import os
from pathlib import Path

import pytest
from folder_state import state

from sentopt.errors import OutputError
from sentopt.files import outputs


def test_a_file_that_is_there_is_replaced_on_request_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "out.txt"
    outputs.write(path, b"one", overwrite=False)
    before = state(tmp_path)
    outputs.write(path, b"one", overwrite=False)  # the same again
    with pytest.raises(OutputError, match=r"out\.txt is there already; .*--overwrite"):
        outputs.write(path, b"two", overwrite=False)
    assert state(tmp_path) == before
    outputs.write(path, b"two", overwrite=True)
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["out.txt"]


@pytest.mark.parametrize("kind", ["same", "link", "hard link", "dots"])
def test_an_input_is_never_its_own_output(kind: str, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("x")
    target = tmp_path / "out.csv"
    if kind == "link":
        target.symlink_to(source)
    elif kind == "hard link":
        os.link(source, target)
    else:
        target = source if kind == "same" else tmp_path / "." / ".." / tmp_path.name / "in.csv"
    with pytest.raises(OutputError, match="would overwrite itself"):
        outputs.check(target, overwrite=True, inputs=[source])


def test_what_cannot_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    for path, overwrite, said in (
        (tmp_path, True, "is a folder"),
        (tmp_path / "pipe", True, "is not a regular file"),
        (Path("/dev/null"), True, "is not a regular file"),
        (tmp_path / "dangling", False, "is there already"),
        (tmp_path / "file" / "deep" / "out", False, "file is not a folder"),
    ):
        with pytest.raises(OutputError, match=said):
            outputs.check(path, overwrite=overwrite)
