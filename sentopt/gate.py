"""What a variant must prove before it may ship: each criterion, the check of the reference, and the order of testing.

A variant passes if it meets *all* criteria, each tested at the full level: the probability that it meets them although
it violates one is at most the level of that one test (intersection-union test: R. L. Berger, Technometrics 24 (1982)
295-300). Several variants are tested one after the other in an order that the test split has no part in, up to the
first failure, so that the probability of passing *any* inferior one is bounded by the same level (fixed-sequence
testing: W. Maurer, L. A. Hothorn and W. Lehmacher, Biometrie in der chemisch-pharmazeutischen Industrie 6 (1995) 3-18;
A. N. Angelopoulos et al., "Learn then Test", 2021, apply it to models). `benchmarks/gate_error.py` measures both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sentopt import stats
from sentopt.recipe import TEST_AS_VALIDATION, Recipe
from sentopt.results import Criterion, Outcome, ReferenceCheck
from sentopt.stats import IntArray, PairedComparison

_LABELS: Literal["labels", "changes"] = "labels"
_CHANGES: Literal["labels", "changes"] = "changes"
_DRAWS = 2_000
_SEED = 20_260_101
_LISTED = 3
EXACT_DIFFERENCE = 1e-3
"""Largest change of a probability in an FP32 graph that counts as the same answer."""
FEW_TEXTS = 1_000
"""With fewer test texts than this, `verify.order = "auto"` takes the order of the table, so that validation counts."""


@dataclass(frozen=True)
class Rules:
    """What must be proven: margins are fractions; `macro_f1` says whether the loss of macro F1 is tested, too."""

    margin: float
    recall_margin: float
    max_changed: float
    confidence: float
    macro_f1: bool

    @classmethod
    def of(cls, recipe: Recipe) -> Rules:
        """The rules that a recipe states, in percentage points there."""
        verify = recipe.verify
        return cls(
            margin=verify.margin / 100.0,
            recall_margin=verify.recall_margin / 100.0,
            max_changed=verify.max_changed / 100.0,
            confidence=verify.confidence,
            macro_f1=recipe.train.metric == "macro_f1",
        )


@dataclass(frozen=True)
class Answers:
    """Answers to labelled texts, and to further texts whose labels nobody knows. All are label positions.

    `truth`, `reference` and `candidate` have shape (texts,), `free_reference` and `free_candidate` (further texts,).
    """

    truth: IntArray
    reference: IntArray
    candidate: IntArray
    free_reference: IntArray
    free_candidate: IntArray

    @classmethod
    def labelled(cls, truth: IntArray, reference: IntArray, candidate: IntArray) -> Answers:
        """Without further texts."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(truth, reference, candidate, nothing, nothing)

    def of(self, labels: Sequence[int]) -> Answers:
        """The labelled texts that have one of `labels`."""
        chosen = np.isin(self.truth, labels)
        return replace(
            self, truth=self.truth[chosen], reference=self.reference[chosen], candidate=self.candidate[chosen]
        )


def judge(answers: Answers, labels: Sequence[str], rules: Rules) -> tuple[Criterion, ...]:
    """Every criterion of one variant: accuracy, recall of each label, macro F1 where the rules say so, agreement."""
    changes = _Changes.of(answers, rules)
    criteria = [_accuracy(answers, changes, rules), *_recalls(answers, changes, labels, rules)]
    if rules.macro_f1:
        criteria.append(_macro_f1(answers, changes, labels, rules))
    criteria.append(_agreement(answers, rules))
    return tuple(criteria)


def outcome(criteria: Sequence[Criterion]) -> Outcome:
    """`fail` if any criterion fails, else `undecided` if any is, else `pass`."""
    found = {criterion.outcome for criterion in criteria}
    return "fail" if "fail" in found else "undecided" if "undecided" in found else "pass"


def in_sequence(outcomes: Mapping[str, Outcome]) -> dict[str, bool]:
    """Which candidates are tested: in the order given, up to and including the first that fails."""
    tested, stopped = {}, False
    for name, found in outcomes.items():
        tested[name] = not stopped
        stopped = stopped or found == "fail"
    return tested


def is_exact(reference: IntArray, candidate: IntArray, largest_difference: float) -> bool:
    """Whether an FP32 graph gives PyTorch's labels and probabilities, so that nothing is left to test."""
    return largest_difference <= EXACT_DIFFERENCE and bool((reference == candidate).all())


def check_reference(
    truth: IntArray, answers: IntArray, *, confidence: float, allowed: bool, unnamed: bool
) -> ReferenceCheck:
    """Whether the PyTorch model is proven to know more than the majority answer, so that a comparison means something.

    Args:
        truth, answers: label positions of the distinct test texts, both of shape (texts,).
        confidence: of the one-sided limits.
        allowed: whether a weak reference is accepted all the same.
        unnamed: whether the names of the model's labels were matched by position (`LABEL_0`).
    """
    found = stats.balanced_accuracy(truth, answers, confidence=confidence, draws=_DRAWS, seed=_SEED)
    proven, below = found.lower > found.chance, found.upper < found.chance
    figures = (
        f"balanced accuracy {found.estimate:.4f} on {len(truth)} test texts ({confidence:.0%} limits {found.lower:.4f} "
        f"to {found.upper:.4f}), {found.chance:.4f} for always giving one label"
    )
    if proven:
        words = f"the PyTorch model is proven to know more than the majority answer: {figures}"
    elif below:
        cause = "the names of its labels (LABEL_0, ...) are" if unnamed else "its labels are"
        words = (
            f"the PyTorch model is worse than always giving one label: {cause} probably in the wrong order. {figures}"
        )
        words += (
            "; name the labels in the order of the model's outputs with --set 'data.labels=[...]'" if unnamed else ""
        )
    else:
        words = f"the PyTorch model is not proven to know more than the majority answer: {figures}"
    majority = float(np.bincount(truth).max() / len(truth))
    accuracy = float((truth == answers).mean())
    return ReferenceCheck(
        len(truth), accuracy, majority, found.estimate, found.lower, found.upper, found.chance, proven, allowed, words
    )


def validation_counts(recipe: Recipe, test_texts: int) -> bool:
    """Whether validation texts are evidence, too: only where they do not order the variants.

    It is decided by the number of test texts, before any variant has answered.
    """
    if recipe.data.validation == TEST_AS_VALIDATION:
        return False
    order = recipe.verify.order
    return order == "table" or (order == "auto" and test_texts < FEW_TEXTS)


def foresee(
    test: Mapping[str, int], validation: Mapping[str, int], rules: Rules, *, unlabelled: bool
) -> tuple[str, ...]:
    """What a test split can decide, said before anything is trained.

    Args:
        test: test texts of each label.
        validation: validation texts of each label, where these count as evidence, too; else nothing.
        rules: what must be proven.
        unlabelled: whether there are texts without labels, which may decide what these cannot.
    """
    counts = {label: count + validation.get(label, 0) for label, count in test.items()}
    texts, extra = sum(counts.values()), sum(validation.values())
    evidence = f"{texts - extra} test texts" + (f" and {extra} validation texts" if extra else "")
    least = stats.fewest_texts(margin=rules.margin, confidence=rules.confidence)
    likely = stats.likely_enough_texts(changed=0.01, margin=rules.margin, confidence=rules.confidence)
    words = []
    if unlabelled:
        pass
    elif texts < least:
        decides = _smallest_margin(texts, rules.confidence) * 100.0
        words.append(
            f"{evidence}: nothing but exact FP32 graphs can pass at margin {rules.margin * 100:g}; {least} are needed "
            f"at least, about {likely} where 1 % of the answers change. They can decide a margin of {decides:.2g} "
            "points (--set verify.margin=POINTS), or name texts without labels: --set data.unlabelled=FILE"
        )
    elif texts < likely:
        words.append(
            f"{evidence}: a variant that changes 1 % of the answers may fail at margin {rules.margin * 100:g} by "
            f"chance; about {likely} texts pass it four times in five. Texts without labels help, too: "
            "--set data.unlabelled=FILE"
        )
    fewest = _fewest(None, rules)
    rare = [label for label, count in counts.items() if count < fewest]
    if rare and sum(counts[label] for label in rare) < fewest:
        words.append(
            f"recall of {_list(rare)} cannot be decided at {rules.recall_margin * 100:g} points: "
            f"{sum(counts[label] for label in rare)} texts, {fewest} needed"
        )
    return tuple(words)


def in_words(criterion: Criterion) -> str:
    """What one criterion found, and how far that is from its margin."""
    c = criterion
    margin = f"{c.margin * 100:g}"
    if c.outcome == "undecided":
        each = " of each label" if c.name == "macro F1" else ""
        return f"{c.name} not decided: {c.texts} texts, {c.needed} needed{each}"
    if c.name == "agreement":
        figures = f"{c.lost} of {c.texts} labels change, at most {c.limit:.2%}"
        return f"{figures}: within {margin} %" if c.outcome == "pass" else f"{figures}: not proven under {margin} %"
    counted = f"{c.name}: lost {c.lost}, gained {c.gained} of {c.texts} texts"
    proof = "" if c.by == "labels" else " by the share of changed labels alone"
    figures = f"{counted}; at most {c.limit * 100:.2f} points below PyTorch{proof}"
    if c.outcome == "pass":
        return f"{figures}: within the margin {margin}"
    if c.loss < c.margin:
        return f"{figures}: not proven within the margin {margin}"
    return f"{figures}: outside the margin {margin}"


def reason(criteria: Sequence[Criterion], way: str, rules: Rules) -> str:
    """Why a variant passes or fails by itself; `way` is the way of serving that it is judged by."""
    if not criteria:
        return "every label and every probability is PyTorch's"
    failed = [criterion for criterion in criteria if criterion.outcome == "fail"]
    if failed:
        advice = [words for words in (what_would_decide(criterion, rules) for criterion in failed) if words]
        return "; ".join([f"{', '.join(in_words(c) for c in failed[:_LISTED])} ({way})", *advice])
    undecided = [in_words(criterion) for criterion in criteria if criterion.outcome == "undecided"]
    others = ["the recall of every label", *(["macro F1"] if rules.macro_f1 else []), "the agreement"]
    proven = f"{in_words(criteria[0])} ({way}); so are {', '.join(others[:-1])} and {others[-1]}"
    return "; ".join([in_words(criteria[0]) + f" ({way})", *undecided] if undecided else [proven])


def what_would_decide(criterion: Criterion, rules: Rules) -> str:
    """What would let a variant pass that loses too little to be refused and too much to be proven; else nothing."""
    if criterion.outcome != "fail" or criterion.loss >= criterion.margin or not criterion.texts:
        return ""
    advice = []
    counts = (criterion.lost, criterion.gained)
    for factor in (1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32):
        n, lost, gained = (round(x * factor) for x in (criterion.texts, *counts))
        if stats.compare_counts(n, lost, gained, margin=criterion.margin, confidence=rules.confidence).non_inferior:
            advice.append(f"about {n} labelled texts at this rate")
            break
    changed = sum(counts) / criterion.texts
    if criterion.name == "accuracy" and changed < 0.8 * rules.margin:
        half = 1.0 - (1.0 - rules.confidence) / 2.0
        for n in (500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000):
            if n > criterion.texts and stats.proportion_upper(round(n * changed), n, half) < rules.margin:
                advice.append(f"about {n} texts without labels (--set data.unlabelled=FILE)")
                break
    key = {"accuracy": "margin", "macro F1": "margin", "agreement": "max_changed"}.get(criterion.name, "recall_margin")
    advice.append(f"--set verify.{key}={(np.floor(criterion.limit * 1000.0) + 1.0) / 10.0:g}")
    return f"{', or '.join(advice)} would decide {criterion.name}"


@dataclass(frozen=True)
class _Changes:
    """Labels that differ from the reference's, on all texts together: no label is lost that does not change.

    Where there are texts without labels, the level is shared by two tests, one that uses the labels and one that counts
    changes alone (Bonferroni); a criterion is met if either shows it. `confidence` is that of each.
    """

    confidence: float
    reference: IntArray
    candidate: IntArray

    @classmethod
    def of(cls, answers: Answers, rules: Rules) -> _Changes | None:
        if not len(answers.free_reference):
            return None
        return cls(
            1.0 - (1.0 - rules.confidence) / 2.0,
            np.concatenate([answers.reference, answers.free_reference]),
            np.concatenate([answers.candidate, answers.free_candidate]),
        )

    def upper(self) -> float:
        """Upper limit of the share of labels that change."""
        return stats.proportion_upper(
            int((self.reference != self.candidate).sum()), len(self.reference), self.confidence
        )

    def recall_loss_upper(self, truth: IntArray, labels: Sequence[int]) -> float:
        """Upper limit of the loss of recall of `labels` together.

        What is lost was answered as one of them by the reference and is answered otherwise now: the share of such
        texts, over the share of texts that have one of these labels. Each of the two limits has half of the level.
        """
        half = 1.0 - (1.0 - self.confidence) / 2.0
        left = np.isin(self.reference, labels) & (self.reference != self.candidate)
        share = stats.proportion_lower(int(np.isin(truth, labels).sum()), len(truth), half)
        return 1.0 if share <= 0.0 else min(1.0, stats.proportion_upper(int(left.sum()), len(left), half) / share)

    def macro_f1_loss_upper(self, truth: IntArray, reference: IntArray, labels: int) -> float:
        """Upper limit of the loss of macro F1, if every change were for the worse.

        A text that goes from label a to label b takes at most (2 - F1_a) / D_a from F1_a and F1_b / D_b from F1_b,
        where D is the share of texts that have the label plus the share that the reference answers so.
        """
        asked = np.bincount(truth, minlength=labels) / len(truth)
        answered = np.bincount(self.reference, minlength=labels) / len(self.reference)
        mass = asked + answered
        if (mass <= 0.0).any():
            return 1.0
        f1 = 2.0 * np.bincount(truth[truth == reference], minlength=labels) / len(truth) / mass
        changed = self.upper()
        worst = ((2.0 - f1) / np.maximum(mass - changed, 1e-9)).max() + (f1 / mass).max()
        return min(1.0, float(changed * worst / labels))


def _paired(answers: Answers, margin: float, confidence: float) -> PairedComparison:
    return stats.paired_non_inferiority(
        answers.reference == answers.truth, answers.candidate == answers.truth, margin=margin, confidence=confidence
    )


def _accuracy(answers: Answers, changes: _Changes | None, rules: Rules) -> Criterion:
    found = _paired(answers, rules.margin, changes.confidence if changes else rules.confidence)
    return _compared("accuracy", found, changes.upper() if changes else None)


def _compared(name: str, found: PairedComparison, label_free: float | None) -> Criterion:
    """The criterion that a comparison meets, by itself or by what the changes alone bound."""
    limit, by = -found.lower, _LABELS
    if label_free is not None and label_free < limit:
        limit, by = label_free, _CHANGES
    return Criterion(
        name,
        "pass" if limit < found.margin else "fail",
        texts=found.n,
        lost=found.lost,
        gained=found.gained,
        loss=-found.difference,
        limit=limit,
        margin=found.margin,
        by=by,
    )


def _recalls(answers: Answers, changes: _Changes | None, labels: Sequence[str], rules: Rules) -> list[Criterion]:
    """One criterion for each label with enough texts, one for all others together, and each that is proven worse."""
    counts = np.bincount(answers.truth, minlength=len(labels))
    fewest = _fewest(changes, rules)
    frequent = [i for i in range(len(labels)) if counts[i] >= fewest]
    rare = [i for i in range(len(labels)) if 0 < counts[i] < fewest]
    criteria = [_recall(f"recall of {labels[i]}", answers, changes, [i], rules) for i in frequent]
    if rare:
        group = f"recall of {_list([labels[i] for i in rare])}"
        criteria.append(_recall(group, answers, changes, rare, rules))
        criteria.extend(_proven_worse(answers, rare, labels, rules))
    return criteria


def _recall(name: str, answers: Answers, changes: _Changes | None, labels: Sequence[int], rules: Rules) -> Criterion:
    found = _paired(answers.of(labels), rules.recall_margin, changes.confidence if changes else rules.confidence)
    criterion = _compared(name, found, changes.recall_loss_upper(answers.truth, labels) if changes else None)
    fewest = _fewest(changes, rules)
    if criterion.outcome == "pass" or found.n >= fewest:
        return criterion
    within = criterion.loss <= criterion.margin
    return replace(criterion, outcome="undecided" if within else "fail", needed=fewest)


def _fewest(changes: _Changes | None, rules: Rules) -> int:
    """With fewer texts of a label not even identical answers prove its recall."""
    confidence = changes.confidence if changes else rules.confidence
    return stats.fewest_texts(margin=rules.recall_margin, confidence=confidence)


def _proven_worse(answers: Answers, rare: Sequence[int], labels: Sequence[str], rules: Rules) -> list[Criterion]:
    """The labels among those with few texts whose recall is proven to be worse by more than the margin."""
    found = [_paired(answers.of([i]), rules.recall_margin, rules.confidence) for i in rare]
    worse = stats.holm([comparison.p_worse for comparison in found], 1.0 - rules.confidence)
    return [
        replace(_compared(f"recall of {labels[i]}", comparison, None), outcome="fail")
        for i, comparison, proven in zip(rare, found, worse, strict=True)
        if proven
    ]


def _macro_f1(answers: Answers, changes: _Changes | None, labels: Sequence[str], rules: Rules) -> Criterion:
    """Decided where the rarest label has so many texts that a loss of the margin on it alone would be seen."""
    count = len(labels)
    before, after = (stats.macro_f1(answers.truth, x, count) for x in (answers.reference, answers.candidate))
    confidence = changes.confidence if changes else rules.confidence
    limit, by = (
        stats.macro_f1_loss_upper(
            answers.truth, answers.reference, answers.candidate, count, confidence=confidence, draws=_DRAWS, seed=_SEED
        ),
        _LABELS,
    )
    needed = stats.fewest_texts(margin=rules.margin, confidence=confidence)
    sizes = np.bincount(answers.truth, minlength=count)
    rarest = int(sizes[sizes > 0].min()) * int((sizes > 0).sum())
    decided = rarest >= needed
    if changes and (label_free := changes.macro_f1_loss_upper(answers.truth, answers.reference, count)) < rules.margin:
        limit, by, decided = label_free, _CHANGES, True
    found: Outcome = "pass" if limit < rules.margin else "fail"
    if not decided:
        found = "undecided" if before - after <= rules.margin else "fail"
    right_before, right_after = answers.reference == answers.truth, answers.candidate == answers.truth
    return Criterion(
        "macro F1",
        found,
        texts=len(answers.truth),
        lost=int((right_before & ~right_after).sum()),
        gained=int((~right_before & right_after).sum()),
        loss=before - after,
        limit=limit,
        margin=rules.margin,
        by=by,
        needed=-(-needed // int((sizes > 0).sum())) if not decided else 0,
    )


def _agreement(answers: Answers, rules: Rules) -> Criterion:
    """The share of labels that change, on labelled and further texts together: no label is needed for it."""
    changed = int((answers.reference != answers.candidate).sum())
    changed += int((answers.free_reference != answers.free_candidate).sum())
    n = len(answers.reference) + len(answers.free_reference)
    limit = stats.proportion_upper(changed, n, rules.confidence)
    return Criterion(
        "agreement",
        "pass" if limit < rules.max_changed else "fail",
        texts=n,
        lost=changed,
        gained=0,
        loss=changed / n,
        limit=limit,
        margin=rules.max_changed,
        by="changes",
    )


def _smallest_margin(texts: int, confidence: float) -> float:
    """The margin that identical answers to so many texts are proven within."""
    return -stats.compare_counts(texts, 0, 0, margin=0.5, confidence=confidence).lower


def _list(names: Sequence[str]) -> str:
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"{len(names)} labels with few texts ({', '.join(names[:_LISTED])}, ...)"
