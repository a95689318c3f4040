"""Trace a model into an ONNX graph with the exporter of Optimum or of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from sentopt.backends.torch import TorchEngine


def trace_with_optimum(checkpoint: Path, model: Path, *, opset: int) -> None:
    """Write the graph of `checkpoint` as the file `model`, alone in its folder."""
    from optimum.exporters.onnx import main_export

    main_export(
        str(checkpoint),
        output=model.parent,
        task="text-classification",
        opset=opset,
        device="cpu",
        framework="pt",
        do_validation=False,  # it only warns; the stage compares and refuses
        library_name="transformers",
        local_files_only=True,
    )
    for extra in model.parent.iterdir():
        if extra.name != model.name:
            extra.unlink()


def trace_with_torch(checkpoint: Path, model: Path, *, opset: int) -> None:
    """Write the graph of `checkpoint` as the file `model`, by PyTorch's tracing exporter."""
    engine = TorchEngine.load(checkpoint)
    names = ["input_ids", "attention_mask"] + (["token_type_ids"] if engine.takes_type_ids else [])
    example = {name: torch.ones((2, 8), dtype=torch.int64) for name in names}
    torch.onnx.export(
        _LogitsOnly(engine.module, names),
        tuple(example.values()),
        str(model),
        input_names=names,
        output_names=["logits"],
        dynamic_axes={**{name: {0: "batch_size", 1: "sequence_length"} for name in names}, "logits": {0: "batch_size"}},
        opset_version=opset,
        dynamo=False,
    )


class _LogitsOnly(torch.nn.Module):
    """Takes positional tensors and returns logits: the signature that tracing needs."""

    def __init__(self, module: torch.nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.module = module
        self.names = list(names)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.module(**dict(zip(self.names, tensors, strict=True)), return_dict=True).logits
        return logits
