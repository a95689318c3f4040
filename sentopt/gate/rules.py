"""What must be proven, which texts count, and in which order variants are tested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sentopt.measure import stats
from sentopt.measure.stats import IntArray
from sentopt.recipe import TEST_AS_VALIDATION, Recipe
from sentopt.results import Criterion, Outcome

EXACT_DIFFERENCE = 1e-3
"""Largest change of a probability in an FP32 graph that counts as the same answer."""
FEW_TEXTS = 1_000
"""With fewer test texts than this, `verify.order = "auto"` takes the order of the table, so that validation counts."""
_MANY_LABELS = 10
_POWER = 0.8


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

    def fewest_of_a_label(self, labels: int, confidence: float) -> int:
        """With fewer texts a label is not tested by itself, but together with all others that have so few.

        With fewer texts not even identical answers would prove its recall. Where there are many labels, each would fail
        now and then by chance, and the variant with it; then a label needs so many texts that all together pass four
        times in five where 1 % of the labels change.
        """
        if labels <= _MANY_LABELS:
            return stats.fewest_texts(margin=self.recall_margin, confidence=confidence)
        power = 1.0 - (1.0 - _POWER) / labels
        return stats.likely_enough_texts(changed=0.01, margin=self.recall_margin, confidence=confidence, power=power)


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


def validation_counts(recipe: Recipe, test_texts: int) -> bool:
    """Whether validation texts are evidence, too: only where they do not order the variants.

    It is decided by the number of test texts, before any variant has answered.
    """
    if recipe.data.validation == TEST_AS_VALIDATION:
        return False
    order = recipe.verify.order
    return order == "table" or (order == "auto" and test_texts < FEW_TEXTS)
