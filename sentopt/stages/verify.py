"""Stage `verify`: every variant against the PyTorch logits that were saved at training time, on the test split."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from sentopt import gate
from sentopt.backends import emulation
from sentopt.backends.opening import Candidate
from sentopt.data import store, unlabelled
from sentopt.data.splits import Example
from sentopt.errors import EmulationError, RunDirError
from sentopt.files import atomic
from sentopt.gate import Answers, Rules
from sentopt.measure import hardware, metrics
from sentopt.measure.stats import IntArray, paired_non_inferiority
from sentopt.recipe import TEST_AS_VALIDATION, Recipe, VerifySection
from sentopt.results import BatchFlips, CpuFlips, Criterion, Outcome, ReferenceCheck, Verdict, VerifyResult
from sentopt.run_dir import SPLITS, RunDir
from sentopt.runtime.classifier import Classifier, softmax
from sentopt.runtime.cores import available_cores
from sentopt.runtime.session import FloatArray
from sentopt.variants import REFERENCE, VARIANTS, VariantSpec

_SORTED, _ALONE = "micro-batches", "one text at a time"
_FLIP_TEXTS, _FLIP_BATCH = 320, 32
_WORST_FIRST = ("fail", "undecided", "pass")
Ways = dict[str, FloatArray]
"""Logits by way of serving."""


@dataclass(frozen=True)
class _Texts:
    """Distinct texts, their labels as positions (empty where nobody knows them), and PyTorch's logits."""

    texts: list[str]
    truth: IntArray
    reference: FloatArray

    def take(self, rows: Sequence[int]) -> _Texts:
        """The texts of these rows."""
        chosen = np.array(rows, dtype=np.int64)
        truth = self.truth[chosen] if len(self.truth) else self.truth
        return _Texts([self.texts[i] for i in rows], truth, self.reference[chosen])


@dataclass(frozen=True)
class _Evidence:
    """What variants are judged on: test texts, validation texts that order them or count, too, texts without labels.

    `rows` are the distinct texts of the whole test split, which `test` holds.
    """

    whole: _Texts
    rows: list[int]
    test: _Texts
    validation: _Texts
    further: _Texts
    ordered_by: Literal["validation", "table"]
    notices: tuple[str, ...]


@dataclass(frozen=True)
class _Judged:
    """A variant as it answers by itself, before the order of testing."""

    verdict: Verdict
    agreement_on_validation: float = 1.0


def run(
    recipe: Recipe,
    run_dir: RunDir,
    *,
    specs: Sequence[VariantSpec],
    reference_check: ReferenceCheck,
    progress: Callable[[str], None],
) -> VerifyResult:
    """Judge each of `specs`; a variant that cannot pass is a result, not an exception.

    Raises:
        RunDirError: the saved logits do not belong to the test split.
        DataError: the texts without labels cannot be read.
    """
    labels = store.read_labels(run_dir)
    evidence = _evidence(recipe, run_dir, labels, progress)
    judged = {}
    for spec in specs:
        if spec.name == REFERENCE:  # what it answered is what all others are compared with
            judged[spec.name] = _compare_reference(evidence, labels, recipe)
            continue
        progress(spec.name)
        judged[spec.name] = _judge(spec, recipe, run_dir, labels, evidence, progress)
    order = _order(specs, judged, evidence)
    verdicts = _in_order(judged, order, evidence)
    return VerifyResult(
        hardware.describe(),
        len(evidence.test.texts),
        tuple(verdicts),
        reference=reference_check,
        order=tuple(order),
        ordered_by=evidence.ordered_by,
        validation_texts=len(evidence.validation.texts) if evidence.ordered_by == "table" else 0,
        unlabelled_texts=len(evidence.further.texts),
        notices=evidence.notices,
    )


def _evidence(recipe: Recipe, run_dir: RunDir, labels: Sequence[str], progress: Callable[[str], None]) -> _Evidence:
    examples = store.read_split(run_dir, "test")
    whole = _Texts([e.text for e in examples], _positions(examples), _saved_logits(run_dir, len(examples), len(labels)))
    rows, validation_rows = store.read_distinct(run_dir)
    test = whole.take(rows)
    torch_answers = _Torch(run_dir, labels, recipe.model.max_length)
    nothing = _Texts([], np.zeros(0, dtype=np.int64), np.zeros((0, len(labels)), dtype=np.float32))
    validation = nothing
    if recipe.data.validation != TEST_AS_VALIDATION:
        validation = torch_answers.of_validation().take(validation_rows)
    further = nothing
    notices: tuple[str, ...] = ()
    if recipe.data.unlabelled:
        further, notices = _further(recipe, run_dir, labels, test, nothing, torch_answers)
    for notice in notices:
        progress(notice)
    by_table = gate.validation_counts(recipe, len(test.texts)) or not validation.texts
    return _Evidence(whole, rows, test, validation, further, "table" if by_table else "validation", notices)


def _further(
    recipe: Recipe, run_dir: RunDir, labels: Sequence[str], test: _Texts, nothing: _Texts, torch_answers: _Torch
) -> tuple[_Texts, tuple[str, ...]]:
    """The texts without labels, and what is to be said of them; none of them where they are of another kind."""
    known = [e.text for split in SPLITS for e in store.read_split(run_dir, split)]
    found = unlabelled.load(recipe.data, known, seed=recipe.run.seed)
    reference = torch_answers.of_texts(found.texts)
    if why := gate.differing_answers(test.reference.argmax(axis=1), reference.argmax(axis=1), labels):
        other = f"{found.notice}. They are not of the kind of the test texts, and decide nothing: {why}"
        return nothing, (other,)
    notices = [found.notice]
    if not gate.unlabelled_can_decide(len(test.texts) + len(found.texts), Rules.of(recipe)):
        notices.append(
            f"{len(found.texts)} texts without labels are too few to prove a margin; they count for the agreement"
        )
    return replace(nothing, texts=list(found.texts), reference=reference), tuple(notices)


def _positions(examples: Sequence[Example]) -> IntArray:
    return np.array([e.label for e in examples], dtype=np.int64)


def _saved_logits(run_dir: RunDir, texts: int, labels: int) -> FloatArray:
    reference: FloatArray = np.load(run_dir.reference, allow_pickle=False)
    if reference.shape != (texts, labels):
        raise RunDirError(
            f"{run_dir.reference} has shape {reference.shape}, expected {(texts, labels)}: run `sentopt train` again"
        )
    return reference


class _Torch:
    """The PyTorch model, loaded when its answers were not saved."""

    def __init__(self, run_dir: RunDir, labels: Sequence[str], max_length: int) -> None:
        self.run_dir = run_dir
        self.labels = labels
        self.candidate = Candidate.of(VARIANTS[REFERENCE], run_dir, labels, max_length)

    def of_validation(self) -> _Texts:
        """The validation split, with the logits that training saved."""
        examples = store.read_split(self.run_dir, "validation")
        texts, saved = [e.text for e in examples], self.run_dir.validation_reference
        logits = np.load(saved, allow_pickle=False) if saved.is_file() else self.of_texts(texts)
        if len(logits) != len(texts):
            raise RunDirError(f"{saved} is of another validation split: run `sentopt train` again")
        return _Texts(texts, _positions(examples), logits)

    def of_texts(self, texts: Sequence[str]) -> FloatArray:
        """Logits of any texts."""
        return self.candidate.open().logits(texts)


def _judge(
    spec: VariantSpec,
    recipe: Recipe,
    run_dir: RunDir,
    labels: Sequence[str],
    evidence: _Evidence,
    progress: Callable[[str], None],
) -> _Judged:
    candidate = Candidate.of(spec, run_dir, labels, recipe.model.max_length)
    classifier = candidate.open()
    whole, batch_flips = _answer(classifier, evidence.whole.texts, ships=spec.ships)
    cpu_flips = None
    if spec.dtype == "int8" and spec.backend == "onnx" and emulation.is_available():
        progress(f"{spec.name} on an emulated {recipe.verify.cpu}")
        cpu_flips = answer_elsewhere(candidate, recipe.verify, evidence.whole.texts, whole[_ALONE], progress)
    judged = _compare(spec, classifier, _rows(whole, evidence.rows), evidence, labels, recipe)
    verdict = replace(judged.verdict, batch_flips=batch_flips, cpu_flips=cpu_flips)
    if spec.ships:
        _write_flips(run_dir, spec.name, evidence.whole, labels, whole[verdict.way])
    return replace(judged, verdict=verdict)


def _rows(ways: Ways, rows: Sequence[int]) -> Ways:
    return {way: logits[list(rows)] for way, logits in ways.items()}


def _answer(classifier: Classifier, texts: Sequence[str], *, ships: bool) -> tuple[Ways, BatchFlips | None]:
    """Logits for each way of serving, and how many labels change between them in the way that differs most."""
    if not ships:
        return {_SORTED: classifier.logits(texts)}, None
    answers = _both_ways(classifier, texts)
    some = texts[:_FLIP_TEXTS]
    together = classifier.logits(some, batch_size=_FLIP_BATCH)
    return answers, BatchFlips(_FLIP_BATCH, len(some), _count_changes(together, answers[_ALONE][: len(some)]))


def _both_ways(classifier: Classifier, texts: Sequence[str]) -> Ways:
    return {_SORTED: classifier.logits(texts), _ALONE: classifier.logits(texts, batch_size=1)}


def answer_elsewhere(
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


def _compare_reference(evidence: _Evidence, labels: Sequence[str], recipe: Recipe) -> _Judged:
    ways = {_SORTED: evidence.test.reference}
    verdict = _verdict(REFERENCE, _SORTED, ways, evidence.test, (), Rules.of(recipe), labels)
    return _Judged(replace(verdict, exact=True))


def _compare(
    spec: VariantSpec,
    classifier: Classifier,
    ways: Ways,
    evidence: _Evidence,
    labels: Sequence[str],
    recipe: Recipe,
) -> _Judged:
    """All criteria of the worse way of serving, on all the evidence there is; exact graphs need only the test split."""
    test, rules = evidence.test, Rules.of(recipe)
    if not all(np.isfinite(logits).all() for logits in ways.values()):
        broken = _verdict(spec.name, _SORTED, ways, test, (), rules, labels)
        return _Judged(replace(broken, passed=False, reason="some logits are not finite numbers"), 0.0)
    if spec.dtype == "float32" and all(_is_exact(test, logits) for logits in ways.values()):
        return _Judged(replace(_verdict(spec.name, _SORTED, ways, test, (), rules, labels), exact=True))
    if not spec.ships:
        evidence = replace(evidence, validation=evidence.validation.take([]), further=evidence.further.take([]))
    validation = _answer_evidence(classifier, evidence.validation, ways)
    further = _answer_evidence(classifier, evidence.further, ways)
    judged = {}
    for way in ways:
        pooled = [(test, ways[way])]
        if evidence.ordered_by == "table":
            pooled.append((evidence.validation, validation[way]))
        judged[way] = gate.judge(_answers(pooled, (evidence.further, further[way])), labels, rules)
    way = min(judged, key=lambda w: (_WORST_FIRST.index(gate.outcome(judged[w])), -judged[w][0].limit))
    verdict = _verdict(spec.name, way, ways, test, judged[way], rules, labels)
    changed = _count_changes(validation[_SORTED], evidence.validation.reference)
    return _Judged(verdict, 1.0 - changed / max(1, len(evidence.validation.texts)))


def _answer_evidence(classifier: Classifier, texts: _Texts, ways: Mapping[str, object]) -> Ways:
    """Logits in the same ways of serving."""
    if not texts.texts:
        return dict.fromkeys(ways, texts.reference)
    return {way: classifier.logits(texts.texts, batch_size=1 if way == _ALONE else None) for way in ways}


def _is_exact(test: _Texts, logits: FloatArray) -> bool:
    difference = float(np.abs(softmax(logits) - softmax(test.reference)).max())
    return gate.is_exact(test.reference.argmax(axis=1), logits.argmax(axis=1), difference)


def _answers(pooled: Sequence[tuple[_Texts, FloatArray]], further: tuple[_Texts, FloatArray]) -> Answers:
    return Answers(
        truth=np.concatenate([texts.truth for texts, _ in pooled]),
        reference=np.concatenate([texts.reference.argmax(axis=1) for texts, _ in pooled]),
        candidate=np.concatenate([logits.argmax(axis=1) for _, logits in pooled]),
        free_reference=further[0].reference.argmax(axis=1),
        free_candidate=further[1].argmax(axis=1),
    )


def _verdict(
    name: str,
    way: str,
    ways: Ways,
    test: _Texts,
    criteria: tuple[Criterion, ...],
    rules: Rules,
    labels: Sequence[str],
) -> Verdict:
    """How a variant answers the test split in one way; what passed, and why, is said for it by itself."""
    logits, reference = ways[way], test.reference
    answers, before = logits.argmax(axis=1), reference.argmax(axis=1)
    return Verdict(
        variant=name,
        passed=gate.outcome(criteria) != "fail",
        way=way,
        reason=gate.reason(criteria, way, rules),
        comparison=paired_non_inferiority(
            before == test.truth, answers == test.truth, margin=rules.margin, confidence=rules.confidence
        ),
        scores=metrics.score(answers, test.truth, labels),
        agreement=float((answers == before).mean()),
        max_probability_difference=max(float(np.abs(softmax(x) - softmax(reference)).max()) for x in ways.values()),
        changed_labels=_count_changes(logits, reference),
        criteria=criteria,
    )


def _order(specs: Sequence[VariantSpec], judged: Mapping[str, _Judged], evidence: _Evidence) -> list[str]:
    """The variants that may ship and are not exact, in the order in which they are tested."""
    tested = sorted(
        (spec for spec in specs if spec.ships and not judged[spec.name].verdict.exact), key=lambda spec: spec.risk
    )
    if evidence.ordered_by == "validation":
        tested.sort(key=lambda spec: -judged[spec.name].agreement_on_validation)
    return [spec.name for spec in tested]


def _in_order(judged: Mapping[str, _Judged], order: Sequence[str], evidence: _Evidence) -> list[Verdict]:
    """All verdicts; what comes after the first failure in the order is not tested."""
    outcomes: dict[str, Outcome] = {name: "pass" if judged[name].verdict.passed else "fail" for name in order}
    tested = gate.in_sequence(outcomes)
    by = "by agreement on the validation split" if evidence.ordered_by == "validation" else "from safe to risky"
    verdicts = []
    for name, found in judged.items():
        verdict = found.verdict
        if not tested.get(name, True):
            failed = next(other for other in order if outcomes[other] == "fail")
            reason = f"variants are tested in order ({by}) up to the first that fails, and {failed} before it did"
            verdict = replace(verdict, passed=False, tested=False, reason=reason)
        verdicts.append(verdict)
    return verdicts


def _count_changes(one: FloatArray, other: FloatArray) -> int:
    return int((one.argmax(axis=1) != other.argmax(axis=1)).sum())


def _write_flips(run_dir: RunDir, name: str, test: _Texts, labels: Sequence[str], logits: FloatArray) -> None:
    """The texts whose label changed; `margin` is the lead of the top probability over the second."""
    p_reference, p_variant = softmax(test.reference), softmax(logits)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "label", "pytorch", "pytorch_margin", "variant", "variant_margin", "text"])
    for row in np.flatnonzero(test.reference.argmax(axis=1) != logits.argmax(axis=1)):
        margins = [_lead(p[row]) for p in (p_reference, p_variant)]
        named = [labels[int(i)] for i in (test.truth[row], p_reference[row].argmax(), p_variant[row].argmax())]
        writer.writerow(
            [int(row) + 1, named[0], named[1], f"{margins[0]:.4f}", named[2], f"{margins[1]:.4f}", test.texts[int(row)]]
        )
    atomic.write_text(run_dir.flips(name), buffer.getvalue())


def _lead(probabilities: npt.NDArray[np.float32]) -> float:
    return float(np.diff(np.sort(probabilities)[-2:])[0])
