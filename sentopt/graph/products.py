"""How a lean graph computes the products with its weights: in FP32, or in INT8 with activations calibrated beforehand.

The INT8 arithmetic gives every text the same answer in any company and on any CPU:

* The scale of an activation is a constant, found on training texts, not the range of the batch at hand.
* A weight column has a scale of its own, and is rounded so that two neighbouring rows of equal sign add up to at most
  128. CPUs without VNNI multiply unsigned by signed bytes in pairs whose sum saturates at 32767; 255 * 128 stays below,
  so old and new CPUs give the same integers. Halving all weights (`reduce_range`) guards against the same thing for a
  whole bit; this costs about a third of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from sentopt.graph.architecture import Dense, FloatArray
from sentopt.graph.nodes import GraphWriter

Int8Array = npt.NDArray[np.int8]
_LARGEST = 127
_PAIR_LIMIT = 128


class Products(Protocol):
    """A policy."""

    @property
    def taps(self) -> Sequence[tuple[str, int]]:
        """Tensors that the graph shall also give out, with their widths."""
        ...

    def product(self, graph: GraphWriter, x: str, dense: Dense, site: str) -> str:
        """`x @ weight + bias`; `site` names the place, such as layer.3.up."""
        ...

    def look_up(self, graph: GraphWriter, table: FloatArray, ids: str) -> str:
        """Rows of `table`."""
        ...

    def stored(self, graph: GraphWriter, weight: FloatArray) -> str:
        """A weight that is computed with in FP32, in the form that the file keeps it."""
        ...


class FloatProducts:
    """FP32 throughout."""

    def __init__(self) -> None:
        self.taps: list[tuple[str, int]] = []

    def product(self, graph: GraphWriter, x: str, dense: Dense, site: str) -> str:
        """See `Products`."""
        return graph.dense(x, dense, name=site)

    def look_up(self, graph: GraphWriter, table: FloatArray, ids: str) -> str:
        """See `Products`."""
        return graph.add("Gather", graph.constant(table), ids)

    def stored(self, graph: GraphWriter, weight: FloatArray) -> str:
        """See `Products`."""
        return graph.constant(weight)


class TappedProducts(FloatProducts):
    """FP32, with the input of every product as an output of the graph; `denses` are the weights by site."""

    def __init__(self) -> None:
        super().__init__()
        self.denses: dict[str, Dense] = {}

    def product(self, graph: GraphWriter, x: str, dense: Dense, site: str) -> str:
        """See `Products`."""
        self.denses[site] = dense
        self.taps.append((graph.add("Identity", x, name=f"tap.{site}"), dense.weight.shape[0]))
        return super().product(graph, x, dense, site)


@dataclass(frozen=True)
class Site:
    """How one product is quantized.

    The activation is divided by `smoothing` (inputs,), which the weight takes up, and stored as
    round(x / scale) + zero_point in an unsigned byte. No `smoothing` means ones, and saves a pass.
    """

    scale: float
    zero_point: int
    smoothing: FloatArray | None = None


class Int8Products(FloatProducts):
    """INT8 at the `sites` given, FP32 at all others. Tables and FP32 weights are kept in bytes, with a scale a row."""

    def __init__(self, sites: Mapping[str, Site]) -> None:
        super().__init__()
        self._sites = sites

    def product(self, graph: GraphWriter, x: str, dense: Dense, site: str) -> str:
        """See `Products`."""
        chosen = self._sites.get(site)
        if chosen is None:
            return super().product(graph, x, dense, site)
        weight = dense.weight
        if chosen.smoothing is not None:
            weight = weight * chosen.smoothing[:, None]
            x = graph.add("Mul", x, graph.constant(np.float32(1.0) / chosen.smoothing))
        rounded, scales = self.round(weight)
        scale, zero_point = graph.scalar(chosen.scale), graph.constant(np.array(chosen.zero_point, dtype=np.uint8))
        bytes_ = graph.add("QuantizeLinear", x, scale, zero_point)
        return graph.add(
            "MatMulIntegerToFloat",
            bytes_,
            graph.constant(rounded),
            scale,
            graph.constant(scales),
            zero_point,
            "",
            graph.constant(dense.bias),
            name=site,
            contrib=True,
        )

    def round(self, weight: FloatArray) -> tuple[Int8Array, FloatArray]:
        """How a weight becomes bytes and scales."""
        return quantize_columns(weight)

    def look_up(self, graph: GraphWriter, table: FloatArray, ids: str) -> str:
        """See `Products`."""
        rounded, scales = _quantize_rows(table)
        rows = graph.add("Cast", graph.add("Gather", graph.constant(rounded), ids), to=TensorProto.FLOAT)
        return graph.add("Mul", rows, graph.add("Gather", graph.constant(scales), ids))

    def stored(self, graph: GraphWriter, weight: FloatArray) -> str:
        """A byte an element in the file; onnxruntime folds the conversion when it loads the graph."""
        rounded, scales = _quantize_rows(weight)
        return graph.add(
            "Mul", graph.add("Cast", graph.constant(rounded), to=TensorProto.FLOAT), graph.constant(scales)
        )


def quantize_columns(weight: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Round a weight (inputs, outputs) to bytes that cannot saturate, with one scale a column.

    Returns:
        int8 of the same shape, float32 scales (outputs,): weight is about bytes * scales.
    """
    largest = np.abs(weight).max(axis=0)
    scales = np.maximum(largest / _LARGEST, _largest_pair(weight) / (_PAIR_LIMIT - 1))
    scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    rounded = np.clip(np.rint(weight / scales), -_LARGEST, _LARGEST)
    return rounded.astype(np.int8), scales


def _largest_pair(weight: FloatArray) -> FloatArray:
    """Per column, the largest |a + b| over neighbouring rows (0, 1), (2, 3), ... of equal sign."""
    if len(weight) % 2:
        weight = np.concatenate([weight, np.zeros((1, weight.shape[1]), np.float32)])
    first, second = weight[0::2], weight[1::2]
    together: FloatArray = np.where(np.sign(first) * np.sign(second) > 0, np.abs(first + second), 0.0).max(axis=0)
    return together


def _quantize_rows(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Bytes, and one scale for each row along the last axis."""
    scales = np.maximum(np.abs(table).max(axis=-1, keepdims=True) / _LARGEST, np.finfo(np.float32).tiny)
    return np.rint(table / scales).astype(np.int8), scales.astype(np.float32)
