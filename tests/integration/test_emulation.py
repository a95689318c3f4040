"""Answers on CPUs that are not here, and what is said where none can be emulated."""

import json
from pathlib import Path

import emulator_stand_in
import numpy as np
import pytest

import sentopt
from sentopt import cli, manifest, recipe, records
from sentopt.backends import arm64, emulation
from sentopt.backends.opening import Candidate
from sentopt.data import store
from sentopt.errors import BundleIntegrityError, EmulationError
from sentopt.pipeline import dependencies
from sentopt.progress import Lines
from sentopt.results import CpuFlips, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.stages import verify
from sentopt.variants import VARIANTS

OLD, OLDER = "EPYC-Milan", "Nehalem"  # without VNNI and AVX-512; without AVX
ARM, OLDER_ARM = "neoverse-n1", "cortex-a72"  # with dot products of bytes; without
ON_ARM = pytest.mark.skipif(not arm64.is_ready(), reason="`sentopt emulator --yes` has not been run")
needs_emulator = pytest.mark.skipif(bool(emulation.problem(OLD)), reason="qemu-user is not installed")
OTHER_CPUS = [pytest.param(OLD, marks=needs_emulator), pytest.param(ARM, marks=ON_ARM)]


@pytest.mark.parametrize("cpu", OTHER_CPUS)
def test_a_bundle_can_be_checked_on_another_cpu(
    int8_bundle: Path, cpu: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(int8_bundle)]) == 0
    here = capsys.readouterr().out.splitlines()
    assert cli.main(["check", str(int8_bundle), "--cpu", cpu]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[:2] == here[:2]
    assert "golden:  16 texts answered as verified" in captured.out
    assert f"machine: an emulated {cpu}\n" in captured.out
    assert captured.out.splitlines()[4] == here[4]  # the same onnxruntime
    assert f"on an emulated {cpu}: 16 golden texts" in captured.err


@pytest.mark.parametrize("cpu", OTHER_CPUS)
def test_an_unknown_cpu_is_named_with_those_that_there_are(
    int8_bundle: Path, cpu: str, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = f"{cpu[:-1]}7"
    assert cli.main(["check", str(int8_bundle), "--cpu", unknown]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert f"has no CPU model '{unknown}' (did you mean" in captured.err
    assert cpu in captured.err
    assert "Traceback" not in captured.err


@needs_emulator
def test_what_is_no_bundle_is_told_as_that(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(tmp_path), "--cpu", OLD]) == 1
    assert "is not a bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    "cpu", [*OTHER_CPUS, pytest.param(OLDER, marks=needs_emulator), pytest.param(OLDER_ARM, marks=ON_ARM)]
)
def test_int8_products_are_the_same_elsewhere(finished_run: Path, cpu: str) -> None:
    """The lean graph on CPUs that add two products in 16 bits, and on those of ARM64."""
    run_dir, told = RunDir(finished_run), list[str]()
    candidate = Candidate.of(VARIANTS["lean-int8"], run_dir, store.read_labels(run_dir), 48)
    texts = [example.text for example in store.read_split(run_dir, "test")[:6]]
    here = candidate.open(threads=1).logits(texts, batch_size=1)
    advanced: list[int] = []
    there = emulation.answers(candidate, texts, cpu=cpu, advance=advanced.append).logits
    assert there.shape == here.shape
    assert np.abs(there - here).max() < 0.02
    assert advanced == [1] * 6
    found = verify.emulated_flips(candidate, texts[:2], here, cpu=cpu, progress=Lines(told.append))
    assert (found.model, found.texts, found.changed) == (cpu, 2, 0)
    assert 0 <= found.max_logit_difference < 0.02


@pytest.mark.usefixtures("elsewhere")
def test_a_run_tells_what_each_cpu_answered(run_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = (f"verify.cpu=['{OLD}', '{ARM}', 'broken']", "verify.cpu_texts=5")
    arguments = [part for setting in settings for part in ("--set", setting)]
    assert cli.main(["export", "--run-dir", str(run_copy), *arguments]) == 0
    told = capsys.readouterr()
    assert "emulated EPYC-Milan: 0 of 5 labels change (onnx-int8, lean-int8)" in told.out
    assert "emulated neoverse-n1: 5 of 5 labels change (onnx-int8, lean-int8)" in told.out
    assert "note: lean-int8 was not tested on an emulated broken: it crashed" in told.err
    verified = manifest.read(run_copy / "run.json").result("verify", VerifyResult)
    (lean,) = (verdict for verdict in verified.verdicts if verdict.variant == "lean-int8")
    assert [(flips.model, flips.texts, flips.changed) for flips in lean.cpu_flips] == [(OLD, 5, 0), (ARM, 5, 5)]
    assert lean.worst_cpu == lean.cpu_flips[1]
    assert "onnx-int8 was not tested on an emulated broken: it crashed" in verified.notices
    report = (run_copy / "report.md").read_text(encoding="utf-8")
    for said in ("labels changed on EPYC-Milan", "labels changed on neoverse-n1", "| 5 of 5 |", "broken: it crashed"):
        assert said in report
    bundled = json.loads((run_copy / "bundle" / "sentopt.json").read_text(encoding="utf-8"))
    if bundled["variant"] == "lean-int8":
        assert [flips["model"] for flips in bundled["verified"]["cpu_flips"]] == [OLD, ARM]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every CPU but ARM64's answers as this one; on ARM64 all logits have the other sign, and one emulator crashes."""

    def answers(candidate: Candidate, texts: list[str], *, cpu: str, advance: object) -> emulation.Answers:
        if cpu == "broken":
            raise EmulationError("it\ncrashed")
        logits = candidate.open(threads=1).logits(texts, batch_size=1)
        return emulation.Answers(-logits if cpu == ARM else logits, "9.9")

    monkeypatch.setattr(emulation, "problem", lambda cpu: "")
    monkeypatch.setattr(emulation, "answers", answers)


def test_cpus_that_cannot_be_emulated_are_told_only_where_they_were_asked_for(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(emulation, "problem", lambda cpu: "no qemu")
    for setting, notes in ((f"verify.cpu={OLD}", 0), (f"verify.cpu={ARM}", 1)):
        arguments = ["export", "--run-dir", str(run_copy), "--set", "verify.cpu_texts=1", "--set", setting]
        assert cli.main(arguments) == 0
        assert capsys.readouterr().err.count(f"nothing was tested on an emulated {ARM}: no qemu") == notes


def test_a_run_of_before_names_one_cpu_and_stays_current(finished_run: Path) -> None:
    """`run.json` had one record or null; the fingerprint of one CPU is what it was."""
    stages = json.loads((finished_run / "run.json").read_text(encoding="utf-8"))["stages"]
    old = stages["verify"]["result"]
    assert all(verdict["cpu_flips"] is None for verdict in old["verdicts"])
    flips = {"model": OLD, "texts": 16, "changed": 1, "max_logit_difference": 0.25}
    for verdict in old["verdicts"]:
        verdict["cpu_flips"] = flips
    read = records.from_json(VerifyResult, old)
    assert all(verdict.cpu_flips == (CpuFlips(OLD, 16, 1, 0.25),) for verdict in read.verdicts)
    for verdict in old["verdicts"]:
        verdict["cpu_flips"] = {**flips, "rerouted": 0}
    assert records.to_json(read) == old


def test_the_fingerprint_of_one_cpu_is_that_of_before() -> None:
    class Cache:
        def outputs(self, stage: str) -> list[str]:
            return [stage]

    now = recipe.load("quickstart", {"verify.cpu": "EPYC-Milan"})
    _, _, _, (section, *_), _, _, (_, emulated), _ = dependencies.verify(now, Cache(), [], emulated=[True])  # type: ignore[arg-type]
    assert section["cpu"] == "EPYC-Milan"
    assert emulated is True
    two = recipe.load("quickstart", {"verify.cpu": ["EPYC-Milan", "neoverse-n1"]})
    _, _, _, (section, *_), _, _, (_, emulated), _ = dependencies.verify(two, Cache(), [], emulated=[True, False])  # type: ignore[arg-type]
    assert section["cpu"] == ["EPYC-Milan", "neoverse-n1"]
    assert emulated == [True, False]


def test_golden_texts_that_are_answered_differently_are_told(
    int8_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def reversed_answers(bundle: Path, texts: list[str], *, cpu: str, advance: object) -> emulation.Answers:
        return emulation.Answers(-sentopt.Classifier.load(bundle).logits(texts), "9.9")

    monkeypatch.setattr(emulation, "problem", lambda cpu: "")
    monkeypatch.setattr(emulation, "bundle_answers", reversed_answers)
    with pytest.raises(BundleIntegrityError, match=r"an emulated neoverse-n1 .*: 16 of 16 labels changed"):
        sentopt.check(int8_bundle, cpu=ARM)
    assert cli.main(["check", str(int8_bundle), "--cpu", ARM]) == 1
    assert "for it, ship lean-int8 or an FP32 variant" in capsys.readouterr().err


@pytest.mark.parametrize(("fault", "said"), [("kill -SEGV $$", "crashed"), ("exit 3", "failed")])
def test_an_emulator_that_fails_is_told_in_words(
    int8_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A whole set-up with stand-ins, whose emulator fails when it is to answer."""
    emulator_stand_in.install(tmp_path, monkeypatch).add_qemu(f'[ "$1" = -m ] && {fault}')
    assert cli.main(["emulator", "--yes"]) == 0
    assert cli.main(["check", str(int8_bundle), "--cpu", ARM]) == 1
    told = capsys.readouterr().err
    assert f"the program {said} on an emulated {ARM}, before the first text" in told
    assert "Traceback" not in told


def test_a_bundle_is_checked_with_what_was_set_up(
    int8_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    emulator_stand_in.install(tmp_path, monkeypatch)
    assert cli.main(["emulator", "--yes"]) == 0
    assert cli.main(["check", str(int8_bundle), "--cpu", ARM]) == 0
    assert f"machine: an emulated {ARM}" in capsys.readouterr().out


@pytest.mark.usefixtures("no_emulator")
def test_check_says_what_is_missing(int8_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(int8_bundle), "--cpu", OLD]) == 1
    assert "apt-get install qemu-user" in capsys.readouterr().err
    assert cli.main(["check", str(int8_bundle), "--cpu", ARM]) == 1
    assert "`sentopt emulator --yes` does it" in capsys.readouterr().err
    with pytest.raises(EmulationError, match=r"`sentopt\.emulator\(fetch=True\)` does it"):
        sentopt.check(int8_bundle, cpu=ARM)


@pytest.fixture
def no_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
