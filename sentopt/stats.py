"""The statistics that decide what ships. numpy and the standard library only."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class PairedComparison:
    """A candidate against a reference on the same `n` items.

    `lost` items are right in the reference and wrong in the candidate, `gained` the reverse; `difference` is the
    candidate's accuracy minus the reference's, `lower` and `upper` its one-sided confidence limits, `p_value` that of
    the null hypothesis "the candidate is worse by the margin or more". All but the counts are fractions, not points.
    """

    n: int
    lost: int
    gained: int
    difference: float
    lower: float
    upper: float
    p_value: float
    margin: float
    confidence: float

    @property
    def non_inferior(self) -> bool:
        """Whether the candidate is proven less than `margin` worse."""
        return self.lower > -self.margin


def paired_non_inferiority(
    reference_right: npt.NDArray[np.bool_], candidate_right: npt.NDArray[np.bool_], *, margin: float, confidence: float
) -> PairedComparison:
    """Test whether the candidate's accuracy is less than `margin` below the reference's.

    The score test and score interval for the difference of two paired proportions: T. Tango, "Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design", Statistics in Medicine 17
    (1998) 891-908. It keeps its level where a Wald interval fails: few or no discordant pairs.

    Args:
        reference_right, candidate_right: per item, whether the answer was right; the same length.
        margin: largest loss that is tolerable, as a fraction (0.01 is one percentage point).
        confidence: of the one-sided limit, for example 0.95.

    Raises:
        ValueError: different lengths, or no items.
    """
    if reference_right.shape != candidate_right.shape or reference_right.size == 0:
        raise ValueError(
            f"expected two equally long, non-empty arrays, found {reference_right.shape} and {candidate_right.shape}"
        )
    n = int(reference_right.size)
    lost = int(np.sum(reference_right & ~candidate_right))
    gained = int(np.sum(~reference_right & candidate_right))
    z = NormalDist().inv_cdf(confidence)
    return PairedComparison(
        n=n,
        lost=lost,
        gained=gained,
        difference=(gained - lost) / n,
        lower=_tango_limit(gained, lost, n, z),
        upper=-_tango_limit(lost, gained, n, z),
        p_value=1.0 - NormalDist().cdf(tango_z(gained, lost, n, -margin)),
        margin=margin,
        confidence=confidence,
    )


def tango_z(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's score statistic for the hypothesis that the true difference is `delta` (Tango 1998, eq. 7).

    `gained - lost` is compared with its expectation under `delta`; the variance uses the constrained maximum likelihood
    estimate of the discordance probability.
    """
    a = 2.0 * n
    b = -gained - lost + (2.0 * n - gained + lost) * delta
    c = -lost * delta * (1.0 - delta)
    q21 = (math.sqrt(max(0.0, b * b - 4.0 * a * c)) - b) / (2.0 * a)
    variance = n * (2.0 * q21 + delta * (1.0 - delta))
    distance = gained - lost - n * delta
    if variance <= 1e-15:
        return 0.0 if abs(distance) < 1e-12 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _tango_limit(gained: int, lost: int, n: int, z: float) -> float:
    """The lower confidence limit: the `delta` below the estimate where the score statistic equals `z`, by bisection."""
    low, high = -1.0 + 1e-12, (gained - lost) / n
    for _ in range(200):
        middle = (low + high) / 2.0
        if tango_z(gained, lost, n, middle) > z:
            low = middle
        else:
            high = middle
        if high - low < 1e-12:
            break
    return low


def fewest_texts(*, margin: float, confidence: float) -> int:
    """The size of a test split below which not even identical answers are proven within the margin.

    Without discordant pairs the lower limit is -z^2 / (n + z^2); this is the smallest n for which it exceeds -margin.
    """
    z = NormalDist().inv_cdf(confidence)
    return math.floor(z * z * (1.0 - margin) / margin) + 1


def wilson_interval(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Two-sided score interval of one proportion: E. B. Wilson, JASA 22 (1927) 209-212."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    centre = (successes + z * z / 2.0) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(successes * (n - successes) / n + z * z / 4.0)
    return max(0.0, centre - half), min(1.0, centre + half)
