"""The arguments of the Hugging Face Trainer, as this project needs them."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainingArguments

from sentopt.recipe import Recipe
from sentopt.training import trackers


class Arguments(TrainingArguments):
    """TrainingArguments that tell trackers the recipe, and whose CPU is loaded onto in several processes, too."""

    def __init__(self, recipe: Recipe, **arguments: Any) -> None:
        super().__init__(run_name=recipe.run.name, **arguments)
        self._recorded = trackers.parameters(recipe)
        self.project = trackers.PROJECT
        self.trackio_space_id = None  # by default trackio keeps runs in a Space of the hub

    @property
    def device(self) -> torch.device:
        """Where the model is trained. PyTorch loads an optimizer onto `cpu`, and not onto the `cpu:0` of accelerate."""
        device: torch.device = super().device
        return torch.device("cpu") if device.type == "cpu" else device

    def to_dict(self) -> dict[str, Any]:
        """What trackers record of a training: its recipe, which all other arguments follow from."""
        return dict(self._recorded)
