import numpy as np
import pytest

from sentopt.measure.confidence import (
    COLDEST,
    HOTTEST,
    coverage,
    expected_calibration_error,
    temperature,
    temperature_that_helps,
)
from sentopt.runtime.classifier import softmax


def drawn(t: float, texts: int = 40_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `t` times as large as those that the labels were drawn from."""
    random = np.random.default_rng(3)
    logits = random.normal(size=(texts, 3)) * 2
    p = softmax(logits)
    labels = (random.random(texts)[:, None] > np.cumsum(p, axis=1)).sum(axis=1).clip(max=2)
    return logits * t, labels


@pytest.mark.parametrize("t", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_logits_is_found(t: float) -> None:
    assert temperature(*drawn(t)) == pytest.approx(t, rel=0.03)


def test_it_has_the_least_loss_of_all() -> None:
    logits, labels = drawn(1.7, 500)

    def loss(t: float) -> float:
        return float(-np.log(softmax(logits / t)[np.arange(500), labels]).mean())

    best = temperature(logits, labels)
    assert all(loss(best) <= loss(best * factor) for factor in (0.5, 0.97, 1.03, 2.0))


def test_few_right_answers_are_no_proof_of_certainty() -> None:
    labels = np.array([0, 1, 2, 1])
    logits = np.eye(3)[labels] * 4
    p = softmax(logits / temperature(logits, labels)).max(axis=1)
    assert p == pytest.approx(1 - 1 / 6)  # one text in two more than there are could be wrong


def test_it_stays_within_bounds() -> None:
    labels = np.arange(3_000) % 3
    logits = np.eye(3)[labels]
    assert temperature(logits * 0.1, labels) == pytest.approx(COLDEST)
    assert temperature(logits, (labels + 1) % 3) == pytest.approx(HOTTEST)


def test_calibrated_scores_have_no_error_and_overconfident_ones_have() -> None:
    logits, labels = drawn(3.0)
    assert expected_calibration_error(softmax(logits / 3.0), labels) < 0.01
    assert expected_calibration_error(softmax(logits), labels) > 0.08


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.0, 1.0]])
    labels = np.array([0, 1, 1, 1])
    # bins: two at 0.9 (one right), one at 0.6 (right), one at 1.0 (right)
    assert expected_calibration_error(probabilities, labels) == pytest.approx((2 * 0.4 + 0.4 + 0.0) / 4)


def test_coverage() -> None:
    probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.45, 0.55]])
    points = coverage(probabilities, np.array([0, 0, 1]), (0.5, 0.8, 0.95))
    assert [(p.answered, p.accuracy) for p in points] == [
        (1.0, pytest.approx(2 / 3)),
        (pytest.approx(1 / 3), 1.0),
        (0.0, None),
    ]


@pytest.mark.parametrize("texts", [60, 600, 6_000])
def test_a_temperature_that_helps_by_chance_alone_is_not_taken(texts: int) -> None:
    logits, labels = drawn(1.0, texts)
    assert temperature_that_helps(logits, labels) == 1.0


@pytest.mark.parametrize("t", [0.5, 2.0])
def test_one_that_helps_is_taken(t: float) -> None:
    logits, labels = drawn(t, 600)
    assert temperature_that_helps(logits, labels) == temperature(logits, labels) != 1.0


def test_a_few_texts_prove_no_temperature() -> None:
    logits, labels = drawn(1.3, 20)
    assert temperature_that_helps(logits, labels) == 1.0
