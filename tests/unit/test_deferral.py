"""The threshold of a cascade: proven on validation texts, and chosen by what they save and whether they will pass."""

from dataclasses import replace

import numpy as np
import pytest

from sentopt.gate import Rules, deferral
from sentopt.gate.deferral import Answers, Costs, Risk, choose, costs_by_layers
from sentopt.runtime.threshold import Threshold

RULES = Rules(margin=0.01, recall_margin=0.03, max_changed=0.05, confidence=0.95, macro_f1=False)
LABELS = 3


def simulated(texts: int, *, noise: float, seed: int = 0, labelled: bool = True) -> Answers:
    """A teacher that is calibrated, and a student whose logits are the teacher's with noise."""
    random = np.random.default_rng(seed)
    reference = random.normal(size=(texts, LABELS)).astype(np.float32) * 4
    gumbel = random.gumbel(size=reference.shape)
    truth = np.asarray((reference + gumbel).argmax(axis=1), dtype=np.int64)  # drawn with the teacher's probabilities
    student = reference + random.normal(size=reference.shape).astype(np.float32) * noise
    tokens = random.integers(4, 60, size=texts)
    return Answers(student, reference, reference, truth if labelled else truth[:0], tokens)


def chosen(answers: Answers, unseen: Answers | None = None, *, cost: float = 0.25) -> deferral.CascadeRule:
    return choose(answers, RULES, Costs(cost), test_texts=1_200, unseen=unseen)


def test_a_student_that_answers_as_its_teacher_defers_nothing() -> None:
    rule = chosen(simulated(2_000, noise=0.0))
    assert rule.deferred < 0.05
    assert (rule.lost, rule.gained, rule.changed) == (0, 0, 0)
    assert rule.limit < RULES.margin


def test_a_better_student_defers_less() -> None:
    shares = [chosen(simulated(3_000, noise=noise)).deferred for noise in (0.3, 1.0, 2.0)]
    assert shares == sorted(shares)
    assert shares[0] < 0.5 * shares[2]


def test_without_validation_texts_everything_is_deferred() -> None:
    none = simulated(0, noise=1.0)
    rule = chosen(none)
    assert rule.texts == 0
    assert rule.deferred == 1.0
    assert Threshold.of(rule).defers_all


def test_few_validation_texts_prove_nothing() -> None:
    assert chosen(simulated(100, noise=0.0)).deferred == 1.0


def test_what_was_chosen_is_within_the_margin_on_validation_texts() -> None:
    for seed in range(5):
        answers = simulated(1_000, noise=1.0, seed=seed)
        rule = chosen(answers)
        labels, deferred = answers.cascade(Threshold.of(rule))
        assert deferred.mean() == pytest.approx(rule.deferred)
        assert (labels != answers.labels).sum() == rule.changed
        assert rule.limit < RULES.margin


def test_a_full_model_that_is_worse_than_pytorch_leaves_everything_deferred() -> None:
    answers = simulated(2_000, noise=0.0)
    worse = answers.full.copy()
    worse[:100] = np.roll(worse[:100], 1, axis=1)
    rule = chosen(replace(answers, full=worse, student=worse))
    assert rule.deferred == 1.0
    assert rule.limit > RULES.margin


def test_unseen_texts_count_where_validation_texts_were_lucky() -> None:
    """Validation texts on which the student happens to agree do not decide alone."""
    lucky = simulated(600, noise=0.3)
    alone, informed = chosen(lucky), chosen(lucky, simulated(2_000, noise=2.5, seed=1, labelled=False))
    assert informed.deferred > alone.deferred


@pytest.mark.parametrize("texts", [0, 1_500])
def test_odds_lead_to_expect_what_happens(texts: int) -> None:
    """The expected numbers of lost and gained texts are those that many texts show, by counts or by a fitted curve."""
    answers = simulated(40_000, noise=1.5)
    risk = Risk.of(simulated(texts, noise=1.5, seed=1), None) if texts else None
    for threshold in (Threshold(confidence, 20) for confidence in (0.6, 0.8, 0.95)):
        labels, _ = answers.cascade(threshold)
        before, after = answers.labels == answers.truth, labels == answers.truth
        expected = deferral.expected_changes(answers, threshold, risk).sum(axis=0)
        tolerance = 0.4 if risk else 0.15
        assert expected[0] == pytest.approx((before & ~after).sum(), rel=tolerance, abs=12)
        assert expected[1] == pytest.approx((~before & after).sum(), rel=tolerance, abs=12)
        assert expected.sum() == pytest.approx(len(labels))


def test_a_student_that_knows_something_of_its_own_is_believed() -> None:
    """Where it is sure of another label, the PyTorch model is right less often than its probabilities say."""
    random = np.random.default_rng(0)
    truth = random.integers(0, LABELS, size=20_000)
    right = np.eye(LABELS)[truth]
    reference, student = (
        (4.0 * right + random.normal(size=right.shape) * 2.0).astype(np.float32) for _ in range(2)
    )  # both are calibrated
    answers = Answers(student, reference, reference, truth, np.full(len(truth), 20))
    for threshold in (Threshold(confidence, 20) for confidence in (0.6, 0.8, 0.95)):
        labels, _ = answers.cascade(threshold)
        before, after = answers.labels == truth, labels == truth
        for risk in (None, Risk.of(answers, None)):
            lost, gained, *_ = deferral.expected_changes(answers, threshold, risk).sum(axis=0)
            assert lost == pytest.approx((before & ~after).sum(), rel=0.25, abs=12)
            assert gained == pytest.approx((~before & after).sum(), rel=0.25, abs=12)


def test_a_threshold_that_loses_the_margin_is_rarely_accepted() -> None:
    """Among many validation splits, at most the level of them accept a threshold whose true loss is the margin."""
    population = simulated(60_000, noise=1.2, seed=5)
    random = np.random.default_rng(0)
    wrong, splits = 0, 200
    for _ in range(splits):
        rows = random.choice(60_000, size=800, replace=False)
        sample = Answers(
            population.student[rows],
            population.full[rows],
            population.reference[rows],
            population.truth[rows],
            population.tokens[rows],
        )
        last = deferral.accepted(sample, RULES)[-1]
        labels, _ = population.cascade(last)
        loss = (population.labels == population.truth).mean() - (labels == population.truth).mean()
        wrong += bool(loss >= RULES.margin)
    assert wrong / splits < 1.0 - deferral.CONFIDENCE + 0.07  # what 200 splits may show beside the level


def test_costs_count_shared_layers_once() -> None:
    own, common = costs_by_layers(2, 6, shared=0), costs_by_layers(2, 6, shared=1)
    assert own.student == common.student
    assert own.deferred == 1.0
    assert common.deferred == pytest.approx(4.2 / 5.2)
    assert costs_by_layers(2, 6, shared=0, tokens=0.25).student == pytest.approx(own.student / 4)
    assert own.speed(0.0) == pytest.approx(5.2 / 1.2)
    assert own.speed(1.0) < 1.0


def test_where_a_student_saves_nothing_everything_is_deferred() -> None:
    assert chosen(simulated(2_000, noise=0.5), cost=1.0).deferred == 1.0


def test_a_threshold_that_is_likely_to_fail_is_not_taken() -> None:
    """Many validation texts prove a loss near the margin; few test texts are likely not to."""
    answers = simulated(15_000, noise=1.2)
    bold = choose(answers, RULES, Costs(0.1), test_texts=15_000)
    cautious = choose(answers, RULES, Costs(0.1), test_texts=800)
    assert cautious.deferred > bold.deferred


def test_two_labels_and_rules_of_macro_f1() -> None:
    answers = simulated(2_000, noise=0.5)
    logits = (answers.student[:, :2], answers.full[:, :2], answers.reference[:, :2])
    two = Answers(*logits, answers.truth % 2, answers.tokens)
    rule = choose(two, replace(RULES, macro_f1=True), Costs(0.25), test_texts=1_200)
    assert 0.5 <= rule.threshold <= 1.0
    plain = choose(answers, RULES, Costs(0.25), test_texts=1_200)
    assert choose(answers, replace(RULES, macro_f1=True), Costs(0.25), test_texts=1_200).deferred >= plain.deferred


def test_long_texts_must_be_less_certain_to_be_deferred() -> None:
    threshold = Threshold(0.9, 20)
    assert threshold.at(20) == pytest.approx(0.9)
    assert threshold.at(5) > 0.95
    assert threshold.at(80) < 0.75
    tokens = np.array([5, 20, 20, 80, 80])
    confidence = np.array([0.95, 0.91, 0.89, 0.76, 0.6], dtype=np.float32)
    assert threshold.defers(confidence, tokens).tolist() == [True, False, True, False, True]
    assert Threshold(1.0, 20).defers(np.ones(2, dtype=np.float32), tokens[:2]).all()


def test_errors_that_cost_the_same_time_are_worth_the_same() -> None:
    """The odds for each token of what is at the threshold are the same for every length."""
    threshold = Threshold(0.8, 10)
    odds = [(1.0 - threshold.at(n)) / threshold.at(n) / n for n in (1, 10, 500)]
    assert odds == pytest.approx([odds[0]] * 3)


def test_a_given_time_corrects_more_errors_than_with_one_threshold_for_all_lengths() -> None:
    answers = simulated(20_000, noise=1.5)
    deferred = Threshold(0.9, 20).defers(answers.confidence, answers.tokens)
    tokens = answers.tokens[deferred].sum()
    order = np.argsort(answers.confidence)
    same_time = order[np.cumsum(answers.tokens[order]) <= tokens]
    wrong = answers.student.argmax(axis=1) != answers.labels
    assert wrong[deferred].sum() > 1.04 * wrong[same_time].sum()


def test_harder_or_easier_texts_that_help_with_the_fit_do_not_shift_it() -> None:
    answers = simulated(3_000, noise=1.0)
    alone = Risk.of(answers, None)
    for noise in (0.4, 2.5):
        helped = Risk.of(answers, simulated(3_000, noise=noise, seed=2, labelled=False))
        assert helped.at(np.array([1.0])) == pytest.approx(alone.at(np.array([1.0])), rel=0.3)


def test_a_student_that_never_differs_has_hardly_any_risk() -> None:
    risk = Risk.of(simulated(800, noise=0.0), None)
    assert risk.at(np.array([-0.5, 1.0, 5.0])).max() < 0.1
