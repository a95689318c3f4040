"""Outcomes of the gate in words: what was found, what a test split can decide, and what would decide more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sentopt.gate.rules import Rules
from sentopt.measure import stats
from sentopt.results import Criterion

ACCURACY, SUBSET_ACCURACY, MICRO_F1, MACRO_F1 = "accuracy", "subset accuracy", "micro F1", "macro F1"
"""Names of criteria."""
ACCURACIES = (ACCURACY, SUBSET_ACCURACY)
_LISTED = 3
_FACTORS = (1.25, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_UNLABELLED = (500, 1_000, 2_000, 3_000, 5_000, 10_000, 20_000)
_USUAL_CHANGE = 0.005


def foresee(
    test: Mapping[str, int],
    validation: Mapping[str, int],
    rules: Rules,
    *,
    unlabelled: bool,
    texts: tuple[int, int] | None = None,
) -> tuple[str, ...]:
    """Limits of what a test split can decide, known before training; empty if there are none.

    Args:
        test: number of distinct test texts of each label, zeros included.
        validation: the same for the validation texts if they are evidence, else empty.
        rules: what must be proven.
        unlabelled: whether there are texts without labels; they may decide what labelled texts cannot.
        texts: how many distinct test and validation texts there are, where each may have any number of labels.
    """
    whole = texts or (sum(test.values()), sum(validation.values()))
    words = [] if unlabelled else _whole(*whole, rules)
    counts = {label: count + validation.get(label, 0) for label, count in test.items()}
    fewest = rules.fewest_of_a_label(len(counts), rules.confidence)
    rare = {label: count for label, count in counts.items() if count < fewest}
    together, least = sum(rare.values()), stats.fewest_texts(margin=rules.recall_margin, confidence=rules.confidence)
    if rare and together < least:
        words.append(
            f"recall of {list_names(list(rare))} cannot be decided at {rules.recall_margin * 100:g} points: "
            f"{together} texts, {least} needed"
        )
    return tuple(words)


def _whole(test: int, validation: int, rules: Rules) -> list[str]:
    texts = test + validation
    evidence = f"{test} test texts" + (f" and {validation} validation texts" if validation else "")
    least = stats.fewest_texts(margin=rules.margin, confidence=rules.confidence)
    likely = stats.likely_enough_texts(changed=0.01, margin=rules.margin, confidence=rules.confidence)
    margin = f"margin {rules.margin * 100:g}"
    helps = " Texts without labels help: --set data.unlabelled=FILE" if rules.unlabelled_counts else ""
    if texts < least:
        proven = _smallest_margin(texts, rules.confidence) * 100.0
        return [
            f"{evidence}: only exact FP32 graphs can pass at {margin}; at least {least} texts are needed, about "
            f"{likely} if 1 % of the answers change. Identical answers would prove a margin of {proven:.2g} points "
            f"(verify.margin).{helps}"
        ]
    if texts < likely:
        return [
            f"{evidence}: a variant that changes 1 % of the answers may fail at {margin} by chance; with about "
            f"{likely} texts it passes in 80 % of cases.{helps}"
        ]
    return []


def unlabelled_can_decide(texts: int, rules: Rules) -> bool:
    """Whether `texts` texts prove the margin by changed answers alone, at half of the level, if 0.5 % change."""
    half = 1.0 - (1.0 - rules.confidence) / 2.0
    return stats.proportion_upper(round(texts * _USUAL_CHANGE), texts, half) < rules.margin


def too_few_unlabelled(labelled: int, unlabelled: int, rules: Rules) -> str:
    """A notice if `unlabelled` texts cannot help to prove a margin; else an empty text.

    `labelled` counts all labelled texts that are evidence: test texts, and validation texts if they count.
    """
    if unlabelled_can_decide(labelled + unlabelled, rules):
        return ""
    return f"{unlabelled} texts without labels are too few to prove a margin; they count for the agreement"


def describe(criterion: Criterion) -> str:
    """The result of a criterion and its distance from the margin."""
    c = criterion
    margin = f"{c.margin * 100:g}"
    if c.outcome == "undecided":
        each = " of each label" if c.name == MACRO_F1 else ""
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


def explain(criteria: Sequence[Criterion], serving_mode: str, rules: Rules) -> str:
    """Why a variant passes or fails its own tests; `serving_mode` is the mode that it is judged by."""
    if not criteria:
        return "all labels and probabilities are PyTorch's"
    failed = [criterion for criterion in criteria if criterion.outcome == "fail"]
    if failed:
        failures = ", ".join(describe(criterion) for criterion in failed[:_LISTED])
        return "; ".join([f"{failures} ({serving_mode})", *advise(criteria, rules)])
    undecided = [describe(criterion) for criterion in criteria if criterion.outcome == "undecided"]
    others = [
        "the recall of every label",
        *(criterion.name for criterion in criteria if criterion.name in (MICRO_F1, MACRO_F1)),
        "the agreement",
    ]
    proven = f"{describe(criteria[0])} ({serving_mode}); so are {', '.join(others[:-1])} and {others[-1]}"
    return "; ".join([describe(criteria[0]) + f" ({serving_mode})", *undecided] if undecided else [proven])


def advise(criteria: Sequence[Criterion], rules: Rules) -> list[str]:
    """What would decide each failed criterion whose observed loss is within its margin.

    Empty if the observed loss of any criterion is outside its margin: the variant would fail anyway.
    """
    if any(criterion.outcome == "fail" and criterion.loss >= criterion.margin for criterion in criteria):
        return []
    agreement = next(criterion for criterion in criteria if criterion.name == "agreement")
    return [
        f"{', or '.join(remedies)} would decide {criterion.name}"
        for criterion in criteria
        if criterion.outcome == "fail"
        if (remedies := _remedies(criterion, agreement.loss, rules))
    ]


def _remedies(criterion: Criterion, changed: float, rules: Rules) -> list[str]:
    """A wider margin and, for tests that count lost and gained texts, a larger number of texts at the same rates."""
    wider = f"{(np.floor(criterion.limit * 1000.0) + 1.0) / 10.0:g}"
    if criterion.name == "agreement":
        return [f"--set verify.max_changed={wider}"]
    if criterion.name in (MACRO_F1, MICRO_F1):
        return [f"--set verify.margin={wider}"]
    remedies = []
    for factor in _FACTORS:
        n, lost, gained = (round(x * factor) for x in (criterion.texts, criterion.lost, criterion.gained))
        if stats.compare_counts(n, lost, gained, margin=criterion.margin, confidence=criterion.confidence).non_inferior:
            which = "labelled texts" if criterion.name in ACCURACIES else "texts of that label"
            remedies.append(f"about {n} {which} at these rates")
            break
    if criterion.name not in ACCURACIES:
        return remedies
    half = 1.0 - (1.0 - rules.confidence) / 2.0
    for n in _UNLABELLED if rules.unlabelled_counts else ():
        enough = unlabelled_can_decide(n + criterion.texts, rules)
        if enough and stats.proportion_upper(round(n * changed), n, half) < rules.margin:
            remedies.append(f"about {n} further texts without labels (--set data.unlabelled=FILE)")
            break
    return [*remedies, f"--set verify.margin={wider}"]


def _smallest_margin(texts: int, confidence: float) -> float:
    """The smallest margin that identical answers to `texts` texts prove."""
    return -stats.compare_counts(texts, 0, 0, margin=0.5, confidence=confidence).lower


def list_names(names: Sequence[str]) -> str:
    """The names of labels; for many labels, their number and the first names."""
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"{len(names)} labels with few texts ({', '.join(names[:_LISTED])}, ...)"
