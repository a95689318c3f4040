"""The weights of a checkpoint as `architecture` has them: float32, of shape (inputs, outputs)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sentopt.graph.architecture import Activation, Block, Dense, FloatArray, Norm

Config = Mapping[str, Any]
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
    "tanh": "tanh",
}


class Weights:
    """The tensors of a checkpoint as float32, by the names of its model family.

    Every method raises `KeyError` with the name of a tensor that is missing.
    """

    def __init__(self, tensors: Mapping[str, Any], *, pairs: bool = False) -> None:
        """`pairs` says that the model reads pairs of texts."""
        self._tensors, self._pairs = tensors, pairs

    def array(self, name: str) -> FloatArray:
        """One tensor, in the shape that it is stored in."""
        return np.asarray(self._tensors[name], dtype=np.float32)

    def linear(self, name: str) -> Dense:
        """`torch.nn.Linear`, which stores (outputs, inputs)."""
        return self._dense(name, np.ascontiguousarray(self.array(f"{name}.weight").T))

    def conv1d(self, name: str) -> Dense:
        """GPT-2's `Conv1D`, which stores (inputs, outputs)."""
        return self._dense(name, self.array(f"{name}.weight"))

    def norm(self, name: str, epsilon: float, *, has_bias: bool = True) -> Norm:
        """`torch.nn.LayerNorm`."""
        scale = self.array(f"{name}.weight")
        return Norm(scale, self.array(f"{name}.bias") if has_bias else np.zeros_like(scale), epsilon)

    def token_types(self, prefix: str, config: Config) -> tuple[FloatArray | None, FloatArray | None]:
        """What every token gets for its type, (width,), and what each type gives, (types, width); one of them is None.

        In texts that stand alone, and to models of one type, all tokens have type 0. Both are None where a model has no
        types.
        """
        if not config.get("type_vocab_size", 0):
            return None, None
        table = self.array(f"{prefix}.token_type_embeddings.weight")
        return (None, table) if self._pairs and len(table) > 1 else (table[0], None)

    def _dense(self, name: str, weight: FloatArray) -> Dense:
        bias = self.array(f"{name}.bias") if f"{name}.bias" in self._tensors else np.zeros(weight.shape[1], np.float32)
        return Dense(weight, bias)


def scaled(dense: Dense, factor: float) -> Dense:
    """A product whose outputs are `factor` times those of `dense`."""
    return Dense(dense.weight * np.float32(factor), dense.bias * np.float32(factor))


@dataclass(frozen=True)
class BlockNames:
    """Names of the weights of a block, for families that use `torch.nn.Linear` throughout."""

    query: str
    key: str
    value: str
    output: str
    attention_norm: str
    up: str
    down: str
    output_norm: str


def linear_block(w: Weights, prefix: str, names: BlockNames, epsilon: float, factor: float) -> Block:
    """The block below `prefix`; `factor` is that of the attention scores."""
    return Block(
        query=scaled(w.linear(f"{prefix}.{names.query}"), factor),
        key=w.linear(f"{prefix}.{names.key}"),
        value=w.linear(f"{prefix}.{names.value}"),
        output=w.linear(f"{prefix}.{names.output}"),
        attention_norm=w.norm(f"{prefix}.{names.attention_norm}", epsilon),
        up=w.linear(f"{prefix}.{names.up}"),
        down=w.linear(f"{prefix}.{names.down}"),
        output_norm=w.norm(f"{prefix}.{names.output_norm}", epsilon),
    )


def thirds(dense: Dense) -> tuple[Dense, Dense, Dense]:
    """Query, key and value of a product that computes all of them, one behind the other."""
    weights, biases = np.split(dense.weight, 3, axis=1), np.split(dense.bias, 3)
    query, key, value = (
        Dense(np.ascontiguousarray(weight), bias) for weight, bias in zip(weights, biases, strict=True)
    )
    return query, key, value
