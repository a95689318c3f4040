"""The loss of a training with a teacher, against its definition in float64."""

import numpy as np
import pytest
import torch

from sentopt import recipe
from sentopt.training.teacher_loss import TeacherLoss

RANDOM = np.random.default_rng(0)
LOGITS, TAUGHT = RANDOM.normal(size=(2, 6, 3)) * 3
LABELS = np.array([0, 2, -100, 1, -100, 0])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def expected(weight: float, temperature: float, weights: np.ndarray, smoothing: float = 0.0) -> float:
    student, teacher = log_softmax(LOGITS / temperature), log_softmax(TAUGHT / temperature)
    divergence = (np.exp(teacher) * (teacher - student)).sum(axis=1) * temperature**2
    logs = log_softmax(LOGITS)
    losses = []
    for i, label in enumerate(LABELS):
        if label < 0:
            losses.append(divergence[i])
            continue
        target = np.full(3, smoothing / 3)
        target[label] += 1.0 - smoothing
        of_label = -(target * weights * logs[i]).sum()
        losses.append((1.0 - weight) * of_label + weight * divergence[i])
    return float(np.mean(losses))


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values)


@pytest.mark.parametrize(("weight", "temperature"), [(0.7, 2.0), (1.0, 1.0), (0.1, 5.0)])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 2.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_what_its_definition_says(
    weight: float, temperature: float, weights: tuple[float, ...] | None, smoothing: float
) -> None:
    loss = TeacherLoss(weight, temperature, smoothing)
    of_classes = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    found = loss.of(tensor(LOGITS).double(), tensor(LABELS), tensor(TAUGHT), class_weights=of_classes)
    wanted = expected(weight, temperature, np.array(weights or (1.0, 1.0, 1.0)), smoothing)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def test_a_batch_without_labels_is_learnt_from_the_teacher_alone() -> None:
    logits = tensor(LOGITS).requires_grad_()
    loss = TeacherLoss(0.5, 2.0).of(logits, torch.full((6,), -100), tensor(TAUGHT))
    loss.backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert float(logits.grad.abs().max()) > 0.0


def test_a_model_that_answers_as_its_teacher_does_has_nothing_to_learn() -> None:
    loss = TeacherLoss(1.0, 3.0).of(tensor(TAUGHT), tensor(LABELS), tensor(TAUGHT))
    assert float(loss) == pytest.approx(0.0, abs=1e-6)


def test_the_recipe_decides() -> None:
    given = recipe.load("quickstart", {"train.teacher": ["mpnet"], "train.teacher_weight": 0.4, "label_smoothing": 0.1})
    assert TeacherLoss.of_recipe(given.train) == TeacherLoss(0.4, given.train.teacher_temperature, 0.1)
