"""An onnxruntime session: options, providers, and inputs selected by the names that the graph declares."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from sentopt.errors import BundleError
from sentopt.runtime import arguments
from sentopt.runtime.cores import available_cores
from sentopt.runtime.deferral import DEFERRED
from sentopt.runtime.names import printable
from sentopt.runtime.strict_json import shown
from sentopt.runtime.tokenization import Batch, check_inputs

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
CPU: tuple[str, ...] = ("CPUExecutionProvider",)


class OnnxSession:
    """A loaded graph that maps a padded batch to logits. `run` may be called from many threads at once."""

    def __init__(
        self, model: Path | bytes, *, threads: int | None = None, providers: Sequence[str] = CPU, output: str = "logits"
    ) -> None:
        """
        Args:
            model: path of an ONNX file, or its content.
            threads: intra-op threads; None uses every core granted to this process.
            providers: onnxruntime execution providers, in order of preference.
            output: name of the graph output with the logits.

        Raises:
            BundleError: the file cannot be loaded, has unknown inputs or no such output, or a provider is missing.
            InputError: `threads` is no whole number of at least 1.
        """
        missing = [name for name in providers if name not in ort.get_available_providers()]
        if missing:
            raise BundleError(
                f"this onnxruntime has no {', '.join(missing)}; it has {', '.join(ort.get_available_providers())}"
            )
        source = model if isinstance(model, bytes) else os.fspath(model)
        try:
            self._session = ort.InferenceSession(source, session_options(threads), providers=list(providers))
        except Exception as error:  # onnxruntime's exception classes share no public base but Exception
            raise BundleError(
                f"onnxruntime cannot load the model {'in memory' if isinstance(model, bytes) else model}: "
                f"{printable(error)}"
            ) from error
        self.inputs = tuple(node.name for node in self._session.get_inputs())
        self.output = output
        check_inputs(self.inputs)
        outputs = self._session.get_outputs()
        shapes = {node.name: node.shape for node in outputs}
        if output not in shapes:
            raise BundleError(f"the model has no output named {shown(output)}")
        self.width = width_of(shapes[output])
        self.is_cascade = any((node.name, node.type) == (DEFERRED, "tensor(bool)") for node in outputs)

    def run(self, batch: Batch) -> FloatArray:
        """Logits, float32 of shape (texts, labels).

        Raises:
            BundleError: onnxruntime fails on this batch.
        """
        (logits,) = self.outputs(batch, [self.output])
        return np.asarray(logits, dtype=np.float32)

    def run_routed(self, batch: Batch) -> tuple[FloatArray, BoolArray]:
        """Logits, and which texts the full model of a cascade answered: all of them, if this is none.

        Raises:
            BundleError: as `run`.
        """
        if not self.is_cascade:
            return self.run(batch), np.ones(len(batch.input_ids), dtype=np.bool_)
        logits, deferred = self.outputs(batch, [self.output, DEFERRED])
        return np.asarray(logits, dtype=np.float32), flags_of(deferred, batch)

    def outputs(self, batch: Batch, names: Sequence[str]) -> list[FloatArray]:
        """The graph outputs with these names, in that order.

        Raises:
            BundleError: onnxruntime fails on this batch, as where a token has no row in the model's embedding.
        """
        inputs = {name: getattr(batch, name) for name in self.inputs}
        try:
            outputs: list[FloatArray] = self._session.run(list(names), inputs)
        except Exception as error:
            raise BundleError(f"{failed_on(batch)}: {printable(error)}") from error
        return outputs


def flags_of(deferred: npt.ArrayLike, batch: Batch) -> BoolArray:
    """Which texts of a batch were deferred: boolean, (texts,).

    Raises:
        BundleError: the model gave something else.
    """
    flags = np.array(deferred, dtype=np.bool_)
    if flags.shape != (len(batch.input_ids),):
        raise BundleError(f"the model gave {DEFERRED!r} of shape {flags.shape} for {len(batch.input_ids)} text(s)")
    return flags


def width_of(shape: object) -> int | None:
    """The number of logits that a graph declares for a text, or None if it does not say.

    Raises:
        BundleError: the declared shape is not (texts, labels).
    """
    if not isinstance(shape, list | tuple) or not shape:
        return None
    if len(shape) != 2:
        raise BundleError(f"the model's answers have {len(shape)} dimensions, expected 2: texts and labels")
    return shape[1] if isinstance(shape[1], int) else None


def failed_on(batch: Batch) -> str:
    """What a model failed on, for a message."""
    texts, tokens = batch.input_ids.shape
    return f"the model failed on {texts} text{'s' if texts != 1 else ''} of {tokens} tokens"


def session_options(threads: int | None) -> ort.SessionOptions:
    """Session options, the same for benchmarks and for serving.

    Memory patterns are off: onnxruntime keeps one plan per input shape, and texts have hundreds of shapes, so memory
    would grow with every new length (onnxruntime issues 11627, 9313). The arena is on: without plans it grows only to
    the needs of the largest batch, and without an arena micro-batches spend up to a third of their time on pages that
    the C library has just returned to the system.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = available_cores() if threads is None else arguments.whole_number("threads", threads)
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    return options
