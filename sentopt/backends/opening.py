"""Open any variant of a run as a `Classifier`, and tell which variants this machine can run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

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

CUDA: tuple[str, ...] = ("CUDAExecutionProvider", "CPUExecutionProvider")


def capabilities(checkpoint: Path) -> set[Need]:
    """What this machine offers beyond a plain CPU, and what can be made of the checkpoint beyond a traced graph."""
    have: set[Need] = set()
    if families.why_not(checkpoint) is None:
        have.add("lean")
        if vocabulary.why_not(checkpoint) is None:
            have.add("wordpiece")
    if is_installed("openvino"):
        have.add("openvino")
    if hardware.describe().has_bf16():
        have.add("bf16")
    if is_installed("torch") and _torch_sees_cuda():
        have.add("cuda")
        if "CUDAExecutionProvider" in _providers():
            have.add("onnxruntime-cuda")
    return have


@dataclass(frozen=True)
class Candidate:
    """One variant of a run with all that is needed to open it, in this process or in another."""

    spec: VariantSpec
    checkpoint: Path
    model: Path
    labels: tuple[str, ...]
    max_length: int

    @classmethod
    def of(cls, spec: VariantSpec, run_dir: RunDir, labels: Sequence[str], max_length: int) -> Candidate:
        """The variant as the stages left it in a run directory."""
        checkpoint = run_dir.checkpoint.resolve()
        is_torch = spec.backend == "torch"
        model = checkpoint / "model.safetensors" if is_torch else run_dir.model(spec.file_owner).resolve()
        return cls(spec, checkpoint, model, tuple(labels), max_length)

    @property
    def tokenizer(self) -> Path:
        """The folder of its tokenizer: the checkpoint's, but where the vocabulary is trimmed."""
        return self.model.parent if self.spec.trimmed else self.checkpoint

    def open(self, threads: int | None = None) -> Classifier:
        """The variant as a classifier: same batching and softmax for all, only engine (and vocabulary) differ."""
        encoder = TextEncoder.load(self.tokenizer, max_length=self.max_length)
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
            return Classifier(engine, encoder, self.labels, options=Options(tuning=tuning))
        return Classifier.open(
            self.model,
            encoder,
            self.labels,
            options=Options(
                engine=self.spec.engine, tuning=tuning, providers=CUDA if self.spec.device == "cuda" else CPU
            ),
        )

    def to_json(self) -> str:
        """For the command line of another process."""
        return json.dumps([self.spec.name, str(self.checkpoint), str(self.model), list(self.labels), self.max_length])

    @classmethod
    def from_json(cls, text: str) -> Candidate:
        """What `to_json` wrote."""
        name, checkpoint, model, labels, max_length = json.loads(text)
        return cls(VARIANTS[name], Path(checkpoint), Path(model), tuple(labels), max_length)


def _torch_sees_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())
