"""Stage `verify`: compare every variant with the saved PyTorch logits on the test split."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sentopt import gate
from sentopt.backends import emulation
from sentopt.backends.counted import counted
from sentopt.backends.opening import Candidate
from sentopt.data import pairs, store, unlabelled
from sentopt.errors import EmulationError, RunDirError
from sentopt.files import arrays, atomic
from sentopt.gate import Answers, Rules
from sentopt.measure import hardware, set_metrics
from sentopt.measure.decision import SINGLE, Decision
from sentopt.measure.stats import IntArray, paired_non_inferiority, proportion_lower
from sentopt.progress import SILENT, Progress
from sentopt.recipe import TEST_AS_VALIDATION, Recipe, VerifySection
from sentopt.results import BatchFlips, CpuFlips, Criterion, Outcome, ReferenceCheck, Verdict, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text
from sentopt.runtime.session import BoolArray, FloatArray
from sentopt.variants import REFERENCE, VARIANTS, VariantSpec

_BATCHED, _SINGLE = "micro-batches", "one text at a time"
_FLIP_TEXTS, _FLIP_BATCH = 320, 32
_WORST_FIRST = ("fail", "undecided", "pass")
ModeLogits = dict[str, FloatArray]
"""Logits by serving mode."""


@dataclass(frozen=True)
class _Texts:
    """Texts, their labels as positions (empty for texts without labels), and PyTorch's logits."""

    texts: Sequence[Text]
    truth: IntArray
    reference: FloatArray

    def take(self, rows: Sequence[int]) -> _Texts:
        """The texts at these positions."""
        positions = np.array(rows, dtype=np.int64)
        truth = self.truth[positions] if len(self.truth) else self.truth
        return _Texts([self.texts[i] for i in rows], truth, self.reference[positions])


@dataclass(frozen=True)
class _Evidence:
    """The texts that variants are judged on.

    `whole` is the whole test split. `rows` are the positions of its distinct texts, which `test` holds. `validation`
    either determines the order of the variants (`ordered_by="validation"`) or is evidence. `unlabelled` holds texts
    without labels. `decision` makes answers of logits.
    """

    whole: _Texts
    rows: list[int]
    test: _Texts
    validation: _Texts
    unlabelled: _Texts
    ordered_by: Literal["validation", "table"]
    notices: tuple[str, ...]
    decision: Decision


@dataclass(frozen=True)
class _Judged:
    """The verdict on a variant by itself, before the fixed sequence is applied."""

    verdict: Verdict
    agreement_on_validation: float = 1.0


def run(
    recipe: Recipe,
    run_dir: RunDir,
    *,
    specs: Sequence[VariantSpec],
    reference_check: ReferenceCheck,
    progress: Progress = SILENT,
) -> VerifyResult:
    """Judge each of `specs`. A variant that fails is a result, not an exception.

    Raises:
        RunDirError: the saved logits do not fit the test split.
        DataError: the texts without labels cannot be read.
    """
    labels = store.read_labels(run_dir)
    evidence = _evidence(recipe, run_dir, labels, progress)
    judged = {}
    elsewhere = _Elsewhere.of(recipe.verify, progress, evidence.decision)
    for spec in specs:
        if spec.name == REFERENCE:  # its saved logits are the reference
            judged[spec.name] = _compare_reference(evidence, labels, recipe)
            continue
        judged[spec.name] = _judge(spec, recipe, run_dir, labels, evidence, elsewhere, progress)
    exact = {name for name, single in judged.items() if single.verdict.exact}
    agreement = {name: single.agreement_on_validation for name, single in judged.items()}
    order = gate.testing_order(specs, exact, agreement if evidence.ordered_by == "validation" else None)
    verdicts = _apply_sequence(judged, order, evidence)
    return VerifyResult(
        hardware.describe(),
        len(evidence.test.texts),
        tuple(verdicts),
        reference=reference_check,
        order=tuple(order),
        ordered_by=evidence.ordered_by,
        validation_texts=len(evidence.validation.texts) if evidence.ordered_by == "table" else 0,
        unlabelled_texts=len(evidence.unlabelled.texts),
        notices=(*evidence.notices, *elsewhere.notices),
    )


def _evidence(recipe: Recipe, run_dir: RunDir, labels: Sequence[str], progress: Progress) -> _Evidence:
    examples = store.read_split(run_dir, "test")
    whole = _Texts(list(examples.texts), examples.labels, _saved_logits(run_dir, len(examples), len(labels)))
    rows, validation_rows = store.read_distinct(run_dir)
    test = whole.take(rows)
    torch_model, decision = _Torch(run_dir, labels, recipe.model.max_length), store.read_decision(run_dir)
    none = _Texts([], np.zeros(0, dtype=np.int64), np.zeros((0, len(labels)), dtype=np.float32))
    validation = none
    if recipe.data.validation != TEST_AS_VALIDATION:
        validation = torch_model.validation().take(validation_rows)
    by_table = gate.validation_counts(recipe, len(test.texts)) or not validation.texts
    unlabelled_texts = none
    notices: tuple[str, ...] = ()
    if recipe.counts_unlabelled and not decision.is_multi_label:
        unlabelled_texts, notices = _unlabelled(recipe, run_dir, labels, test, none, torch_model, progress)
        labelled = len(test.texts) + (len(validation.texts) if by_table else 0)
        if unlabelled_texts.texts:
            too_few = gate.too_few_unlabelled(labelled, len(unlabelled_texts.texts), Rules.of(recipe))
            notices += (too_few,) if too_few else ()
    for notice in notices:
        progress.say(f"note: {notice}")
    ordered_by: Literal["validation", "table"] = "table" if by_table else "validation"
    return _Evidence(whole, rows, test, validation, unlabelled_texts, ordered_by, notices, decision)


def _unlabelled(
    recipe: Recipe,
    run_dir: RunDir,
    labels: Sequence[str],
    test: _Texts,
    none: _Texts,
    torch_model: _Torch,
    progress: Progress,
) -> tuple[_Texts, tuple[str, ...]]:
    """The texts without labels and notices about them; no texts if their distribution differs from the test split's."""
    loaded = unlabelled.beside_splits(recipe.data, run_dir, seed=recipe.run.seed)
    reference = torch_model.logits(loaded.texts, progress)
    if shift := gate.distribution_shift(test.reference.argmax(axis=1), reference.argmax(axis=1), labels):
        return none, (f"{loaded.notice}. They are not used, because they differ from the test texts: {shift}",)
    return replace(none, texts=list(loaded.texts), reference=reference), (loaded.notice,)


def _saved_logits(run_dir: RunDir, texts: int, labels: int) -> FloatArray:
    reference: FloatArray = np.load(run_dir.reference, allow_pickle=False)
    if reference.shape != (texts, labels):
        raise RunDirError(
            f"{run_dir.reference} has shape {reference.shape}, expected {(texts, labels)}: run `sentopt train` again"
        )
    return reference


class _Torch:
    """The PyTorch model; it is loaded only for answers that were not saved."""

    def __init__(self, run_dir: RunDir, labels: Sequence[str], max_length: int) -> None:
        self.run_dir = run_dir
        self.labels = labels
        self.candidate = Candidate.of(VARIANTS[REFERENCE], run_dir, labels, max_length)

    def validation(self) -> _Texts:
        """The validation split with PyTorch's logits, as saved by training if they are there."""
        examples = store.read_split(self.run_dir, "validation")
        texts, saved = list(examples.texts), self.run_dir.validation_reference
        logits = np.load(saved, allow_pickle=False) if saved.is_file() else self.logits(texts, SILENT)
        if len(logits) != len(texts):
            raise RunDirError(
                f"{saved} has {len(logits)} rows, expected {len(texts)}, one per validation text: "
                "run `sentopt train` again"
            )
        return _Texts(texts, examples.labels, logits)

    def logits(self, texts: Sequence[Text], progress: Progress) -> FloatArray:
        """Logits of shape (texts, labels)."""
        classifier = self.candidate.open()
        what = f"verify: {REFERENCE} on texts whose answers are not stored"
        with progress.count(what, len(texts), "texts") as advance, counted(classifier, advance):
            return classifier.logits(texts)


def _judge(
    spec: VariantSpec,
    recipe: Recipe,
    run_dir: RunDir,
    labels: Sequence[str],
    evidence: _Evidence,
    elsewhere: _Elsewhere,
    progress: Progress,
) -> _Judged:
    candidate = Candidate.of(spec, run_dir, labels, recipe.model.max_length)
    classifier = candidate.open()
    texts = evidence.whole.texts
    answers = 2 * len(texts) + len(texts[:_FLIP_TEXTS]) if spec.ships else len(texts)
    with progress.count(f"verify: {spec.name}", answers, "answers") as advance, counted(classifier, advance):
        whole, routes, batch_flips = _answer(classifier, texts, evidence.decision, ships=spec.ships)
    routes = routes if spec.stages == "cascade" else None
    cpu_flips: tuple[CpuFlips, ...] = ()
    if spec.dtype == "int8" and spec.backend == "onnx":
        cpu_flips = elsewhere.flips(candidate, texts, whole[_SINGLE], routes)
    judged = _compare(spec, classifier, _rows(whole, evidence.rows), evidence, labels, recipe, progress)
    verdict = replace(
        judged.verdict,
        batch_flips=batch_flips,
        cpu_flips=cpu_flips,
        deferred=None if routes is None else float(routes[evidence.rows].mean()),
    )
    if spec.ships:
        _write_flips(run_dir, spec.name, evidence.whole, labels, whole[verdict.serving_mode], evidence.decision)
        arrays.write(run_dir.answers(spec.name), whole[verdict.serving_mode])
    return replace(judged, verdict=verdict)


def _rows(modes: ModeLogits, rows: Sequence[int]) -> ModeLogits:
    return {mode: logits[list(rows)] for mode, logits in modes.items()}


def _answer(
    classifier: Classifier, texts: Sequence[Text], decision: Decision, *, ships: bool
) -> tuple[ModeLogits, BoolArray | None, BatchFlips | None]:
    """Logits in each serving mode, which single texts are deferred, label changes in padded batches in file order."""
    if not ships:
        return {_BATCHED: classifier.logits(texts)}, None, None
    batched = classifier.logits(texts)
    single, routes = classifier.routed(texts, batch_size=1)
    sample = texts[:_FLIP_TEXTS]
    padded = classifier.logits(sample, batch_size=_FLIP_BATCH)
    flips = BatchFlips(_FLIP_BATCH, len(sample), _count_changes(padded, single[: len(sample)], decision))
    return {_BATCHED: batched, _SINGLE: single}, routes, flips


@dataclass
class _Elsewhere:
    """The emulated CPUs of a run; `notices` say which of them could not answer, and why."""

    cpus: list[str]
    texts: int
    progress: Progress
    notices: list[str]
    decision: Decision

    @classmethod
    def of(cls, verify: VerifySection, progress: Progress, decision: Decision) -> _Elsewhere:
        """Those that can be emulated here. Where the recipe leaves them to sentopt, those that cannot be go untold."""
        elsewhere = cls([], verify.cpu_texts, progress, [], decision)
        for cpu in verify.cpu if verify.cpu_texts else ():
            if not (problem := emulation.problem(cpu)):
                elsewhere.cpus.append(cpu)
            elif verify.cpu != VerifySection().cpu:
                elsewhere.tell(f"nothing was tested on an emulated {cpu}: {problem}")
        return elsewhere

    def flips(
        self, candidate: Candidate, texts: Sequence[Text], native: FloatArray, routes: BoolArray | None
    ) -> tuple[CpuFlips, ...]:
        """Label changes on each CPU that answered."""
        found, sample = [], texts[: self.texts]
        for cpu in self.cpus:
            try:
                found.append(
                    emulated_flips(
                        candidate,
                        sample,
                        native,
                        cpu=cpu,
                        routes=routes,
                        progress=self.progress,
                        decision=self.decision,
                    )
                )
            except EmulationError as error:
                self.tell(f"{candidate.spec.name} was not tested on an emulated {cpu}: {error}")
        return tuple(found)

    def tell(self, notice: str) -> None:
        """For the report, and now."""
        notice = " ".join(notice.split())
        self.notices.append(notice)
        self.progress.say(f"note: {notice}")


def emulated_flips(
    candidate: Candidate,
    texts: Sequence[Text],
    native: FloatArray,
    *,
    cpu: str,
    routes: BoolArray | None = None,
    progress: Progress = SILENT,
    decision: Decision = SINGLE,
) -> CpuFlips:
    """Label changes of `texts` on an emulated CPU.

    Args:
        candidate: the variant.
        texts: one or more, answered one at a time.
        native: its logits here, of these texts and maybe of more after them, one at a time.
        cpu: the CPU model.
        routes: which of them a cascade defers here.
        progress: where the texts are counted.
        decision: makes labels of logits.

    Raises:
        EmulationError: the CPU cannot be emulated, or did not answer.
    """
    what = f"verify: {candidate.spec.name} on an emulated {cpu}"
    with progress.count(what, len(texts), "texts") as advance:
        there = emulation.answers(candidate, texts, cpu=cpu, advance=advance)
    native, rerouted = native[: len(texts)], 0
    if routes is not None and there.deferred is not None:
        rerouted = int((there.deferred != routes[: len(texts)]).sum())
    largest = float(np.abs(there.logits - native).max())
    return CpuFlips(cpu, len(texts), _count_changes(there.logits, native, decision), largest, rerouted)


def _compare_reference(evidence: _Evidence, labels: Sequence[str], recipe: Recipe) -> _Judged:
    modes = {_BATCHED: evidence.test.reference}
    verdict = _verdict(REFERENCE, _BATCHED, modes, evidence, (), Rules.of(recipe), labels)
    return _Judged(replace(verdict, exact=True))


def _compare(
    spec: VariantSpec,
    classifier: Classifier,
    modes: ModeLogits,
    evidence: _Evidence,
    labels: Sequence[str],
    recipe: Recipe,
    progress: Progress,
) -> _Judged:
    """Judge the worse serving mode on all evidence. Exact graphs need the test split only."""
    test, rules, decision = evidence.test, Rules.of(recipe), evidence.decision
    if not all(np.isfinite(logits).all() for logits in modes.values()):
        broken = _verdict(spec.name, _BATCHED, modes, evidence, (), rules, labels)
        return _Judged(replace(broken, passed=False, reason="some logits are NaN or infinite"), 0.0)
    if spec.dtype == "float32" and all(_is_exact(test, logits, decision) for logits in modes.values()):
        return _Judged(replace(_verdict(spec.name, _BATCHED, modes, evidence, (), rules, labels), exact=True))
    if not spec.ships or spec.stages:  # a student and its threshold are fitted to these texts
        evidence = replace(evidence, unlabelled=evidence.unlabelled.take([]))
        if not (spec.ships and evidence.ordered_by == "validation"):
            evidence = replace(evidence, validation=evidence.validation.take([]))
    answers = len(modes) * (len(evidence.validation.texts) + len(evidence.unlabelled.texts))
    what = f"verify: {spec.name} on texts beside the test split"
    with progress.count(what, answers, "answers") as advance, counted(classifier, advance):
        validation = _answer_in_modes(classifier, evidence.validation, modes)
        unlabelled_logits = _answer_in_modes(classifier, evidence.unlabelled, modes)
    judged, judge = {}, gate.judge_sets if decision.is_multi_label else gate.judge
    for mode in modes:
        pooled = [(test, modes[mode])]
        if evidence.ordered_by == "table":
            pooled.append((evidence.validation, validation[mode]))
        free = (evidence.unlabelled, unlabelled_logits[mode])
        judged[mode] = judge(_answers(pooled, free, decision), labels, rules)
    worst = min(judged, key=lambda mode: (_WORST_FIRST.index(gate.outcome(judged[mode])), -judged[mode][0].limit))
    verdict = _verdict(spec.name, worst, modes, evidence, judged[worst], rules, labels)
    texts = len(evidence.validation.texts)
    changed = _count_changes(validation[_BATCHED], evidence.validation.reference, decision)
    if spec.stages and texts:  # its threshold was chosen on these texts: their agreement is too good by chance
        return _Judged(verdict, proportion_lower(texts - changed, texts, rules.confidence))
    return _Judged(verdict, 1.0 - changed / max(1, texts))


def _answer_in_modes(classifier: Classifier, texts: _Texts, modes: Iterable[str]) -> ModeLogits:
    if not texts.texts:
        return dict.fromkeys(modes, texts.reference)
    return {mode: classifier.logits(texts.texts, batch_size=1 if mode == _SINGLE else None) for mode in modes}


def _is_exact(test: _Texts, logits: FloatArray, decision: Decision) -> bool:
    difference = float(np.abs(decision.probabilities(logits) - decision.probabilities(test.reference)).max())
    return gate.is_exact(decision.answers(test.reference), decision.answers(logits), difference)


def _answers(
    labelled: Sequence[tuple[_Texts, FloatArray]], free: tuple[_Texts, FloatArray], decision: Decision
) -> Answers:
    return Answers(
        truth=np.concatenate([texts.truth for texts, _ in labelled]),
        reference=np.concatenate([decision.answers(texts.reference) for texts, _ in labelled]),
        candidate=np.concatenate([decision.answers(logits) for _, logits in labelled]),
        free_reference=decision.answers(free[0].reference),
        free_candidate=decision.answers(free[1]),
    )


def _verdict(
    name: str,
    serving_mode: str,
    modes: ModeLogits,
    evidence: _Evidence,
    criteria: tuple[Criterion, ...],
    rules: Rules,
    labels: Sequence[str],
) -> Verdict:
    """The verdict on a variant in one serving mode, regardless of other variants."""
    test, decision = evidence.test, evidence.decision
    logits, expected = modes[serving_mode], decision.probabilities(test.reference)
    answers, before = decision.answers(logits), decision.answers(test.reference)
    return Verdict(
        variant=name,
        passed=gate.outcome(criteria) != "fail",
        serving_mode=serving_mode,
        reason=gate.explain(criteria, serving_mode, rules),
        comparison=paired_non_inferiority(
            before == test.truth, answers == test.truth, margin=rules.margin, confidence=rules.confidence
        ),
        scores=set_metrics.score_logits(logits, test.truth, decision, labels),
        agreement=float((answers == before).mean()),
        max_probability_difference=max(
            float(np.abs(decision.probabilities(x) - expected).max()) for x in modes.values()
        ),
        changed_labels=_count_changes(logits, test.reference, decision),
        criteria=criteria,
    )


def _apply_sequence(judged: Mapping[str, _Judged], order: Sequence[str], evidence: _Evidence) -> list[Verdict]:
    """All verdicts. A variant after the first failure of the sequence is not tested."""
    outcomes: dict[str, Outcome] = {name: "pass" if judged[name].verdict.passed else "fail" for name in order}
    tested = gate.fixed_sequence(outcomes)
    by = "by agreement on the validation split" if evidence.ordered_by == "validation" else "from safe to risky"
    verdicts = []
    for name, single in judged.items():
        verdict = single.verdict
        if not tested.get(name, True):
            failed = next(other for other in order if outcomes[other] == "fail")
            reason = f"variants are tested in order ({by}) up to the first failure, and {failed} failed before it"
            verdict = replace(verdict, passed=False, tested=False, reason=reason)
        verdicts.append(verdict)
    return verdicts


def _count_changes(one: FloatArray, other: FloatArray, decision: Decision) -> int:
    return int((decision.answers(one) != decision.answers(other)).sum())


def _write_flips(
    run_dir: RunDir, name: str, test: _Texts, labels: Sequence[str], logits: FloatArray, decision: Decision
) -> None:
    """Write the texts whose label changed, or whose labels did; `margin` is that of `Decision.margins`."""
    before, after = decision.answers(test.reference), decision.answers(logits)
    margins = [decision.margins(decision.probabilities(x)) for x in (test.reference, logits)]
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    pair = ["pair"] if any(not isinstance(text, str) for text in test.texts[:1]) else []
    writer.writerow(["row", "label", "pytorch", "pytorch_margin", "variant", "variant_margin", "text", *pair])
    for row in np.flatnonzero(before != after).tolist():
        truth, own, variant = (decision.in_words(x[row], labels) for x in (test.truth, before, after))
        shown = [f"{margin[row]:.4f}" for margin in margins]
        writer.writerow([row + 1, truth, own, shown[0], variant, shown[1], *pairs.parts(test.texts[row])])
    atomic.write_text(run_dir.flips(name), buffer.getvalue())
