"""When a student defers: the threshold of a cascade, chosen on the validation split alone.

`runtime.threshold` says what a threshold is. Two things are asked of the choice. The cascade must not lose the margin
of accuracy against the PyTorch model, and it should be fast. The first is a test on validation texts for each
threshold, from the most cautious one (every text is deferred) on, up to the first that fails: fixed-sequence testing
controls the probability that any accepted threshold loses the margin, whatever is chosen among them afterwards (Learn
then Test, Angelopoulos et al. 2021, section 2.2). To defer every text needs no test: what answers is then the full
model, which is judged by itself. The second weighs the time that a threshold saves with the probability that the
cascade passes verification.

The test has a confidence of 50 %, whatever the verification's is: it ends the sequence where a loss of the margin is
more likely than not. With few validation texts a stricter one ends by chance, at the first texts that are lost,
although bolder thresholds gain as many as they lose. If it errs, an attempt is wasted; what ships is judged on test
texts.

The probability of passing rests on the texts whose label changes, and these are few among validation texts. So what
counts is not whether such a text is lost or gained, but how probable that is, by what both models say of it
(`gate/pooling.py`): where a student is sure of another label, the PyTorch model is right less often than it believes.
Besides, a logistic curve is fitted to how often the student's label differs from the PyTorch model's, by the log-odds
of the student's answer. It learns from all validation texts, deferred or not, and from changed copies of training texts
that the student has not seen, which may be easier or harder (they have an intercept of their own). The curve can miss
errors of which the student is sure, and the counts can be lucky, so whichever is less likely to pass counts.

Verification judges the cascade afterwards, on test texts that have no part in this choice.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentopt.gate.pooling import Pool
from sentopt.gate.rules import Rules
from sentopt.measure import stats
from sentopt.measure.stats import IntArray
from sentopt.results import CascadeRule
from sentopt.runtime.classifier import softmax
from sentopt.runtime.session import BoolArray, FloatArray
from sentopt.runtime.threshold import Threshold

_STEPS, _HIGHEST_LOG_ODDS = 100, 9.0  # thresholds that are tried, and the first of them
_LEAST_PROBABILITY = 0.6
_RIDGE, _NEWTON_STEPS, _LARGEST_LOG_ODDS = 0.1, 30, 12.0
_DRAWS, _SEED = 400, 0
_DEFERRED_COUNT = 5.0  # texts
_PRIOR = 0.5  # texts of each kind of change that are added to what was seen
_READ_TOKEN = 0.2  # of a layer's work, where it computes one token

CONFIDENCE = 0.5
"""Of the test on validation texts."""
ENOUGH = 0.8
"""The confidence with which there must be enough validation texts to prove the margin, if no answer changed."""


@dataclass(frozen=True)
class Answers:
    """What the models answer to distinct texts.

    Attributes:
        student, full: logits of both stages as they ship, float32 of shape (texts, labels).
        reference: logits of the PyTorch model, or of its lean FP32 graph, of the same shape.
        truth: right labels, (texts,); empty for texts without labels.
        tokens: of each text, as the full model reads it, (texts,).
    """

    student: FloatArray
    full: FloatArray
    reference: FloatArray
    truth: IntArray
    tokens: IntArray

    @functools.cached_property
    def labels(self) -> IntArray:
        """The labels that the PyTorch model gives."""
        return np.asarray(self.reference.argmax(axis=1), dtype=np.int64)

    @functools.cached_property
    def chances(self) -> npt.NDArray[np.float64]:
        """How likely each label is right, by what both models say, (texts, labels)."""
        pool = Pool.fitted(self.reference, self.student, self.truth)
        return pool.probabilities(self.reference, self.student)

    @functools.cached_property
    def by_student(self) -> IntArray:
        """The labels that the student gives."""
        return np.asarray(self.student.argmax(axis=1), dtype=np.int64)

    @functools.cached_property
    def by_full(self) -> IntArray:
        """The labels that the full model gives as it ships."""
        return np.asarray(self.full.argmax(axis=1), dtype=np.int64)

    @functools.cached_property
    def differs(self) -> BoolArray:
        """Where the student's label is not the PyTorch model's."""
        return np.asarray(self.by_student != self.labels)

    @functools.cached_property
    def log_odds(self) -> npt.NDArray[np.float64]:
        """Those of the student's answer, (texts,)."""
        p = self.confidence.astype(np.float64)
        with np.errstate(divide="ignore"):
            return np.minimum(np.log(p / (1.0 - p)), _LARGEST_LOG_ODDS)

    @functools.cached_property
    def confidence(self) -> npt.NDArray[np.float32]:
        """The student's highest probability of each text."""
        return np.asarray(softmax(self.student).max(axis=1), dtype=np.float32)

    def cascade(self, threshold: Threshold) -> tuple[IntArray, BoolArray]:
        """Labels of the cascade, and which texts are deferred."""
        deferred = threshold.defers(self.confidence, self.tokens)
        return np.where(deferred, self.by_full, self.by_student), deferred

    def share_of_tokens(self, deferred: BoolArray) -> float:
        """The share of all tokens that is in the deferred texts."""
        return float(self.tokens[deferred].sum() / self.tokens.sum())


@dataclass(frozen=True)
class Risk:
    """How likely the student's label is another one than the PyTorch model's.

    Attributes:
        intercept, slope: of the log-odds of that, as a function of the log-odds of the student's answer.
    """

    intercept: float
    slope: float

    @classmethod
    def of(cls, answers: Answers, unseen: Answers | None) -> Risk:
        """Fitted to these answers by logistic regression with a small penalty (Newton's method)."""
        sources = [answers, *([unseen] if unseen else [])]
        features = np.concatenate(
            [
                np.column_stack([np.ones(len(s.tokens)), s.log_odds, np.full(len(s.tokens), i)])
                for i, s in enumerate(sources)
            ]
        )
        differs = np.concatenate([s.differs for s in sources]).astype(np.float64)
        weights = np.zeros(3)
        for _ in range(_NEWTON_STEPS):
            risk = _logistic(features @ weights)
            curvature = (features * (risk * (1.0 - risk))[:, None]).T @ features + _RIDGE * np.eye(3)
            weights += np.linalg.solve(curvature, features.T @ (differs - risk) - _RIDGE * weights)
        return cls(float(weights[0]), float(weights[1]))

    def at(self, log_odds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The probability for texts with these log-odds of the student's answer."""
        return _logistic(self.intercept + self.slope * log_odds)


def _logistic(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-np.clip(x, -30.0, 30.0)))


@dataclass(frozen=True)
class Costs:
    """Time of a text, in that of the full model alone: by the student, and besides that where it is deferred."""

    student: float
    deferred: float = 1.0

    def speed(self, share: float) -> float:
        """How many times as fast as the full model a cascade is that defers this share of the tokens."""
        return 1.0 / (self.student + share * self.deferred)


def costs_by_layers(student: int, full: int, *, shared: int, tokens: float = 1.0) -> Costs:
    """The costs of models of so many layers, of which both compute `shared`; the last layer of each reads one token.

    `tokens` is the share of a text's tokens that the student reads.
    """
    work = full - 1 + _READ_TOKEN
    return Costs(tokens * (student - 1 + _READ_TOKEN) / work, (full - shared - 1 + _READ_TOKEN) / work)


def choose(
    answers: Answers, rules: Rules, costs: Costs, *, test_texts: int, unseen: Answers | None = None
) -> CascadeRule:
    """The threshold.

    Args:
        answers: to validation texts; with too few, every text is deferred.
        rules: of verification.
        test_texts: distinct test texts of the verification to come.
        costs: of both stages.
        unseen: answers to further texts, without labels.
    """
    if len(answers.truth) < stats.fewest_texts(margin=rules.margin, confidence=ENOUGH):
        return CascadeRule(1.0, 1, 0, 1.0, 0, 0, 0, 1.0, rules.margin, CONFIDENCE)
    proven = accepted(answers, rules)
    risk = Risk.of(answers, unseen)
    expected = [0.0, *(_expected_gain(answers, risk, t, rules, test_texts, costs) for t in proven[1:])]
    best = proven[int(np.argmax(expected))]
    labels, deferred = answers.cascade(best)
    compared = _compared(answers.truth, answers.labels, labels, rules)
    return CascadeRule(
        threshold=best.confidence,
        threshold_tokens=best.tokens,
        texts=len(labels),
        deferred=float(deferred.mean()),
        lost=compared.lost,
        gained=compared.gained,
        changed=int((labels != answers.labels).sum()),
        limit=-compared.lower,
        margin=rules.margin,
        confidence=CONFIDENCE,
    )


def accepted(answers: Answers, rules: Rules) -> list[Threshold]:
    """Thresholds that are proven on validation texts, the most cautious first: that one is always among them."""
    everything, *others = _ladder(answers)
    labels = (answers.cascade(threshold)[0] for threshold in others)
    return [everything, *others[: proven_in_sequence(answers.truth, answers.labels, labels, rules)]]


def proven_in_sequence(truth: IntArray, reference: IntArray, candidates: Iterable[IntArray], rules: Rules) -> int:
    """How many of these answers are proven, one after the other, not to lose the margin: up to the first that is not.

    Args:
        truth: right labels, (texts,).
        reference: labels that the PyTorch model gives, (texts,).
        candidates: labels of ever bolder cascades, (texts,) each.
        rules: of verification.
    """
    proven = itertools.takewhile(lambda labels: _compared(truth, reference, labels, rules).non_inferior, candidates)
    return sum(1 for _ in proven)


def _ladder(answers: Answers) -> list[Threshold]:
    """Ever lower thresholds for a text of average length, in even steps of the log-odds; the first defers everything.

    They do not depend on the answers that are tested with them.
    """
    tokens = max(1, round(float(answers.tokens.mean())))
    log_odds = np.linspace(_HIGHEST_LOG_ODDS, -np.log(answers.student.shape[1] - 1.0), _STEPS)
    return [Threshold(1.0, tokens), *(Threshold(float(p), tokens) for p in 1.0 / (1.0 + np.exp(-log_odds)))]


def _compared(truth: IntArray, reference: IntArray, labels: IntArray, rules: Rules) -> stats.PairedComparison:
    return stats.paired_non_inferiority(reference == truth, labels == truth, margin=rules.margin, confidence=CONFIDENCE)


def _expected_gain(
    answers: Answers, risk: Risk, threshold: Threshold, rules: Rules, test_texts: int, costs: Costs
) -> float:
    """Logarithm of the speed relative to the full model: the cascade's if it passes verification, else nothing.

    A threshold that is likely to fail is worth nothing. The logarithm prefers a gain that is nearly certain to a little
    more of it.
    """
    probability = _probability_of_passing(answers, risk, threshold, rules, test_texts)
    if probability < _LEAST_PROBABILITY:
        return 0.0
    deferred = answers.share_of_tokens(answers.cascade(threshold)[1])
    return probability * math.log(costs.speed(deferred))


def _probability_of_passing(answers: Answers, risk: Risk, threshold: Threshold, rules: Rules, test_texts: int) -> float:
    """The lower one of the probabilities that the counted and the fitted changes lead to."""
    return min(_share_that_pass(expected_changes(answers, threshold, one), rules, test_texts) for one in (None, risk))


def _share_that_pass(expected: npt.NDArray[np.float64], rules: Rules, test_texts: int) -> float:
    """Share of simulated test splits on which accuracy, the recall of each label and the agreement are proven.

    The test texts of each label are drawn from a Dirichlet-multinomial distribution: what is expected of validation
    texts, plus a prior.
    """
    random = np.random.default_rng(_SEED)
    expected = expected[expected.sum(axis=1) > 0]
    prior = _PRIOR / len(expected) * np.array([1.0, 1.0, 1.0, 0.0]) + 1e-9
    sizes, drawn = [], []
    for counts in expected:
        size = max(1, round(test_texts * float(counts.sum() / expected.sum())))
        shares = random.dirichlet(counts + prior, size=_DRAWS)
        sizes.append(size)
        drawn.append(random.multinomial(size, shares / shares.sum(axis=1, keepdims=True)))
    passed = np.array([_passes(sum(sizes), row, rules) for row in np.sum(drawn, axis=0)])
    fewest = _fewest(rules, len(expected))
    for size, rows in zip(sizes, drawn, strict=True):
        if size >= fewest:
            passed &= np.array(
                [_is_proven(size, int(r[0]), int(r[1]), rules.recall_margin, rules.confidence) for r in rows]
            )
    return float(passed.mean())


def expected_changes(answers: Answers, threshold: Threshold, risk: Risk | None = None) -> npt.NDArray[np.float64]:
    """For each label, the expected numbers of its texts that are lost, gained, changed otherwise, and unchanged.

    With `risk`, what the student answers changes as that says; without, where its label differs.
    """
    count = answers.student.shape[1]
    labels, deferred = answers.cascade(threshold)
    chances = answers.chances
    changed = np.flatnonzero((answers.labels != labels) & (deferred | (risk is None)))
    before, after = answers.labels[changed], labels[changed]
    lost = np.bincount(before, weights=chances[changed, before], minlength=count)
    gained = np.bincount(after, weights=chances[changed, after], minlength=count)
    of_changed = chances[changed].sum(axis=0)
    if risk is not None:
        by_student = risk.at(answers.log_odds[~deferred]) @ chances[~deferred]
        share_lost, share_gained = _shares_of_changed(answers, ~deferred)
        lost, gained = np.add(lost, share_lost * by_student), np.add(gained, share_gained * by_student)
        of_changed = of_changed + by_student
    return np.stack(
        [lost, gained, np.maximum(of_changed - lost - gained, 0.0), chances.sum(axis=0) - of_changed], axis=1
    )


def _shares_of_changed(answers: Answers, by_student: BoolArray) -> tuple[float, float]:
    """How often the PyTorch model's label, and the student's, is right where they differ and the student answers.

    Texts that are deferred count like a few more: a student that is less sure is right less often. One more is lost.
    """
    differs = answers.differs
    of_deferred = _DEFERRED_COUNT / max(1, (differs & ~by_student).sum())
    weights = differs * np.where(by_student, 1.0, of_deferred)
    rows = np.arange(len(weights))
    lost = weights @ answers.chances[rows, answers.labels]
    gained = weights @ answers.chances[rows, answers.by_student]
    return float((lost + 1.0) / (weights.sum() + 1.0)), float(gained / (weights.sum() + 1.0))


def _passes(texts: int, counts: npt.NDArray[np.int64], rules: Rules) -> bool:
    lost, gained, otherwise = (int(n) for n in counts[:3])
    added = int(rules.macro_f1)  # the bootstrap of macro F1 adds a lost text
    return _is_proven(texts, lost + added, gained, rules.margin, rules.confidence) and bool(
        _upper(lost + gained + otherwise, texts, rules.confidence) < rules.max_changed
    )


# Simulated splits share few different counts.
_is_proven = functools.lru_cache(maxsize=65_536)(stats.is_non_inferior)
_fewest = functools.lru_cache(maxsize=64)(lambda rules, labels: rules.fewest_of_a_label(labels, rules.confidence))
_upper = functools.lru_cache(maxsize=65_536)(stats.proportion_upper)
