import math
from statistics import NormalDist

import numpy as np
import pytest
from scipy import optimize

from sentopt import stats


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
    z = NormalDist().inv_cdf(0.95)
    assert stats.tango_z(5, 12, 400, c.lower) == pytest.approx(z, abs=1e-6)
    assert stats.tango_z(5, 12, 400, c.upper) == pytest.approx(-z, abs=1e-6)
    assert c.lower < c.difference < c.upper


def test_no_discordant_pairs_has_the_closed_form() -> None:
    """With nothing lost or gained the lower limit is -z^2 / (n + z^2)."""
    z = NormalDist().inv_cdf(0.95)
    c = compare(lost=0, gained=0, n=600)
    assert c.lower == pytest.approx(-z * z / (600 + z * z), abs=1e-9)
    assert c.non_inferior


def test_decision_and_p_value_agree() -> None:
    for lost in range(0, 20):
        c = compare(lost=lost, gained=4, n=800)
        assert c.non_inferior == (c.p_value < 0.05)


def test_more_losses_never_help() -> None:
    lower = [compare(lost=k, gained=3, n=500).lower for k in range(30)]
    assert lower == sorted(lower, reverse=True)


def test_level_at_the_margin() -> None:
    """A candidate that is truly worse by the margin passes in about 5 % of samples, not more."""
    random = np.random.default_rng(1)
    n, margin, passed, rounds = 500, 0.02, 0, 3000
    for lost, gained, _ in random.multinomial(n, [0.03, 0.01, 0.96], size=rounds):
        passed += stats.tango_z(int(gained), int(lost), n, -margin) > NormalDist().inv_cdf(0.95)
    assert passed / rounds < 0.065


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
