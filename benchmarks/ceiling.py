"""How far a bundle is from what this machine can do at all in INT8.

    python benchmarks/ceiling.py CHECKPOINT

The ceiling is measured, not read from a data sheet: the rate of one large product of unsigned by signed bytes on one
thread, in onnxruntime and in OpenVINO where it is installed. Divided into the multiplications of the lean graph's
weight products it gives the least time in which a text could be answered if everything else cost nothing.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from sentopt._optional import is_installed
from sentopt.graph import families
from sentopt.graph.architecture import Architecture
from sentopt.measure import timing

SIZE, ROUNDS = 1024, 15
TOKENS = (16, 32, 64, 128)
Product = Callable[[np.ndarray], object]


def measure(checkpoint: Path) -> dict[str, object]:
    """GMAC/s on one thread by engine; by tokens, millions of multiplications and least milliseconds of one text."""
    rates = _rates()
    architecture = families.read(checkpoint)
    floor = {}
    for tokens in TOKENS:
        macs = products(architecture, tokens)
        floor[str(tokens)] = {"million_macs": macs / 1e6, "floor_ms": macs / max(rates.values()) / 1e6}
    return {"size": SIZE, "gmacs_per_second": rates, "one_text": floor}


def products(architecture: Architecture, tokens: int) -> int:
    """Multiplications with weights that the lean graph makes for one text; attention between tokens is not counted."""
    macs = 0
    for block in architecture.blocks[:-1]:
        denses = (block.query, block.key, block.value, block.output, block.up, block.down)
        macs += tokens * sum(dense.weight.size for dense in denses)
    last = architecture.blocks[-1]
    if last.rope is not None or last.disentangled:
        macs += (tokens - 1) * last.key.weight.size  # positions change the keys, so they are computed
    return macs + sum(d.weight.size for d in (last.query, last.key, last.value, last.output, last.up, last.down))


def _rates() -> dict[str, float]:
    a = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE)).astype(np.uint8)
    calls = {"onnxruntime": _onnxruntime(_model())}
    with tempfile.TemporaryDirectory() as folder:
        if is_installed("openvino"):
            path = Path(folder) / "product.onnx"
            onnx.save(_model(), path)
            calls["openvino"] = _openvino(path)
        turns = {name: partial(_milliseconds, call, a) for name, call in calls.items()}
        samples = timing.interleave(turns, rounds=ROUNDS)
    return {name: SIZE**3 / (timing.summarize(times).p50 / 1e3) / 1e9 for name, times in samples.items()}


def _milliseconds(call: Product, a: np.ndarray) -> list[float]:
    begin = time.perf_counter()
    call(a)
    return [(time.perf_counter() - begin) * 1e3]


def _model() -> onnx.ModelProto:
    """bytes -> float32: one `MatMulIntegerToFloat` with a constant weight."""
    weight = np.random.default_rng(1).integers(-64, 64, (SIZE, SIZE)).astype(np.int8)
    constants = {
        "weight": weight,
        "scale": np.float32(0.01),
        "scales": np.full(SIZE, 0.01, np.float32),
        "zero": np.uint8(128),
    }
    node = helper.make_node(
        "MatMulIntegerToFloat", ["a", "weight", "scale", "scales", "zero"], ["y"], domain="com.microsoft"
    )
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [SIZE, SIZE])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def _onnxruntime(model: onnx.ModelProto) -> Product:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda a: session.run(None, {"a": a})


def _openvino(path: Path) -> Product:
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_NUM_THREADS": 1})
    request = compiled.create_infer_request()
    return lambda a: request.infer({"a": a}, share_inputs=True)


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1])), indent=1))
