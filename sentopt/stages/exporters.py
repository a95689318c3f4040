"""The exporters that trace a model into an ONNX graph: Optimum's, and PyTorch's for environments without Optimum."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from packaging.requirements import Requirement

from sentopt._optional import is_installed
from sentopt.backends.torch import TorchEngine
from sentopt.errors import ExportError, MissingExtraError

Exporter = Literal["optimum", "torch"]
Asked = Literal["auto", "optimum", "torch"]


def choose(asked: Asked) -> tuple[Exporter, tuple[str, ...]]:
    """The exporter that traces here, and notices about the choice. "auto" takes Optimum where it can be used.

    Raises:
        MissingExtraError: Optimum is asked for, and is not installed.
        ExportError: Optimum is asked for, and does not support the installed transformers.
    """
    if asked == "torch":
        return "torch", ()
    installed = is_installed("optimum.exporters.onnx") and is_installed("optimum.onnxruntime")
    conflict = unsupported_transformers() if installed else None
    if installed and not conflict:
        return "optimum", ()
    if asked == "auto":
        return "torch", (f"{conflict}: graphs are traced by PyTorch's exporter",) if conflict else ()
    if conflict:
        raise ExportError(
            f"export.exporter is 'optimum', and {conflict}. Install both with: pip install \"sentopt[optimum]\", or "
            "trace with PyTorch's exporter: --set export.exporter=torch"
        )
    raise MissingExtraError(
        "export.exporter is 'optimum', and Optimum's ONNX exporter is not installed.\n"
        'Install it with: pip install "sentopt[optimum]", '
        "or trace with PyTorch's exporter: --set export.exporter=torch"
    )


def unsupported_transformers() -> str | None:
    """In words, that the installed Optimum does not support the installed transformers; None if it does.

    The requirement is the one that Optimum's exporter states itself. It can be imported with others, too.
    """
    found = importlib.metadata.version("transformers")
    for line in importlib.metadata.requires("optimum-onnx") or ():
        requirement = Requirement(line)
        if requirement.name == "transformers" and not requirement.specifier.contains(found, prereleases=True):
            version = importlib.metadata.version("optimum-onnx")
            return f"optimum-onnx {version} needs transformers{requirement.specifier}, found {found}"
    return None


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
