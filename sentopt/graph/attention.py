"""The nodes of attention between all tokens of a text: who attends to whom, and what positions add.

Local attention (ModernBERT) has two forms, of which an `If` takes one. In short batches all scores are computed, and
those of far tokens are masked. In long ones the tokens are cut into blocks, and each block attends to itself and its
two neighbours (Beltagy et al. 2020), so that memory grows with the number of tokens and not with its square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from sentopt.graph.architecture import Architecture, Block, Disentangled, FloatArray, IntArray, frequencies
from sentopt.graph.nodes import GraphWriter
from sentopt.graph.products import Products
from sentopt.variants import LONG

MASKED = 1e4  # exp(-1e4) is 0 in float32, and no score is that large
BLOCKS = 4
"""Local attention is computed in blocks where there are more tokens than in so many of them."""
_SMALLEST_BLOCK = 64


@dataclass(frozen=True)
class _Local:
    """Local attention of one window.

    Attributes:
        in_blocks: whether scores are computed in blocks.
        bias: what is added to them; its shape is that of their form.
        size: tokens of a block.
    """

    in_blocks: str
    bias: str
    size: int


class Attention:
    """Adds the nodes of attention to a graph: first `add_padding`, then `begin`, then `context` for each layer."""

    def __init__(
        self, g: GraphWriter, architecture: Architecture, products: Products, *, ids: str, mask: str, tiled: bool
    ) -> None:
        self.g, self.a, self.products, self.ids, self.mask = g, architecture, products, ids, mask
        self.head_size = architecture.hidden // architecture.heads
        self.tiled = tiled and architecture.can_be_tiled
        self.padding = self.bias = self.unpadded = ""
        self.local: dict[int, _Local] = {}
        self.rotations: dict[float, tuple[str, str]] = {}
        self.places: dict[int, str] = {}

    def add_padding(self) -> None:
        """`padding` is 0 for real tokens, a large negative number for padding: (batch, 1, 1, tokens)."""
        g = self.g
        kept = g.add("Cast", self.mask, to=TensorProto.FLOAT)
        bias = g.add("Mul", g.add("Sub", kept, g.scalar(1.0)), g.scalar(MASKED))
        self.padding = g.add("Unsqueeze", bias, g.integers(1, 2))

    def begin(self, blocks: Sequence[Block]) -> None:
        """Add what these layers have in common: biases, and the rotations of every column."""
        self.bias = self._causal() if self.a.causal else self._with_distances()
        self.unpadded = self._is_long_and_unpadded() if self.tiled and blocks else ""
        for block in blocks:
            self._add_rotations(block)
            if block.window is not None and block.window not in self.local:
                self.local[block.window] = self._local(block.window)

    def context(self, parts: Sequence[str], block: Block, site: str) -> str:
        """What every token gathers, from queries, keys and values: all are (batch, tokens, hidden)."""
        if block.disentangled:
            q, k, v = (self._heads(self.g, part) for part in parts)
            return self._masked(self.g, q, k, v, self._with_vectors(q, k, block.disentangled))
        if block.rope is None:
            return self._tiled(parts, site) if self.unpadded else self._all(self.g, parts)
        q, k, v = self._rotated_heads(parts, block)
        if block.window is not None:
            return self._in_window(q, k, v, self.local[block.window], site)
        if not self.unpadded:
            return self._masked(self.g, q, k, v, self.bias)
        tiles, apart = self.g.inner(f"{site}.tiled."), self.g.inner(f"{site}.apart.")
        return self._either(
            self.unpadded,
            (tiles, self._multi_head(tiles, [self._joined(tiles, heads) for heads in (q, k, v)])),
            (apart, self._masked(apart, q, k, v, self.bias)),
        )

    # What is added to scores

    def _is_long_and_unpadded(self) -> str:
        """Whether attention is to be computed in tiles."""
        g = self.g
        unpadded = g.add("Cast", g.add("ReduceMin", self.mask, keepdims=0), to=TensorProto.BOOL)
        return g.add("And", unpadded, g.add("GreaterOrEqual", self._count(g), g.integers(LONG)))

    def _causal(self) -> str:
        """The padding bias plus a causal mask: (batch, 1, tokens, tokens)."""
        g, columns = self.g, self._count(self.g)
        square = g.add("Expand", g.scalar(-MASKED), g.add("Concat", columns, columns, axis=0))
        later = g.add("Trilu", square, g.constant(np.array(1, dtype=np.int64)), upper=1)
        return g.add("Add", self.padding, later)

    def _with_distances(self) -> str:
        """The padding bias plus that of distances: (batch, heads, tokens, tokens)."""
        if self.a.distances is None:
            return self.padding
        return self.g.add("Add", self.padding, self._at_distance(self.a.distances, self._apart(self.g)))

    def from_first(self, block: Block) -> str:
        """What is added to the scores of the first token in a layer: (batch, 1 or heads, tokens)."""
        g = self.g
        bias = g.add("Squeeze", self.padding, g.integers(1))
        if self.a.distances is not None:
            bias = g.add("Add", bias, self._at_distance(self.a.distances, self._columns(g)))
        if block.window is not None:
            bias = g.add("Add", bias, self._beyond(g, self._columns(g), block.window))
        return bias

    def _at_distance(self, distances: FloatArray, apart: str) -> str:
        """The biases of these distances, all heads first."""
        g, longest = self.g, (distances.shape[1] + 1) // 2
        return g.add("Gather", g.constant(distances), g.add("Add", apart, g.integers(longest - 1)), axis=1)

    def _beyond(self, g: GraphWriter, apart: str, window: int) -> str:
        """0 where columns are as near as the window allows, a large negative number elsewhere."""
        far = g.add("Greater", g.add("Abs", apart), g.integers(window))
        return g.add("Mul", g.add("Cast", far, to=TensorProto.FLOAT), g.scalar(-MASKED))

    def _apart(self, g: GraphWriter) -> str:
        """How far each column is behind the one that attends to it: (tokens, tokens)."""
        columns = self._columns(g)
        return g.add("Sub", columns, g.add("Unsqueeze", columns, g.integers(1)))

    def _columns(self, g: GraphWriter) -> str:
        """0, 1, 2, ... for each column of the batch."""
        ones = g.add("Expand", g.integers(1), self._count(g))
        return g.add("Sub", g.add("CumSum", ones, g.integers(0)), g.integers(1))

    def _count(self, g: GraphWriter) -> str:
        """The number of columns: (1,)."""
        return g.add("Shape", self.ids, start=1, end=2)

    # Rotations

    def _add_rotations(self, block: Block) -> None:
        """Cosines and sines of each column, (tokens, head size / 2), in float32 as transformers computes them."""
        if block.rope is None or block.rope in self.rotations:
            return
        g, waves = self.g, frequencies(block.rope, self.head_size)
        columns = g.add("Unsqueeze", g.add("Cast", self._columns(g), to=TensorProto.FLOAT), g.integers(1))
        angles = g.add("Mul", columns, g.constant(waves))
        self.rotations[block.rope] = g.add("Cos", angles), g.add("Sin", angles)

    def _rotated(self, heads: str, base: float) -> str:
        """Queries or keys, (batch, heads, tokens, head size): pairs of the first and the second half are turned."""
        g, half = self.g, self.head_size // 2
        cosines, sines = self.rotations[base]
        x, y = g.add_many("Split", heads, g.integers(half, half), outputs=2, axis=-1)
        turned_x = g.add("Sub", g.add("Mul", x, cosines), g.add("Mul", y, sines))
        turned_y = g.add("Add", g.add("Mul", y, cosines), g.add("Mul", x, sines))
        return g.add("Concat", turned_x, turned_y, axis=-1)

    def _rotated_heads(self, parts: Sequence[str], block: Block) -> list[str]:
        """Queries, keys and values, all (batch, heads, tokens, head size)."""
        assert block.rope is not None
        q, k, v = (self._heads(self.g, part) for part in parts)
        return [self._rotated(q, block.rope), self._rotated(k, block.rope), v]

    def _keys_for_first(self, keys: str, block: Block) -> str:
        """Keys (batch, tokens, hidden) as the first token sees them: (batch, heads, tokens, head size).

        Its query is that of column 0, which is not turned.
        """
        self._add_rotations(block)
        heads = self._heads(self.g, keys)
        return heads if block.rope is None else self._rotated(heads, block.rope)

    def scores_of_first(self, query: str, keys: str, block: Block) -> str:
        """Scores of the first token, (batch, heads, tokens), of which `from_first` is not yet a part.

        `query` is (batch, heads, 1, head size), `keys` (batch, tokens, hidden).
        """
        g, last = self.g, self.g.integers(3)
        keys = self._keys_for_first(keys, block)
        scores = g.add("Squeeze", g.add("MatMul", keys, g.add("Transpose", query, perm=[0, 1, 3, 2])), last)
        if block.disentangled is None:
            return scores
        assert self.a.distance_rows is not None
        behind = self.a.distance_rows[len(self.a.distance_rows) // 2 :]
        places = g.add("Slice", g.constant(behind), g.integers(0), self._count(g), g.integers(0))
        if block.disentangled.keys is not None:
            met = g.add("MatMul", query, self._vectors(block.disentangled.keys, places, (1, 2, 0)))
            scores = g.add("Add", scores, g.add("Squeeze", met, g.integers(2)))
        if block.disentangled.queries is not None:
            met = g.add("Mul", keys, self._vectors(block.disentangled.queries, places, (1, 0, 2)))
            scores = g.add("Add", scores, g.add("ReduceSum", met, last, keepdims=0))
        return scores

    # Vectors of distances

    def _with_vectors(self, q: str, k: str, vectors: Disentangled) -> str:
        """The bias of all pairs, and what queries and keys give with vectors of the distance."""
        g, bias = self.g, self.bias
        assert self.a.distance_rows is not None
        if vectors.keys is not None:
            met = g.add("MatMul", q, self._vectors(vectors.keys, self._places(self.a.distance_rows), (1, 2, 0)))
            bias = g.add("Add", bias, self._of_pairs(met))
        if vectors.queries is not None:
            places = self._places(self.a.distance_rows[::-1])
            met = g.add("MatMul", k, self._vectors(vectors.queries, places, (1, 2, 0)))
            bias = g.add("Add", bias, g.add("Transpose", self._of_pairs(met), perm=[0, 1, 3, 2]))
        return bias

    def _places(self, rows: IntArray) -> str:
        """The rows of the distances of this number of columns, from the least: (2 tokens,); the last is unused."""
        key = int(rows[0])
        if key not in self.places:
            g, longest = self.g, (len(rows) + 1) // 2
            count = self._count(g)
            begin, end = g.add("Sub", g.integers(longest), count), g.add("Add", g.integers(longest), count)
            self.places[key] = g.add("Slice", g.constant(np.append(rows, 0)), begin, end, g.integers(0))
        return self.places[key]

    def _vectors(self, table: FloatArray, places: str, order: tuple[int, int, int]) -> str:
        """These rows of a table, with the axes places, heads and head size in another order."""
        g = self.g
        rows = g.add("Gather", self.products.stored(g, table), places)
        split = g.add("Reshape", rows, g.integers(-1, self.a.heads, self.head_size))
        return g.add("Transpose", split, perm=list(order))

    def _of_pairs(self, met: str) -> str:
        """What each token has with each distance, (batch, heads, tokens, 2 tokens), as what it has with each token.

        Token i meets token j at place j - i + tokens - 1 of row i. Rows that are one place shorter have it at place
        j + tokens - 1 of the whole, less that of their begin (Dai et al. 2019, appendix B).
        """
        g, count = self.g, self._count(self.g)
        twice = g.add("Add", count, count)
        shorter = g.add("Sub", twice, g.integers(1))
        first = g.add("Sub", count, g.integers(1))
        whole = g.add("Reshape", met, g.integers(0, 0, -1))
        whole = g.add("Slice", whole, first, g.add("Add", first, g.add("Mul", count, shorter)), g.integers(2))
        rows = g.add("Reshape", whole, g.add("Concat", g.integers(0, 0, -1), shorter, axis=0))
        return g.add("Slice", rows, g.integers(0), count, g.integers(3))

    # Forms of attention

    def _heads(self, g: GraphWriter, part: str) -> str:
        """(batch, tokens, hidden) as (batch, heads, tokens, head size)."""
        return g.add("Transpose", g.add("Reshape", part, self._by_head(g)), perm=[0, 2, 1, 3])

    def _by_head(self, g: GraphWriter) -> str:
        return g.integers(0, 0, self.a.heads, self.head_size)

    def _joined(self, g: GraphWriter, heads: str) -> str:
        """(batch, heads, tokens, head size) as (batch, tokens, hidden)."""
        return g.add("Reshape", g.add("Transpose", heads, perm=[0, 2, 1, 3]), g.integers(0, 0, self.a.hidden))

    def _tiled(self, parts: Sequence[str], site: str) -> str:
        tiles, apart = self.g.inner(f"{site}.tiled."), self.g.inner(f"{site}.apart.")
        whole = self._multi_head(tiles, parts)
        return self._either(self.unpadded, (tiles, whole), (apart, self._all(apart, parts)))

    def _multi_head(self, g: GraphWriter, parts: Sequence[str]) -> str:
        return g.add("MultiHeadAttention", *parts, contrib=True, num_heads=self.a.heads, scale=1.0)

    def _either(self, condition: str, yes: tuple[GraphWriter, str], no: tuple[GraphWriter, str]) -> str:
        """One of two branches, each with its result: (batch, tokens, hidden)."""
        return self.g.add(
            "If",
            condition,
            then_branch=yes[0].branch("tiled", yes[1], axes=3),
            else_branch=no[0].branch("apart", no[1], axes=3),
        )

    def _all(self, g: GraphWriter, parts: Sequence[str]) -> str:
        shape = self._by_head(g)
        q, k, v = (g.add("Reshape", part, shape) for part in parts)
        q = g.add("Transpose", q, perm=[0, 2, 1, 3])
        k = g.add("Transpose", k, perm=[0, 2, 3, 1])
        v = g.add("Transpose", v, perm=[0, 2, 1, 3])
        return self._gathered(g, g.add("Add", g.add("MatMul", q, k), self.bias), v)

    def _masked(self, g: GraphWriter, q: str, k: str, v: str, bias: str) -> str:
        """All scores, of rotated queries and keys."""
        scores = g.add("MatMul", q, g.add("Transpose", k, perm=[0, 1, 3, 2]))
        return self._gathered(g, g.add("Add", scores, bias), v)

    def _gathered(self, g: GraphWriter, scores: str, v: str) -> str:
        return self._joined(g, g.add("MatMul", g.add("Softmax", scores, axis=-1), v))

    # Local attention

    def _local(self, window: int) -> _Local:
        """The bias of a window, in the form in which this number of columns is computed.

        A block has a multiple of 64 tokens, so that onnxruntime adds the same numbers in the same order in both forms.
        """
        g, size = self.g, -(-window // _SMALLEST_BLOCK) * _SMALLEST_BLOCK
        in_blocks = g.add("Greater", self._count(g), g.integers(BLOCKS * size))
        blocks, pairs = g.inner(f"window.{window}.blocks."), g.inner(f"window.{window}.pairs.")
        apart = np.arange(3 * size) - size - np.arange(size)[:, None]
        near = blocks.constant(np.where(np.abs(apart) > window, -MASKED, 0.0).astype(np.float32))
        padding = blocks.add("Transpose", self.padding, perm=[0, 1, 3, 2])
        padding = self._neighbours(blocks, padding, size, width=1, fill=-MASKED)
        padding = blocks.add("Transpose", padding, perm=[0, 1, 2, 4, 3])
        banded = pairs.add("Add", self.padding, self._beyond(pairs, self._apart(pairs), window))
        banded = pairs.add("Unsqueeze", banded, pairs.integers(1))  # as many axes as the other branch gives
        bias = g.add(
            "If",
            in_blocks,
            then_branch=blocks.branch("blocks", blocks.add("Add", padding, near), axes=5),
            else_branch=pairs.branch("pairs", banded, axes=5),
        )
        return _Local(in_blocks, bias, size)

    def _in_window(self, q: str, k: str, v: str, local: _Local, site: str) -> str:
        blocks, pairs = self.g.inner(f"{site}.blocks."), self.g.inner(f"{site}.pairs.")
        bias = pairs.add("Squeeze", local.bias, pairs.integers(1))
        return self._either(
            local.in_blocks,
            (blocks, self._in_blocks(blocks, q, k, v, local)),
            (pairs, self._masked(pairs, q, k, v, bias)),
        )

    def _in_blocks(self, g: GraphWriter, q: str, k: str, v: str, local: _Local) -> str:
        """Each block of queries attends to its own tokens and to those of both neighbours."""
        q = self._cut(g, q, local.size, self.head_size, before=0, fill=0.0)
        k, v = (self._neighbours(g, heads, local.size, width=self.head_size, fill=0.0) for heads in (k, v))
        scores = g.add("Add", g.add("MatMul", q, g.add("Transpose", k, perm=[0, 1, 2, 4, 3])), local.bias)
        context = g.add("MatMul", g.add("Softmax", scores, axis=-1), v)
        context = g.add("Reshape", context, g.integers(0, self.a.heads, -1, self.head_size))
        return self._joined(g, g.add("Slice", context, g.integers(0), self._count(g), g.integers(2)))

    def _neighbours(self, g: GraphWriter, x: str, size: int, *, width: int, fill: float) -> str:
        """For each block its predecessor, itself and its successor: (batch, heads, blocks, 3 size, width)."""
        cut = self._cut(g, x, size, width, before=size, fill=fill)
        last = np.iinfo(np.int64).max
        parts = [
            g.add("Slice", cut, g.integers(first), g.integers(end), g.integers(2))
            for first, end in ((0, -2), (1, -1), (2, last))
        ]
        return g.add("Concat", *parts, axis=3)

    def _cut(self, g: GraphWriter, x: str, size: int, width: int, *, before: int, fill: float) -> str:
        """(batch, heads, tokens, width) as (batch, heads, blocks, size, width).

        Filled up are the last block, and `before` tokens at both ends.
        """
        missing = g.add("Mod", g.add("Neg", self._count(g)), g.integers(size))
        after = g.add("Add", missing, g.integers(before)) if before else missing
        pads = g.add("Concat", g.integers(0, 0, before, 0, 0, 0), after, g.integers(0), axis=0)
        return g.add("Reshape", g.add("Pad", x, pads, g.scalar(fill)), g.integers(0, 0, -1, size, width))
