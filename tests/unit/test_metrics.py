import evaluate
import numpy as np
import pytest
from sklearn import metrics as sk

from sentopt.measure import metrics

LABELS = ("a", "b", "c", "d")


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learn(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth, answers = random.integers(0, 4, 200), random.integers(0, 3, 200)  # label d is never answered
    scores = metrics.score(answers, truth, LABELS)
    assert scores.accuracy == sk.accuracy_score(truth, answers)
    assert scores.macro_f1 == pytest.approx(sk.f1_score(truth, answers, average="macro", zero_division=0))
    assert scores.macro_recall == pytest.approx(sk.recall_score(truth, answers, average="macro", zero_division=0))
    assert np.array_equal(scores.confusion, sk.confusion_matrix(truth, answers, labels=range(4)))
    assert [c.support for c in scores.per_class] == np.bincount(truth, minlength=4).tolist()
    assert [c.label for c in scores.per_class] == list(LABELS)
    assert scores.per_class[3].precision == 0.0


@pytest.mark.parametrize(
    "kind", [metrics.Accuracy, metrics.MacroScores, metrics.PerClassScores, metrics.ConfusionMatrix]
)
def test_each_is_an_evaluate_metric(kind: type) -> None:
    assert issubclass(kind, evaluate.Metric)
