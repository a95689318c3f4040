"""Open any variant of a run as a `Classifier`, and list the capabilities of this machine."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentopt._optional import is_installed
from sentopt.graph import families, vocabulary
from sentopt.measure import hardware
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.options import Options
from sentopt.runtime.session import CPU
from sentopt.runtime.tokenization import TextEncoder
from sentopt.runtime.tuning import default
from sentopt.variants import VARIANTS, Need, VariantSpec

_BF16_GAIN, _PRODUCTS = 1.1, 8
CUDA: tuple[str, ...] = ("CUDAExecutionProvider", "CPUExecutionProvider")


def capabilities(checkpoint: Path) -> set[Need]:
    """The optional needs of variants that this machine and this checkpoint meet."""
    available: set[Need] = set()
    if families.unsupported_reason(checkpoint) is None:
        available.add("lean")
        if families.layers(checkpoint) > 1:
            available.add("student")
        if families.can_be_tiled(checkpoint):
            available.add("long")
        if vocabulary.unsupported_reason(checkpoint) is None:
            available.add("trimmable")
    if is_installed("openvino"):
        available.add("openvino")
    if computes_bf16():
        available.add("bf16")
    if is_installed("torch") and _torch_sees_cuda():
        available.add("cuda")
        if "CUDAExecutionProvider" in _providers():
            available.add("onnxruntime-cuda")
    return available


def computes_bf16() -> bool:
    """Whether BF16 is fast on this CPU.

    PyTorch's BF16 products on a CPU are those of oneDNN, which its builds for macOS leave out.
    """
    if not hardware.describe().has_bf16():
        return False
    if not is_installed("torch"):
        return True
    import torch

    return bool(torch.backends.mkldnn.is_available())


@functools.cache
def is_bf16_faster() -> bool:
    """Whether PyTorch multiplies faster in BF16 than in FP32 on this CPU: measured once, in milliseconds.

    Instructions do not tell. Where PyTorch's library has no kernel for them, BF16 takes longer than FP32.
    """
    if not computes_bf16():
        return False
    import torch

    return _BF16_GAIN * _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)


def _product_seconds(dtype: Any) -> float:
    """The shortest time of a product of the size that training has."""
    import torch

    left, right = (torch.ones(shape, dtype=dtype, device="cpu") for shape in ((1024, 384), (384, 1536)))
    samples = []
    for _ in range(_PRODUCTS):
        begin = time.perf_counter()
        torch.mm(left, right)
        samples.append(time.perf_counter() - begin)
    return min(samples)


@dataclass(frozen=True)
class Candidate:
    """A variant of a run with everything needed to open it, in this process or in another.

    `pairs` says that it reads pairs of texts; `thresholds` are those of labels of which a text has any number.
    """

    spec: VariantSpec
    checkpoint: Path
    model: Path
    labels: tuple[str, ...]
    max_length: int
    pairs: bool = False
    thresholds: tuple[float, ...] = ()

    @classmethod
    def of(cls, spec: VariantSpec, run_dir: RunDir, labels: Sequence[str], max_length: int) -> Candidate:
        """The variant in a run directory."""
        from sentopt.data import store  # not in the process of a contender, whose start and memory are measured

        checkpoint = run_dir.checkpoint.resolve()
        is_torch = spec.backend == "torch"
        model = checkpoint / "model.safetensors" if is_torch else run_dir.model(spec.file_owner).resolve()
        own = store.are_pairs(run_dir), store.read_decision(run_dir).thresholds
        return cls(spec, checkpoint, model, tuple(labels), max_length, *own)

    @property
    def tokenizer(self) -> Path:
        """The folder with the variant's tokenizer: its own if the vocabulary is trimmed, else the checkpoint."""
        return self.model.parent if self.spec.trimmed else self.checkpoint

    def open(self, threads: int | None = None) -> Classifier:
        """The variant as a classifier. Variants share batching and softmax; the engine (and the vocabulary) differ."""
        encoder = TextEncoder.load(self.tokenizer, max_length=self.max_length, pairs=self.pairs)
        tuning = default(threads)
        if self.spec.backend == "torch":
            from sentopt.backends.torch import TorchEngine

            engine = TorchEngine.load(
                self.checkpoint,
                device=self.spec.device,
                dtype=self.spec.dtype,
                compiled=self.spec.compiled,
                threads=tuning.threads,
            )
            return Classifier(engine, encoder, self.labels, options=Options(tuning=tuning), thresholds=self.thresholds)
        return Classifier.open(
            self.model,
            encoder,
            self.labels,
            options=Options(
                engine=self.spec.engine, tuning=tuning, providers=CUDA if self.spec.device == "cuda" else CPU
            ),
            thresholds=self.thresholds,
        )

    def to_json(self) -> str:
        """As one command-line argument for another process."""
        paths = [str(self.checkpoint), str(self.model)]
        return json.dumps([self.spec.name, *paths, self.labels, self.max_length, self.pairs, self.thresholds])

    @classmethod
    def from_json(cls, text: str) -> Candidate:
        """The inverse of `to_json`."""
        name, checkpoint, model, labels, max_length, pairs, thresholds = json.loads(text)
        return cls(VARIANTS[name], Path(checkpoint), Path(model), tuple(labels), max_length, pairs, tuple(thresholds))


def _torch_sees_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())
