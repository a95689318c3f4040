"""Answers on a CPU that is not here, and what is said where none can be emulated."""

import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from sentopt import cli, recipe
from sentopt.backends import emulation
from sentopt.backends.opening import Candidate
from sentopt.data import store
from sentopt.errors import EmulationError
from sentopt.progress import Lines
from sentopt.run_dir import RunDir
from sentopt.stages import verify
from sentopt.variants import VARIANTS

OLD, OLDER = "EPYC-Milan", "Nehalem"  # without VNNI and AVX-512; without AVX
needs_emulator = pytest.mark.skipif(not emulation.is_available(), reason="qemu-user is not installed")


@needs_emulator
def test_a_bundle_can_be_checked_on_another_cpu(int8_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(int8_bundle)]) == 0
    here = capsys.readouterr().out.splitlines()
    assert cli.main(["check", str(int8_bundle), "--cpu", OLD]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[:3] == here[:3]
    assert "golden:  16 texts answered as verified" in captured.out
    assert f"on an emulated {OLD}" in captured.err


@needs_emulator
def test_an_unknown_cpu_is_named(int8_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(int8_bundle), "--cpu", "Zilog-Z80"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "unable to find CPU model 'Zilog-Z80'" in captured.err
    assert "Traceback" not in captured.err


@needs_emulator
def test_what_fails_under_emulation_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(tmp_path), "--cpu", OLD]) == 1
    assert "is not a bundle" in capsys.readouterr().err


@needs_emulator
def test_int8_products_are_the_same_without_vnni(finished_run: Path) -> None:
    """The lean graph on CPUs that add two products in 16 bits, in one process each and through the stage."""
    run_dir = RunDir(finished_run)
    candidate = Candidate.of(VARIANTS["lean-int8"], run_dir, store.read_labels(run_dir), 48)
    texts = [example.text for example in store.read_split(run_dir, "test")[:6]]
    here = candidate.open(threads=1).logits(texts)
    assert np.abs(emulation.logits(candidate, texts, cpu=OLDER) - here).max() < 0.02
    section = recipe.VerifySection(cpu=OLD, cpu_texts=len(texts))
    said: list[str] = []
    found = verify.emulated_flips(candidate, section, texts, here, Lines(said.append))
    assert found is not None
    assert not said
    assert (found.model, found.texts, found.changed) == (OLD, 6, 0)
    assert found.max_logit_difference < 0.02


@needs_emulator
def test_a_cpu_that_the_emulator_does_not_know_is_told_and_left_out(finished_run: Path) -> None:
    run_dir, said = RunDir(finished_run), list[str]()
    candidate = Candidate.of(VARIANTS["lean-int8"], run_dir, store.read_labels(run_dir), 48)
    section = recipe.VerifySection(cpu="no-such-cpu", cpu_texts=1)
    logits = candidate.open(threads=1).logits(["a text"])
    assert verify.emulated_flips(candidate, section, ["a text"], logits, Lines(said.append)) is None
    assert "lean-int8 was not tested on an emulated CPU" in said[0]


@pytest.mark.usefixtures("no_emulator")
def test_without_an_emulator_its_package_is_named() -> None:
    assert not emulation.is_available()
    with pytest.raises(EmulationError, match="apt-get install qemu-user"):
        emulation.python(OLD, "-c", "print(1)")


@pytest.mark.usefixtures("no_emulator")
def test_check_says_what_is_missing(int8_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(int8_bundle), "--cpu", OLD]) == 1
    assert "qemu-user" in capsys.readouterr().err


@pytest.fixture
def no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)


def test_only_x86_is_emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not emulation.is_available()
    with pytest.raises(EmulationError, match="x86-64 Linux"):
        emulation.python(OLD, "-c", "print(1)")
