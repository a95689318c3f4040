"""The gate where a text has any number of labels: answers are codes of label sets (`measure.label_sets`).

It is that of `criteria` with these changes. An answer is right if all labels are (subset accuracy). The recall of a
label is that of the texts that have it; an answer is right if the label is in it. Labels with few texts are tested
together: an answer is right if it has all of them that the text has. Micro F1 is tested always, macro F1 where the
recipe asks for it, both by a paired bootstrap over texts. Texts without labels are no evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sentopt.gate.criteria import Answers, agreement_of, compared, paired
from sentopt.gate.rules import Rules
from sentopt.gate.words import MACRO_F1, MICRO_F1, SUBSET_ACCURACY, list_names
from sentopt.measure import label_sets, set_stats, stats
from sentopt.measure.set_stats import Average
from sentopt.measure.stats import IntArray, PairedComparison
from sentopt.results import Criterion, Outcome, ReferenceCheck

_AVERAGES: dict[str, Average] = {MICRO_F1: "micro", MACRO_F1: "macro"}
_DRAWS = 2_000
_SEED = 20_260_101


def judge(answers: Answers, labels: Sequence[str], rules: Rules) -> tuple[Criterion, ...]:
    """All criteria of a variant: subset accuracy, recall of each label, micro F1, macro F1 if asked for, agreement."""
    right = paired(answers, rules.margin, rules.confidence)
    criteria = [compared(SUBSET_ACCURACY, right, None), *_recalls(answers, labels, rules)]
    criteria.append(_f1(MICRO_F1, answers, labels, rules))
    if rules.macro_f1:
        criteria.append(_f1(MACRO_F1, answers, labels, rules))
    criteria.append(agreement_of(answers, rules))
    return tuple(criteria)


def _recalls(answers: Answers, labels: Sequence[str], rules: Rules) -> list[Criterion]:
    """A criterion per label with enough texts, one for all rare labels together, one per rare label proven worse."""
    counts = label_sets.counts(answers.truth, len(labels))
    fewest = rules.fewest_of_a_label(int((counts > 0).sum()), rules.confidence)
    alone = [i for i in range(len(labels)) if counts[i] >= fewest]
    rare = [i for i in range(len(labels)) if 0 < counts[i] < fewest]
    absent = [labels[i] for i in range(len(labels)) if not counts[i]]
    criteria = [_recall(labels[i], answers, [i], rules) for i in alone]
    if rare:
        criteria.append(_recall(list_names([labels[i] for i in rare]), answers, rare, rules))
        criteria.extend(_proven_worse(answers, rare, labels, rules))
    if absent:
        needed = stats.fewest_texts(margin=rules.recall_margin, confidence=rules.confidence)
        criteria.append(
            Criterion(
                f"recall of {list_names(absent)}",
                "undecided",
                texts=0,
                lost=0,
                gained=0,
                loss=0.0,
                limit=1.0,
                margin=rules.recall_margin,
                by="labels",
                confidence=rules.confidence,
                needed=needed,
            )
        )
    return criteria


def _on(answers: Answers, labels: Sequence[int], rules: Rules) -> PairedComparison:
    """Of the texts that have one of `labels`: whether all of these that a text has are in the answers."""
    mask = np.int64(label_sets.code_of(labels))
    wanted = answers.truth & mask
    texts = wanted != 0
    reference, candidate = ((given & wanted == wanted)[texts] for given in (answers.reference, answers.candidate))
    return stats.paired_non_inferiority(reference, candidate, margin=rules.recall_margin, confidence=rules.confidence)


def _recall(name: str, answers: Answers, labels: Sequence[int], rules: Rules) -> Criterion:
    comparison = _on(answers, labels, rules)
    criterion = compared(f"recall of {name}", comparison, None)
    needed = stats.fewest_texts(margin=rules.recall_margin, confidence=rules.confidence)
    if criterion.outcome == "pass" or comparison.n >= needed:
        return criterion
    within = criterion.loss <= criterion.margin
    return replace(criterion, outcome="undecided" if within else "fail", needed=needed)


def _proven_worse(answers: Answers, rare: Sequence[int], labels: Sequence[str], rules: Rules) -> list[Criterion]:
    """The rare labels whose recall is proven worse by more than the margin."""
    comparisons = [_on(answers, [i], rules) for i in rare]
    worse = stats.holm([comparison.p_worse for comparison in comparisons], 1.0 - rules.confidence)
    return [
        replace(compared(f"recall of {labels[i]}", comparison, None), outcome="fail")
        for i, comparison, proven in zip(rare, comparisons, worse, strict=True)
        if proven
    ]


def _f1(name: str, answers: Answers, labels: Sequence[str], rules: Rules) -> Criterion:
    """Micro or macro F1; macro F1 is undecided if the rarest label has too few texts to show a loss of the margin."""
    count, of = len(labels), _AVERAGES[name]
    before, after = (set_stats.f1(answers.truth, given, count)[of] for given in (answers.reference, answers.candidate))
    loss = before - after
    limit = set_stats.f1_loss_upper(
        answers.truth,
        answers.reference,
        answers.candidate,
        count,
        average=of,
        confidence=rules.confidence,
        draws=_DRAWS,
        seed=_SEED,
    )
    sizes = label_sets.counts(answers.truth, count)
    sizes = sizes[sizes > 0]
    needed = stats.fewest_texts(margin=rules.margin, confidence=rules.confidence)
    smallest = int(sizes.min()) * len(sizes) if len(sizes) and of == "macro" else len(answers.truth)
    decided = smallest >= needed
    outcome: Outcome = "pass" if limit < rules.margin else "fail"
    if not decided:
        outcome = "undecided" if loss <= rules.margin else "fail"
    right, still = answers.reference == answers.truth, answers.candidate == answers.truth
    return Criterion(
        name,
        outcome,
        texts=len(answers.truth),
        lost=int((right & ~still).sum()),
        gained=int((~right & still).sum()),
        loss=loss,
        limit=limit,
        margin=rules.margin,
        by="labels",
        confidence=rules.confidence,
        needed=0 if decided else -(-needed // max(1, len(sizes) if of == "macro" else 1)),
    )


def check_reference_of_sets(
    truth: IntArray, answers: IntArray, labels: Sequence[str], *, confidence: float, allowed: bool
) -> ReferenceCheck:
    """Test whether the PyTorch model is better than giving every text the same labels, whichever these are.

    The balanced accuracy of a label is the mean of two shares: of the texts with the label that get it, and of those
    without it that do not. It is 0.5 for always the same labels. Its mean over the labels that occur has limits as if
    all labels erred together: the mean of exact limits (Clopper and Pearson) of all shares.

    Args:
        truth, answers: codes of label sets of the distinct test texts, both of shape (texts,).
        labels: names.
        confidence: of the one-sided limits.
        allowed: whether the recipe accepts a weak reference.
    """
    found = set_stats.balanced_accuracy(truth, answers, len(labels), confidence=confidence)
    frequency = np.unique(truth, return_counts=True)[1].max() / len(truth)
    figures = (
        f"balanced accuracy {found.estimate:.4f} of a label on {len(truth)} test texts ({confidence:.0%} limits "
        f"{found.lower:.4f} to {found.upper:.4f}), {found.chance:.4f} for always giving the same labels"
    )
    proven = found.lower > found.chance
    if proven:
        words = f"the PyTorch model is proven better than always giving the same labels: {figures}"
    elif found.upper >= found.chance:
        words = f"the PyTorch model is not proven better than always giving the same labels: {figures}"
    else:
        words = (
            "the PyTorch model is worse than always giving the same labels: its labels are probably in the wrong "
            f"order. {figures}"
        )
    return ReferenceCheck(
        texts=len(truth),
        accuracy=float((truth == answers).mean()),
        majority=float(frequency),
        balanced_accuracy=found.estimate,
        lower=found.lower,
        upper=found.upper,
        chance=found.chance,
        proven=proven,
        allowed=allowed,
        words=words,
    )
