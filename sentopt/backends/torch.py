"""PyTorch as an engine: the reference for all variants."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import Batch

_WIDTH_STEP = 16


class TorchEngine:
    """A sequence classification module, called as in ordinary PyTorch code: forward under `inference_mode`.

    With `compiled`, `torch.compile` makes one CUDA graph per shape. To limit the number of shapes, batches are padded
    to a power of two texts and a multiple of 16 tokens; the additional rows are removed from the result.
    """

    def __init__(
        self, module: torch.nn.Module, *, device: str = "cpu", dtype: str = "float32", compiled: bool = False
    ) -> None:
        self.module = module.eval().to(device=device, dtype=getattr(torch, dtype))
        self.device = device
        self.takes_type_ids = getattr(module.config, "type_vocab_size", 0) > 1
        self.takes_positions = module.config.model_type == "gpt2"  # by default it counts padding on the left
        self.longest = int(getattr(module.config, "max_position_embeddings", 0) or 0)
        self.pad_token_id = int(getattr(module.config, "pad_token_id", 0) or 0)
        self.compiled = compiled
        if compiled:
            self.module = torch.compile(self.module, mode="reduce-overhead", dynamic=False)

    @classmethod
    def load(
        cls,
        checkpoint: Path,
        *,
        device: str = "cpu",
        dtype: str = "float32",
        compiled: bool = False,
        threads: int | None = None,
    ) -> TorchEngine:
        """Load a checkpoint with the Auto classes; `threads` sets PyTorch's intra-op threads for the whole process."""
        if threads:
            limit_threads(threads)
        module = AutoModelForSequenceClassification.from_pretrained(checkpoint)
        return cls(module, device=device, dtype=dtype, compiled=compiled)

    def run(self, batch: Batch) -> FloatArray:
        """Logits, float32 of shape (texts, labels)."""
        texts = len(batch.input_ids)
        if self.compiled:
            batch = to_common_shape(batch, self.longest, self.pad_token_id)
        feeds = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self.takes_type_ids:
            feeds["token_type_ids"] = batch.token_type_ids
        if self.takes_positions:
            feeds["position_ids"] = batch.position_ids
        with torch.inference_mode():
            logits = self.module(
                **{name: torch.from_numpy(array).to(self.device) for name, array in feeds.items()}
            ).logits
        return np.asarray(logits[:texts].float().cpu().numpy())


def to_common_shape(batch: Batch, longest: int, pad_token_id: int) -> Batch:
    """`batch`, padded to a power of two texts (copies of the first) and a multiple of 16 tokens (masked)."""
    texts, width = batch.input_ids.shape
    columns = -(-width // _WIDTH_STEP) * _WIDTH_STEP
    columns = min(columns, longest) if longest >= width else columns
    numbers = np.arange(1 << (texts - 1).bit_length())
    rows = np.where(numbers < texts, numbers, 0)
    padding = ((0, 0), (0, columns - width))
    return Batch(
        np.pad(batch.input_ids, padding, constant_values=pad_token_id)[rows],
        np.pad(batch.attention_mask, padding)[rows],
        np.pad(batch.token_type_ids, padding)[rows],
    )


def limit_threads(threads: int) -> None:
    """Set PyTorch's intra-op threads for the whole process, to at most what OpenMP allows.

    With OMP_THREAD_LIMIT below PyTorch's number, oneDNN shares out work to threads that never come: products in BF16
    are then wrong, silently.
    """
    limit = os.environ.get("OMP_THREAD_LIMIT", "")
    torch.set_num_threads(max(1, min(threads, int(limit)) if limit.isdigit() else threads))
