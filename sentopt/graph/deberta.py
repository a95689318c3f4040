"""Read a DeBERTa-v2 or DeBERTa-v3 (He et al. 2021), whose scores depend on the distance of tokens by vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sentopt.graph.architecture import (
    Architecture,
    Block,
    Dense,
    Disentangled,
    Embeddings,
    FloatArray,
    HeadStep,
    IntArray,
)
from sentopt.graph.weights import ACTIVATIONS, BlockNames, Config, Weights, linear_block, scaled

_NAMES = BlockNames(
    query="attention.self.query_proj",
    key="attention.self.key_proj",
    value="attention.self.value_proj",
    output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_KEYS, _QUERIES = "c2p", "p2c"  # content to position, position to content


def unsupported_reason(config: Config) -> str | None:
    """Why a configuration is not supported, in words for the user; None if it is."""
    if config.get("conv_kernel_size", 0) > 0:
        return f"conv_kernel_size = {config['conv_kernel_size']!r}: convolutions are not supported"
    hidden, heads = config.get("hidden_size", 0), config.get("num_attention_heads", 1)
    if config.get("attention_head_size", hidden // heads) * heads != hidden:
        return f"attention_head_size = {config['attention_head_size']!r} is not supported; expected {hidden // heads}"
    if config.get("embedding_size", hidden) != hidden:
        return f"embedding_size = {config['embedding_size']!r} is not supported; expected hidden_size, {hidden}"
    return None


def read(w: Weights, config: Config) -> Architecture:
    """The weights of a `DebertaV2ForSequenceClassification`."""
    epsilon = float(config["layer_norm_eps"])
    vectors = _vectors_of_distances(w, config, epsilon)
    return Architecture(
        family="deberta-v2",
        embeddings=_embeddings(w, config, epsilon),
        blocks=tuple(_block(w, config, i, vectors) for i in range(int(config["num_hidden_layers"]))),
        heads=int(config["num_attention_heads"]),
        activation=ACTIVATIONS[config["hidden_act"]],
        head=(
            HeadStep(w.linear("pooler.dense"), ACTIVATIONS[config.get("pooler_hidden_act", "gelu")]),
            HeadStep(w.linear("classifier"), None),
        ),
        distance_rows=None if vectors is None else distance_rows(config),
    )


def _embeddings(w: Weights, config: Config, epsilon: float) -> Embeddings:
    prefix = "deberta.embeddings"
    words = w.array(f"{prefix}.word_embeddings.weight")
    first, types = w.token_types(prefix, config)
    kind = np.float32(0.0) if first is None else first
    rows = None
    if config.get("position_biased_input", True):
        rows = w.array(f"{prefix}.position_embeddings.weight") + kind
    return Embeddings(
        words=words if rows is not None else words + kind,
        rows=rows,
        positions="none" if rows is None else "absolute",
        padding_id=int(config.get("pad_token_id") or 0),
        norm=w.norm(f"{prefix}.LayerNorm", epsilon),
        types=types,
    )


def _block(w: Weights, config: Config, i: int, vectors: FloatArray | None) -> Block:
    prefix, epsilon = f"deberta.encoder.layer.{i}", float(config["layer_norm_eps"])
    attention = f"{prefix}.attention.self"
    size = int(config["hidden_size"]) // int(config["num_attention_heads"])
    kinds = _kinds(config)
    factor = (size * (1 + len(kinds))) ** -0.5
    block = linear_block(w, prefix, _NAMES, epsilon, factor)
    if vectors is None or not kinds:
        return block
    shared = bool(config.get("share_att_key", False))
    keys = queries = None
    if _KEYS in kinds:
        keys = _product(vectors, block.key if shared else w.linear(f"{attention}.pos_key_proj"))
    if _QUERIES in kinds:
        own = block.query if shared else scaled(w.linear(f"{attention}.pos_query_proj"), factor)
        queries = _product(vectors, own)
    return replace(block, disentangled=Disentangled(keys=keys, queries=queries))


def _kinds(config: Config) -> set[str]:
    """Which of the two terms the scores have."""
    kinds = config.get("pos_att_type") or []
    kinds = kinds.lower().split("|") if isinstance(kinds, str) else kinds
    return {_KEYS, _QUERIES} & {kind.strip() for kind in kinds}


def _vectors_of_distances(w: Weights, config: Config, epsilon: float) -> FloatArray | None:
    """One row for each bucket, the same for all layers, which multiply them by weights of their own."""
    if not config.get("relative_attention", False):
        return None
    vectors = w.array("deberta.encoder.rel_embeddings.weight")[: 2 * _span(config)]
    if "layer_norm" not in [part.strip() for part in str(config.get("norm_rel_ebd", "none")).lower().split("|")]:
        return vectors
    norm = w.norm("deberta.encoder.LayerNorm", epsilon)
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    deviation = np.sqrt(vectors.var(axis=1, keepdims=True) + np.float32(epsilon))
    return np.asarray(centred / deviation * norm.scale + norm.bias, dtype=np.float32)


def _product(vectors: FloatArray, dense: Dense) -> FloatArray:
    return np.asarray(vectors @ dense.weight + dense.bias, dtype=np.float32)


def _longest(config: Config) -> int:
    longest = int(config.get("max_relative_positions", -1))
    return longest if longest >= 1 else int(config["max_position_embeddings"])


def _buckets(config: Config) -> int:
    return int(config.get("position_buckets", -1))


def _span(config: Config) -> int:
    """Half the number of rows."""
    return _buckets(config) if _buckets(config) > 0 else _longest(config)


def distance_rows(config: Config) -> IntArray:
    """The row of each distance from 1 - n to n - 1, for texts of up to n = `max_position_embeddings` tokens.

    With `position_buckets`, distances up to half of them have a row each, and rows of larger ones grow with the
    logarithm of the distance, in float32 as transformers computes them.
    """
    tokens, buckets = int(config["max_position_embeddings"]), _buckets(config)
    behind = -np.arange(1 - tokens, tokens)  # transformers counts from the token attended to
    if buckets > 0:
        middle = buckets // 2
        far = np.where(np.abs(behind) < middle, middle - 1, np.abs(behind)).astype(np.float32)
        share = np.log(far / np.float32(middle)) / np.log(np.float32((_longest(config) - 1) / middle))
        grown = np.ceil(share * np.float32(middle - 1)) + np.float32(middle)
        behind = np.where(far <= middle, behind, grown * np.sign(behind)).astype(np.int64)
    return np.clip(behind + _span(config), 0, 2 * _span(config) - 1)
