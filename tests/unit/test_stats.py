import math
import time
from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize
from scipy import stats as distributions
from sklearn import metrics as sk

from sentopt.measure import stats


def compare(lost: int, gained: int, n: int, margin: float = 0.01, confidence: float = 0.95) -> stats.PairedComparison:
    reference = np.ones(n, dtype=bool)
    candidate = np.ones(n, dtype=bool)
    candidate[:lost] = False
    reference[lost : lost + gained] = False
    return stats.paired_non_inferiority(reference, candidate, margin=margin, confidence=confidence)


def constrained_z(gained: int, lost: int, n: int, delta: float) -> float:
    """Tango's statistic from its definition: the discordance probability is found by maximizing the likelihood."""

    def minus_log_likelihood(q: float) -> float:
        up, down, rest = q + delta, q, 1 - 2 * q - delta
        if min(up, down, rest) <= 0:
            return math.inf
        return -(gained * math.log(up) + lost * math.log(down) + (n - gained - lost) * math.log(rest))

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = optimize.minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    return (gained - lost - n * delta) / math.sqrt(n * (2 * q + delta * (1 - delta)))


@pytest.mark.parametrize(("gained", "lost", "n"), [(5, 9, 100), (1, 12, 300), (20, 3, 150), (40, 40, 500)])
@pytest.mark.parametrize("delta", [-0.2, -0.05, -0.01, 0.02, 0.1])
def test_statistic_equals_the_constrained_likelihood(gained: int, lost: int, n: int, delta: float) -> None:
    assert stats.tango_z(gained, lost, n, delta) == pytest.approx(constrained_z(gained, lost, n, delta), rel=1e-4)


def test_limits_are_where_the_statistic_meets_the_quantile() -> None:
    c = compare(lost=12, gained=5, n=400)
    z = NormalDist().inv_cdf(0.955)  # nine tenths of the level
    assert stats.tango_z(5, 12, 400, c.lower) == pytest.approx(z, abs=1e-6)
    assert stats.tango_z(5, 12, 400, c.upper) == pytest.approx(-z, abs=1e-6)
    assert c.lower < c.difference < c.upper


def test_no_discordant_pairs_has_the_closed_form() -> None:
    """With nothing lost or gained the exact limit decides: 1 - 0.05^(1/n)."""
    c = compare(lost=0, gained=0, n=600)
    assert c.lower == pytest.approx(-(1 - 0.05 ** (1 / 600)), abs=1e-9)
    assert c.non_inferior


def test_decision_and_p_value_agree() -> None:
    for n in (300, 800, 3000):
        for gained in (0, 4, 20):
            for lost in range(0, 40):
                c = compare(lost=lost, gained=gained, n=n)
                assert c.non_inferior == (c.p_value < 0.05)


def test_more_losses_never_help() -> None:
    lower = [compare(lost=k, gained=3, n=500).lower for k in range(30)]
    assert lower == sorted(lower, reverse=True)


def most_that_may_be_lost(n: int, gained: int, margin: float, confidence: float) -> int:
    lost = -1
    while stats.compare_counts(n, lost + 1, gained, margin=margin, confidence=confidence).non_inferior:
        lost += 1
    return lost


@pytest.mark.parametrize("confidence", [0.95, 0.99])
@pytest.mark.parametrize(
    ("n", "margin"),
    [(150, 0.01), (299, 0.01), (310, 0.01), (473, 0.01), (781, 0.01), (99, 0.03), (147, 0.03), (60, 0.05)],
)
@pytest.mark.parametrize("gains", [0.0, 0.002, 0.01])
def test_the_level_is_kept_at_the_margin(n: int, margin: float, gains: float, confidence: float) -> None:
    """Enumerated: one that is worse by the margin passes in at most 5 % of samples; by Tango's alone in 6.8 %."""
    passing = 0.0
    for gained in range(int(n * gains + 9 * math.sqrt(n * gains) + 1)):
        lost = most_that_may_be_lost(n, gained, margin, confidence)
        chance = distributions.binom.pmf(gained, n, gains)
        passing += chance * distributions.binom.cdf(lost, n - gained, (margin + gains) / (1 - gains))
    assert passing <= 1.0 - confidence


@pytest.mark.parametrize("n", [99, 300, 1000])
def test_what_power_is_computed_with_decides_as_the_test_does(n: int) -> None:
    for lost in range(12):
        for gained in range(6):
            found = stats.compare_counts(n, lost, gained, margin=0.02, confidence=0.95)
            assert stats.is_non_inferior(n, lost, gained, 0.02, 0.95) == found.non_inferior


@pytest.mark.parametrize(
    ("k", "n", "p"), [(0, 10, 0.1), (3, 100, 0.05), (25, 5000, 0.004), (700, 1000, 0.7), (9, 9, 0.5)]
)
def test_binomial_tails_and_their_limits_are_scipys(k: int, n: int, p: float) -> None:
    assert stats.binomial_cdf(k, n, p) == pytest.approx(distributions.binom.cdf(k, n, p), abs=1e-12)
    upper = distributions.beta.ppf(0.975, k + 1, n - k) if k < n else 1.0
    lower = distributions.beta.ppf(0.025, k, n - k + 1) if k else 0.0
    assert stats.proportion_upper(k, n, 0.975) == pytest.approx(upper, abs=1e-9)
    assert stats.proportion_lower(k, n, 0.975) == pytest.approx(lower, abs=1e-9)


def test_holm_stops_at_the_first_that_is_not_rejected() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005], 0.05) == [True, False, False, True]
    assert stats.holm([0.2, 0.01, 0.001], 0.05) == [False, True, True]
    assert stats.holm([], 0.05) == []


def answered(random: np.random.Generator, n: int, labels: int, changed: float) -> tuple[np.ndarray, ...]:
    truth = random.integers(0, labels, n)
    reference = np.where(random.random(n) < 0.1, random.integers(0, labels, n), truth)
    return truth, reference, np.where(random.random(n) < changed, random.integers(0, labels, n), reference)


def test_macro_f1_is_that_of_scikit_learn() -> None:
    truth, reference, _ = answered(np.random.default_rng(3), 400, 4, 0.0)
    expected = sk.f1_score(truth, reference, average="macro")
    assert stats.macro_f1(truth, reference, 4) == pytest.approx(expected)


def test_labels_that_no_text_has_dilute_nothing() -> None:
    truth, reference, _ = answered(np.random.default_rng(3), 400, 4, 0.0)
    assert stats.macro_f1(truth, reference, 28) == stats.macro_f1(truth, reference, 4)


def test_bootstrap_of_macro_f1_is_that_of_texts_drawn_one_by_one() -> None:
    random = np.random.default_rng(4)
    truth, reference, candidate = answered(random, 300, 3, 0.05)
    losses = []
    for _ in range(2000):
        drawn = np.concatenate([random.choice(np.flatnonzero(truth == k), int((truth == k).sum())) for k in range(3)])
        losses.append(
            stats.macro_f1(truth[drawn], reference[drawn], 3) - stats.macro_f1(truth[drawn], candidate[drawn], 3)
        )
    found = stats.macro_f1_loss_upper(truth, reference, candidate, 3, confidence=0.95, draws=4000, seed=1)
    lost_text = 1 / 300  # one more text is taken for lost than was seen
    assert found - lost_text == pytest.approx(float(np.quantile(losses, 0.95)), abs=0.004)
    again = stats.macro_f1_loss_upper(truth, reference, candidate, 3, confidence=0.95, draws=4000, seed=1)
    assert found == again


def test_bootstrap_of_ten_thousand_texts_takes_less_than_a_second() -> None:
    truth, reference, candidate = answered(np.random.default_rng(5), 10_000, 77, 0.02)
    start = time.process_time()
    stats.macro_f1_loss_upper(truth, reference, candidate, 77, confidence=0.95, draws=2000, seed=1)
    assert time.process_time() - start < 1.0


def test_balanced_accuracy_does_not_reward_the_majority_answer() -> None:
    truth = np.array([0] * 970 + [1] * 30)
    always = stats.balanced_accuracy(truth, np.zeros(1000, dtype=np.int64), confidence=0.95, draws=2000, seed=1)
    assert (always.estimate, always.chance) == (0.5, 0.5)
    assert always.lower < 0.5 < always.upper
    answers = truth.copy()
    answers[970:988] = 0  # 12 of the 30 are found
    some = stats.balanced_accuracy(truth, answers, confidence=0.95, draws=2000, seed=1)
    assert some.estimate == pytest.approx(0.7)
    assert some.lower > 0.5


def test_a_handful_of_texts_proves_nothing() -> None:
    truth = np.array([0, 0, 1, 1])
    assert stats.balanced_accuracy(truth, truth, confidence=0.95, draws=2000, seed=1).lower < 0.5


@pytest.mark.parametrize("margin", [0.01, 0.03])
def test_likely_enough_texts_pass_four_times_in_five(margin: float) -> None:
    n = stats.likely_enough_texts(changed=0.01, margin=margin, confidence=0.95)
    random = np.random.default_rng(6)
    changed = random.binomial(n, 0.01, 3000)
    lost = random.binomial(changed, 0.5)
    passed = [compare(int(k), int(c - k), n, margin).non_inferior for k, c in zip(lost, changed, strict=True)]
    assert 0.76 < np.mean(passed) < 0.86


def test_wilson_against_a_known_value() -> None:
    low, high = stats.wilson_interval(81, 263, 0.95)
    assert (low, high) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))


@pytest.mark.parametrize("margin", [0.005, 0.01, 0.05])
def test_fewest_texts_is_the_boundary(margin: float) -> None:
    least = stats.fewest_texts(margin=margin, confidence=0.95)
    assert compare(lost=0, gained=0, n=least, margin=margin).non_inferior
    assert not compare(lost=0, gained=0, n=least - 1, margin=margin).non_inferior


@pytest.mark.parametrize(("first", "second"), [(3, 4), (0, 0)])
def test_unusable_arrays_are_refused(first: int, second: int) -> None:
    with pytest.raises(ValueError, match="equally long, non-empty"):
        stats.paired_non_inferiority(np.ones(first, bool), np.ones(second, bool), margin=0.01, confidence=0.95)
