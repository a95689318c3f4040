"""Write an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sentopt.graph.architecture import Dense

OPSET = 17
_IR_VERSION = 8  # the newest version that onnxruntime 1.20 reads
_CONTRIB = "com.microsoft"


class GraphWriter:
    """Collects nodes in topological order. Every method that adds a node returns the name of its output tensor."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def constant(self, value: Any, name: str | None = None) -> str:
        """An initializer. Arrays keep their dtype; pass numpy scalars, not Python numbers."""
        name = name or f"constant_{len(self._constants)}"
        self._constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
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
        label = name or f"{operator}_{len(self._nodes)}"
        names = [label] if outputs == 1 else [f"{label}.{i}" for i in range(outputs)]
        domain = _CONTRIB if contrib else ""
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=label, domain=domain, **attributes))
        return names

    def dense(self, x: str, dense: Dense, *, name: str = "") -> str:
        """`x @ weight + bias` in FP32."""
        return self.add("Add", self.add("MatMul", x, self.constant(dense.weight)), self.constant(dense.bias), name=name)

    def _domains(self) -> dict[str, int]:
        """Other engines refuse onnxruntime's own domain; it is named only where a node is of it."""
        contrib = any(node.domain == _CONTRIB for node in self._nodes)
        return {"": OPSET, **({_CONTRIB: 1} if contrib else {})}

    def model(self, *, inputs: Sequence[str], outputs: Sequence[tuple[str, Sequence[str | int]]]) -> onnx.ModelProto:
        """The finished model: int64 `inputs` of shape (batch_size, sequence_length), float32 `outputs`.

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
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs],
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
