"""Checks a bundle on this machine: file hashes, and the answers to its golden texts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnxruntime

from sentopt.measure import hardware
from sentopt.measure.hardware import Hardware
from sentopt.runtime.classifier import Classifier


@dataclass(frozen=True)
class BundleCheck:
    """The outcome of a check. `largest_difference` is the largest between a probability of a golden text and PyTorch's.

    `verified_on` and `verified_with` are the CPU and the version of onnxruntime that the bundle was verified with; the
    version is empty in bundles that do not record it.
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


def check(bundle: Path) -> BundleCheck:
    """Check schema, hashes and golden texts, and compare the machine with that of the verification.

    Raises:
        BundleError: not a bundle, a newer schema, damaged files, or golden texts answered differently.
    """
    classifier = Classifier.load(bundle)
    description = classifier.description
    assert description is not None
    difference = classifier.check_golden()
    here, measured = hardware.describe(), description.facts["measured"]
    there = measured["hardware"]
    return BundleCheck(
        variant=description.variant,
        labels=description.labels,
        files=len(description.files),
        golden_texts=len(description.golden),
        largest_difference=difference,
        tolerance=description.golden_tolerance,
        verified_on=str(there["cpu"]),
        verified_isa=tuple(there["isa"]),
        verified_with=str(measured.get("onnxruntime", "")),
        here=here,
        onnxruntime=onnxruntime.__version__,
        same_instruction_set=list(here.isa) == list(there["isa"]),
    )


def machine_in_words(found: BundleCheck) -> str:
    """This machine, and whether it has the instruction sets of the machine of the verification."""
    quota = f", cgroup quota {found.here.cpu_quota:g}" if found.here.cpu_quota else ""
    here = f"{found.here.cpu}, {found.here.cores} cores{quota}, {', '.join(found.here.isa) or 'no known extensions'}"
    if found.same_instruction_set:
        return f"{here}: the same instruction sets as where it was verified"
    return (
        f"{here}: NOT the instruction sets of the CPU that it was verified on ({found.verified_on}: "
        f"{', '.join(found.verified_isa)}); here only the golden texts were checked"
    )


def runtime_in_words(found: BundleCheck) -> str:
    """The version of onnxruntime, and whether it is the one that was verified."""
    if found.verified_with in ("", found.onnxruntime):
        return f"onnxruntime {found.onnxruntime}" + (", as verified" if found.verified_with else "")
    return f"onnxruntime {found.onnxruntime}; it was verified with {found.verified_with}"
