"""A compiled OpenVINO model with the interface of `OnnxSession`, for bundles whose fastest engine is OpenVINO.

OpenVINO reads the ONNX file itself. The package comes with the extra `openvino`; the rest of the runtime does not need
it.
"""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from sentopt.errors import BundleError, MissingExtraError
from sentopt.runtime import arguments
from sentopt.runtime.cores import available_cores
from sentopt.runtime.deferral import DEFERRED
from sentopt.runtime.names import printable
from sentopt.runtime.session import BoolArray, FloatArray, failed_on, flags_of, width_of
from sentopt.runtime.strict_json import shown
from sentopt.runtime.tokenization import Batch, check_inputs


class OpenVinoSession:
    """A loaded graph that maps a padded batch to logits. `run` may be called from many threads at once."""

    def __init__(
        self, model: Path | bytes, *, threads: int | None = None, workers: int = 1, output: str = "logits"
    ) -> None:
        """
        Args:
            model: path of an ONNX file, or its content.
            threads: threads per batch; None uses every core granted to this process.
            workers: number of threads that may call `run` at the same time.
            output: name of the graph output with the logits.

        Raises:
            MissingExtraError: OpenVINO is not installed.
            BundleError: the file cannot be compiled, has unknown inputs, or has no such output.
            InputError: `threads` or `workers` is no whole number of at least 1.
        """
        threads = available_cores() if threads is None else arguments.whole_number("threads", threads)
        workers = arguments.whole_number("workers", workers)
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError(
                "this needs OpenVINO, which the base install leaves out.\n"
                'Install it with: pip install "sentopt[openvino]"'
            ) from error
        settings = {
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        core = openvino.Core()
        try:
            # One compiled model per worker, compiled one after the other. Streams of a shared model prepare its INT8
            # weights in parallel, and with OpenVINO 2026.4 one load in three then gives wrong answers until it is
            # closed.
            graph = core.read_model(model) if isinstance(model, bytes) else os.fspath(model)
            self._models = [core.compile_model(graph, "CPU", settings) for _ in range(workers)]
        except RuntimeError as error:
            raise BundleError(
                f"OpenVINO cannot compile {'the model in memory' if isinstance(model, bytes) else model}: {error}"
            ) from error
        self.inputs = tuple(port.get_any_name() for port in self._models[0].inputs)
        check_inputs(self.inputs)
        self.output = output
        shape = _shape(self._models[0], output)
        self.width = width_of([dimension.get_length() if dimension.is_static else None for dimension in shape])
        self.is_cascade = any(
            DEFERRED in port.get_names() and port.get_element_type() == openvino.Type.boolean
            for port in self._models[0].outputs
        )
        self._next_model = itertools.count()
        self._requests = threading.local()

    def run(self, batch: Batch) -> FloatArray:
        """Logits, float32 of shape (texts, labels).

        Raises:
            BundleError: OpenVINO fails on this batch.
        """
        return self._logits(self._infer(batch))

    def run_routed(self, batch: Batch) -> tuple[FloatArray, BoolArray]:
        """Logits, and which texts the full model of a cascade answered: all of them, if this is none.

        Raises:
            BundleError: as `run`.
        """
        request = self._infer(batch)
        if not self.is_cascade:
            return self._logits(request), np.ones(len(batch.input_ids), dtype=np.bool_)
        return self._logits(request), flags_of(request.get_tensor(DEFERRED).data, batch)

    def _infer(self, batch: Batch) -> Any:
        request = self._request()
        try:
            request.infer({name: getattr(batch, name) for name in self.inputs}, share_inputs=True)
        except RuntimeError as error:
            raise BundleError(f"{failed_on(batch)}: {printable(error)}") from error
        return request

    def _logits(self, request: Any) -> FloatArray:
        return np.array(request.get_tensor(self.output).data, dtype=np.float32)

    def _request(self) -> Any:
        """This thread's request: a request cannot be shared, and creating one costs more than running it."""
        if not hasattr(self._requests, "request"):
            self._requests.request = self._models[next(self._next_model) % len(self._models)].create_infer_request()
        return self._requests.request


def _shape(model: Any, output: str) -> Any:
    """The declared shape of an output; empty where its number of dimensions is not declared."""
    for port in model.outputs:
        if output in port.get_names():
            shape = port.get_partial_shape()
            return shape if shape.rank.is_static else ()
    raise BundleError(f"the model has no output named {shown(output)}")
