"""A transformer classifier as numpy arrays, with the same names for all supported model families.

Weights have shape (inputs, outputs): a product is `x @ weight + bias`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]
Activation = Literal["gelu", "gelu_tanh", "relu", "tanh"]


@dataclass(frozen=True)
class Dense:
    """`x @ weight + bias`: weight (inputs, outputs), bias (outputs,)."""

    weight: FloatArray
    bias: FloatArray


@dataclass(frozen=True)
class Norm:
    """Layer normalization over the last axis: scale and bias (hidden,)."""

    scale: FloatArray
    bias: FloatArray
    epsilon: float


@dataclass(frozen=True)
class Disentangled:
    """What queries and keys meet besides each other: vectors of the distance between the two tokens (He et al. 2021).

    The score of token i for token j gets query i times `keys[r]`, and key j times `queries[r]`, where r is the row of
    their distance, see `Architecture.distance_rows`. Both are (rows, hidden), and None where the model has no such
    term. `queries` include the factor of the scores.
    """

    keys: FloatArray | None
    queries: FloatArray | None


@dataclass(frozen=True)
class Block:
    """One transformer layer. The query weights include the factor 1/sqrt(head size) of the attention scores.

    `attention_norm` is None where the first layer reads embeddings that are normalized already (ModernBERT). `window`
    is how far apart two tokens may be that attend to each other; None is no limit. With `rope`, queries and keys are
    rotated (RoPE, Su et al. 2021), and it is the base of the wavelengths. `disentangled` is DeBERTa's.
    """

    query: Dense
    key: Dense
    value: Dense
    output: Dense
    attention_norm: Norm | None
    up: Dense
    down: Dense
    output_norm: Norm
    window: int | None = None
    rope: float | None = None
    disentangled: Disentangled | None = None

    @cached_property
    def qkv(self) -> Dense:
        """Query, key and value as one product. It is the same object for every layer that shares the weights."""
        parts = (self.query, self.key, self.value)
        return Dense(np.concatenate([d.weight for d in parts], axis=1), np.concatenate([d.bias for d in parts]))


@dataclass(frozen=True)
class Embeddings:
    """Token and position embeddings.

    Where texts stand alone, token type 0 is the only one, and is added to the position rows (or to `words`). `types`
    (types, width) are added to the tokens of each type where texts are pairs, if the model has several types.

    `positions` defines the position row of a token:
        "absolute": its column in the batch;
        "after_padding_id": `padding_id` + its rank among the tokens of its text that are not `padding_id` (RoBERTa,
            MPNet);
        "mask": its rank among the tokens with attention mask 1, so that padding on either side has no effect;
        "none": there are no position rows, `rows` is None (ModernBERT).
    """

    words: FloatArray
    rows: FloatArray | None
    positions: Literal["absolute", "after_padding_id", "mask", "none"]
    padding_id: int = 0
    norm: Norm | None = None
    projection: Dense | None = None
    types: FloatArray | None = None


@dataclass(frozen=True)
class HeadStep:
    """One layer of the classification head, which is applied to a single vector. `norm` comes last."""

    dense: Dense
    activation: Activation | None
    norm: Norm | None = None


@dataclass(frozen=True)
class Architecture:
    """A classifier. `reads` is the token that the head is applied to, or the mean of all; "last": attention is causal.

    Layers that share their weights (ALBERT) are the same `Block`.

    With `norm_first`, normalization comes before attention and feed-forward (GPT-2) instead of after the residual
    (BERT), and `final_norm` comes after the last layer. With `gated`, `up` has twice as many outputs as `down` has
    inputs, and the activated first half is multiplied by the second (GeGLU, Shazeer 2020).

    `distances` (heads, 2 n - 1) is added to the scores of all layers (MPNet): for texts of up to n tokens, what stands
    at place d + n - 1 belongs to tokens whose columns are d apart, from the one that attends to the one attended to.
    `distance_rows` (2 n - 1,) has the same order, and the rows of `Disentangled`.
    """

    family: str
    embeddings: Embeddings
    blocks: tuple[Block, ...]
    heads: int
    activation: Activation
    head: tuple[HeadStep, ...]
    reads: Literal["first", "last", "mean"] = "first"
    norm_first: bool = False
    gated: bool = False
    final_norm: Norm | None = None
    distances: FloatArray | None = None
    distance_rows: IntArray | None = None

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return int(self.blocks[0].query.weight.shape[0])

    @property
    def labels(self) -> int:
        """Number of logits."""
        return int(self.head[-1].dense.bias.shape[0])

    @property
    def can_be_tiled(self) -> bool:
        """Whether attention needs no bias but that of padding."""
        return not self.causal and self.distances is None and self.distance_rows is None

    @property
    def causal(self) -> bool:
        """Whether a token attends to itself and earlier tokens only."""
        return self.reads == "last"


def frequencies(base: float, head_size: int) -> FloatArray:
    """By how much each pair of a head is turned from one column to the next, in radians: (head size / 2,).

    float32 as transformers has it: another rounding would be an error that grows with the column.
    """
    powers = (base ** (np.arange(0, head_size, 2) / head_size)).astype(np.float32)
    return np.asarray(np.float32(1.0) / powers, dtype=np.float32)
