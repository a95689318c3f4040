"""Statistical tests and confidence limits of the gate. Needs numpy and the standard library only."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
_SCORE_SHARE = 0.9
"""Share of the level used by the score test, which is approximate and can slightly exceed its nominal level."""


@dataclass(frozen=True)
class PairedComparison:
    """A candidate compared with a reference on the same `n` items. Everything but the counts is a fraction.

    `lost` counts items that only the reference answers correctly, `gained` items that only the candidate does.
    `difference` is the candidate's accuracy minus the reference's; `lower` and `upper` are its one-sided confidence
    limits. `p_value` tests the null hypothesis "the candidate is worse by the margin or more", `p_worse` the null
    hypothesis "the candidate is worse by less than the margin".
    """

    n: int
    lost: int
    gained: int
    difference: float
    lower: float
    upper: float
    p_value: float
    p_worse: float
    margin: float
    confidence: float

    @property
    def non_inferior(self) -> bool:
        """Whether the candidate is proven to be worse by less than `margin`."""
        return self.lower > -self.margin


def paired_non_inferiority(
    reference_right: npt.NDArray[np.bool_], candidate_right: npt.NDArray[np.bool_], *, margin: float, confidence: float
) -> PairedComparison:
    """Test whether the candidate's accuracy is less than `margin` below the reference's.

    Method: score test and score interval for the difference of two paired proportions (T. Tango, "Equivalence test and
    confidence interval for the difference in proportions for the paired-sample design", Statistics in Medicine 17
    (1998) 891-908). It is a large-sample test: if nothing is gained and n * margin is small, a candidate that is worse
    by exactly the margin passes in up to 6.8 % of samples at a nominal 5 %. Two measures correct this. The test uses
    nine tenths of the level. If there is no net gain, the exact binomial limit of the net loss must be within the
    margin as well. The error rate then stays below the level (tests/unit/test_stats.py enumerates it).

    Args:
        reference_right, candidate_right: whether each item was answered correctly; arrays of the same length.
        margin: the largest tolerable loss, as a fraction (0.01 is one percentage point).
        confidence: of the one-sided limit, for example 0.95.

    Raises:
        ValueError: the lengths differ, or there are no items.
    """
    if reference_right.shape != candidate_right.shape or reference_right.size == 0:
        raise ValueError(
            f"expected two equally long, non-empty arrays, found {reference_right.shape} and {candidate_right.shape}"
        )
    n = int(reference_right.size)
    lost = int(np.sum(reference_right & ~candidate_right))
    gained = int(np.sum(~reference_right & candidate_right))
    return compare_counts(n, lost, gained, margin=margin, confidence=confidence)


@functools.lru_cache(maxsize=65_536)  # many labels share the same counts
def compare_counts(n: int, lost: int, gained: int, *, margin: float, confidence: float) -> PairedComparison:
    """`paired_non_inferiority` of counts: `lost` and `gained` of `n` items."""
    z = NormalDist().inv_cdf(1.0 - _SCORE_SHARE * (1.0 - confidence))
    net = lost - gained
    statistic = tango_z(gained, lost, n, -margin)
    return PairedComparison(
        n=n,
        lost=lost,
        gained=gained,
        difference=-net / n,
        lower=_limit(gained, lost, n, z, confidence),
        upper=-_limit(lost, gained, n, z, confidence),
        p_value=max(_score_p_value(statistic), binomial_cdf(net, n, margin)),
        p_worse=max(_score_p_value(-statistic), 1.0 - binomial_cdf(max(net, 0) - 1, n, margin)),
        margin=margin,
        confidence=confidence,
    )


def _limit(gained: int, lost: int, n: int, z: float, confidence: float) -> float:
    """Lower limit of the difference; without a net gain, the lower one of the score limit and the exact limit."""
    tango = _tango_limit(gained, lost, n, z)
    return tango if gained > lost else min(tango, -proportion_upper(lost - gained, n, confidence))


def _score_p_value(statistic: float) -> float:
    return min(1.0, (1.0 - NormalDist().cdf(statistic)) / _SCORE_SHARE)


def tango_z(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's score statistic for the hypothesis that the true difference is `delta` (Tango 1998, eq. 7).

    It compares `gained - lost` with its expectation under `delta`. The variance uses the constrained maximum likelihood
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
    """Tango's lower limit: the `delta` below the estimate at which the score statistic equals `z`, by bisection."""
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
    """The smallest number of texts on which identical answers prove the margin.

    Without discordant pairs, the exact limit is 1 - (1 - confidence)^(1/n), and Tango's limit is z^2 / (n + z^2).
    """
    z = NormalDist().inv_cdf(1.0 - _SCORE_SHARE * (1.0 - confidence))
    exact = math.floor(math.log(1.0 - confidence) / math.log1p(-margin)) + 1
    return max(exact, math.floor(z * z * (1.0 - margin) / margin) + 1)


def likely_enough_texts(*, changed: float, margin: float, confidence: float, power: float = 0.8) -> int:
    """The number of texts with which a candidate passes with probability `power`, if it changes the share `changed`.

    Half of the changes are lost and half are gained, so the expected loss is 0. The number is found by doubling and
    bisection. The probability is not strictly monotonic in the number of texts, so the result is good to a few percent.
    """
    low = fewest_texts(margin=margin, confidence=confidence)
    high = low
    while _power(high, changed, margin, confidence) < power:
        low, high = high, 2 * high
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if _power(middle, changed, margin, confidence) >= power else (middle, high)
    return high


def _power(n: int, changed: float, margin: float, confidence: float) -> float:
    """The probability of passing with `n` texts, summed over the numbers of changed and of lost texts."""
    most = int(n * changed + 6.0 * math.sqrt(n * changed) + 6.0)
    total, lost = 0.0, -1
    for count in range(min(most, n) + 1):
        while lost < count and is_non_inferior(n, lost + 1, count - lost - 1, margin, confidence):
            lost += 1  # the largest passing number of lost texts grows with the number of changes
        while lost >= 0 and not is_non_inferior(n, lost, count - lost, margin, confidence):
            lost -= 1
        total += _binomial_pmf(count, n, changed) * binomial_cdf(lost, count, 0.5)
    return total


def is_non_inferior(n: int, lost: int, gained: int, margin: float, confidence: float) -> bool:
    """`compare_counts(...).non_inferior` without computing the limits, which is much faster."""
    if binomial_cdf(lost - gained, n, margin) >= 1.0 - confidence:
        return False
    return tango_z(gained, lost, n, -margin) > NormalDist().inv_cdf(1.0 - _SCORE_SHARE * (1.0 - confidence))


def binomial_cdf(k: int, n: int, p: float) -> float:
    """The probability of at most `k` successes in `n` trials with success probability `p`; 0 if k < 0."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 0.0
    odds = (1.0 - p) / p
    if k < n * p:  # sum the smaller tail, away from the mean, until the terms vanish
        return _tail(_binomial_pmf(k, n, p), (i * odds / (n - i + 1) for i in range(k, 0, -1)))
    return 1.0 - _tail(_binomial_pmf(k + 1, n, p), ((n - i) / (odds * (i + 1)) for i in range(k + 1, n)))


def _tail(first: float, ratios: Iterator[float]) -> float:
    total = term = first
    for ratio in ratios:
        term *= ratio
        total += term
        if term < total * 1e-17:
            break
    return total


def _binomial_pmf(k: int, n: int, p: float) -> float:
    logs = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(logs + k * math.log(p) + (n - k) * math.log1p(-p))


def proportion_upper(successes: int, n: int, confidence: float) -> float:
    """One-sided upper confidence limit of a proportion: C. J. Clopper and E. S. Pearson, Biometrika 26 (1934) 404-413.

    Exact: it is below the true proportion in at most `1 - confidence` of samples, for any `n` and any proportion.
    """
    if successes >= n:
        return 1.0
    if successes == 0:
        return -math.expm1(math.log(1.0 - confidence) / n)
    low, high = successes / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2.0
        if binomial_cdf(successes, n, middle) > 1.0 - confidence:
            low = middle
        else:
            high = middle
    return high


def proportion_lower(successes: int, n: int, confidence: float) -> float:
    """One-sided lower confidence limit of a proportion; see `proportion_upper`."""
    return 1.0 - proportion_upper(n - successes, n, confidence)


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Which hypotheses are rejected at a family-wise error of `level`: S. Holm, Scand. J. Statist. 6 (1979) 65-70."""
    rejected = [False] * len(p_values)
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        if p_values[i] > level / (len(p_values) - rank):
            break
        rejected[i] = True
    return rejected


def macro_f1(truth: IntArray, answers: IntArray, labels: int) -> float:
    """Mean F1 over the labels that occur in `truth`.

    Args:
        truth, answers: label positions, both of shape (texts,); at least one text.
        labels: number of labels.
    """
    right = np.bincount(truth[truth == answers], minlength=labels)
    true, predicted = np.bincount(truth, minlength=labels), np.bincount(answers, minlength=labels)
    return float(_f1(right, true + predicted)[true > 0].mean())


def _f1(right: npt.NDArray[Any], true_and_predicted: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    return np.asarray(2.0 * right / np.maximum(true_and_predicted, 1))


def macro_f1_loss_upper(
    truth: IntArray, reference: IntArray, candidate: IntArray, labels: int, *, confidence: float, draws: int, seed: int
) -> float:
    """One-sided upper confidence limit of the candidate's loss of macro F1, over the labels that occur.

    Method: percentile of a paired bootstrap over texts, stratified by label (Efron and Tibshirani 1993, chapter 13).
    Texts of a label are resampled with both answers. Only the counts of answer pairs matter; they are drawn from
    multinomial distributions, so the time does not depend on the number of texts.

    A bootstrap ignores events that are not in the sample. If a few texts of a rare label carry the loss, its limit is
    too low in 6 to 13 % of samples instead of 5 %. To correct this, one text with the largest possible effect is added:
    it has the rarest label, the reference is right, and the candidate answers the second rarest label.

    Args:
        truth, reference, candidate: label positions, each of shape (texts,).
        labels: number of labels.
        confidence: of the limit, for example 0.95.
        draws: bootstrap samples, 2,000 or more.
        seed: of the draws.
    """
    true, predicted = np.bincount(truth, minlength=labels), np.bincount(reference, minlength=labels)
    present = np.flatnonzero(true)
    if len(present) > 1:
        rarest, other = present[np.argsort((true + predicted)[present], kind="stable")[:2]]
        truth, reference, candidate = (np.append(x, rarest) for x in (truth, reference, candidate))
        candidate[-1] = other
    return _bootstrapped_loss(truth, reference, candidate, labels, confidence, draws, np.random.default_rng(seed))


def _bootstrapped_loss(
    truth: IntArray,
    reference: IntArray,
    candidate: IntArray,
    labels: int,
    confidence: float,
    draws: int,
    random: np.random.Generator,
) -> float:
    right, mass = np.zeros((2, labels, draws)), np.zeros((2, labels, draws))
    present = np.unique(truth)
    for label in present:
        of_label = truth == label
        size = int(of_label.sum())
        pairs, counts = np.unique(reference[of_label] * labels + candidate[of_label], return_counts=True)
        drawn = random.multinomial(size, counts / size, size=draws).T
        for pair, times in zip(pairs, drawn, strict=True):
            for model, answer in enumerate(divmod(int(pair), labels)):
                mass[model, answer] += times
                if answer == label:
                    right[model, label] += times
        mass[:, label] += size
    f1 = _f1(right, mass)[:, present].mean(axis=1)
    return float(np.quantile(f1[0] - f1[1], confidence))


@dataclass(frozen=True)
class BalancedAccuracy:
    """Mean recall over the labels that occur, its one-sided confidence limits, and its value for a constant answer."""

    estimate: float
    lower: float
    upper: float
    chance: float


def balanced_accuracy(
    truth: IntArray, answers: IntArray, *, confidence: float, draws: int, seed: int
) -> BalancedAccuracy:
    """Mean recall over the labels that occur in `truth`: all labels have the same weight.

    The limits come from a simulation by label. The recall of a label with k of n texts right is drawn from
    Beta(k, n - k + 1) for the lower limit and from Beta(k + 1, n - k) for the upper limit; the quantiles of these
    distributions are Clopper and Pearson's limits. Unlike resampling, this is valid for labels with few texts.

    Args:
        truth, answers: label positions, both of shape (texts,); at least one text.
        confidence: of each limit, for example 0.95.
        draws: bootstrap samples.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    low, high, recalls = np.zeros(draws), np.zeros(draws), []
    present = np.unique(truth)
    for label in present:
        right = answers[truth == label] == label
        k, n = int(right.sum()), len(right)
        recalls.append(k / n)
        low += random.beta(k, n - k + 1, size=draws) if k else 0.0
        high += random.beta(k + 1, n - k, size=draws) if k < n else 1.0
    count = len(present)
    return BalancedAccuracy(
        estimate=sum(recalls) / count,
        lower=float(np.quantile(low / count, 1.0 - confidence)),
        upper=float(np.quantile(high / count, confidence)),
        chance=1.0 / count,
    )


def wilson_interval(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Two-sided score interval of one proportion: E. B. Wilson, JASA 22 (1927) 209-212."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    centre = (successes + z * z / 2.0) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(successes * (n - successes) / n + z * z / 4.0)
    return max(0.0, centre - half), min(1.0, centre + half)
