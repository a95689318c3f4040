"""Answers of a graph in WebAssembly, as browsers run it: by onnxruntime-web in Node, where both are installed.

WebAssembly has no INT8 dot products and adds up floating-point numbers in another order, so INT8 is rounded otherwise.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sentopt.errors import EmulationError
from sentopt.runtime.deferral import DEFERRED
from sentopt.runtime.description import Text
from sentopt.runtime.session import BoolArray, FloatArray
from sentopt.runtime.tokenization import TextEncoder

_SCRIPT = Path(__file__).with_suffix(".cjs")
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class WebAssembly:
    """Logits, float32 of shape (texts, labels), and the version of onnxruntime-web that computed them.

    `deferred` says of each text whether a cascade deferred it there; None for what is no cascade.
    """

    logits: FloatArray
    version: str
    deferred: BoolArray | None = None


def is_available() -> bool:
    """Whether Node is on PATH, and onnxruntime-web in a `node_modules` from here upwards or a folder of NODE_PATH."""
    if shutil.which("node") is None:
        return False
    folder = Path.cwd()
    places = [parent / "node_modules" for parent in (folder, *folder.parents)]
    places += [Path(place) for place in os.environ.get("NODE_PATH", "").split(os.pathsep) if place]
    return any((place / "onnxruntime-web").is_dir() for place in places)


def answer(model: Path, output: str, encoder: TextEncoder, texts: Sequence[Text]) -> WebAssembly:
    """Answer `texts` one at a time; takes seconds to start and some ten milliseconds a text.

    Args:
        model: the ONNX file.
        output: the name of its logits.
        encoder: turns texts into its inputs.
        texts: what to answer.

    Raises:
        EmulationError: Node or onnxruntime-web is missing, or cannot run the graph.
    """
    rows = [_row(encoder, text) for text in texts]
    request = {"model": str(model.resolve()), "output": output, "deferred": DEFERRED, "rows": rows}
    try:
        done = subprocess.run(
            [shutil.which("node") or "node", str(_SCRIPT)],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=_TIMEOUT_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout) if done.returncode == 0 else {}
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise EmulationError(f"Node cannot run {model} in WebAssembly: {error}") from error
    if not found:
        lines = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if line.strip()]
        raise EmulationError(f"onnxruntime-web cannot run {model} in Node: {_reason(lines)}")
    deferred = np.array(found["deferred"], dtype=np.bool_) if found["deferred"] is not None else None
    return WebAssembly(np.array(found["logits"], dtype=np.float32), str(found["version"]), deferred)


def _row(encoder: TextEncoder, text: Text) -> Mapping[str, Any]:
    batch = encoder.pad(encoder.encode([text]))
    arrays = {
        "input_ids": batch.input_ids,
        "attention_mask": batch.attention_mask,
        "token_type_ids": batch.token_type_ids,
        "position_ids": batch.position_ids,
    }
    return {name: array[0].tolist() for name, array in arrays.items()}


def _reason(lines: Sequence[str]) -> str:
    """The line with the error; Node prints the source before it and the stack behind it."""
    return next((line for line in lines if "Error" in line), lines[-1] if lines else "no reason is given")
