"""Low-rank adaptation (LoRA): small matrices beside frozen weights are trained, then added to these weights.

The product with a weight W becomes x W + (alpha / rank) x A B, where A has `rank` columns and B `rank` rows (Hu et al.,
"LoRA: Low-rank adaptation of large language models", ICLR 2022). B starts at zero, so the model starts as it was.
Optimizer state and checkpoints of a training hold A, B and the head only. The PEFT library computes it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import torch

from sentopt._optional import needs_extra
from sentopt.errors import RecipeError
from sentopt.recipe import TrainSection

_FRESH = "pooler"  # many backbones come without one, so it is drawn anew, and trained in full as the head is


def add(model: Any, train: TrainSection) -> None:
    """Freeze the encoder and put LoRA beside its linear layers; the head stays trainable. `model` is changed in place.

    Raises:
        MissingExtraError: PEFT is not installed.
        RecipeError: `train.lora_target_modules` has a name that no linear layer of the encoder has.
    """
    with needs_extra("peft"):
        from peft import LoraConfig, inject_adapter_in_model
    linear = dict(_linear_layers(model))
    config = LoraConfig(
        r=train.lora_rank,
        lora_alpha=train.lora_alpha,
        lora_dropout=train.lora_dropout,
        target_modules=_targets(model, list(linear), train.lora_target_modules),
        bias="none",
    )
    head = [name for name, _ in model.named_parameters() if _is_head(model, name)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to False")  # of GPT-2's Conv1D; PEFT sets it
        inject_adapter_in_model(config, model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in head or "lora_" in name)


def merge(model: Any) -> None:
    """Add the matrices to their weights, and put the layers back as they were; a model without LoRA stays as it is."""
    adapted = [(name, module) for name, module in model.named_modules() if hasattr(module, "get_base_layer")]
    for name, module in adapted:
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, module.get_base_layer())


def trained_state(model: torch.nn.Module, state: dict[str, Any]) -> dict[str, Any]:
    """The entries of a state that training changes; all, where nothing is frozen for LoRA."""
    if not any("lora_" in name for name in state):
        return state
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    return {name: value for name, value in state.items() if name not in frozen}


def _linear_layers(model: Any) -> Iterator[tuple[str, torch.nn.Module]]:
    from transformers.pytorch_utils import Conv1D

    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | Conv1D) and not _is_head(model, name):
            yield name, module


def _is_head(model: Any, name: str) -> bool:
    """Whether a module or parameter is outside the encoder, or drawn anew with the head."""
    return not name.startswith(f"{model.base_model_prefix}.") or _FRESH in name.split(".")


def _targets(model: Any, linear: list[str], wanted: tuple[str, ...]) -> list[str]:
    """Names of the layers that get LoRA: those that are, or end in, one of `wanted`; without it, all."""
    if not wanted:
        return linear
    matching = {name: [full for full in linear if f".{full}".endswith(f".{name}")] for name in wanted}
    if unknown := [name for name, found in matching.items() if not found]:
        last = sorted({full.rpartition(".")[2] for full in linear})
        raise RecipeError(
            "train.lora_target_modules",
            [
                f"{type(model).__name__} has no linear layer {', '.join(unknown)} in its encoder; "
                f"it has {', '.join(last)}"
            ],
        )
    return [full for full in linear if any(full in found for found in matching.values())]
