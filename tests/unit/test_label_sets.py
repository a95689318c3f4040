"""Sets of labels as bits, the answers that follow from logits, and what is fitted and measured of them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as sk

from sentopt import gate
from sentopt.gate import Answers, Rules
from sentopt.measure import confidence, label_sets, set_metrics, set_stats, stats, thresholds
from sentopt.measure.decision import SINGLE, Decision, untuned
from sentopt.runtime.classifier import sigmoid

RULES = Rules(margin=0.01, recall_margin=0.03, max_changed=0.05, confidence=0.95, macro_f1=True)
NAMES = ("anger", "joy", "fear")


def random_codes(texts: int, labels: int, seed: int, share: float = 0.3) -> np.ndarray:
    return label_sets.codes(np.random.default_rng(seed).random((texts, labels)) < share)


@pytest.mark.parametrize("labels", [2, 3, 62])
def test_codes_and_matrices_are_the_same_sets(labels: int) -> None:
    codes = random_codes(200, labels, seed=labels)
    assert codes.dtype == np.int64
    assert (codes >= 0).all()
    assert (label_sets.codes(label_sets.matrix(codes, labels)) == codes).all()
    assert [label_sets.code_of(label_sets.positions(int(code))) for code in codes] == codes.tolist()
    assert label_sets.counts(codes, labels).tolist() == label_sets.matrix(codes, labels).sum(axis=0).tolist()


def test_labels_move_to_other_positions_or_are_left_out() -> None:
    codes = np.array([0b000, 0b001, 0b110, 0b111])
    assert label_sets.moved(codes, [2, 0, 1]).tolist() == [0b000, 0b100, 0b011, 0b111]
    assert label_sets.moved(codes, [None, 0, 1]).tolist() == [0b00, 0b00, 0b11, 0b11]
    assert [label_sets.in_words(code, NAMES) for code in (0b101, 0)] == ["anger; fear", "(no label)"]


def test_answers_are_the_labels_that_reach_their_thresholds() -> None:
    logits = np.array([[2.0, -2.0, 0.0], [-1.0, -1.0, -1.0], [3.0, 3.0, 3.0]], dtype=np.float32)
    decision = Decision((0.5, 0.1, 0.6))
    assert decision.answers(logits).tolist() == [0b011, 0b010, 0b111]
    assert np.allclose(decision.probabilities(logits), 1 / (1 + np.exp(-logits)), atol=1e-6)
    probabilities = np.array([[0.9, 0.3, 0.5]], dtype=np.float32)
    assert decision.scores(probabilities)[0] == pytest.approx(0.3)  # joy is present, and improbable
    assert decision.margins(probabilities)[0] == pytest.approx(0.1)
    assert decision.in_words(0b011, NAMES) == "anger; joy"


def test_without_thresholds_the_most_probable_label_is_the_answer() -> None:
    logits = np.array([[2.0, -2.0, 0.0], [0.0, 1.0, 0.9]], dtype=np.float32)
    assert SINGLE.answers(logits).tolist() == [0, 1]
    assert np.allclose(SINGLE.probabilities(logits).sum(axis=1), 1.0)
    top, second = np.sort(SINGLE.probabilities(logits)[1])[::-1][:2]
    assert SINGLE.margins(SINGLE.probabilities(logits))[1] == pytest.approx(top - second)
    assert SINGLE.in_words(1, NAMES) == "joy"


def test_a_threshold_has_the_highest_f1_of_its_label() -> None:
    random = np.random.default_rng(7)
    has = random.random((500, 3)) < [0.5, 0.1, 0.2]
    p = sigmoid((random.normal(size=(500, 3)) + 2.0 * has - 2.5).astype(np.float32))
    for label, limit in enumerate(thresholds.best(p, has)):
        own = sk.f1_score(has[:, label], p[:, label] >= np.float32(limit))
        best = max(sk.f1_score(has[:, label], p[:, label] >= other) for other in np.unique(p[:, label]))
        assert own == pytest.approx(best, abs=0.005), label
        assert own > sk.f1_score(has[:, label], p[:, label] >= 0.5)


def test_of_thresholds_that_are_as_good_the_one_nearest_to_a_half_is_taken() -> None:
    p = np.repeat([[0.1], [0.2], [0.3], [0.8]], 10, axis=0).astype(np.float32)
    assert thresholds.best(p, p > 0.7) == (0.5,)
    assert thresholds.best(p, p > 0.25) == (pytest.approx(0.25),)


@pytest.mark.parametrize("positive", [0, 9, 91, 100])
def test_a_label_with_few_texts_or_few_others_keeps_the_threshold_of_a_half(positive: int) -> None:
    has = (np.arange(100) < positive)[:, None]
    p = np.where(has, 0.3, 0.1).astype(np.float32)
    logits = np.log(p / (1 - p))
    assert thresholds.best(p, has) == (0.5,)
    assert thresholds.temperatures(logits, has) == (1.0,)
    enough = (np.arange(100) < 10)[:, None]
    assert thresholds.best(np.where(enough, 0.3, 0.1).astype(np.float32), enough)[0] < 0.3


def test_each_label_has_a_temperature_where_it_helps() -> None:
    random = np.random.default_rng(3)
    true = random.normal(size=(4_000, 2)) * 2.0
    has = random.random((4_000, 2)) < 1 / (1 + np.exp(-true))
    logits = (true * [1.0, 3.0]).astype(np.float32)  # the second one is three times too sure
    first, second = thresholds.temperatures(logits, has)
    assert first == 1.0
    assert second == pytest.approx(3.0, rel=0.1)
    two = Decision((0.5, 0.5))
    codes = label_sets.codes(has)
    before = confidence.calibration_error(two.probabilities(logits), codes, two)
    after = confidence.calibration_error(two.probabilities(logits / np.array([first, second])), codes, two)
    assert after < 0.3 * before


def test_scores_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(5)
    has = random.random((300, 3)) < 0.3
    p = sigmoid((random.normal(size=(300, 3)) + has - 0.5).astype(np.float32))
    decision = Decision((0.4, 0.5, 0.6))
    answered = p >= np.array(decision.thresholds, dtype=np.float32)
    found = set_metrics.score(p, label_sets.codes(has), decision, NAMES)
    assert found.accuracy == pytest.approx(sk.accuracy_score(has, answered))  # of multilabel data: subset accuracy
    assert found.micro_f1 == pytest.approx(sk.f1_score(has, answered, average="micro"))
    assert found.macro_f1 == pytest.approx(sk.f1_score(has, answered, average="macro"))
    assert found.sets is not None
    assert found.sets.average_precision == pytest.approx(sk.average_precision_score(has, p, average="macro"))
    assert [c.support for c in found.per_class] == has.sum(axis=0).tolist()
    assert (found.texts, found.confusion) == (300, ())
    f1 = set_stats.f1(label_sets.codes(has), label_sets.codes(answered), 3)
    assert f1 == {"micro": pytest.approx(found.micro_f1), "macro": pytest.approx(found.macro_f1)}


def test_logits_that_are_no_numbers_are_scored_as_no_answer() -> None:
    codes = np.array([1, 2, 3, 0] * 5)
    logits = np.where(label_sets.matrix(codes, 2), 3.0, -3.0).astype(np.float32)
    logits[0, 1] = np.nan
    found = set_metrics.score_logits(logits, codes, Decision((0.5, 0.5)), ["a", "b"])
    assert found.accuracy == 1.0
    assert found.sets is not None
    assert found.sets.average_precision == 1.0
    broken = np.full_like(logits, np.nan)
    assert set_metrics.score_logits(broken, codes, Decision((0.5, 0.5)), ["a", "b"]).macro_f1 == 0.0
    assert set_metrics.while_training(broken, codes)["micro_f1"] == 0.0


def test_coverage_withholds_texts_with_a_label_in_doubt() -> None:
    decision = Decision((0.5, 0.5))
    p = np.array([[0.99, 0.01], [0.99, 0.4], [0.6, 0.01]], dtype=np.float32)
    truth = np.array([0b01, 0b01, 0b00])
    assert [(c.answered, c.accuracy) for c in confidence.coverage(p, truth, (0.5, 0.9), decision)] == [
        (1.0, pytest.approx(2 / 3)),
        (pytest.approx(1 / 3), 1.0),
    ]


def flipped(codes: np.ndarray, texts: np.ndarray, label: int) -> np.ndarray:
    changed = codes.copy()
    changed[texts] ^= 1 << label
    return changed


def judged(truth: np.ndarray, reference: np.ndarray, candidate: np.ndarray, rules: Rules = RULES) -> dict[str, str]:
    criteria = gate.judge_sets(Answers.labelled(truth, reference, candidate), NAMES, rules)
    return {criterion.name: criterion.outcome for criterion in criteria}


def test_equal_answers_pass_every_criterion() -> None:
    truth = random_codes(3_000, 3, seed=1)
    reference = flipped(truth, np.arange(0, 300), 1)
    assert judged(truth, reference, reference) == {
        "subset accuracy": "pass",
        "recall of anger": "pass",
        "recall of joy": "pass",
        "recall of fear": "pass",
        "micro F1": "pass",
        "macro F1": "pass",
        "agreement": "pass",
    }


def test_a_label_that_is_answered_no_more_fails_its_recall_alone() -> None:
    """3,000 texts, 110 with fear: its recall falls to 0.9, and subset accuracy changes by 0.4 points."""
    truth = random_codes(3_000, 2, seed=2)
    truth[:110] |= 0b100
    candidate = flipped(truth, np.arange(11), 2)
    found = judged(truth, truth, candidate)
    assert found["recall of fear"] == "fail"
    assert found["subset accuracy"] == "pass"


def test_labels_that_are_answered_too_often_fail_f1_and_not_recall() -> None:
    truth = random_codes(3_000, 3, seed=3, share=0.1)
    wrong = np.flatnonzero(~label_sets.matrix(truth, 3)[:, 1])[:60]
    found = judged(truth, truth, flipped(truth, wrong, 1))
    assert found["micro F1"] == found["macro F1"] == found["subset accuracy"] == "fail"
    assert all(outcome == "pass" for name, outcome in found.items() if name.startswith("recall"))


def test_rare_labels_are_judged_together() -> None:
    truth = random_codes(3_000, 1, seed=4)
    truth[:40] |= 0b010
    truth[40:80] |= 0b100
    lenient = Rules(margin=0.01, recall_margin=0.06, max_changed=0.05, confidence=0.95, macro_f1=False)
    found = judged(truth, truth, truth, lenient)
    assert found["recall of joy, fear"] == "pass"
    assert "macro F1" not in found
    assert judged(truth, truth, flipped(truth, np.arange(40), 1), lenient)["recall of joy, fear"] == "fail"
    absent = judged(truth & 0b011, truth & 0b011, truth & 0b011)
    assert absent["recall of fear"] == "undecided"


def test_a_limit_of_f1_is_seldom_below_the_true_loss() -> None:
    """In 200 samples of a candidate that loses a known share; 5 % are allowed."""
    random = np.random.default_rng(11)
    population = random_codes(200_000, 3, seed=12, share=0.2)
    lost = random.random(len(population)) < 0.02
    candidate = np.where(lost, population & ~np.int64(1), population)
    for average in ("micro", "macro"):
        true = 1.0 - set_stats.f1(population, candidate, 3)[average]  # type: ignore[index]
        below = 0
        for seed in range(200):
            rows = random.integers(0, len(population), 400)
            limit = set_stats.f1_loss_upper(
                population[rows],
                population[rows],
                candidate[rows],
                3,
                average=average,  # type: ignore[arg-type]
                confidence=0.95,
                draws=500,
                seed=seed,
            )
            below += limit < true
        assert below <= 16, average  # 10 expected at the level itself; 16 or fewer with probability 0.98


def test_the_limits_of_single_labels_and_of_sets_of_one_are_alike() -> None:
    random = np.random.default_rng(2)
    truth = random.integers(0, 3, 2_000)
    reference = np.where(random.random(2_000) < 0.1, (truth + 1) % 3, truth)
    candidate = np.where(random.random(2_000) < 0.02, (reference + 1) % 3, reference)
    single = stats.macro_f1_loss_upper(truth, reference, candidate, 3, confidence=0.95, draws=2_000, seed=1)
    sets = [np.int64(1) << given for given in (truth, reference, candidate)]
    several = set_stats.f1_loss_upper(*sets, 3, average="macro", confidence=0.95, draws=2_000, seed=1)
    assert several == pytest.approx(single, abs=0.001)


@pytest.mark.parametrize(("constant", "proven"), [(True, False), (False, True)])
def test_always_the_same_labels_are_no_reference(constant: bool, proven: bool) -> None:
    truth = random_codes(600, 3, seed=6)
    most = int(np.bincount(truth).argmax())
    answers = np.full_like(truth, most) if constant else flipped(truth, np.arange(60), 0)
    check = gate.check_reference_of_sets(truth, answers, NAMES, confidence=0.95, allowed=False)
    assert check.proven is proven
    assert check.chance == 0.5
    assert check.balanced_accuracy == (0.5 if constant else pytest.approx(0.9667, abs=0.02))
    assert ("not proven better" if constant else "proven better") in check.words


def test_every_label_inverted_is_worse_than_the_same_labels_always() -> None:
    truth = random_codes(600, 3, seed=8)
    check = gate.check_reference_of_sets(truth, truth ^ 0b111, NAMES, confidence=0.95, allowed=False)
    assert not check.passed
    assert "probably in the wrong order" in check.words


def test_a_model_that_is_not_tuned_yet_has_thresholds_of_a_half() -> None:
    assert untuned(3).thresholds == (0.5, 0.5, 0.5)
    scores = set_metrics.while_training(
        np.array([[3.0, -3.0]] * 20 + [[-3.0, 3.0]] * 20), np.array([1] * 20 + [2] * 20)
    )
    assert scores["accuracy"] == scores["micro_f1"] == scores["macro_f1"] == 1.0
