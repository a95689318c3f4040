"""lean-int8 with operators of the ONNX standard alone (`export.standard_operators`) against lean-int8.

    python benchmarks/standard_operators.py exports/quickstart [FOLDER_WITH_TRACT]

Calibrates once, writes both graphs, and prints the labels that differ, the largest change of a logit, and the CPU time
of one thread on texts of 8 to 128 tokens, the two in turn: the mean ratio of medians. With the package `tract` (from
`pip download tract`, unpacked in that folder) it also says which graphs of the run that engine loads and answers.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from sentopt import recipe
from sentopt.data import store
from sentopt.graph import families, lean
from sentopt.graph.architecture import Architecture
from sentopt.graph.calibration import calibrate
from sentopt.graph.products import Int8Products, Site
from sentopt.run_dir import RunDir
from sentopt.runtime.tokenization import TextEncoder

_ROUNDS, _TEXTS, _LENGTHS = 20, 200, (8, 16, 24, 32, 64, 128)


def main() -> None:
    """Print the comparison."""
    run_dir = RunDir(Path(sys.argv[1]))
    architecture, encoder, sites = calibrated(run_dir)
    graphs = {
        name: lean.write(architecture, Int8Products(sites, standard=standard)).SerializeToString()
        for name, standard in (("lean-int8", False), ("standard operators", True))
    }
    sessions = {name: opened(graph) for name, graph in graphs.items()}
    texts = [example.text for example in store.read_split(run_dir, "test")[:_TEXTS]]
    feeds = [feed(np.array([tokens.ids])) for tokens in encoder.encode(texts)]
    one, other = (np.concatenate([s.run(["logits"], f)[0] for f in feeds]) for s in sessions.values())
    changed = int((one.argmax(axis=1) != other.argmax(axis=1)).sum())
    print(f"{changed} of {len(texts)} labels differ, largest change of a logit {np.abs(one - other).max():.6f}")
    print(f"CPU time of the standard operators: {ratio(sessions):.2f} times that of lean-int8")
    if len(sys.argv) > 2:
        sys.path.insert(0, sys.argv[2])
        files = {name: run_dir.model(name).read_bytes() for name in ("lean-fp32", "onnx-fp32", "onnx-int8")}
        for name, graph in {**graphs, **files}.items():
            print(f"tract, {name}: {in_tract(graph)}", flush=True)


def calibrated(run_dir: RunDir) -> tuple[Architecture, TextEncoder, dict[str, Site]]:
    """The model of a run, its encoder, and the INT8 of its products."""
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.load(str(run_dir.recipe)).model.max_length)
    training = [example.text for example in store.read_split(run_dir, "train")]
    architecture = families.read(run_dir.checkpoint)
    return architecture, encoder, dict(calibrate(architecture, encoder, training).sites)


def opened(graph: bytes, threads: int = 1) -> Any:
    """A session of so many threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def feed(ids: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of a lean graph."""
    return {"input_ids": ids.astype(np.int64), "attention_mask": np.ones_like(ids, dtype=np.int64)}


def ratio(sessions: dict[str, Any]) -> float:
    """The second's median time over the first's, the mean over the lengths."""
    random, ratios = np.random.default_rng(0), []
    for length in _LENGTHS:
        arrays = feed(random.integers(1000, 20_000, (1, length)))
        seconds: dict[str, list[float]] = {name: [] for name in sessions}
        for _ in range(_ROUNDS):
            for name, session in sessions.items():
                begin = time.process_time()
                session.run(["logits"], arrays)
                seconds[name].append(time.process_time() - begin)
        first, second = (float(np.median(samples)) for samples in seconds.values())
        ratios.append(second / first)
    return float(np.mean(ratios))


def in_tract(graph: bytes) -> str:
    """How far tract's answer to one text is from onnxruntime's, or why there is none."""
    import tract

    session = opened(graph)
    arrays = feed(np.array([[101, 2023, 2003, 1037, 2307, 3185, 102]]))
    arrays["token_type_ids"] = np.zeros_like(arrays["input_ids"])
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        file.write(graph)
        file.flush()
        try:
            model = tract.onnx().load(file.name)
            names = [model.input_name(i) for i in range(model.input_count())]
            for i in range(len(names)):
                model.set_input_fact(i, f"1,{arrays['input_ids'].shape[1]},i64")
            model.analyse()
            found = model.into_model().into_runnable().run([arrays[name] for name in names])[0].to_numpy()
        except Exception as error:  # tract raises one class for everything
            return f"refused: {str(error).splitlines()[0]}"
    expected = session.run(["logits"], {name: arrays[name] for name in names})[0]
    return f"answers, largest difference from onnxruntime {np.abs(found - expected).max():.1e}"


if __name__ == "__main__":
    main()
