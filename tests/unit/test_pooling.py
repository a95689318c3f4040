"""The opinion pool of two models: what it learns from right labels, and what it believes without."""

import numpy as np
import pytest

from sentopt.gate.pooling import Pool
from sentopt.measure.stats import IntArray
from sentopt.runtime.session import FloatArray


def opinions(texts: int, *, labels: int = 3, seed: int = 0) -> tuple[FloatArray, FloatArray, IntArray]:
    """Right labels drawn from two pieces of evidence, and a model that sees each: both are calibrated by themselves."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, labels, size=texts)
    right = np.eye(labels)[truth]
    first, second = (3.0 * right + random.normal(size=right.shape) * 3.0**0.5 for _ in range(2))
    return first.astype(np.float32), second.astype(np.float32), truth


def test_independent_evidence_counts_in_full() -> None:
    """Where both models know something of their own, the product of their probabilities is right."""
    pool = Pool.fitted(*opinions(20_000))
    assert (pool.reference, pool.student) == pytest.approx((1.0, 1.0), abs=0.06)


def test_a_student_that_knows_nothing_has_no_say() -> None:
    reference, _, truth = opinions(20_000)
    noise = np.random.default_rng(1).normal(size=reference.shape).astype(np.float32)
    pool = Pool.fitted(reference, noise, truth)
    assert (pool.reference, pool.student) == pytest.approx((1.0, 0.0), abs=0.06)


def test_pooled_probabilities_are_right_where_the_models_differ() -> None:
    """Those of the one model alone are calibrated over all texts, and not there."""
    reference, student, truth = opinions(20_000)
    pool = Pool.fitted(*opinions(2_000, seed=1))
    differ = np.flatnonzero(reference.argmax(axis=1) != student.argmax(axis=1))
    labels = reference.argmax(axis=1)[differ]
    right = (labels == truth[differ]).mean()
    pooled = pool.probabilities(reference, student)[differ, labels].mean()
    alone = Pool().probabilities(reference, student)[differ, labels].mean()
    assert pooled == pytest.approx(right, abs=0.02)
    assert alone > right + 0.1


def test_without_right_labels_the_pytorch_model_is_believed() -> None:
    reference, student, truth = opinions(50)
    assert Pool.fitted(reference[:0], student[:0], truth[:0]) == Pool(1.0, 0.0)
    assert Pool().probabilities(reference, student).argmax(axis=1).tolist() == reference.argmax(axis=1).tolist()


@pytest.mark.parametrize("scale", [0.0, 1e-3, 1e4])
def test_any_logits_give_probabilities(scale: float) -> None:
    reference, student, truth = opinions(200)
    pool = Pool.fitted(reference * np.float32(scale), student * np.float32(scale), truth)
    chances = pool.probabilities(reference * np.float32(scale), student * np.float32(scale))
    assert np.isfinite(chances).all()
    assert chances.sum(axis=1) == pytest.approx(np.ones(200))


def test_rare_labels_are_not_forgotten() -> None:
    """Both models have counted already that a label is rare: to multiply what they say must not count it twice."""
    random = np.random.default_rng(0)
    shares = np.array([0.85, 0.1, 0.05])
    truth = random.choice(3, size=40_000, p=shares)
    right = np.eye(3)[truth]
    reference, student = (
        (3.0 * right + random.normal(size=right.shape) * 3.0**0.5 + np.log(shares)).astype(np.float32) for _ in range(2)
    )  # each is calibrated
    pool = Pool.fitted(reference, student, truth)
    assert (pool.reference, pool.student) == pytest.approx((1.0, 1.0), abs=0.1)
    differ = np.flatnonzero(reference.argmax(axis=1) != student.argmax(axis=1))
    chances = pool.probabilities(reference, student)[differ]
    assert chances.sum(axis=0) == pytest.approx(right[differ].sum(axis=0), rel=0.06)


def test_absurd_logits_change_little() -> None:
    reference, student, truth = opinions(2_000)
    usual = Pool.fitted(reference, student, truth)
    reference[0, 0] = -1e30
    absurd = Pool.fitted(reference, student, truth)
    assert (absurd.reference, absurd.student) == pytest.approx((usual.reference, usual.student), abs=0.2)
