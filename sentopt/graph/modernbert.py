"""Read a ModernBERT (Warner et al. 2024): most layers attend to near tokens only, and positions are rotations.

transformers 4 and 5 write the same settings under different names, and both are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sentopt.graph.architecture import Architecture, Block, Embeddings, HeadStep
from sentopt.graph.weights import ACTIVATIONS, Config, Weights, scaled, thirds

_GLOBAL, _LOCAL = "full_attention", "sliding_attention"
_THETAS = {_GLOBAL: 160_000.0, _LOCAL: 10_000.0}  # what transformers takes where the configuration does not say


def unsupported_reason(config: Config) -> str | None:
    """Why a configuration is not supported, in words for the user; None if it is."""
    for key in ("rope_scaling", "rope_parameters"):
        for rope in _each_rope(config.get(key) or {}):
            kind = rope.get("rope_type", rope.get("type", "default"))
            if kind != "default":
                return f"{key} with rope_type = {kind!r} is not supported"
            if rope.get("partial_rotary_factor", 1.0) != 1.0:
                return f"{key} with partial_rotary_factor = {rope['partial_rotary_factor']!r} is not supported"
    kinds = set(config.get("layer_types") or ()) - {_GLOBAL, _LOCAL}
    return f"layer_types with {sorted(kinds)} is not supported" if kinds else None


def read(w: Weights, config: Config) -> Architecture:
    """The weights of a `ModernBertForSequenceClassification`."""
    epsilon, biased = float(config["norm_eps"]), bool(config.get("norm_bias", False))
    pooled = config.get("classifier_pooling", "cls")
    head = HeadStep(
        w.linear("head.dense"),
        ACTIVATIONS[config.get("classifier_activation", "gelu")],
        w.norm("head.norm", epsilon, has_bias=biased),
    )
    return Architecture(
        family="modernbert",
        embeddings=Embeddings(
            words=w.array("model.embeddings.tok_embeddings.weight"),
            rows=None,
            positions="none",
            norm=w.norm("model.embeddings.norm", epsilon, has_bias=biased),
        ),
        blocks=tuple(_block(w, config, i) for i in range(int(config["num_hidden_layers"]))),
        heads=int(config["num_attention_heads"]),
        activation=ACTIVATIONS[config["hidden_activation"]],
        head=(head, HeadStep(w.linear("classifier"), None)),
        reads="mean" if pooled == "mean" else "first",
        norm_first=True,
        gated=True,
        final_norm=w.norm("model.final_norm", epsilon, has_bias=biased),
    )


def _block(w: Weights, config: Config, i: int) -> Block:
    epsilon, biased = float(config["norm_eps"]), bool(config.get("norm_bias", False))
    prefix, size = f"model.layers.{i}", int(config["hidden_size"]) // int(config["num_attention_heads"])
    query, key, value = thirds(w.linear(f"{prefix}.attn.Wqkv"))
    kind = _kind(config, i)
    return Block(
        query=scaled(query, size**-0.5),
        key=key,
        value=value,
        output=w.linear(f"{prefix}.attn.Wo"),
        attention_norm=w.norm(f"{prefix}.attn_norm", epsilon, has_bias=biased) if i else None,
        up=w.linear(f"{prefix}.mlp.Wi"),
        down=w.linear(f"{prefix}.mlp.Wo"),
        output_norm=w.norm(f"{prefix}.mlp_norm", epsilon, has_bias=biased),
        window=int(config["local_attention"]) // 2 if kind == _LOCAL else None,
        rope=_theta(config, kind),
    )


def _kind(config: Config, i: int) -> str:
    """Which tokens layer `i` attends to."""
    if kinds := config.get("layer_types"):
        return str(kinds[i])
    return _LOCAL if i % int(config.get("global_attn_every_n_layers", 3)) else _GLOBAL


def _theta(config: Config, kind: str) -> float:
    """The base of the wavelengths of a kind of layers."""
    ropes = config.get("rope_parameters") or {}
    if kind in ropes and "rope_theta" in (ropes[kind] or {}):
        return float(ropes[kind]["rope_theta"])
    everywhere = config.get("global_rope_theta", _THETAS[_GLOBAL])
    if kind == _GLOBAL:
        return float(everywhere)
    local = config.get("local_rope_theta", _THETAS[_LOCAL])
    return float(everywhere if local is None else local)


def _each_rope(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The settings themselves, and those of each kind of layers in them."""
    return [settings, *(each for each in settings.values() if isinstance(each, Mapping))]
