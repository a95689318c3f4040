"""The script behind `make test-pythons`: what it installs, and what it says of a Python that it cannot use."""

import sys
from pathlib import Path

import pytest
import pythons

runs_scripts = pytest.mark.skipif(sys.platform == "win32", reason="Windows runs no shell scripts as programs")


def test_without_torch_nothing_that_needs_it_is_installed() -> None:
    names = {line.partition(">")[0] for line in pythons.wanted("")}
    assert {"numpy", "onnxruntime", "transformers", "datasets", "gradio", "pytest"} < names
    assert not {"torch", "accelerate"} & names


def test_with_torch_everything_is() -> None:
    lines = pythons.wanted("torch==2.13.0")
    assert lines[0] == "torch==2.13.0"
    assert any(line.startswith("accelerate") for line in lines)


@runs_scripts
def test_a_shim_that_does_not_run_is_skipped_with_what_it_said(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\necho 'python3.12: command not found' >&2\nexit 127\n", encoding="utf-8")
    shim.chmod(0o755)
    assert pythons.outcome(str(shim), "") == (True, "skipped: python3.12: command not found")


def test_an_interpreter_that_is_not_there_is_skipped() -> None:
    passed, said = pythons.outcome("python3.99", "")
    assert passed
    assert said.startswith("skipped: ")
    assert "python3.99" in said


@runs_scripts
def test_an_interpreter_of_an_unsupported_version_is_skipped(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\necho 3.9.18\n", encoding="utf-8")
    old.chmod(0o755)
    passed, said = pythons.outcome(str(old), "")
    assert passed
    assert said == f"skipped: Python 3.9.18 is not one of {', '.join(pythons.supported())}"


def test_a_run_in_which_every_python_was_skipped_is_no_success(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pythons.py", "python3.99"])
    assert pythons.main() == 1
    assert "python3.99: skipped: " in capsys.readouterr().out
