"""One compiled OpenVINO model: the same calls as `OnnxSession`, for bundles whose fastest engine it is.

OpenVINO reads the ONNX file itself. The package is the extra `openvino`; nothing else of the runtime needs it.
"""

from __future__ import annotations

import itertools
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np

from sentopt.errors import BundleError, MissingExtraError
from sentopt.runtime.cores import available_cores
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import Batch, check_inputs


class OpenVinoSession:
    """A loaded graph that maps a padded batch to logits. `run` may be called from many threads at once."""

    def __init__(
        self, model: Path | bytes, *, threads: int | None = None, workers: int = 1, output: str = "logits"
    ) -> None:
        """
        Args:
            model: path of an ONNX file, or its content.
            threads: threads that work on one batch; None takes every core this process may use.
            workers: batches that are answered at the same time, when `run` is called from as many threads.
            output: name of the graph output that holds the logits.

        Raises:
            MissingExtraError: OpenVINO is not installed.
            BundleError: the file cannot be compiled, or wants inputs that are not known here.
        """
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError(
                "this needs OpenVINO, which the base install leaves out.\n"
                'Install it with: pip install "sentopt[openvino]"'
            ) from error
        settings = {
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads or available_cores(),
            "ENABLE_CPU_PINNING": False,
        }
        core = openvino.Core()
        try:
            # Streams of one compiled model prepare its INT8 weights at the same time, and with OpenVINO 2026.4 one load
            # in three then answers wrongly until it is closed: a model for each worker, made one after the other.
            graph = core.read_model(model) if isinstance(model, bytes) else os.fspath(model)
            self._models = [core.compile_model(graph, "CPU", settings) for _ in range(workers)]
        except RuntimeError as error:
            raise BundleError(
                f"OpenVINO cannot compile {'the model in memory' if isinstance(model, bytes) else model}: {error}"
            ) from error
        self.inputs = tuple(port.get_any_name() for port in self._models[0].inputs)
        check_inputs(self.inputs)
        self.output = output
        self._turn = itertools.count()
        self._requests = threading.local()

    def run(self, batch: Batch) -> FloatArray:
        """Logits, float32 of shape (texts, labels)."""
        request = self._request()
        request.infer({name: getattr(batch, name) for name in self.inputs}, share_inputs=True)
        return np.array(request.get_tensor(self.output).data, dtype=np.float32)

    def _request(self) -> Any:
        """One request a thread: a request cannot be shared, and making one costs more than using it."""
        if not hasattr(self._requests, "one"):
            self._requests.one = self._models[next(self._turn) % len(self._models)].create_infer_request()
        return self._requests.one
