"""Policies for the matrix products of a graph: FP32, or INT8 with calibrated activations.

The INT8 answer for a text depends neither on the other texts of the batch nor on the CPU:

* The scale of an activation is a constant, calibrated on training texts, not the range of the current batch.
* A weight column has a scale of its own. It is rounded so that two neighbouring rows of equal sign sum to at most 128.
  CPUs without VNNI multiply unsigned by signed bytes in pairs, and the sum of a pair saturates at 32767. 255 * 128 is
  less than that, so old and new CPUs compute the same integers. This costs about a third of a bit of precision. Halving
  all weights (`reduce_range`) prevents saturation too, but costs a whole bit.
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
    """How a graph computes products with weights and stores weights."""

    @property
    def taps(self) -> Sequence[tuple[str, int]]:
        """Names and widths of tensors that become additional graph outputs."""
        ...

    def product(self, graph: GraphWriter, x: str, dense: Dense, site: str) -> str:
        """`x @ weight + bias`; `site` names the product, for example layer.3.up."""
        ...

    def look_up(self, graph: GraphWriter, table: FloatArray, ids: str) -> str:
        """The rows `ids` of `table`."""
        ...

    def stored(self, graph: GraphWriter, weight: FloatArray) -> str:
        """A weight for an FP32 computation, in the form in which the file stores it."""
        ...


class FloatProducts:
    """FP32 everywhere."""

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
    """FP32; the input of every product is an additional graph output. `denses` holds the weights by site."""

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
    """Quantization of one product.

    The activation is divided by `smoothing` (inputs,) and stored as the unsigned byte round(x / scale) + zero_point.
    The weight rows are multiplied by `smoothing`. None means no smoothing, and saves a pass over the activation.
    """

    scale: float
    zero_point: int
    smoothing: FloatArray | None = None


@dataclass(frozen=True)
class Bytes:
    """The names of a quantized activation, of its scale and of its zero point."""

    values: str
    scale: str
    zero_point: str


class Int8Products(FloatProducts):
    """INT8 at the given `sites`, FP32 elsewhere. Tables and FP32 weights are stored as INT8 with one scale per row.

    With `standard`, a product is four operators of ONNX itself in place of one of onnxruntime's, for other engines. The
    integers are the same.
    """

    def __init__(self, sites: Mapping[str, Site], *, standard: bool = False) -> None:
        super().__init__()
        self._sites = sites
        self._standard = standard

    def product(self, graph: GraphWriter, x: str, dense: Dense, site: str) -> str:
        """See `Products`."""
        quantization = self._sites.get(site)
        if quantization is None:
            return super().product(graph, x, dense, site)
        if quantization.smoothing is not None:
            x = graph.add("Mul", x, graph.constant(np.float32(1.0) / quantization.smoothing))
        return self.multiply(graph, self.to_bytes(graph, x, quantization), dense, quantization, name=site)

    def to_bytes(self, graph: GraphWriter, x: str, site: Site) -> Bytes:
        """An activation that is divided by the smoothing already, as unsigned bytes."""
        scale = graph.scalar(site.scale)
        zero_point = graph.constant(np.array(site.zero_point, dtype=np.uint8))
        return Bytes(graph.add("QuantizeLinear", x, scale, zero_point), scale, zero_point)

    def multiply(self, graph: GraphWriter, x: Bytes, dense: Dense, site: Site, *, name: str) -> str:
        """The product of an activation with a weight whose rows are yet to be multiplied by the smoothing."""
        weight = dense.weight if site.smoothing is None else dense.weight * site.smoothing[:, None]
        rounded, scales = self.round(weight)
        if self._standard:
            sums = graph.add("MatMulInteger", x.values, graph.constant(rounded), x.zero_point)
            scaled = graph.add(
                "Mul",
                graph.add("Cast", sums, to=TensorProto.FLOAT),
                graph.constant(np.float32(site.scale) * scales),
            )
            return graph.add("Add", scaled, graph.constant(dense.bias), name=name)
        return graph.add(
            "MatMulIntegerToFloat",
            x.values,
            graph.constant(rounded),
            x.scale,
            graph.constant(scales),
            x.zero_point,
            "",
            graph.constant(dense.bias),
            name=name,
            contrib=True,
        )

    def round(self, weight: FloatArray) -> tuple[Int8Array, FloatArray]:
        """The INT8 values and the scales of a weight."""
        return quantize_columns(weight)

    def look_up(self, graph: GraphWriter, table: FloatArray, ids: str) -> str:
        """See `Products`."""
        rounded, scales = _quantize_rows(table)
        rows = graph.add("Cast", graph.add("Gather", graph.constant(rounded), ids), to=TensorProto.FLOAT)
        return graph.add("Mul", rows, graph.add("Gather", graph.constant(scales), ids))

    def stored(self, graph: GraphWriter, weight: FloatArray) -> str:
        """One byte per element in the file; onnxruntime folds the conversion to FP32 when it loads the graph."""
        rounded, scales = _quantize_rows(weight)
        return graph.add(
            "Mul", graph.add("Cast", graph.constant(rounded), to=TensorProto.FLOAT), graph.constant(scales)
        )


def quantize_columns(weight: FloatArray) -> tuple[Int8Array, FloatArray]:
    """Round a weight (inputs, outputs) to INT8 without saturation, with one scale per column.

    Returns:
        int8 values of the same shape and float32 scales (outputs,), so that weight is about values * scales.
    """
    largest = np.abs(weight).max(axis=0)
    scales = np.maximum(largest / _LARGEST, _largest_pair(weight) / (_PAIR_LIMIT - 1))
    scales = np.maximum(scales, np.finfo(np.float32).tiny).astype(np.float32)
    rounded = np.clip(np.rint(weight / scales), -_LARGEST, _LARGEST)
    return rounded.astype(np.int8), scales


def _largest_pair(weight: FloatArray) -> FloatArray:
    """Per column, the maximum of |a + b| over the row pairs (0, 1), (2, 3), ... with equal signs."""
    if len(weight) % 2:
        weight = np.concatenate([weight, np.zeros((1, weight.shape[1]), np.float32)])
    first, second = weight[0::2], weight[1::2]
    largest: FloatArray = np.where(np.sign(first) * np.sign(second) > 0, np.abs(first + second), 0.0).max(axis=0)
    return largest


def _quantize_rows(table: FloatArray) -> tuple[Int8Array, FloatArray]:
    """INT8 values, and one scale per row along the last axis."""
    scales = np.maximum(np.abs(table).max(axis=-1, keepdims=True) / _LARGEST, np.finfo(np.float32).tiny)
    return np.rint(table / scales).astype(np.int8), scales.astype(np.float32)
