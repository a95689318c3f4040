"""Whatever goes wrong, a person reads one line."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sentopt import __version__, cli
from sentopt.cli import parser
from sentopt.errors import ExportError
from sentopt.files import durable


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """The verb `env` fails; temporary files go to a folder of their own, and the current one is another."""
    (tmp_path / "temporary").mkdir()
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    return monkeypatch


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException, capsys: pytest.CaptureFixture[str]) -> str:
    def verb(arguments: argparse.Namespace) -> int:
        raise error

    monkeypatch.setattr(parser, "VERBS", {verb: ()})
    verb.__name__ = "env"
    verb.__doc__ = "Fails."
    assert cli.main(["env"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    return said.err


@pytest.mark.parametrize(
    "error", [KeyError("negative"), IndexError("index out of range\nin self"), AssertionError(), RecursionError("deep")]
)
def test_an_unforeseen_exception_is_one_line_and_a_file(
    error: Exception, failing: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = fail_with(failing, error, capsys)
    found = re.fullmatch(r"sentopt: (\w+): (.+) \[sentopt (\S+); the full traceback is in (\S+)\]\n", line)
    assert found, line
    assert found[1] == type(error).__name__
    assert found[3] == __version__
    kept = Path(found[4])
    assert kept.parent == tmp_path / "temporary"
    assert "Traceback (most recent call last)" in kept.read_text()
    assert f"{type(error).__name__}" in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert not list((tmp_path / "mine").iterdir())


def test_no_file_where_only_the_current_folder_can_be_written(
    failing: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.setattr("tempfile.tempdir", str(tmp_path / "mine"))
    line = fail_with(failing, ValueError("x"), capsys)
    assert line == f"sentopt: ValueError: x [sentopt {__version__}; SENTOPT_DEBUG=1 shows the traceback]\n"
    assert not list((tmp_path / "mine").iterdir())


def test_debug_shows_the_traceback(failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing.setenv("SENTOPT_DEBUG", "1")
    assert fail_with(failing, ValueError("x"), capsys).startswith("Traceback (most recent call last)")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_memory(error: Exception, failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert fail_with(failing, error, capsys).startswith("sentopt: not enough memory (")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "where"),
    [
        (OSError(28, "No space left on device", "model.onnx"), "model.onnx"),
        (OSError(122, "Disk quota exceeded", "a"), "a"),
        (caused(ExportError("cannot export"), OSError(28, "No space left on device", "b")), "b"),
        (ValueError("Error while serializing: I/O error: No space left on device (os error 28)"), "unknown file"),
    ],
)
def test_a_full_disk(
    error: Exception, where: str, failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = f"sentopt: no space left on the disk ({where}); free some and run the same command again\n"
    assert fail_with(failing, error, capsys) == expected


def test_an_unexplained_failure_on_a_full_disk(failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failing.setattr(durable, "has_no_space", lambda path: str(path) == "exports")
    said = fail_with(failing, RuntimeError("unexpected pos 7 vs 3"), capsys)
    assert said == "sentopt: no space left on the disk (exports); free some and run the same command again\n"
    assert fail_with(failing, ExportError("the graph differs"), capsys) == "sentopt: the graph differs\n"


def test_what_the_system_refuses(failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = fail_with(failing, PermissionError(13, "Permission denied", "/x/y"), capsys)
    assert said == "sentopt: /x/y: Permission denied\n"


def test_a_host_where_nothing_can_be_written(failing: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """No home folder and a read-only file system: the handling of the error needs neither."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    failing.delenv("SENTOPT_CACHE_DIR", raising=False)
    failing.delenv("XDG_CACHE_HOME", raising=False)
    failing.setattr("os.path.expanduser", lambda path: path)
    failing.setattr("tempfile.gettempdir", none)
    assert fail_with(failing, ExportError("the graph differs"), capsys) == "sentopt: the graph differs\n"
    with pytest.raises(FileNotFoundError) as caught:
        none()
    said = fail_with(failing, caught.value, capsys)
    assert said == (
        "sentopt: FileNotFoundError: [Errno 2] No usable temporary directory found in ['/tmp']; "
        "set TMPDIR to a folder that can be written\n"
    )


def test_warnings_of_libraries_are_one_line() -> None:
    code = (
        "import warnings\nfrom sentopt.cli import failures\nbefore = warnings.formatwarning\n"
        "with failures.warnings_in_one_line():\n    warnings.warn('this is\\nold', FutureWarning)\n"
        "assert warnings.formatwarning is before"
    )
    root = str(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": root}
    )
    assert done.stderr == "warning: this is old (FutureWarning)\n"
