"""The rules of the gate: margins, which texts are evidence, and the fixed sequence of variants."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sentopt.measure import stats
from sentopt.measure.stats import IntArray
from sentopt.recipe import TEST_AS_VALIDATION, Recipe
from sentopt.results import Criterion, Outcome
from sentopt.variants import VariantSpec

EXACT_DIFFERENCE = 1e-3
"""Largest probability difference at which an FP32 graph is still exact."""
FEW_TEXTS = 1_000
"""Below this number of test texts, `verify.order = "auto"` means "table": validation texts then become evidence."""
_MANY_LABELS = 10
_POWER = 0.8


@dataclass(frozen=True)
class Rules:
    """What must be proven. Margins are fractions; `macro_f1` adds the test of macro F1.

    `unlabelled_counts`: texts without labels can be evidence. They are not where a teacher answers them for the model.
    """

    margin: float
    recall_margin: float
    max_changed: float
    confidence: float
    macro_f1: bool
    unlabelled_counts: bool = True

    @classmethod
    def of(cls, recipe: Recipe) -> Rules:
        """The rules of a recipe, which gives margins in percentage points."""
        verify = recipe.verify
        return cls(
            margin=verify.margin / 100.0,
            recall_margin=verify.recall_margin / 100.0,
            max_changed=verify.max_changed / 100.0,
            confidence=verify.confidence,
            macro_f1=recipe.train.metric == "macro_f1",
            unlabelled_counts=not recipe.train.teacher,
        )

    def fewest_of_a_label(self, labels: int, confidence: float) -> int:
        """Minimum number of texts for a test of a single label; rarer labels are tested as one group.

        With fewer texts, not even identical answers prove the recall. With more than ten labels, a good variant would
        often fail because one of many tests fails by chance. A label then needs so many texts that all tests together
        pass with probability 0.8 if 1 % of the answers change.
        """
        if labels <= _MANY_LABELS:
            return stats.fewest_texts(margin=self.recall_margin, confidence=confidence)
        power = 1.0 - (1.0 - _POWER) / labels
        return stats.likely_enough_texts(changed=0.01, margin=self.recall_margin, confidence=confidence, power=power)


def outcome(criteria: Sequence[Criterion]) -> Outcome:
    """`fail` if any criterion fails, else `undecided` if any is, else `pass`."""
    outcomes = {criterion.outcome for criterion in criteria}
    return "fail" if "fail" in outcomes else "undecided" if "undecided" in outcomes else "pass"


def testing_order(
    specs: Sequence[VariantSpec], exact: Collection[str], agreement: Mapping[str, float] | None
) -> list[str]:
    """The variants to be tested as a fixed sequence: those that can ship and are not exact.

    A variant that cannot ship is judged outside the sequence: its failure must not keep others from being tested. A
    variant that can ship is always in it, FP32 and BF16 graphs included, because passing lets it ship.

    Args:
        specs: all variants of the run.
        exact: names of variants with PyTorch's answers.
        agreement: agreement with PyTorch on the validation split, by name, which sorts the variants, highest first.
            None sorts by `VariantSpec.risk`, lowest first. Cascades come right after the last variant that is neither
            dynamic INT8 nor a student: what they are made of is tested before them, and what is likely to fail after.
    """
    tested = sorted((spec for spec in specs if spec.ships and spec.name not in exact), key=lambda spec: spec.risk)
    if agreement is not None:
        tested.sort(key=lambda spec: -agreement[spec.name])
    cascades = [spec for spec in tested if spec.stages == "cascade"]
    others = [spec for spec in tested if spec.stages != "cascade"]
    likely = [place for place, spec in enumerate(others) if spec.quantize is None and not spec.stages]
    place = likely[-1] + 1 if likely else 0
    return [spec.name for spec in (*others[:place], *cascades, *others[place:])]


def fixed_sequence(outcomes: Mapping[str, Outcome]) -> dict[str, bool]:
    """Which variants are tested: in the given order, up to and including the first failure.

    `outcomes` holds the variants of `testing_order`, in that order.
    """
    tested, stopped = {}, False
    for name, outcome in outcomes.items():
        tested[name] = not stopped
        stopped = stopped or outcome == "fail"
    return tested


def is_exact(reference: IntArray, candidate: IntArray, largest_difference: float) -> bool:
    """Whether an FP32 graph gives PyTorch's labels and probabilities; such a graph needs no test."""
    return largest_difference <= EXACT_DIFFERENCE and bool((reference == candidate).all())


def validation_counts(recipe: Recipe, test_texts: int) -> bool:
    """Whether validation texts are evidence. They are not if they determine the order of the variants.

    This depends on the recipe and the number of test texts only, not on any answer.
    """
    if recipe.data.validation == TEST_AS_VALIDATION:
        return False
    order = recipe.verify.order
    return order == "table" or (order == "auto" and test_texts < FEW_TEXTS)
