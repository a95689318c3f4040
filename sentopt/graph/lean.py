"""The lean graph of an `Architecture`: it computes the same logits as the checkpoint with fewer operations.

Every rewrite is exact in real arithmetic; in float32 the logits change in the sixth digit.

* The head reads one token, so the last block computes only that token. Its keys and values are never computed (keys
  are where positions change them, and the whole block is where the head reads the mean of all tokens). With
  k_j = W_k x_j + b_k, the score q.k_j equals (W_k' q).x_j + q.b_k. The last term is the same for every j, so the
  softmax cancels it. Likewise sum_j p_j (W_v x_j + b_v) equals W_v (sum_j p_j x_j) + b_v. Two products over all tokens
  become two products over one token.
* Weights that layers share (ALBERT) are stored once. The last block has its own copy, in another order.
* One product computes query, key and value. The query weights include 1/sqrt(head size). The position rows include
  token type 0, unless the model reads pairs of texts: then the graph has a third input, the type of each token.
* The attention bias is computed once, with what depends on the distance of two tokens where a model has that. The
  number of columns is the only shape that the graph computes.
* What a token has with vectors of the distance (DeBERTa) is computed once for each distance and moved into place by
  reshaping; the vectors are products of weights, which are computed when the graph is written.
* Local attention over long texts is computed in blocks (see `attention`).
* On request, attention over long texts is computed in tiles, which never hold all scores at once (Dao et al. 2022), by
  onnxruntime's MultiHeadAttention. With a mask that operator is no faster, so an `If` takes it where nothing is padded.
* A residual is a `Sum`. onnxruntime would fuse an `Add` with the following normalization into SkipLayerNormalization,
  which is several times slower on CPUs than the separate nodes, and applications cannot be expected to disable that
  fusion.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto

from sentopt.graph.architecture import Activation, Architecture, Block, FloatArray, Norm
from sentopt.graph.attention import Attention
from sentopt.graph.nodes import GraphWriter
from sentopt.graph.products import Products

INPUTS = ("input_ids", "attention_mask")
TYPES = "token_type_ids"
OUTPUT = "logits"


def write(architecture: Architecture, products: Products, *, tiled: bool = False) -> onnx.ModelProto:
    """The graph as a model: int64 inputs `input_ids` and `attention_mask` (batch, tokens), output `logits`.

    A model that tells the types of tokens apart (`Embeddings.types`) has a third input, `token_type_ids`.

    `tiled` computes attention in tiles where no text is padded and texts have 192 tokens or more; not where attention
    is causal or depends on distances.
    """
    g = GraphWriter()
    add(g, architecture, products, tiled=tiled)
    outputs: list[tuple[str, list[str | int]]] = [(OUTPUT, ["batch_size", architecture.labels])]
    outputs += [(name, ["batch_size", "sequence_length", width]) for name, width in products.taps]
    types = () if architecture.embeddings.types is None else (TYPES,)
    return g.model(inputs=(*INPUTS, *types), outputs=outputs)


def add(
    g: GraphWriter,
    architecture: Architecture,
    products: Products,
    *,
    ids: str = "",
    mask: str = "",
    begun: tuple[str, int] | None = None,
    tiled: bool = False,
) -> str:
    """Add the nodes of the whole model to a graph.

    Args:
        g: the graph.
        architecture: the model.
        products: how its products are computed.
        ids: tensor in place of the graph's first input.
        mask: tensor in place of its second one.
        begun: what `add_layers` returned, and of how many layers: they are not computed again.
        tiled: as in `write`.

    Returns:
        The name of the logits.
    """
    return _Writer(g, architecture, products, ids=ids or INPUTS[0], mask=mask or INPUTS[1], tiled=tiled).write(begun)


def add_layers(
    g: GraphWriter, architecture: Architecture, products: Products, count: int, *, tiled: bool = False
) -> str:
    """Add the embeddings and the first `count` layers, fewer than all. Returns the name of what they give out."""
    return _Writer(g, architecture, products, ids=INPUTS[0], mask=INPUTS[1], tiled=tiled).write_layers(count)


class _Writer:
    def __init__(
        self, g: GraphWriter, architecture: Architecture, products: Products, *, ids: str, mask: str, tiled: bool
    ) -> None:
        self.a = architecture
        self.products = products
        self.g = g
        self.ids = ids
        self.mask = mask
        self.attention = Attention(g, architecture, products, ids=ids, mask=mask, tiled=tiled)

    def write_layers(self, count: int) -> str:
        x = self._embed()
        self.attention.add_padding()
        return self._blocks(x, range(count))

    def write(self, begun: tuple[str, int] | None) -> str:
        x, done = begun or (self._embed(), 0)
        self.attention.add_padding()
        last = len(self.a.blocks) - 1
        if self.a.reads == "mean":
            x = self._blocks(x, range(done, last + 1))
        else:
            x = self._blocks(x, range(done, last))
            x = self._last_block(x, self.a.blocks[-1], f"layer.{last}")
        if self.a.final_norm:
            x = self._norm(x, self.a.final_norm)
        x = self._mean(x) if self.a.reads == "mean" else self.g.add("Squeeze", x, self.g.integers(1))
        for i, step in enumerate(self.a.head):
            last_step = i == len(self.a.head) - 1
            x = self.g.dense(x, step.dense, name=OUTPUT if last_step else f"head.{i}")
            if step.activation:
                x = self._activate(x, step.activation)
            if step.norm:
                x = self._norm(x, step.norm)
        return x

    def _blocks(self, x: str, which: range) -> str:
        self.attention.begin([self.a.blocks[i] for i in which])
        for i in which:
            x = self._block(x, self.a.blocks[i], f"layer.{i}")
        return x

    # Embeddings

    def _embed(self) -> str:
        e = self.a.embeddings
        x = self.products.look_up(self.g, e.words, self.ids)
        if e.rows is not None:
            x = self.g.add("Sum", x, self._position_rows(e.rows))
        if e.types is not None:
            x = self.g.add("Sum", x, self.g.add("Gather", self.g.constant(e.types), TYPES))
        if e.norm:
            x = self._norm(x, e.norm)
        return self.g.dense(x, e.projection) if e.projection else x

    def _position_rows(self, table: FloatArray) -> str:
        e, g = self.a.embeddings, self.g
        rows = self.products.stored(g, table)
        if e.positions == "absolute":
            columns = g.add("Shape", self.ids, start=1, end=2)
            return g.add("Slice", rows, g.integers(0), columns, g.integers(0))
        if e.positions == "after_padding_id":
            padding = g.add("Equal", self.ids, g.integers(e.padding_id))
            real = g.add("Cast", g.add("Not", padding), to=TensorProto.INT64)
            rank = g.add("Mul", g.add("CumSum", real, g.integers(1)), real)
            return g.add("Gather", rows, g.add("Add", rank, g.integers(e.padding_id)))
        return g.add("Gather", rows, self._rank_in_text())

    def _rank_in_text(self) -> str:
        """0, 1, 2, ... over the tokens with attention mask 1."""
        g = self.g
        rank = g.add("Sub", g.add("CumSum", self.mask, g.integers(1)), g.integers(1))
        return g.add("Max", rank, g.integers(0))

    # Blocks

    def _block(self, x: str, block: Block, site: str) -> str:
        parts = self._queries_keys_values(self._source(x, block), block, site)
        return self._after_attention(self.attention.context(parts, block, site), x, block, site)

    def _source(self, x: str, block: Block) -> str:
        """What attention reads."""
        return self._norm(x, block.attention_norm) if self.a.norm_first and block.attention_norm else x

    def _queries_keys_values(self, x: str, block: Block, site: str) -> list[str]:
        """Three tensors (batch, tokens, hidden)."""
        g, hidden = self.g, self.a.hidden
        qkv = self.products.product(g, x, block.qkv, f"{site}.qkv")
        return g.add_many("Split", qkv, g.integers(hidden, hidden, hidden), outputs=3, axis=-1)

    def _last_block(self, x: str, block: Block, site: str) -> str:
        g = self.g
        source = self._source(x, block)
        read, read_source = self._read_token(x, source)
        query = self.products.product(g, read_source, block.query, f"{site}.q")
        scores = self._scores_of_read(query, source, block, site)
        scores = g.add("Add", scores, self.attention.from_first(block))
        mixed = g.add("MatMul", g.add("Softmax", scores, axis=-1), source)
        mixed = g.add("Unsqueeze", mixed, g.integers(2))
        context = g.add("MatMul", mixed, self._per_head(block.value.weight, (1, 0, 2)))
        context = g.add("Reshape", context, g.integers(0, 1, self.a.hidden))
        context = g.add("Add", context, g.constant(block.value.bias))
        return self._after_attention(context, read, block, site)

    def _scores_of_read(self, query: str, source: str, block: Block, site: str) -> str:
        """Those of the token that the head reads, (batch, heads, tokens), before what is added to them."""
        g, heads, size = self.g, self.a.heads, self.attention.head_size
        query = g.add("Reshape", query, g.integers(0, heads, 1, size))
        if block.rope is not None or block.disentangled:
            keys = self.products.product(g, source, block.key, f"{site}.k")
            return self.attention.scores_of_first(query, keys, block)
        query = g.add("Squeeze", g.add("MatMul", query, self._per_head(block.key.weight, (1, 2, 0))), g.integers(2))
        # Tokens are rows: onnxruntime blocks a sum by the number of columns, and padding must not change the blocks.
        scores = g.add("MatMul", source, g.add("Transpose", query, perm=[0, 2, 1]))
        return g.add("Transpose", scores, perm=[0, 2, 1])

    def _read_token(self, x: str, source: str) -> tuple[str, str]:
        """The token that the head reads, from both tensors: (batch, 1, hidden)."""
        g = self.g
        if self.a.reads == "first":
            read = [g.add("Slice", t, g.integers(0), g.integers(1), g.integers(1)) for t in dict.fromkeys((x, source))]
        else:
            last = self._last_column()
            read = [
                g.add("Unsqueeze", g.add("GatherND", t, last, batch_dims=1), g.integers(1))
                for t in dict.fromkeys((x, source))
            ]
        return read[0], read[-1]

    def _last_column(self) -> str:
        """The column of each text's last real token: (batch, 1)."""
        g = self.g
        column = g.add("CumSum", g.add("Expand", g.integers(1), g.add("Shape", self.ids)), g.integers(1))
        kept = g.add("Mul", column, self.mask)
        return g.add("Sub", g.add("ReduceMax", kept, axes=[1], keepdims=1), g.integers(1))

    def _mean(self, x: str) -> str:
        """The mean over the real tokens: (batch, hidden)."""
        g = self.g
        kept = g.add("Cast", self.mask, to=TensorProto.FLOAT)
        total = g.add("ReduceSum", g.add("Mul", x, g.add("Unsqueeze", kept, g.integers(2))), g.integers(1), keepdims=0)
        return g.add("Div", total, g.add("ReduceSum", kept, g.integers(1), keepdims=1))

    def _per_head(self, weight: FloatArray, order: tuple[int, int, int]) -> str:
        """A (hidden, hidden) weight split into heads: axes (hidden, heads, head size), permuted to `order`."""
        cut = weight.reshape(self.a.hidden, self.a.heads, self.attention.head_size)
        return self.products.stored(self.g, cut.transpose(order))

    def _after_attention(self, context: str, x: str, block: Block, site: str) -> str:
        """Output product, feed-forward and the two residuals, with normalization where the architecture has it."""
        output = self.products.product(self.g, context, block.output, f"{site}.o")
        x = self.g.add("Sum", output, x)
        if not self.a.norm_first and block.attention_norm:
            x = self._norm(x, block.attention_norm)
        source = self._norm(x, block.output_norm) if self.a.norm_first else x
        inner = self._inner(self.products.product(self.g, source, block.up, f"{site}.up"), block)
        x = self.g.add("Sum", self.products.product(self.g, inner, block.down, f"{site}.down"), x)
        return x if self.a.norm_first else self._norm(x, block.output_norm)

    def _inner(self, up: str, block: Block) -> str:
        """What the second product of the feed-forward reads."""
        if not self.a.gated:
            return self._activate(up, self.a.activation)
        half = block.down.weight.shape[0]
        up, gate = self.g.add_many("Split", up, self.g.integers(half, half), outputs=2, axis=-1)
        return self.g.add("Mul", self._activate(up, self.a.activation), gate)

    # Small parts

    def _norm(self, x: str, norm: Norm) -> str:
        g = self.g
        return g.add(
            "LayerNormalization", x, g.constant(norm.scale), g.constant(norm.bias), axis=-1, epsilon=norm.epsilon
        )

    def _activate(self, x: str, activation: Activation) -> str:
        if activation in ("relu", "tanh"):
            return self.g.add(activation.capitalize(), x)
        return self._gelu(x) if activation == "gelu" else self._gelu_tanh(x)

    def _gelu(self, x: str) -> str:
        """x/2 (1 + erf(x/sqrt 2)), in the form that onnxruntime fuses into one node."""
        g = self.g
        erf = g.add("Erf", g.add("Div", x, g.scalar(2.0**0.5)))
        return g.add("Mul", g.add("Mul", x, g.add("Add", erf, g.scalar(1.0))), g.scalar(0.5))

    def _gelu_tanh(self, x: str) -> str:
        """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), as GPT-2 computes it (Hendrycks and Gimpel 2016)."""
        g = self.g
        cubed = g.add("Mul", g.add("Pow", x, g.scalar(3.0)), g.scalar(0.044715))
        inner = g.add("Mul", g.add("Add", x, cubed), g.scalar((2.0 / np.pi) ** 0.5))
        return g.add("Mul", g.add("Mul", x, g.scalar(0.5)), g.add("Add", g.add("Tanh", inner), g.scalar(1.0)))
