"""The criteria of a variant, computed from its answers and PyTorch's."""

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
    """Labels and answers as label positions, for labelled texts and for texts without labels.

    `truth`, `reference` and `candidate` have shape (labelled texts,); `free_reference` and `free_candidate` have shape
    (texts without labels,).
    """

    truth: IntArray
    reference: IntArray
    candidate: IntArray
    free_reference: IntArray
    free_candidate: IntArray

    @classmethod
    def labelled(cls, truth: IntArray, reference: IntArray, candidate: IntArray) -> Answers:
        """Answers to labelled texts only."""
        none = np.zeros(0, dtype=np.int64)
        return cls(truth, reference, candidate, none, none)

    def of(self, labels: Sequence[int]) -> Answers:
        """The labelled texts whose true label is one of `labels`."""
        selected = np.isin(self.truth, labels)
        return replace(
            self, truth=self.truth[selected], reference=self.reference[selected], candidate=self.candidate[selected]
        )


def judge(answers: Answers, labels: Sequence[str], rules: Rules) -> tuple[Criterion, ...]:
    """All criteria of a variant: accuracy, recall of each label, macro F1 (if `rules.macro_f1`), agreement."""
    changes = _Changes.of(answers, rules)
    criteria = [_accuracy(answers, changes, rules), *_recalls(answers, changes, labels, rules)]
    if rules.macro_f1:
        criteria.append(_macro_f1(answers, changes, labels, rules))
    criteria.append(agreement_of(answers, rules))
    return tuple(criteria)


@dataclass(frozen=True)
class _Changes:
    """The test that counts changed answers on all texts, labelled or not: an answer that does not change is not lost.

    If there are enough texts without labels, two tests share the level (Bonferroni): one uses the labels, the other
    counts changes. A criterion is met if either test shows it. `confidence` is that of each test. Whether the level is
    shared depends on the number of texts alone, never on the answers.
    """

    confidence: float
    reference: IntArray
    candidate: IntArray

    @classmethod
    def of(cls, answers: Answers, rules: Rules) -> _Changes | None:
        """None if there are too few texts for this test."""
        texts = len(answers.reference) + len(answers.free_reference)
        if not len(answers.free_reference) or not unlabelled_can_decide(texts, rules):
            return None
        return cls(
            1.0 - (1.0 - rules.confidence) / 2.0,
            np.concatenate([answers.reference, answers.free_reference]),
            np.concatenate([answers.candidate, answers.free_candidate]),
        )

    def upper(self) -> float:
        """Upper limit of the share of changed answers."""
        changed = int((self.reference != self.candidate).sum())
        return stats.proportion_upper(changed, len(self.reference), self.confidence)

    def recall_loss_upper(self, truth: IntArray, labels: Sequence[int]) -> float:
        """Upper limit of the loss of recall of `labels` together.

        A lost text is one for which the reference answers one of `labels` and the candidate a different label. The
        limit is the share of such texts over the share of texts with one of these labels; each of the two limits uses
        half of the level.
        """
        half = 1.0 - (1.0 - self.confidence) / 2.0
        left = np.isin(self.reference, labels) & (self.reference != self.candidate)
        share = stats.proportion_lower(int(np.isin(truth, labels).sum()), len(truth), half)
        return 1.0 if share <= 0.0 else min(1.0, stats.proportion_upper(int(left.sum()), len(left), half) / share)

    def macro_f1_loss_upper(self, truth: IntArray, reference: IntArray, labels: int) -> float:
        """Upper limit of the loss of macro F1 over the labels that occur, if every change is an error.

        A text whose answer changes from label a to label b reduces F1_a by at most (2 - F1_a) / D_a and F1_b by at most
        F1_b / D_b. D is the share of texts with the label plus the share of texts that the reference gives the label.
        """
        frequency = np.bincount(truth, minlength=labels) / len(truth)
        present = frequency > 0
        mass = (frequency + np.bincount(self.reference, minlength=labels) / len(self.reference))[present]
        right = np.bincount(truth[truth == reference], minlength=labels)[present] / len(truth)
        f1, changed = np.minimum(1.0, 2.0 * right / mass), self.upper()
        worst = ((2.0 - f1) / np.maximum(mass - changed, 1e-9)).max() + (f1 / mass).max()
        return min(1.0, float(changed * worst / present.sum()))


def paired(answers: Answers, margin: float, confidence: float) -> PairedComparison:
    """Right answers of reference and candidate on the labelled texts."""
    return stats.paired_non_inferiority(
        answers.reference == answers.truth, answers.candidate == answers.truth, margin=margin, confidence=confidence
    )


def _same_change_rate(answers: Answers) -> bool:
    """False if answers change significantly (5 %) more often on labelled texts than on texts without labels.

    In that case the texts are not from one source, and the test that counts changes is not used. The level of the other
    test stays the same, so this can only make a variant fail.
    """
    labelled = int((answers.reference != answers.candidate).sum())
    total = labelled + int((answers.free_reference != answers.free_candidate).sum())
    share = len(answers.reference) / (len(answers.reference) + len(answers.free_reference))
    return 1.0 - stats.binomial_cdf(labelled - 1, total, share) >= 0.05


def distribution_shift(labelled: IntArray, free: IntArray, labels: Sequence[str]) -> str:
    """Evidence that texts without labels differ from the labelled texts, in words; empty if there is none.

    The evidence is a label that PyTorch gives to a significantly different share of the two sets of texts (0.5 %,
    Bonferroni over the labels).

    Args:
        labelled, free: PyTorch's answers as label positions, of shapes (labelled texts,) and (texts without labels,).
        labels: names of the labels.
    """
    limit = NormalDist().inv_cdf(1.0 - 0.0025 / len(labels))
    for i, label in enumerate(labels):
        share, free_share = (labelled == i).mean(), (free == i).mean()
        both = np.concatenate([labelled, free]) == i
        error = np.sqrt(max(both.mean() * (1.0 - both.mean()), 1e-12) * (1.0 / len(labelled) + 1.0 / len(free)))
        if abs(share - free_share) / error > limit:
            return (
                f"PyTorch answers {label} to {share:.1%} of the test texts and to {free_share:.1%} of the texts "
                "without labels"
            )
    return ""


def _accuracy(answers: Answers, changes: _Changes | None, rules: Rules) -> Criterion:
    comparison = paired(answers, rules.margin, changes.confidence if changes else rules.confidence)
    return compared("accuracy", comparison, changes.upper() if changes and _same_change_rate(answers) else None)


def compared(name: str, comparison: PairedComparison, label_free: float | None) -> Criterion:
    """The criterion of a paired comparison. `label_free` is the limit by changes alone.

    `label_free` is used only if the observed loss is within the margin: texts without labels may be easier than the
    labelled ones.
    """
    limit, by = -comparison.lower, _LABELS
    if label_free is not None and label_free < limit and -comparison.difference < comparison.margin:
        limit, by = label_free, _CHANGES
    return Criterion(
        name,
        "pass" if limit < comparison.margin else "fail",
        texts=comparison.n,
        lost=comparison.lost,
        gained=comparison.gained,
        loss=-comparison.difference,
        limit=limit,
        margin=comparison.margin,
        by=by,
        confidence=comparison.confidence,
    )


def _recalls(answers: Answers, changes: _Changes | None, labels: Sequence[str], rules: Rules) -> list[Criterion]:
    """A criterion per label with enough texts, one for all rare labels together, one per rare label proven worse."""
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
        undecided = Criterion(
            "", "undecided", 0, 0, 0, 0.0, 1.0, rules.recall_margin, _LABELS, confidence, needed=needed
        )
        criteria.append(replace(undecided, name=f"recall of {list_names(absent)}"))
    return criteria


def _recall(name: str, answers: Answers, changes: _Changes | None, labels: Sequence[int], rules: Rules) -> Criterion:
    confidence = changes.confidence if changes else rules.confidence
    comparison = paired(answers.of(labels), rules.recall_margin, confidence)
    valid = changes if changes and _same_change_rate(answers) else None
    criterion = compared(
        f"recall of {name}", comparison, valid.recall_loss_upper(answers.truth, labels) if valid else None
    )
    needed = stats.fewest_texts(margin=rules.recall_margin, confidence=confidence)
    if criterion.outcome == "pass" or comparison.n >= needed:
        return criterion
    within = criterion.loss <= criterion.margin
    return replace(criterion, outcome="undecided" if within else "fail", needed=needed)


def _proven_worse(answers: Answers, rare: Sequence[int], labels: Sequence[str], rules: Rules) -> list[Criterion]:
    """The rare labels whose recall is proven worse by more than the margin."""
    comparisons = [paired(answers.of([i]), rules.recall_margin, rules.confidence) for i in rare]
    worse = stats.holm([comparison.p_worse for comparison in comparisons], 1.0 - rules.confidence)
    return [
        replace(compared(f"recall of {labels[i]}", comparison, None), outcome="fail")
        for i, comparison, proven in zip(rare, comparisons, worse, strict=True)
        if proven
    ]


def _macro_f1(answers: Answers, changes: _Changes | None, labels: Sequence[str], rules: Rules) -> Criterion:
    """Macro F1; undecided if the rarest label has too few texts to show a loss of the margin on it alone."""
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
    if changes and loss < rules.margin and _same_change_rate(answers):
        label_free = changes.macro_f1_loss_upper(answers.truth, answers.reference, count)
        if label_free < rules.margin:
            limit, by, decided = label_free, _CHANGES, True
    outcome: Outcome = "pass" if limit < rules.margin else "fail"
    if not decided:
        outcome = "undecided" if loss <= rules.margin else "fail"
    before, after = answers.reference == answers.truth, answers.candidate == answers.truth
    return Criterion(
        "macro F1",
        outcome,
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


def agreement_of(answers: Answers, rules: Rules) -> Criterion:
    """The share of answers that change, on all texts: the agreement needs no labels."""
    changed, n = int((answers.reference != answers.candidate).sum()), len(answers.reference)
    if _same_change_rate(answers):
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
