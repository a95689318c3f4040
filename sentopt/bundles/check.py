"""Checks a bundle on this machine: file hashes, and the answers to its golden texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnxruntime

from sentopt.backends import emulation
from sentopt.bundles import facts
from sentopt.errors import BundleIntegrityError, EmulationError
from sentopt.measure import hardware
from sentopt.measure.hardware import Hardware
from sentopt.progress import SILENT, Progress
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.comparison import Comparison, compare


@dataclass(frozen=True)
class BundleCheck:
    """The outcome of a check. `largest_difference` is the largest between a probability of a golden text and PyTorch's.

    `verified_on` and `verified_with` are the CPU and the version of onnxruntime that the bundle was verified with; the
    version is empty in bundles that do not record it. `here` is the machine; where `emulated_cpu` is named, it answered
    the golden texts, and the instruction set is not compared.

    `deferred` golden texts were answered by the full model of a cascade (None: this is none). `rerouted` were deferred
    here and not where the bundle was made, or the reverse.

    `thresholds` are those of a multi-label model, in the order of `labels`. `pair` names the two texts that a model of
    text pairs is given.
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
    deferred: int | None = None
    rerouted: int = 0
    thresholds: tuple[float, ...] = ()
    pair: tuple[str, str] | None = None


def check(bundle: Path) -> BundleCheck:
    """Check schema, hashes and golden texts, and compare the machine with that of the verification.

    Raises:
        BundleError: not a bundle, a newer schema, damaged files, or golden texts answered differently.
    """
    classifier = Classifier.load(bundle)
    return _compared(classifier, classifier.answer_golden())


def _compared(classifier: Classifier, found: Comparison) -> BundleCheck:
    """The outcome where the golden texts are answered as verified."""
    description = classifier.description
    assert description is not None
    here, measured = hardware.describe(), facts.measured(description)
    return BundleCheck(
        variant=description.variant,
        labels=description.labels,
        files=len(description.files),
        golden_texts=len(description.golden),
        largest_difference=found.largest_difference,
        tolerance=description.golden_tolerance,
        verified_on=measured.cpu,
        verified_isa=measured.isa,
        verified_with=measured.onnxruntime,
        here=here,
        onnxruntime=onnxruntime.__version__,
        same_instruction_set=here.isa == measured.isa,
        deferred=found.deferred,
        rerouted=found.rerouted,
        thresholds=description.thresholds,
        pair=description.pair,
    )


def check_elsewhere(bundle: Path, cpu: str, *, progress: Progress = SILENT) -> BundleCheck:
    """`check` in processes on an emulated CPU.

    Raises:
        BundleError: see `check`.
        EmulationError: the CPU cannot be emulated here, or did not answer.
    """
    classifier = Classifier.load(bundle)  # what is no bundle, or a damaged one, is told as that
    description = classifier.description
    assert description is not None
    golden = description.golden
    if not golden:
        raise BundleIntegrityError(f"{bundle} carries no golden texts to check")
    if problem := emulation.problem(cpu):
        raise EmulationError(problem)
    progress.say(f"on an emulated {cpu}: {len(golden)} golden texts, each takes a fraction of a second")
    with progress.count(f"check: {description.variant} on an emulated {cpu}", len(golden), "texts") as advance:
        answers = emulation.bundle_answers(bundle, [g.text for g in golden], cpu=cpu, advance=advance)
    found = compare(
        [g.probabilities for g in golden],
        classifier.probabilities(answers.logits),
        recorded_deferred=[g.deferred for g in golden],
        deferred=answers.deferred,
        thresholds=classifier.thresholds,
    )
    if not found.is_within(description.golden_tolerance):
        raise BundleIntegrityError(
            f"an emulated {cpu} answers the golden texts differently from the machine that verified the bundle: "
            f"{found.in_words(description.golden_tolerance)}. That CPU computes INT8 products differently: for it, "
            "ship lean-int8 or an FP32 variant (--set export.variants=...)"
        )
    outcome = _compared(classifier, found)
    return replace(outcome, onnxruntime=answers.onnxruntime, same_instruction_set=False, emulated_cpu=cpu)


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
