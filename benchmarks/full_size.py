"""Models of full size with random weights, and how near their lean graphs come to PyTorch.

    python benchmarks/full_size.py [FAMILY ...]

For each family a model of the size of the published base model is made, saved, and read again as a lean graph. Both get
the same padded batches of random ids. Printed is the largest difference of a logit in FP32, beside the spread of the
logits over the texts. Speed does not depend on what the weights are, so `peers.py --family` times such models.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentopt.graph import families, lean
from sentopt.graph.products import FloatProducts
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.tokenization import Batch

BASE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072}
ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
DEBERTA_V3 = {
    **{"vocab_size": 128_100, "type_vocab_size": 0, "position_biased_input": False, "layer_norm_eps": 1e-7},
    **{"relative_attention": True, "position_buckets": 256, "norm_rel_ebd": "layer_norm", "share_att_key": True},
    "pos_att_type": ["p2c", "c2p"],
}
SIZES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", BASE),
    "distilbert": ("DistilBert", {}),
    "roberta": ("Roberta", {**BASE, **ROBERTA, "vocab_size": 50_265}),
    "xlm-roberta": ("XLMRoberta", {**BASE, **ROBERTA, "vocab_size": 250_002}),
    "electra": ("Electra", {**BASE, "embedding_size": 768}),
    "albert": ("Albert", BASE),
    "mpnet": ("MPNet", {**BASE, "max_position_embeddings": 514}),
    "deberta-v2": ("DebertaV2", {**BASE, **DEBERTA_V3}),
    "modernbert": ("ModernBert", {}),
    "gpt2": ("GPT2", {"pad_token_id": 0}),
}
TRACED: dict[str, tuple[str, dict[str, Any]]] = {"megatron-bert": ("MegatronBert", BASE)}
"""Families without a lean graph."""
NAMES = {
    **{"bert": "BERT", "distilbert": "DistilBERT", "roberta": "RoBERTa", "xlm-roberta": "XLM-R", "electra": "ELECTRA"},
    **{"albert": "ALBERT", "mpnet": "MPNet", "deberta-v2": "DeBERTa-v3", "modernbert": "ModernBERT", "gpt2": "GPT-2"},
}
SHAPES: tuple[tuple[int, ...], ...] = ((1,), (16, 9, 3), (128, 64, 5), (500, 200))
NOISE = 0.06


def save(family: str, folder: Path, *, noise: float = NOISE, fewest_tokens: int = 0, **changes: Any) -> Any:
    """Make the model, save its checkpoint and return it, in evaluation mode.

    Args:
        family: a key of `SIZES` or `TRACED`.
        folder: where the checkpoint goes.
        noise: what is added to every weight, as a standard deviation, so that none is zero or one.
        fewest_tokens: the vocabulary has as many tokens at least.
        changes: further settings of the configuration.
    """
    import torch
    import transformers

    name, settings = {**SIZES, **TRACED}[family]
    changes = changes if "id2label" in changes else {"num_labels": 3, **changes}
    config = getattr(transformers, f"{name}Config")(**{**settings, **changes})
    config.vocab_size = max(config.vocab_size, fewest_tokens)
    torch.manual_seed(0)
    model = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape) * noise
    model.save_pretrained(folder)
    return model


def batch_of(lengths: Sequence[int], vocabulary: int, padding: int) -> Batch:
    """Random ids of these lengths, padded on the right."""
    random = np.random.default_rng(sum(lengths))
    ids = np.full((len(lengths), max(lengths)), padding, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length], mask[row, :length] = random.integers(5, vocabulary, length), 1
    return Batch(ids, mask, np.zeros_like(ids))


def compare(family: str) -> Mapping[str, float]:
    """Largest difference of a logit from PyTorch's, and the standard deviation of the logits over the texts."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        model = save(family, Path(folder))
        graph = lean.write(families.read(Path(folder)), FloatProducts()).SerializeToString()
    config = model.config
    batches = [batch_of(lengths, config.vocab_size, config.pad_token_id or 0) for lengths in SHAPES]
    expected: list[FloatArray] = []
    with torch.no_grad():
        for batch in batches:
            ids, mask = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask)
            expected.append(model(input_ids=ids, attention_mask=mask).logits.numpy())
    del model
    gc.collect()
    session = OnnxSession(graph)
    differences = [float(np.abs(session.run(b) - e).max()) for b, e in zip(batches, expected, strict=True)]
    return {"difference": max(differences), "spread": float(np.concatenate(expected).std(axis=0).mean())}


def main() -> None:
    """Compare each family and print a table."""
    parser = argparse.ArgumentParser(description="Lean graphs of full size against PyTorch.")
    parser.add_argument("families", nargs="*", default=list(SIZES), choices=[*SIZES, []], metavar="FAMILY")
    print("| family | largest difference | spread of the logits |\n|---|---:|---:|")
    for family in parser.parse_args().families:
        found = compare(family)
        print(f"| {family} | {found['difference']:.1e} | {found['spread']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
