"""Exponential moving average (EMA) of the weights, which is evaluated and saved instead of the last step's weights.

Averaging the iterates of the optimizer (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992) has at every step the
effect that a decay of the learning rate has at the end.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback

LAST_WEIGHTS = "last-weights.safetensors"


class EmaWeights(TrainerCallback):
    """Trainer callback that updates the EMA of the trainable parameters of `model` after every optimizer step.

    The decay starts low and rises to `decay`, so that the initial weights of the head lose their influence quickly.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages: dict[str, torch.Tensor] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Update the averages with the weights of this step."""
        if not self.averages:
            self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, p in self.parameters.items():
            self.averages[name].lerp_(p.detach(), 1.0 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Context in which the model has the averaged weights."""
        last = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(last)

    def save_last(self, folder: Path) -> None:
        """Save the current weights, from which training resumes, beside a checkpoint with the averages."""
        save_file({name: p.detach().contiguous() for name, p in self.parameters.items()}, folder / LAST_WEIGHTS)

    def resume(self, folder: Path) -> None:
        """Restore the state of `save_last`. The model must hold the checkpoint's weights, which are the averages."""
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._assign(load_file(folder / LAST_WEIGHTS))

    def _assign(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].data.copy_(value)
