"""Write an ONNX graph node by node, and the branch of an `If` inside of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sentopt.graph.architecture import Dense

OPSET = 17
_IR_VERSION = 8  # the newest version that onnxruntime 1.20 reads
CONTRIB = "com.microsoft"
_LARGE = 1024  # bytes of a constant


class GraphWriter:
    """Collects nodes in topological order. Every method that adds a node returns the name of its output tensor."""

    def __init__(self, *, prefix: str = "", outer: GraphWriter | None = None) -> None:
        """
        Args:
            prefix: of every name that this writer gives.
            outer: the writer of the graph that this one is a branch of, which stores its large constants. What that
                graph stores already is not stored again.
        """
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._large: dict[tuple[object, ...], str] = {}
        self._prefix = prefix
        self._outer = outer

    def named(self, prefix: str) -> GraphWriter:
        """A writer of the same graph whose names begin with `prefix`."""
        same = GraphWriter(prefix=prefix, outer=self._outer)
        same._nodes, same._constants, same._large = self._nodes, self._constants, self._large
        return same

    def inner(self, prefix: str) -> GraphWriter:
        """A writer of a branch of this graph; its names begin with those of this writer, then `prefix`."""
        return GraphWriter(prefix=self._prefix + prefix, outer=self)

    def constant(self, value: Any, name: str | None = None) -> str:
        """An initializer. Arrays keep their dtype; pass numpy scalars, not Python numbers.

        A large one is in the file once, under the first name, however often the same values are asked for.
        """
        own = name or f"{self._prefix}constant_{len(self._constants)}"
        tensor = numpy_helper.from_array(np.array(value, order="C"), own)
        if len(tensor.raw_data) < _LARGE:
            self._constants[own] = tensor
            return own
        if self._outer is not None:
            return self._outer.store(tensor, self._prefix)
        return self._add_large(tensor)

    def store(self, tensor: onnx.TensorProto, prefix: str) -> str:
        """The name of a constant of the outermost graph with this type, shape and values, which is added if need be.

        onnxruntime keeps the constants of a branch twice in memory: in the branch, and in the node that has it.
        """
        if self._outer is not None:
            return self._outer.store(tensor, prefix)
        tensor.name = f"{prefix}weight_{len(self._constants)}"
        return self._add_large(tensor)

    def _add_large(self, tensor: onnx.TensorProto) -> str:
        """Add a constant of the outermost graph, unless there is one with its type, shape and values."""
        values = hashlib.blake2b(tensor.raw_data).digest()
        name = self._large.setdefault((tensor.data_type, tuple(tensor.dims), values), tensor.name)
        if name == tensor.name:
            self._constants[name] = tensor
        return name

    def integers(self, *values: int) -> str:
        """A one-dimensional int64 initializer: axes, sizes, shapes."""
        return self.constant(np.array(values, dtype=np.int64))

    def scalar(self, value: float) -> str:
        """A scalar float32 initializer."""
        return self.constant(np.array(value, dtype=np.float32))

    def add(self, operator: str, *inputs: str, name: str = "", contrib: bool = False, **attributes: Any) -> str:
        """A node with one output. An empty input name omits an optional input."""
        (output,) = self.add_many(operator, *inputs, outputs=1, name=name, contrib=contrib, **attributes)
        return output

    def add_many(
        self, operator: str, *inputs: str, outputs: int, name: str = "", contrib: bool = False, **attributes: Any
    ) -> list[str]:
        """A node with several outputs."""
        label = self._prefix + (name or f"{operator}_{len(self._nodes)}")
        names = [label] if outputs == 1 else [f"{label}.{i}" for i in range(outputs)]
        domain = CONTRIB if contrib else ""
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=label, domain=domain, **attributes))
        return names

    def keep(self, node: onnx.NodeProto) -> None:
        """Add a node of another graph as it is."""
        self._nodes.append(node)

    def rename_last(self, output: str) -> None:
        """Give the only output of the last node the name that it has in another graph."""
        self._nodes[-1].output[0] = output

    @property
    def nodes(self) -> Sequence[onnx.NodeProto]:
        """The nodes in topological order."""
        return self._nodes

    @property
    def initializers(self) -> Sequence[onnx.TensorProto]:
        """The constants of this writer; those of a branch that are large are its outer writer's."""
        return list(self._constants.values())

    def dense(self, x: str, dense: Dense, *, name: str = "") -> str:
        """`x @ weight + bias` in FP32."""
        return self.add("Add", self.add("MatMul", x, self.constant(dense.weight)), self.constant(dense.bias), name=name)

    def branch(self, name: str, output: str, *, axes: int = 2) -> onnx.GraphProto:
        """The nodes as a branch of an `If`: without inputs of its own, with one float32 output of so many axes."""
        return helper.make_graph(
            self._nodes,
            name,
            [],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None] * axes)],
            list(self._constants.values()),
        )

    def _domains(self) -> dict[str, int]:
        """Other engines refuse onnxruntime's own domain; it is named only where a node is of it."""
        contrib = any(node.domain == CONTRIB for node in _with_branches(self._nodes))
        return {"": OPSET, **({CONTRIB: 1} if contrib else {})}

    def model(
        self,
        *,
        inputs: Sequence[str],
        outputs: Sequence[tuple[str, Sequence[str | int]]],
        flags: Sequence[tuple[str, Sequence[str | int]]] = (),
    ) -> onnx.ModelProto:
        """The finished model: int64 `inputs` (batch_size, sequence_length), float32 `outputs`, boolean `flags`.

        Raises:
            onnx.checker.ValidationError: the nodes do not form a valid graph.
        """
        graph = helper.make_graph(
            self._nodes,
            "sentopt",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch_size", "sequence_length"])
                for name in inputs
            ],
            [
                helper.make_tensor_value_info(name, kind, shape)
                for kind, tensors in ((TensorProto.FLOAT, outputs), (TensorProto.BOOL, flags))
                for name, shape in tensors
            ],
            list(self._constants.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(domain, version) for domain, version in self._domains().items()],
            ir_version=_IR_VERSION,
            producer_name="sentopt",
        )
        onnx.checker.check_model(model)
        return model


def _with_branches(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """The nodes, and those of their branches."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _with_branches(attribute.g.node)
