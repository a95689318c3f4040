"""Each criterion of one variant, from its answers and PyTorch's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np

from sentopt.gate.rules import Rules
from sentopt.gate.words import list_names, unlabelled_can_decide
from sentopt.measure import stats
from sentopt.measure.stats import IntArray, PairedComparison
from sentopt.results import Criterion, Outcome

_LABELS: Literal["labels", "changes"] = "labels"
_CHANGES: Literal["labels", "changes"] = "changes"
_DRAWS = 2_000
_SEED = 20_260_101


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


@dataclass(frozen=True)
class _Changes:
    """Labels that differ from the reference's, on all texts together: no label is lost that does not change.

    Where there are enough texts without labels to decide anything, the level is shared by two tests, one that uses the
    labels and one that counts changes alone (Bonferroni); a criterion is met if either shows it. `confidence` is that
    of each. Their number alone decides whether it is shared, so that no answer has a part in it.
    """

    confidence: float
    reference: IntArray
    candidate: IntArray

    @classmethod
    def of(cls, answers: Answers, rules: Rules) -> _Changes | None:
        """None where there are too few texts for changes to decide anything."""
        texts = len(answers.reference) + len(answers.free_reference)
        if not len(answers.free_reference) or not unlabelled_can_decide(texts, rules):
            return None
        return cls(
            1.0 - (1.0 - rules.confidence) / 2.0,
            np.concatenate([answers.reference, answers.free_reference]),
            np.concatenate([answers.candidate, answers.free_candidate]),
        )

    def upper(self) -> float:
        """Upper limit of the share of labels that change."""
        changed = int((self.reference != self.candidate).sum())
        return stats.proportion_upper(changed, len(self.reference), self.confidence)

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
        """Upper limit of the loss of macro F1 over the labels that occur, if every change were for the worse.

        A text that goes from label a to label b takes at most (2 - F1_a) / D_a from F1_a and F1_b / D_b from F1_b,
        where D is the share of texts that have the label plus the share that the reference answers so.
        """
        asked = np.bincount(truth, minlength=labels) / len(truth)
        present = asked > 0
        mass = (asked + np.bincount(self.reference, minlength=labels) / len(self.reference))[present]
        right = np.bincount(truth[truth == reference], minlength=labels)[present] / len(truth)
        f1, changed = np.minimum(1.0, 2.0 * right / mass), self.upper()
        worst = ((2.0 - f1) / np.maximum(mass - changed, 1e-9)).max() + (f1 / mass).max()
        return min(1.0, float(changed * worst / present.sum()))


def _paired(answers: Answers, margin: float, confidence: float) -> PairedComparison:
    return stats.paired_non_inferiority(
        answers.reference == answers.truth, answers.candidate == answers.truth, margin=margin, confidence=confidence
    )


def _are_of_one_kind(answers: Answers) -> bool:
    """Whether labels do not change significantly (5 %) more often on the labelled texts than on those without labels.

    Where they do, the texts are not from one source, and changes decide nothing; the level of the other test stays
    what it was, so this only ever takes a way to pass.
    """
    labelled = int((answers.reference != answers.candidate).sum())
    total = labelled + int((answers.free_reference != answers.free_candidate).sum())
    share = len(answers.reference) / (len(answers.reference) + len(answers.free_reference))
    return 1.0 - stats.binomial_cdf(labelled - 1, total, share) >= 0.05


def differing_answers(labelled: IntArray, free: IntArray, labels: Sequence[str]) -> str:
    """Why texts without labels are not of the kind of the labelled ones; empty where nothing speaks against it.

    PyTorch gives some label to significantly more of the ones than of the others (0.5 %, Bonferroni over labels).

    Args:
        labelled, free: PyTorch's answers as label positions, of shape (texts,) and (further texts,).
        labels: names.
    """
    limit = NormalDist().inv_cdf(1.0 - 0.0025 / len(labels))
    for i, label in enumerate(labels):
        one, other = (labelled == i).mean(), (free == i).mean()
        both = np.concatenate([labelled, free]) == i
        error = np.sqrt(max(both.mean() * (1.0 - both.mean()), 1e-12) * (1.0 / len(labelled) + 1.0 / len(free)))
        if abs(one - other) / error > limit:
            return (
                f"PyTorch answers {label} to {one:.1%} of the test texts and to {other:.1%} of the texts without labels"
            )
    return ""


def _accuracy(answers: Answers, changes: _Changes | None, rules: Rules) -> Criterion:
    found = _paired(answers, rules.margin, changes.confidence if changes else rules.confidence)
    return _compared("accuracy", found, changes.upper() if changes and _are_of_one_kind(answers) else None)


def _compared(name: str, found: PairedComparison, label_free: float | None) -> Criterion:
    """The criterion that a comparison meets, by itself or by what the changes alone bound.

    Changes cannot excuse a loss that was seen: texts without labels may be easier than those with labels.
    """
    limit, by = -found.lower, _LABELS
    if label_free is not None and label_free < limit and -found.difference < found.margin:
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
        confidence=found.confidence,
    )


def _recalls(answers: Answers, changes: _Changes | None, labels: Sequence[str], rules: Rules) -> list[Criterion]:
    """One criterion for each label with enough texts, one for all others together, and each that is proven worse."""
    counts = np.bincount(answers.truth, minlength=len(labels))
    confidence = changes.confidence if changes else rules.confidence
    fewest = rules.fewest_of_a_label(int((counts > 0).sum()), confidence)
    alone = [i for i in range(len(labels)) if counts[i] >= fewest]
    rare = [i for i in range(len(labels)) if 0 < counts[i] < fewest]
    absent = [labels[i] for i in range(len(labels)) if not counts[i]]
    criteria = [_recall(labels[i], answers, changes, [i], rules) for i in alone]
    if rare:
        criteria.append(_recall(list_names([labels[i] for i in rare]), answers, changes, rare, rules))
        criteria.extend(_proven_worse(answers, rare, labels, rules))
    if absent:
        needed = stats.fewest_texts(margin=rules.recall_margin, confidence=confidence)
        nothing = Criterion("", "undecided", 0, 0, 0, 0.0, 1.0, rules.recall_margin, _LABELS, confidence, needed=needed)
        criteria.append(replace(nothing, name=f"recall of {list_names(absent)}"))
    return criteria


def _recall(name: str, answers: Answers, changes: _Changes | None, labels: Sequence[int], rules: Rules) -> Criterion:
    confidence = changes.confidence if changes else rules.confidence
    found = _paired(answers.of(labels), rules.recall_margin, confidence)
    usable = changes if changes and _are_of_one_kind(answers) else None
    criterion = _compared(
        f"recall of {name}", found, usable.recall_loss_upper(answers.truth, labels) if usable else None
    )
    needed = stats.fewest_texts(margin=rules.recall_margin, confidence=confidence)
    if criterion.outcome == "pass" or found.n >= needed:
        return criterion
    within = criterion.loss <= criterion.margin
    return replace(criterion, outcome="undecided" if within else "fail", needed=needed)


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
    count, confidence = len(labels), changes.confidence if changes else rules.confidence
    loss = stats.macro_f1(answers.truth, answers.reference, count)
    loss -= stats.macro_f1(answers.truth, answers.candidate, count)
    limit, by = (
        stats.macro_f1_loss_upper(
            answers.truth, answers.reference, answers.candidate, count, confidence=confidence, draws=_DRAWS, seed=_SEED
        ),
        _LABELS,
    )
    sizes = np.bincount(answers.truth, minlength=count)
    sizes = sizes[sizes > 0]
    needed = stats.fewest_texts(margin=rules.margin, confidence=confidence)
    decided = int(sizes.min()) * len(sizes) >= needed
    if changes and loss < rules.margin and _are_of_one_kind(answers):
        label_free = changes.macro_f1_loss_upper(answers.truth, answers.reference, count)
        if label_free < rules.margin:
            limit, by, decided = label_free, _CHANGES, True
    found: Outcome = "pass" if limit < rules.margin else "fail"
    if not decided:
        found = "undecided" if loss <= rules.margin else "fail"
    before, after = answers.reference == answers.truth, answers.candidate == answers.truth
    return Criterion(
        "macro F1",
        found,
        texts=len(answers.truth),
        lost=int((before & ~after).sum()),
        gained=int((~before & after).sum()),
        loss=loss,
        limit=limit,
        margin=rules.margin,
        by=by,
        confidence=confidence,
        needed=0 if decided else -(-needed // len(sizes)),
    )


def _agreement(answers: Answers, rules: Rules) -> Criterion:
    """The share of labels that change, on labelled and further texts together: no label is needed for it."""
    changed, n = int((answers.reference != answers.candidate).sum()), len(answers.reference)
    if _are_of_one_kind(answers):
        changed += int((answers.free_reference != answers.free_candidate).sum())
        n += len(answers.free_reference)
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
        by=_CHANGES,
        confidence=rules.confidence,
    )
