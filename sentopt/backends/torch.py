"""PyTorch as an engine: the reference that every variant is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification

from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import Batch


class TorchEngine:
    """A sequence classification module in eager mode, called as people call it: forward under `inference_mode`."""

    def __init__(self, module: torch.nn.Module, *, device: str = "cpu", dtype: str = "float32") -> None:
        self.module = module.eval().to(device=device, dtype=getattr(torch, dtype))
        self.device = device
        self.takes_type_ids = getattr(module.config, "type_vocab_size", 0) > 1

    @classmethod
    def load(
        cls, checkpoint: Path, *, device: str = "cpu", dtype: str = "float32", threads: int | None = None
    ) -> TorchEngine:
        """Load a checkpoint with the Auto classes; `threads` sets PyTorch's intra-op threads for the whole process."""
        if threads:
            torch.set_num_threads(threads)
        return cls(AutoModelForSequenceClassification.from_pretrained(checkpoint), device=device, dtype=dtype)

    def run(self, batch: Batch) -> FloatArray:
        """Logits, float32 of shape (texts, labels)."""
        feeds = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if self.takes_type_ids:
            feeds["token_type_ids"] = batch.token_type_ids
        with torch.inference_mode():
            logits = self.module(
                **{name: torch.from_numpy(array).to(self.device) for name, array in feeds.items()}
            ).logits
        return np.asarray(logits.float().cpu().numpy())
