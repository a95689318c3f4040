"""A classifier of few layers in PyTorch, made from an `Architecture` and turned back into one.

It computes what the lean graph computes, for every family that has one, so that a step costs as little: the last layer
computes only the token that the head reads. Embeddings are frozen: a cascade stores them once, for both its models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sentopt.graph.architecture import (
    Activation,
    Architecture,
    Block,
    Dense,
    Disentangled,
    Embeddings,
    HeadStep,
    Norm,
    frequencies,
)

_MASKED = 1e4


class Student(nn.Module):
    """The first stage: `layers` of the teacher's blocks, with the teacher's embeddings and head."""

    distances: Tensor | None

    def __init__(self, teacher: Architecture, layers: Sequence[int]) -> None:
        super().__init__()
        self.teacher = teacher
        self.embeddings = _Embeddings(teacher.embeddings)
        self.register_buffer(
            "distances", None if teacher.distances is None else torch.from_numpy(teacher.distances), persistent=False
        )
        self.blocks = nn.ModuleList(
            _Block(teacher.blocks[i], teacher, last=n == len(layers) - 1 and teacher.reads != "mean")
            for n, i in enumerate(layers)
        )
        self.final_norm = _norm(teacher.final_norm) if teacher.final_norm else None
        self.head = nn.ModuleList(_linear(step.dense) for step in teacher.head)
        self.head_norms = nn.ModuleDict({str(i): _norm(s.norm) for i, s in enumerate(teacher.head) if s.norm})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (batch, labels) of padded ids and their mask, both (batch, tokens)."""
        x = self.embeddings(ids, mask)
        bias = ((mask - 1.0) * _MASKED)[:, None, None, :]
        if self.distances is not None:
            bias = bias + _at_distance(self.distances, mask.shape[1])
        read = mask.shape[1] - 1 - mask.flip(1).argmax(dim=1) if self.teacher.reads == "last" else None
        for block in self.blocks:
            x = block(x, bias, read)
        if self.final_norm is not None:
            x = self.final_norm(x)
        x = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True) if self.teacher.reads == "mean" else x[:, 0]
        for i, (step, layer) in enumerate(zip(self.teacher.head, self.head, strict=True)):
            x = _activate(layer(x), step.activation)
            if step.norm:
                x = self.head_norms[str(i)](x)
        return x

    def architecture(self) -> Architecture:
        """The weights as they are now."""
        return replace(
            self.teacher,
            blocks=tuple(block.weights() for block in self.blocks),
            final_norm=_norm_of(self.final_norm) if self.final_norm is not None else None,
            head=tuple(
                HeadStep(_dense_of(layer), step.activation, _norm_of(self.head_norms[str(i)]) if step.norm else None)
                for i, (step, layer) in enumerate(zip(self.teacher.head, self.head, strict=True))
            ),
        )


class _Embeddings(nn.Module):
    """Frozen: tables and their normalization are buffers, not parameters."""

    words: Tensor
    rows: Tensor | None

    def __init__(self, embeddings: Embeddings) -> None:
        super().__init__()
        self.settings = embeddings
        self.register_buffer("words", torch.from_numpy(embeddings.words), persistent=False)
        rows = None if embeddings.rows is None else torch.from_numpy(embeddings.rows)
        self.register_buffer("rows", rows, persistent=False)
        self.norm = _norm(embeddings.norm).requires_grad_(False) if embeddings.norm else None
        self.projection = _linear(embeddings.projection).requires_grad_(False) if embeddings.projection else None

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.words[ids]
        if self.rows is not None:
            x = x + self.rows[self._places(ids, mask)]
        if self.norm is not None:
            x = self.norm(x)
        return self.projection(x) if self.projection is not None else x

    def _places(self, ids: Tensor, mask: Tensor) -> Tensor:
        if self.settings.positions == "absolute":
            return torch.arange(ids.shape[1])
        if self.settings.positions == "mask":
            return (mask.long().cumsum(1) - 1).clamp(min=0)
        real = (ids != self.settings.padding_id).long()
        return real.cumsum(1) * real + self.settings.padding_id


class _Block(nn.Module):
    """One layer. The last one computes one token, which is then the only column."""

    def __init__(self, block: Block, teacher: Architecture, *, last: bool) -> None:
        super().__init__()
        self.heads, self.norm_first, self.causal = teacher.heads, teacher.norm_first, teacher.causal
        self.activation: Activation = teacher.activation
        self.gated, self.last, self.window, self.rope = teacher.gated, last, block.window, block.rope
        self.query, self.key, self.value = _linear(block.query), _linear(block.key), _linear(block.value)
        self.output, self.up, self.down = _linear(block.output), _linear(block.up), _linear(block.down)
        self.vectors = _Vectors(block.disentangled, teacher) if block.disentangled else None
        self.attention_norm = _norm(block.attention_norm) if block.attention_norm else None
        self.output_norm = _norm(block.output_norm)

    def forward(self, x: Tensor, bias: Tensor, read: Tensor | None) -> Tensor:
        source = self.attention_norm(x) if self.norm_first and self.attention_norm is not None else x
        key, value = self._rotated(self._split(self.key(source))), self._split(self.value(source))
        if self.window is not None:
            bias = bias - _MASKED * (_apart(x.shape[1]).abs() > self.window)
        if self.last:
            x, source, bias = _column(x, read), _column(source, read), bias[:, :, :1]
        elif self.causal:
            bias = bias + torch.full((x.shape[1], x.shape[1]), -_MASKED).triu(1)
        query = self._rotated(self._split(self.query(source)))
        if self.vectors is not None:
            bias = bias + self.vectors(query, key)
        scores = query @ key.transpose(2, 3) + bias
        context = (scores.softmax(dim=-1).to(value.dtype) @ value).transpose(1, 2).flatten(2)
        x = self.output(context) + x
        if not self.norm_first and self.attention_norm is not None:
            x = self.attention_norm(x)
        x = self.down(self._inner(self.up(self.output_norm(x) if self.norm_first else x))) + x
        return x if self.norm_first else self.output_norm(x)

    def _inner(self, up: Tensor) -> Tensor:
        if not self.gated:
            return _activate(up, self.activation)
        up, gate = up.chunk(2, dim=-1)
        return _activate(up, self.activation) * gate

    def _rotated(self, heads: Tensor) -> Tensor:
        """Queries or keys of columns 0, 1, 2, ..., (batch, heads, tokens, head size), turned as `attention` does."""
        if self.rope is None:
            return heads
        half = heads.shape[-1] // 2
        turns = torch.from_numpy(frequencies(self.rope, heads.shape[-1]))
        angles = torch.arange(heads.shape[2], dtype=torch.float32)[:, None] * turns
        cosines, sines = angles.cos().to(heads.dtype), angles.sin().to(heads.dtype)
        x, y = heads[..., :half], heads[..., half:]
        return torch.cat((x * cosines - y * sines, y * cosines + x * sines), dim=-1)

    def _split(self, x: Tensor) -> Tensor:
        """(batch, tokens, hidden) as (batch, heads, tokens, head size)."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def weights(self) -> Block:
        return Block(
            query=_dense_of(self.query),
            key=_dense_of(self.key),
            value=_dense_of(self.value),
            output=_dense_of(self.output),
            attention_norm=None if self.attention_norm is None else _norm_of(self.attention_norm),
            up=_dense_of(self.up),
            down=_dense_of(self.down),
            output_norm=_norm_of(self.output_norm),
            window=self.window,
            rope=self.rope,
            disentangled=None if self.vectors is None else self.vectors.weights(),
        )


class _Vectors(nn.Module):
    """What queries and keys have with vectors of the distance, see `architecture.Disentangled`."""

    rows: Tensor

    def __init__(self, vectors: Disentangled, teacher: Architecture) -> None:
        super().__init__()
        assert teacher.distance_rows is not None
        self.heads = teacher.heads
        self.register_buffer("rows", torch.from_numpy(teacher.distance_rows.copy()), persistent=False)
        self.keys, self.queries = (
            None if table is None else nn.Parameter(torch.from_numpy(table.copy()))
            for table in (vectors.keys, vectors.queries)
        )

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """The part of the scores, (batch, heads, queries, tokens); a single query is that of the first token."""
        rows = self.rows[_apart(key.shape[2])[: query.shape[2]] + len(self.rows) // 2]
        bias = query.new_zeros(())
        if self.keys is not None:
            bias = bias + self._at(query @ self._of_heads(self.keys), rows)
        if self.queries is not None:
            bias = bias + self._at(key @ self._of_heads(self.queries), rows.T).transpose(2, 3)
        return bias

    def _of_heads(self, table: Tensor) -> Tensor:
        """(heads, head size, rows)."""
        return table.unflatten(1, (self.heads, -1)).permute(1, 2, 0)

    def _at(self, met: Tensor, rows: Tensor) -> Tensor:
        return met.gather(3, rows.expand(*met.shape[:2], *rows.shape))

    def weights(self) -> Disentangled:
        keys, queries = (
            None if table is None else table.detach().numpy().copy() for table in (self.keys, self.queries)
        )
        return Disentangled(keys, queries)


def _at_distance(distances: Tensor, tokens: int) -> Tensor:
    """The bias of every pair of tokens, (heads, tokens, tokens)."""
    return distances[:, _apart(tokens) + (distances.shape[1] - 1) // 2]


def _apart(tokens: int) -> Tensor:
    """How far each column is behind the one that attends to it, (tokens, tokens)."""
    columns = torch.arange(tokens)
    return columns - columns[:, None]


def _column(x: Tensor, read: Tensor | None) -> Tensor:
    """The token that the head reads, (batch, 1, hidden): the first one, or that at `read`."""
    return x[:, :1] if read is None else x[torch.arange(len(x)), read][:, None]


def _activate(x: Tensor, activation: Activation | None) -> Tensor:
    if activation is None:
        return x
    if activation in ("gelu", "gelu_tanh"):
        return functional.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")
    return torch.relu(x) if activation == "relu" else torch.tanh(x)


def _linear(dense: Dense) -> nn.Linear:
    inputs, outputs = dense.weight.shape
    layer = nn.Linear(inputs, outputs)
    layer.weight.data = torch.from_numpy(np.ascontiguousarray(dense.weight.T))
    layer.bias.data = torch.from_numpy(dense.bias.copy())
    return layer


def _dense_of(layer: nn.Module) -> Dense:
    assert isinstance(layer, nn.Linear)
    return Dense(np.ascontiguousarray(layer.weight.detach().numpy().T), layer.bias.detach().numpy().copy())


def _norm(norm: Norm) -> nn.LayerNorm:
    layer = nn.LayerNorm(len(norm.scale), eps=norm.epsilon)
    layer.weight.data, layer.bias.data = torch.from_numpy(norm.scale.copy()), torch.from_numpy(norm.bias.copy())
    return layer


def _norm_of(layer: nn.Module) -> Norm:
    assert isinstance(layer, nn.LayerNorm)
    return Norm(layer.weight.detach().numpy().copy(), layer.bias.detach().numpy().copy(), layer.eps)
