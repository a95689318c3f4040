"""Two-layer random classifiers of every family that is tested, and texts for them, as token ids."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

LABELS, VOCABULARY, POSITIONS = 3, 200, 70
BERT_LIKE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": POSITIONS,
    "num_labels": LABELS,
    "layer_norm_eps": 0.01,  # unlike any default, so that it must have been read
}
GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_inner": 48,
    "n_positions": POSITIONS,
    "num_labels": LABELS,
    "layer_norm_epsilon": 0.01,
    "pad_token_id": 0,
}
DISTILBERT = {
    "vocab_size": VOCABULARY,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 64,
    "max_position_embeddings": POSITIONS,
    "num_labels": LABELS,
}
MODERNBERT = {
    **{key: value for key, value in BERT_LIKE.items() if key != "layer_norm_eps"},
    **dict.fromkeys(("bos_token_id", "cls_token_id"), 2),
    **dict.fromkeys(("eos_token_id", "sep_token_id"), 3),
    "pad_token_id": 0,
    "reference_compile": False,
    "num_hidden_layers": 4,  # global, local, local, global
    "local_attention": 12,
    "norm_eps": 0.01,
    "global_rope_theta": 900.0,
    "local_rope_theta": 90.0,
}
DEBERTA_V3 = {
    **BERT_LIKE,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 16,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", BERT_LIKE),
    "bert-one-type": ("Bert", {**BERT_LIKE, "type_vocab_size": 1}),
    "distilbert": ("DistilBert", DISTILBERT),
    "roberta": ("Roberta", {**BERT_LIKE, "pad_token_id": 1}),
    "xlm-roberta": ("XLMRoberta", {**BERT_LIKE, "pad_token_id": 1}),
    "electra": ("Electra", {**BERT_LIKE, "embedding_size": 16}),
    "albert": ("Albert", {**BERT_LIKE, "embedding_size": 16}),
    "mpnet": ("MPNet", {**BERT_LIKE, "pad_token_id": 1}),
    "deberta-v2": ("DebertaV2", DEBERTA_V3),
    "modernbert": ("ModernBert", MODERNBERT),
    "gpt2": ("GPT2", GPT2),
}
TRACED: dict[str, tuple[str, dict[str, Any]]] = {
    "megatron-bert": ("MegatronBert", BERT_LIKE),
}
"""Families without a lean graph."""


def build(family: str, **changes: object) -> Any:
    """The model in evaluation mode; no parameter is zero or one, as many are in a fresh one."""
    import torch
    import transformers

    name, settings = {**FAMILIES, **TRACED}[family]
    config = getattr(transformers, f"{name}Config")(**{**settings, **changes})
    with torch.random.fork_rng(), torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script")  # of DeBERTa, and of what ModernBERT imports
        torch.manual_seed(7)
        model = getattr(transformers, f"{name}ForSequenceClassification")(config).eval()
        for parameter in model.parameters():
            parameter += torch.randn(parameter.shape) * 0.2
    return model


def save(family: str, folder: Path, **changes: object) -> Any:
    """Build the model and save its checkpoint. Returns the model."""
    model = build(family, **changes)
    model.save_pretrained(folder)
    return model


def texts(lengths: list[int], seed: int = 0) -> list[list[int]]:
    """Random token ids, none of them a padding token."""
    random = np.random.default_rng(seed)
    return [random.integers(2, VOCABULARY, size=n).tolist() for n in lengths]
