"""Read a Hugging Face checkpoint as an `Architecture`: the supported model families and the names of their weights.

Only `config.json` and `model.safetensors` are read, so the installed version of transformers does not matter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentopt.errors import ExportError
from sentopt.graph import deberta, modernbert
from sentopt.graph.architecture import Architecture, Block, Embeddings, HeadStep
from sentopt.graph.weights import ACTIVATIONS, BlockNames, Config, Weights, linear_block, scaled, thirds

_WEIGHTS = "model.safetensors"
_LARGEST_FILE = 1_900_000_000
_MPNET_PADDING, _BUCKETS, _FARTHEST = 1, 32, 128  # constants in the code of transformers


def unsupported_reason(checkpoint: Path) -> str | None:
    """Why no lean graph can be written for the checkpoint, in words for the user; None if one can."""
    config = _read_config(checkpoint)
    model_type = config.get("model_type")
    if model_type not in _FAMILIES:
        return f"architecture {model_type!r} is not one of {', '.join(_FAMILIES)}"
    family = _FAMILIES[model_type]
    for key in family.activation_keys:
        activation = config.get(key, "gelu")
        if activation not in ACTIVATIONS:
            return f"activation {activation!r} is not one of {', '.join(ACTIVATIONS)}"
    for key, (supported, default) in _SUPPORTED_SETTINGS.items():
        if config.get(key, default) not in supported:
            return f"{key} = {config[key]!r} is not supported"
    if reason := family.unsupported_reason(config):
        return reason
    if not (checkpoint / _WEIGHTS).is_file():
        return f"it has no {_WEIGHTS}; weights in several files are not supported"
    size = (checkpoint / _WEIGHTS).stat().st_size
    if size >= _LARGEST_FILE:
        return f"{_WEIGHTS} has {size / 1e9:.2f} GB; the limit of a single ONNX file is {_LARGEST_FILE / 1e9:g} GB"
    return None


def layers(checkpoint: Path) -> int:
    """The number of layers of a supported checkpoint, by its configuration; 0 where that does not say."""
    config = _read_config(checkpoint)
    count = next((config[key] for key in ("num_hidden_layers", "n_layers", "n_layer") if config.get(key)), 0)
    return int(count) * _inner_layers(config)


def reads_last(checkpoint: Path) -> bool:
    """Whether the head of a supported checkpoint reads the last token of a text."""
    return bool(_read_config(checkpoint).get("model_type") == "gpt2")


def can_be_tiled(checkpoint: Path) -> bool:
    """Whether attention of a supported checkpoint can be computed in tiles, see `lean.write`."""
    return _FAMILIES[_read_config(checkpoint)["model_type"]].tiled


def read(checkpoint: Path, *, pairs: bool = False) -> Architecture:
    """Read the weights of a checkpoint; with `pairs`, it reads pairs of texts, whose tokens have types.

    Raises:
        ExportError: a weight or setting is missing, or the checkpoint is not supported (see `unsupported_reason`).
    """
    from safetensors.numpy import load_file

    reason = unsupported_reason(checkpoint)
    if reason:
        raise ExportError(f"no lean graph can be written for {checkpoint}: {reason}")
    config = _read_config(checkpoint)
    family = _FAMILIES[config["model_type"]]
    tensors = load_file(checkpoint / _WEIGHTS)
    try:
        return family.read(Weights(tensors, pairs=pairs), config)
    except KeyError as error:
        raise ExportError(
            f"{checkpoint} has model_type {config['model_type']!r} but no weight or setting {error}"
        ) from error


def _bert_like(
    w: Weights, config: Config, *, root: str, head: tuple[HeadStep, ...], names: BlockNames | None = None
) -> Architecture:
    """BERT, RoBERTa, ELECTRA and MPNet: they use the same names below `root`, but for those of MPNet's attention."""
    epsilon, heads = float(config["layer_norm_eps"]), int(config["num_attention_heads"])
    size = int(config["hidden_size"]) // heads
    blocks = tuple(
        linear_block(w, f"{root}.encoder.layer.{i}", names or _BERT_NAMES, epsilon, size**-0.5)
        for i in range(int(config["num_hidden_layers"]))
    )
    return Architecture(
        family=config["model_type"],
        embeddings=_bert_embeddings(w, config, root, epsilon),
        blocks=blocks,
        heads=heads,
        activation=ACTIVATIONS[config["hidden_act"]],
        head=head,
    )


_BERT_NAMES = BlockNames(
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
)
_MPNET_NAMES = replace(
    _BERT_NAMES,
    query="attention.attn.q",
    key="attention.attn.k",
    value="attention.attn.v",
    output="attention.attn.o",
    attention_norm="attention.LayerNorm",
)
_DISTILBERT_NAMES = BlockNames(
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    output="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
)
_ALBERT_NAMES = BlockNames(
    query="attention.query",
    key="attention.key",
    value="attention.value",
    output="attention.dense",
    attention_norm="attention.LayerNorm",
    up="ffn",
    down="ffn_output",
    output_norm="full_layer_layer_norm",
)


def _bert_embeddings(
    w: Weights, config: Config, root: str, epsilon: float, projection: str = "embeddings_project"
) -> Embeddings:
    prefix = f"{root}.embeddings"
    first, types = w.token_types(prefix, config)
    rows = w.array(f"{prefix}.position_embeddings.weight")
    if first is not None:
        rows = rows + first
    projected = root == "albert" or config.get("embedding_size", config["hidden_size"]) != config["hidden_size"]
    return Embeddings(
        words=w.array(f"{prefix}.word_embeddings.weight"),
        rows=rows,
        positions="after_padding_id" if root in ("roberta", "mpnet") else "absolute",
        padding_id=_MPNET_PADDING if root == "mpnet" else int(config.get("pad_token_id") or 0),
        norm=w.norm(f"{prefix}.LayerNorm", epsilon),
        projection=w.linear(f"{root}.{projection}") if projected else None,
        types=types,
    )


def _bert(w: Weights, config: Config) -> Architecture:
    head = (HeadStep(w.linear("bert.pooler.dense"), "tanh"), HeadStep(w.linear("classifier"), None))
    return _bert_like(w, config, root="bert", head=head)


def _roberta(w: Weights, config: Config) -> Architecture:
    head = (HeadStep(w.linear("classifier.dense"), "tanh"), HeadStep(w.linear("classifier.out_proj"), None))
    return _bert_like(w, config, root="roberta", head=head)


def _electra(w: Weights, config: Config) -> Architecture:
    head = (HeadStep(w.linear("classifier.dense"), "gelu"), HeadStep(w.linear("classifier.out_proj"), None))
    return _bert_like(w, config, root="electra", head=head)


def _mpnet(w: Weights, config: Config) -> Architecture:
    head = (HeadStep(w.linear("classifier.dense"), "tanh"), HeadStep(w.linear("classifier.out_proj"), None))
    of_buckets = w.array("mpnet.encoder.relative_attention_bias.weight")
    buckets = distance_buckets(int(config["max_position_embeddings"]))
    return replace(
        _bert_like(w, config, root="mpnet", head=head, names=_MPNET_NAMES),
        distances=np.ascontiguousarray(of_buckets[buckets].T),
    )


def distance_buckets(tokens: int) -> npt.NDArray[np.int64]:
    """MPNet's bucket of each distance from 1 - tokens to tokens - 1, as T5 has them (Raffel et al. 2020, section 2.1).

    Half of the 32 buckets are for later tokens. Eight of each half are for one distance each, the others grow with its
    logarithm up to 128.
    """
    distance = np.arange(1 - tokens, tokens)
    far, exact = np.abs(distance), _BUCKETS // 4
    with np.errstate(divide="ignore"):
        grown = np.log(far.astype(np.float32) / np.float32(exact)) / np.float32(np.log(_FARTHEST / exact))
    large = np.minimum(exact + np.where(far < exact, 0, grown * np.float32(exact)).astype(np.int64), 2 * exact - 1)
    return np.where(distance > 0, _BUCKETS // 2, 0) + np.where(far < exact, far, large)


def _albert(w: Weights, config: Config) -> Architecture:
    """Layers of a group have the same weights; a layer may be several inner ones."""
    epsilon, heads = float(config["layer_norm_eps"]), int(config["num_attention_heads"])
    size, layers, groups = int(config["hidden_size"]) // heads, int(config["num_hidden_layers"]), _groups(config)
    blocks = [
        [
            linear_block(
                w, f"albert.encoder.albert_layer_groups.{group}.albert_layers.{i}", _ALBERT_NAMES, epsilon, size**-0.5
            )
            for i in range(_inner_layers(config))
        ]
        for group in range(groups)
    ]
    return Architecture(
        family="albert",
        embeddings=_bert_embeddings(w, config, "albert", epsilon, "encoder.embedding_hidden_mapping_in"),
        blocks=tuple(block for i in range(layers) for block in blocks[int(i / (layers / groups))]),
        heads=heads,
        activation=ACTIVATIONS[config["hidden_act"]],
        head=(HeadStep(w.linear("albert.pooler"), "tanh"), HeadStep(w.linear("classifier"), None)),
    )


def _groups(config: Config) -> int:
    return int(config.get("num_hidden_groups", 1))


def _inner_layers(config: Config) -> int:
    return int(config.get("inner_group_num", 1))


def _distilbert(w: Weights, config: Config) -> Architecture:
    heads, epsilon = int(config["n_heads"]), 1e-12  # this epsilon is a constant in the code of transformers
    size, root = int(config["dim"]) // heads, "distilbert.embeddings"
    blocks = tuple(
        linear_block(w, f"distilbert.transformer.layer.{i}", _DISTILBERT_NAMES, epsilon, size**-0.5)
        for i in range(int(config["n_layers"]))
    )
    return Architecture(
        family="distilbert",
        embeddings=Embeddings(
            words=w.array(f"{root}.word_embeddings.weight"),
            rows=w.array(f"{root}.position_embeddings.weight"),
            positions="absolute",
            norm=w.norm(f"{root}.LayerNorm", epsilon),
        ),
        blocks=blocks,
        heads=heads,
        activation=ACTIVATIONS[config["activation"]],
        head=(HeadStep(w.linear("pre_classifier"), "relu"), HeadStep(w.linear("classifier"), None)),
    )


def _gpt2(w: Weights, config: Config) -> Architecture:
    heads, epsilon = int(config["n_head"]), float(config["layer_norm_epsilon"])
    size = int(config["n_embd"]) // heads
    blocks = []
    for i in range(int(config["n_layer"])):
        p = f"transformer.h.{i}"
        query, key, value = thirds(w.conv1d(f"{p}.attn.c_attn"))
        blocks.append(
            Block(
                query=scaled(query, size**-0.5),
                key=key,
                value=value,
                output=w.conv1d(f"{p}.attn.c_proj"),
                attention_norm=w.norm(f"{p}.ln_1", epsilon),
                up=w.conv1d(f"{p}.mlp.c_fc"),
                down=w.conv1d(f"{p}.mlp.c_proj"),
                output_norm=w.norm(f"{p}.ln_2", epsilon),
            )
        )
    return Architecture(
        family="gpt2",
        embeddings=Embeddings(
            words=w.array("transformer.wte.weight"), rows=w.array("transformer.wpe.weight"), positions="mask"
        ),
        blocks=tuple(blocks),
        heads=heads,
        activation=ACTIVATIONS[config["activation_function"]],
        head=(HeadStep(w.linear("score"), None),),
        reads="last",
        norm_first=True,
        final_norm=w.norm("transformer.ln_f", epsilon),
    )


@dataclass(frozen=True)
class _Family:
    """How a family is read, the settings that name its activations, whether its attention can be computed in tiles, and
    why a configuration of it is not supported."""

    read: Callable[[Weights, Config], Architecture]
    activation_keys: tuple[str, ...] = ("hidden_act",)
    tiled: bool = True
    unsupported_reason: Callable[[Config], str | None] = lambda _: None


_FAMILIES: dict[str, _Family] = {
    "bert": _Family(_bert),
    "distilbert": _Family(_distilbert, ("activation",)),
    "roberta": _Family(_roberta),
    "xlm-roberta": _Family(_roberta),
    "electra": _Family(_electra),
    "albert": _Family(_albert),
    "mpnet": _Family(_mpnet, tiled=False),
    "deberta-v2": _Family(
        deberta.read,
        ("hidden_act", "pooler_hidden_act"),
        tiled=False,
        unsupported_reason=deberta.unsupported_reason,
    ),
    "modernbert": _Family(
        modernbert.read,
        ("hidden_activation", "classifier_activation"),
        unsupported_reason=modernbert.unsupported_reason,
    ),
    "gpt2": _Family(_gpt2, ("activation_function",), tiled=False),
}
# Settings that change the computation: their supported values, and the value that applies if the config has none.
_SUPPORTED_SETTINGS: dict[str, tuple[tuple[object, ...], object]] = {
    "position_embedding_type": (("absolute", None), "absolute"),
    "is_decoder": ((False, None), False),
    "add_cross_attention": ((False, None), False),
    # Of GPT-2; not every attention implementation of transformers respects them.
    "scale_attn_weights": ((True, None), True),
    "scale_attn_by_inverse_layer_idx": ((False, None), False),
}


def _read_config(checkpoint: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read {checkpoint / 'config.json'}: {error}") from error
    return config
