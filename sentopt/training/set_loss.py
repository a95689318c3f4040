"""The loss where a text has any number of labels: binary cross entropy of each label."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from sentopt.measure import label_sets


def of(
    logits: torch.Tensor, codes: torch.Tensor, *, weights: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """The mean over texts and labels.

    Args:
        logits: float32 of shape (texts, labels).
        codes: of the labels of each text (`measure.label_sets`), int64 of shape (texts,).
        weights: of the texts that have a label, against 1 for those without it, float32 of shape (labels,).
        smoothing: share of each target that is spread over having a label and not having it.
    """
    bits = torch.arange(logits.shape[1], device=codes.device)
    targets = ((codes[:, None] >> bits) & 1).to(logits.dtype)
    if smoothing:
        targets = targets * (1.0 - smoothing) + smoothing / 2.0
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, pos_weight=weights)


def balanced(codes: npt.NDArray[np.int64], labels: int) -> torch.Tensor:
    """Weights with which the texts that have a label count as much together as those without it."""
    counts = torch.from_numpy(label_sets.counts(codes, labels)).float()
    return (len(codes) - counts).clamp(min=1.0) / counts.clamp(min=1.0)
