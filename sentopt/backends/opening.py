"""Open any variant of a run as a `Classifier`, and tell which variants this machine can run."""

from __future__ import annotations

from pathlib import Path

from sentopt import hardware
from sentopt._optional import is_installed
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.session import CPU, OnnxSession
from sentopt.runtime.tokenization import TextEncoder
from sentopt.variants import Need, VariantSpec

CUDA: tuple[str, ...] = ("CUDAExecutionProvider", "CPUExecutionProvider")


def capabilities() -> set[Need]:
    """What this machine offers beyond a plain CPU."""
    have: set[Need] = set()
    if hardware.describe().has_bf16():
        have.add("bf16")
    if is_installed("torch") and _torch_sees_cuda():
        have.add("cuda")
        if "CUDAExecutionProvider" in _providers():
            have.add("onnxruntime-cuda")
    return have


def open_variant(
    spec: VariantSpec,
    *,
    checkpoint: Path,
    model: Path,
    labels: tuple[str, ...],
    max_length: int,
    threads: int | None = None,
) -> Classifier:
    """The variant as a classifier: same tokenization, batching and softmax for all, only the engine differs."""
    encoder = TextEncoder.load(checkpoint, max_length=max_length)
    if spec.backend == "onnx":
        return Classifier(
            OnnxSession(model, threads=threads, providers=CUDA if spec.device == "cuda" else CPU), encoder, labels
        )
    from sentopt.backends.torch import TorchEngine

    return Classifier(
        TorchEngine.load(checkpoint, device=spec.device, dtype=spec.dtype, threads=threads), encoder, labels
    )


def _torch_sees_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())
