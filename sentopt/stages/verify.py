"""Stage `verify`: every variant against the PyTorch logits that were saved at training time, on the test split."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sentopt import atomic, hardware, metrics
from sentopt.backends import emulation
from sentopt.backends.opening import Candidate
from sentopt.data import store
from sentopt.errors import EmulationError, RunDirError
from sentopt.recipe import Recipe, VerifySection
from sentopt.results import BatchFlips, CpuFlips, Verdict, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier, softmax
from sentopt.runtime.cores import available_cores
from sentopt.runtime.session import FloatArray
from sentopt.stats import PairedComparison, fewest_texts, paired_non_inferiority
from sentopt.variants import REFERENCE, VariantSpec

_SORTED, _ALONE = "micro-batches", "one text at a time"
_FLIP_TEXTS, _FLIP_BATCH = 320, 32


def run(
    recipe: Recipe, run_dir: RunDir, *, specs: Sequence[VariantSpec], progress: Callable[[str], None]
) -> VerifyResult:
    """Judge each of `specs`; a variant that cannot pass is a result, not an exception.

    Raises:
        RunDirError: the saved logits do not belong to the test split.
    """
    labels = store.read_labels(run_dir)
    examples = store.read_split(run_dir, "test")
    reference = np.load(run_dir.reference, allow_pickle=False)
    if reference.shape != (len(examples), len(labels)):
        raise RunDirError(
            f"{run_dir.reference} has shape {reference.shape}, expected {(len(examples), len(labels))}: "
            "run `sentopt train` again"
        )
    texts = [e.text for e in examples]
    truth = np.array([e.label for e in examples])
    verdicts = []
    for spec in specs:
        if spec.name == REFERENCE:  # what it answered is what all others are compared with
            verdicts.append(_judge(spec.name, {_SORTED: reference}, reference, truth, labels, recipe))
            continue
        progress(spec.name)
        candidate = Candidate.of(spec, run_dir, labels, recipe.model.max_length)
        answers, batch_flips = _answer(candidate.open(), texts, ships=spec.ships)
        cpu_flips = None
        if spec.dtype == "int8" and spec.backend == "onnx" and emulation.is_available():
            progress(f"{spec.name} on an emulated {recipe.verify.cpu}")
            cpu_flips = _answer_elsewhere(candidate, recipe.verify, texts, answers[_ALONE], progress)
        verdict = _judge(spec.name, answers, reference, truth, labels, recipe)
        verdict = replace(verdict, batch_flips=batch_flips, cpu_flips=cpu_flips)
        verdicts.append(verdict)
        if spec.ships:
            _write_flips(run_dir, spec.name, texts, truth, labels, reference, answers[verdict.way])
    return VerifyResult(hardware.describe(), len(texts), tuple(verdicts))


def _answer(
    classifier: Classifier, texts: Sequence[str], *, ships: bool
) -> tuple[dict[str, FloatArray], BatchFlips | None]:
    """Logits for each way of serving, and how many labels change between them in the way that differs most."""
    if not ships:
        return {_SORTED: classifier.logits(texts)}, None
    answers = {_SORTED: classifier.logits(texts), _ALONE: classifier.logits(texts, batch_size=1)}
    some = texts[:_FLIP_TEXTS]
    together = classifier.logits(some, batch_size=_FLIP_BATCH)
    return answers, BatchFlips(_FLIP_BATCH, len(some), _count_changes(together, answers[_ALONE][: len(some)]))


def _answer_elsewhere(
    candidate: Candidate,
    verify: VerifySection,
    texts: Sequence[str],
    here: FloatArray,
    progress: Callable[[str], None],
) -> CpuFlips | None:
    """The first texts on another CPU, a share of them in each of as many processes as there are cores."""
    some = texts[: verify.cpu_texts]
    if not some:
        return None
    size = -(-len(some) // available_cores())
    parts = [some[start : start + size] for start in range(0, len(some), size)]
    try:
        with ThreadPoolExecutor(max_workers=available_cores()) as pool:
            found = pool.map(lambda part: emulation.logits(candidate, part, cpu=verify.cpu), parts)
            there = np.concatenate(list(found))
    except EmulationError as error:
        progress(f"{candidate.spec.name} was not tried on another CPU: {error}")
        return None
    difference = float(np.abs(there - here[: len(some)]).max())
    return CpuFlips(verify.cpu, len(some), _count_changes(there, here[: len(some)]), difference)


def _judge(
    name: str,
    answers: dict[str, FloatArray],
    reference: FloatArray,
    truth: npt.NDArray[np.int64],
    labels: Sequence[str],
    recipe: Recipe,
) -> Verdict:
    finite = all(np.isfinite(logits).all() for logits in answers.values())
    compared = {
        way: paired_non_inferiority(
            reference.argmax(axis=1) == truth,
            logits.argmax(axis=1) == truth,
            margin=recipe.verify.margin / 100.0,
            confidence=recipe.verify.confidence,
        )
        for way, logits in answers.items()
    }
    way = min(compared, key=lambda w: compared[w].lower)
    comparison, logits = compared[way], answers[way]
    predicted = logits.argmax(axis=1)
    agreement = float((predicted == reference.argmax(axis=1)).mean())
    passed = comparison.non_inferior and finite
    return Verdict(
        variant=name,
        passed=passed,
        way=way,
        reason=_reason(comparison, way) if finite else "some logits are not finite numbers",
        comparison=comparison,
        scores=metrics.score(predicted, truth, labels),
        agreement=agreement,
        max_probability_difference=max(float(np.abs(softmax(x) - softmax(reference)).max()) for x in answers.values()),
        changed_labels=_count_changes(logits, reference),
    )


def _count_changes(one: FloatArray, other: FloatArray) -> int:
    return int((one.argmax(axis=1) != other.argmax(axis=1)).sum())


def _reason(c: PairedComparison, way: str) -> str:
    figures = (
        f"lost {c.lost}, gained {c.gained} of {c.n} texts; "
        f"at {c.confidence:.0%} at most {max(0.0, -c.lower) * 100:.2f} points below PyTorch ({way})"
    )
    margin = f"margin {c.margin * 100:g}"
    if c.non_inferior:
        return f"{figures}: within the {margin}"
    if c.difference > -c.margin:
        least = fewest_texts(margin=c.margin, confidence=c.confidence)
        need = f" (even unchanged answers need {least} texts)" if c.n < least else ""
        return f"{figures}: not proven within the {margin}; a larger test split could decide it{need}"
    return f"{figures}: outside the {margin}"


def _write_flips(
    run_dir: RunDir,
    name: str,
    texts: Sequence[str],
    truth: npt.NDArray[np.int64],
    labels: Sequence[str],
    reference: FloatArray,
    logits: FloatArray,
) -> None:
    """The texts whose label changed; `margin` is the lead of the top probability over the second."""
    p_reference, p_variant = softmax(reference), softmax(logits)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "label", "pytorch", "pytorch_margin", "variant", "variant_margin", "text"])
    for row in np.flatnonzero(reference.argmax(axis=1) != logits.argmax(axis=1)):
        margins = [float(np.diff(np.sort(p[row])[-2:])[0]) for p in (p_reference, p_variant)]
        named = [labels[int(i)] for i in (truth[row], p_reference[row].argmax(), p_variant[row].argmax())]
        writer.writerow(
            [int(row) + 1, named[0], named[1], f"{margins[0]:.4f}", named[2], f"{margins[1]:.4f}", texts[int(row)]]
        )
    atomic.write_text(run_dir.flips(name), buffer.getvalue())
