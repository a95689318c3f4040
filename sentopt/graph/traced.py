"""Calibrated INT8 of a traced graph: its products with constant weights become those of a lean graph (`products.py`).

The nodes around them stay as the exporter wrote them. In FP32 stay:

* products of two activations, in the attention;
* what is computed once for a text and not for every token, and the product that gives the logits: they cost little, and
  no later layer can compensate for their errors;
* weights and tables of fewer than 1,024 values, which save nothing.

Products that read the same tensor (query, key and value) share its bytes, so they have one smoothing. If nothing else
reads it, the smoothing is divided out of the layer normalization before them; otherwise it is a node. A product whose
inputs do not depend on the text (DeBERTa's vectors of distances) is replaced by its value.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from sentopt.graph.architecture import Dense, FloatArray
from sentopt.graph.calibration import Calibration, quantize_all, record, sample
from sentopt.graph.nodes import CONTRIB, GraphWriter
from sentopt.graph.products import Bytes, Int8Products, Site
from sentopt.progress import SILENT, Progress
from sentopt.runtime.description import Text
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import TextEncoder, Tokens

_FEWEST = 1_024
LARGEST_MESSAGE = 1_900_000_000  # protobuf ends at 2 GiB
_PREFIX = "int8."


@dataclass(frozen=True)
class Product:
    """A product with a constant weight.

    Attributes:
        name: of the product's node.
        x: the tensor that it reads.
        output: the tensor with its result, the bias included.
        dense: weight and bias.
        nodes: the positions of its node and, where the bias is added by another node, of that one.
    """

    name: str
    x: str
    output: str
    dense: Dense
    nodes: tuple[int, ...]


@dataclass(frozen=True)
class TracedCalibration:
    """The quantization of a traced graph: its sites by name, their products, and the values of what is constant."""

    calibration: Calibration
    products: dict[str, tuple[Product, ...]]
    constants: dict[str, FloatArray]


class TracedGraph:
    """A graph that an exporter wrote: who reads which tensor, and which values are constant."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.producers = {name: i for i, node in enumerate(self.nodes) for name in node.output if name}
        self.readers: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in _inputs(node):
                self.readers.setdefault(name, []).append(i)
        self.outputs = {output.name for output in model.graph.output}
        self.varying = self._varying()
        self.products = list(self._products())

    def _varying(self) -> set[str]:
        """The tensors that depend on an input of the graph."""
        varying = {given.name for given in self.model.graph.input} - self._initializers.keys()
        for node in self.nodes:
            if not varying.isdisjoint(_inputs(node)):
                varying.update(node.output)
        return varying

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """The value of an initializer or constant, also of a transposed one; None for other tensors."""
        if name in self._initializers:
            return numpy_helper.to_array(self._initializers[name])
        node = self.nodes[self.producers[name]] if name in self.producers else None
        if node is None or node.op_type not in ("Constant", "Identity", "Transpose"):
            return None
        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        if node.op_type == "Constant":
            return numpy_helper.to_array(attributes["value"]) if "value" in attributes else None
        value = self.constant(node.input[0])
        return value if value is None or node.op_type == "Identity" else value.transpose(attributes.get("perm"))

    def floats(self, name: str, axes: int) -> FloatArray | None:
        """The value of a constant float32 tensor with so many axes; None for others."""
        value = self.constant(name)
        if value is None or value.dtype != np.float32 or value.ndim != axes:
            return None
        return value.astype(np.float32, copy=False)

    def _products(self) -> Iterator[Product]:
        for i, node in enumerate(self.nodes):
            dense = self._dense(node)
            if dense is None:
                continue
            nodes: tuple[int, ...] = (i,)
            output = node.output[0]
            if (added := self._added_bias(output, dense)) is not None:
                place, bias = added
                nodes, output, dense = (i, place), self.nodes[place].output[0], Dense(dense.weight, dense.bias + bias)
            yield Product(node.name or output, node.input[0], output, dense, nodes)

    def _dense(self, node: onnx.NodeProto) -> Dense | None:
        """Weight and bias of a product with a constant weight, None for other nodes."""
        if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx"):
            return None
        weight = self.floats(node.input[1], 2)
        if weight is None:
            return None
        if node.op_type == "MatMul":
            return Dense(weight, np.zeros(weight.shape[1], np.float32))
        settings = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
        settings |= {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        weight = np.float32(settings["alpha"]) * (weight.T if settings["transB"] else weight)
        bias = np.zeros(weight.shape[1], np.float32)
        if len(node.input) > 2 and node.input[2]:
            added = self.floats(node.input[2], 1)
            if added is None or added.shape != bias.shape:
                return None
            bias = np.float32(settings["beta"]) * added
        return None if settings["transA"] else Dense(weight, bias)

    def _added_bias(self, output: str, dense: Dense) -> tuple[int, FloatArray] | None:
        """The position of the node that adds a bias to a product, and the bias; None if there is none."""
        readers = self.readers.get(output, [])
        if len(readers) != 1 or output in self.outputs or self.nodes[readers[0]].op_type != "Add":
            return None
        others = [name for name in self.nodes[readers[0]].input if name != output]
        bias = self.floats(others[0], 1) if len(others) == 1 else None
        return (readers[0], bias) if bias is not None and bias.shape == dense.bias.shape else None

    def tables(self) -> Iterator[tuple[int, FloatArray]]:
        """The positions of the nodes that look up rows of a large constant, and that constant."""
        for i, node in enumerate(self.nodes):
            if node.op_type == "Gather" and node.input[1] in self.varying and _attribute(node, "axis", 0) == 0:
                table = self.floats(node.input[0], 2)
                if table is not None and table.size >= _FEWEST:
                    yield i, table

    def scaling(self, x: str, width: int, readers: Collection[int]) -> list[tuple[int, int]]:
        """Where the channels of `x` are scaled last: positions of nodes, and of their inputs that are vectors.

        Dividing these vectors divides `x`. Empty if `x` is no result of a normalization, or if others than the nodes
        `readers` see its values.
        """
        seen = {i for i in self.readers.get(x, []) if self.nodes[i].op_type != "Shape"}
        if x in self.outputs or not seen <= set(readers) or x not in self.producers:
            return []
        place = self.producers[x]
        node = self.nodes[place]
        vectors = [i for i, name in enumerate(node.input) if self._is_vector(name, width)]
        if node.op_type == "LayerNormalization":
            axis = _attribute(node, "axis", -1)
            whole = len(vectors) == len([name for name in node.input if name]) - 1
            return [(place, i) for i in vectors] if axis == -1 and whole and vectors[:1] == [1] else []
        if node.op_type == "Reshape":  # the last axis is the same if what is scaled before has vectors of this width
            return self.scaling(node.input[0], width, [place])
        if node.op_type not in ("Mul", "Add") or len(vectors) != 1:
            return []
        if node.op_type == "Mul":
            return [(place, vectors[0])]
        before = self.scaling(node.input[1 - vectors[0]], width, [place])
        return [*before, (place, vectors[0])] if before else []

    def _is_vector(self, name: str, width: int) -> bool:
        value = self.floats(name, 1)
        return value is not None and value.shape == (width,)

    def with_outputs(self, names: Iterable[str]) -> onnx.ModelProto:
        """The graph with further outputs."""
        tapped = onnx.ModelProto()
        tapped.CopyFrom(self.model)
        for name in dict.fromkeys(names):
            if name not in self.outputs:
                tapped.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        return tapped


def calibrate(
    traced: TracedGraph, encoder: TextEncoder, texts: Sequence[Text], *, progress: Progress = SILENT
) -> TracedCalibration:
    """Decide which products become INT8, and quantize them with up to 512 of `texts`. The result is deterministic.

    There may be none, as in a model of convolutions.
    """
    tokens = sample(encoder, texts)
    varying = [p for p in traced.products if p.x in traced.varying]
    still = [p for p in traced.products if p.x not in traced.varying]
    large = [p for p in varying[:-1] if p.dense.weight.size >= _FEWEST]  # the last one gives the logits
    session = _session(traced.with_outputs([*(p.x for p in large), *(p.output for p in still)]))
    of_every_token = _of_every_token(session, {p.x for p in large}, tokens, encoder)
    groups = _grouped(p for p in large if p.x in of_every_token)
    values = session.outputs(encoder.pad(tokens[:1]), [p.output for p in still]) if still else []
    reads = {name: products[0].x for name, products in groups.items()}
    activations = record(session, list(reads.values()), tokens, encoder, progress) if reads else {}
    recorded = {name: activations[x] for name, x in reads.items()}
    calibration = quantize_all(_joined(groups), recorded, tokens, progress=progress)
    return TracedCalibration(calibration, groups, {p.output: v for p, v in zip(still, values, strict=True)})


def _session(model: onnx.ModelProto) -> OnnxSession:
    """A session of a graph of any size: one of 2 GB or more cannot be passed in memory."""
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) < LARGEST_MESSAGE:
        return OnnxSession(model.SerializeToString())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path, save_as_external_data=True)
        return OnnxSession(path)


def _of_every_token(
    session: OnnxSession, names: Collection[str], tokens: Sequence[Tokens], encoder: TextEncoder
) -> set[str]:
    """Those of the tensors `names` that have more than one row for the longest text."""
    longest = max(tokens, key=lambda each: len(each.ids))
    ordered = sorted(names)
    if not ordered:
        return set()
    outputs = session.outputs(encoder.pad([longest]), ordered)
    return {
        name
        for name, output in zip(ordered, outputs, strict=True)
        if len(longest.ids) == 1 or output.size > output.shape[-1]
    }


def _grouped(products: Iterable[Product]) -> dict[str, tuple[Product, ...]]:
    """Products that read the same tensor, by the name of the first of them."""
    groups: dict[str, list[Product]] = {}
    for product in products:
        groups.setdefault(product.x, []).append(product)
    return {group[0].name.removesuffix("/MatMul").removesuffix("/Gemm"): tuple(group) for group in groups.values()}


def _joined(groups: Mapping[str, Sequence[Product]]) -> dict[str, Dense]:
    """The products of each group as one, with the columns of all. Equal ones are one object (ALBERT)."""
    found: dict[bytes, Dense] = {}
    joined = {}
    for name, group in groups.items():
        weight = np.concatenate([p.dense.weight for p in group], axis=1)
        dense = Dense(weight, np.concatenate([p.dense.bias for p in group]))
        joined[name] = found.setdefault(hashlib.blake2b(weight.tobytes()).digest(), dense)
    return joined


def write(traced: TracedGraph, calibrated: TracedCalibration, products: Int8Products) -> onnx.ModelProto:
    """The graph with its sites in INT8, as `products` writes them."""
    writer = _Writer(traced, calibrated, products)
    model = onnx.ModelProto()
    model.CopyFrom(traced.model)
    nodes = _needed(writer.nodes(), traced.outputs)
    read = {name for node in nodes for name in _inputs(node)}
    constants = [*traced.model.graph.initializer, *writer.graph.initializers]
    for field in ("node", "initializer", "value_info"):
        model.graph.ClearField(field)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(tensor for tensor in constants if tensor.name in read)
    if any(node.domain == CONTRIB for node in nodes) and all(e.domain != CONTRIB for e in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    onnx.checker.check_model(model)
    return model


class _Writer:
    """Writes the nodes of a traced graph anew."""

    def __init__(self, traced: TracedGraph, calibrated: TracedCalibration, products: Int8Products) -> None:
        self.graph = GraphWriter(prefix=_PREFIX)
        self._traced, self._products, self._constants = traced, products, calibrated.constants
        self._bytes: dict[str, Bytes] = {}
        self._sites: dict[int, tuple[Site, Product]] = {}
        self._divisors: dict[tuple[int, int], FloatArray] = {}
        self._divided: set[str] = set()
        self._skipped = {place for p in traced.products if p.output in self._constants for place in p.nodes}
        for name, group in calibrated.products.items():
            site = calibrated.calibration.sites[name]
            self._sites |= {p.nodes[0]: (site, p) for p in group}
            self._skipped |= {place for p in group for place in p.nodes[1:]}
            self._divide_before(group, site)

    def _divide_before(self, group: Sequence[Product], site: Site) -> None:
        """Divide the smoothing out of the normalization before a group of products, if there is one for them alone."""
        if site.smoothing is None:
            return
        places = self._traced.scaling(group[0].x, len(site.smoothing), [p.nodes[0] for p in group])
        if places:
            self._divisors |= dict.fromkeys(places, site.smoothing)
            self._divided.add(group[0].x)

    def nodes(self) -> Sequence[onnx.NodeProto]:
        """All nodes, in topological order."""
        for output, value in self._constants.items():
            self._products.stored(self.graph, value)
            self.graph.rename_last(output)
        tables = dict(self._traced.tables())
        for i, node in enumerate(self._traced.nodes):
            if i in self._skipped:
                continue
            if i in self._sites:
                self._multiply(*self._sites[i])
            elif i in tables:
                self._products.look_up(self.graph, tables[i], node.input[1])
                self.graph.rename_last(node.output[0])
            else:
                self.graph.keep(self._divided_node(i, node))
        return self.graph.nodes

    def _multiply(self, site: Site, product: Product) -> None:
        g, x = self.graph, product.x
        if x not in self._bytes:
            smoothed = x
            if site.smoothing is not None and x not in self._divided:
                smoothed = g.add("Mul", x, g.constant(np.float32(1.0) / site.smoothing))
            self._bytes[x] = self._products.to_bytes(g, smoothed, site)
        self._products.multiply(g, self._bytes[x], product.dense, site, name=product.name)
        g.rename_last(product.output)

    def _divided_node(self, place: int, node: onnx.NodeProto) -> onnx.NodeProto:
        inputs = [i for i in range(len(node.input)) if (place, i) in self._divisors]
        if not inputs:
            return node
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        for i in inputs:
            vector = self._traced.floats(node.input[i], 1)
            assert vector is not None
            changed.input[i] = self.graph.constant(vector / self._divisors[place, i])
        return changed


def _needed(nodes: Sequence[onnx.NodeProto], outputs: Collection[str]) -> list[onnx.NodeProto]:
    """The nodes on which the outputs depend."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed.update(_inputs(node))
            kept.append(node)
    return kept[::-1]


def _inputs(node: onnx.NodeProto) -> set[str]:
    """The tensors that a node reads, those in its branches included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                names.update(_inputs(inner))
            names.update(output.name for output in attribute.g.output)
    return names


def _attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    values = [attribute.i for attribute in node.attribute if attribute.name == name]
    return int(values[0]) if values else default
