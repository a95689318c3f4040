"""The accuracy of each variant minus PyTorch's on the same texts, with the interval by which the gate decides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentopt.gate.words import ACCURACIES
from sentopt.measure.stats import compare_counts
from sentopt.results import Verdict
from sentopt.variants import REFERENCE


@dataclass(frozen=True)
class Difference:
    """The difference of one variant, in percentage points.

    `lower` and `upper` are one-sided limits, each with `confidence`. A variant meets the criterion of accuracy if
    `lower` is above minus `margin`. `texts` were answered by both.
    """

    variant: str
    texts: int
    points: float
    lower: float
    upper: float
    margin: float
    confidence: float
    exact: bool

    @property
    def in_words(self) -> str:
        """-0.17 (-1.05 to +0.66)."""
        return f"{signed(self.points)} ({signed(self.lower)} to {signed(self.upper)})"


def signed(points: float) -> str:
    """+0.66, -1.05, 0.00."""
    return f"{points:+.2f}" if round(points, 2) else "0.00"


def differences(verdicts: Sequence[Verdict]) -> list[Difference]:
    """One for each variant but the reference, in their order."""
    return [_difference(verdict) for verdict in verdicts if verdict.variant != REFERENCE]


def _difference(verdict: Verdict) -> Difference:
    """The lower limit is the one that the gate recorded. It may rest on more texts than those of the test split."""
    compared, lower = verdict.comparison, verdict.comparison.lower
    if judged := next((c for c in verdict.criteria if c.name in ACCURACIES), None):
        lower = -judged.limit
        compared = compare_counts(
            judged.texts, judged.lost, judged.gained, margin=judged.margin, confidence=judged.confidence
        )
    return Difference(
        variant=verdict.variant,
        texts=compared.n,
        points=compared.difference * 100,
        lower=lower * 100,
        upper=compared.upper * 100,
        margin=compared.margin * 100,
        confidence=compared.confidence,
        exact=verdict.exact,
    )


def explained(shown: Sequence[Difference]) -> str:
    """What the plot of differences shows, and which of its marks decides."""
    levels = " or ".join(f"{level:.1%}".replace(".0%", "%") for level in sorted({one.confidence for one in shown}))
    exact = (
        " Exact graphs answer as PyTorch does and need no test; their bar is what the test split alone can exclude."
        if any(one.exact for one in shown)
        else ""
    )
    return (
        f"The plot shows the accuracy of each variant minus PyTorch's on the same {_texts(shown)}. A bar goes "
        f"from the lower one-sided limit to the upper one ({levels} confidence each). The criterion of accuracy is "
        "met where the lower limit is right of the margin; a variant can be refused for another criterion all the "
        f"same.{exact}"
    )


def _texts(shown: Sequence[Difference]) -> str:
    """1,200 texts; where they are not as many for each, also whose they are."""
    counts = sorted({one.texts for one in shown}, reverse=True)
    if len(counts) == 1:
        return f"{counts[0]:,} texts"
    names = {texts: ", ".join(one.variant for one in shown if one.texts == texts) for texts in counts}
    return "texts (" + "; ".join(f"{texts:,} for {names[texts]}" for texts in counts) + ")"
