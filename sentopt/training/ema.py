"""An exponential moving average of the weights: what is evaluated, saved and shipped in place of the last step's.

Averaging along the way of the optimizer (Polyak and Juditsky, SIAM J. Control Optim. 30, 1992) does at every step what
a decay of the learning rate does at the end.
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


class AveragedWeights(TrainerCallback):
    """As a callback of the Trainer: follows the trainable parameters of `model` after every optimizer step.

    The decay starts low and rises to `decay`, so that the fresh head is soon forgotten.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.averages: dict[str, torch.Tensor] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Move the averages a little towards the weights of this step."""
        if not self.averages:
            self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, p in self.parameters.items():
            self.averages[name].lerp_(p.detach(), 1.0 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averages in this context."""
        last = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._assign(self.averages)
        try:
            yield
        finally:
            self._assign(last)

    def save_last(self, folder: Path) -> None:
        """What training goes on from, beside a checkpoint that holds the averages."""
        save_file({name: p.detach().contiguous() for name, p in self.parameters.items()}, folder / LAST_WEIGHTS)

    def resume(self, folder: Path) -> None:
        """The state that `save_last` left. The model has the checkpoint's weights, which are the averages."""
        self.averages = {name: p.detach().clone() for name, p in self.parameters.items()}
        self._assign(load_file(folder / LAST_WEIGHTS))

    def _assign(self, values: dict[str, torch.Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].data.copy_(value)
