"""Checks a bundle on this machine: file hashes, and the answers to its golden texts."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import onnxruntime

from sentopt import records
from sentopt.backends import emulation
from sentopt.bundles import facts
from sentopt.measure import hardware
from sentopt.measure.hardware import Hardware
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import read_description


@dataclass(frozen=True)
class BundleCheck:
    """The outcome of a check. `largest_difference` is the largest between a probability of a golden text and PyTorch's.

    `verified_on` and `verified_with` are the CPU and the version of onnxruntime that the bundle was verified with; the
    version is empty in bundles that do not record it. `here` is the machine; where `emulated_cpu` is named, it answered
    the golden texts, and the instruction set is not compared.
    """

    variant: str
    labels: tuple[str, ...]
    files: int
    golden_texts: int
    largest_difference: float
    tolerance: float
    verified_on: str
    verified_isa: tuple[str, ...]
    verified_with: str
    here: Hardware
    onnxruntime: str
    same_instruction_set: bool
    emulated_cpu: str = ""


def check(bundle: Path) -> BundleCheck:
    """Check schema, hashes and golden texts, and compare the machine with that of the verification.

    Raises:
        BundleError: not a bundle, a newer schema, damaged files, or golden texts answered differently.
    """
    classifier = Classifier.load(bundle)
    description = classifier.description
    assert description is not None
    difference = classifier.check_golden()
    here, measured = hardware.describe(), facts.measured(description)
    return BundleCheck(
        variant=description.variant,
        labels=description.labels,
        files=len(description.files),
        golden_texts=len(description.golden),
        largest_difference=difference,
        tolerance=description.golden_tolerance,
        verified_on=measured.cpu,
        verified_isa=measured.isa,
        verified_with=measured.onnxruntime,
        here=here,
        onnxruntime=onnxruntime.__version__,
        same_instruction_set=here.isa == measured.isa,
    )


def check_elsewhere(bundle: Path, cpu: str) -> BundleCheck:
    """`check` in a process on an emulated CPU.

    Raises:
        BundleError: this is no bundle.
        EmulationError: the CPU cannot be emulated here, or the check failed on it.
    """
    read_description(bundle)  # what is no bundle is told as that
    printed = emulation.python(cpu, "-m", "sentopt", "check", str(bundle), "--json")
    checked = records.from_json(BundleCheck, {k: v for k, v in json.loads(printed).items() if k != "bundle"})
    return replace(checked, here=hardware.describe(), same_instruction_set=False, emulated_cpu=cpu)


def machine_in_words(outcome: BundleCheck) -> str:
    """This machine, and whether it has the instruction sets of the machine of the verification."""
    if outcome.emulated_cpu:
        return f"an emulated {outcome.emulated_cpu}"
    quota = f", cgroup quota {outcome.here.cpu_quota:g}" if outcome.here.cpu_quota else ""
    here = (
        f"{outcome.here.cpu}, {outcome.here.cores} cores{quota}, {', '.join(outcome.here.isa) or 'no known extensions'}"
    )
    if outcome.same_instruction_set:
        return f"{here}: the same instruction sets as where it was verified"
    return (
        f"{here}: NOT the instruction sets of the CPU that it was verified on ({outcome.verified_on}: "
        f"{', '.join(outcome.verified_isa)}); here only the golden texts were checked"
    )


def runtime_in_words(outcome: BundleCheck) -> str:
    """The version of onnxruntime, and whether it is the one that was verified."""
    if outcome.verified_with in ("", outcome.onnxruntime):
        return f"onnxruntime {outcome.onnxruntime}" + (", as verified" if outcome.verified_with else "")
    return f"onnxruntime {outcome.onnxruntime}; it was verified with {outcome.verified_with}"
