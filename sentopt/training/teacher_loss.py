"""The loss of a training with a teacher (Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
2015).

A text with a label has cross-entropy with it and, as the share `weight`, the divergence from the teacher's answer, both
softened by a temperature. A text without a label has the latter alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from sentopt.recipe import TrainSection


@dataclass(frozen=True)
class TeacherLoss:
    """The mean over a batch of the losses of its texts.

    Attributes:
        weight: share of the teacher in the loss of a text that has a label, too.
        temperature: divides the logits of both before they are compared; the divergence is multiplied by its square,
            so that gradients keep their size.
        label_smoothing: share of the target of a label that is spread over all labels.
    """

    weight: float
    temperature: float
    label_smoothing: float = 0.0

    @classmethod
    def of_recipe(cls, train: TrainSection) -> TeacherLoss:
        """As the recipe states it."""
        return cls(train.teacher_weight, train.teacher_temperature, train.label_smoothing)

    def of(
        self,
        logits: torch.Tensor,
        labels: torch.Tensor,
        soft_labels: torch.Tensor,
        *,
        class_weights: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """A scalar.

        Args:
            logits: of the model, float32 of shape (texts, labels).
            labels: int64 of shape (texts,); -100 for a text without one.
            soft_labels: logits of the teacher, of the shape of `logits`.
            class_weights: of each label in the cross-entropy, with a mean of 1 over the texts that have one.
        """
        divergence = self._divergence(logits, soft_labels.float())
        has_label = labels >= 0
        of_labels = functional.cross_entropy(
            logits,
            labels,
            weight=None if class_weights is None else class_weights.to(logits.device),
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        mixed = (1.0 - self.weight) * of_labels + self.weight * divergence
        return torch.where(has_label, mixed, divergence).mean()

    def _divergence(self, logits: torch.Tensor, soft_labels: torch.Tensor) -> torch.Tensor:
        """Of each text: the Kullback-Leibler divergence of the softened answers."""
        student = functional.log_softmax(logits / self.temperature, dim=1)
        teacher = functional.log_softmax(soft_labels / self.temperature, dim=1)
        return functional.kl_div(student, teacher, log_target=True, reduction="none").sum(dim=1) * self.temperature**2
