"""The weights of a student as one file: those of its layers and its head. Embeddings are its teacher's.

Names are the attributes of `architecture`, such as `blocks.0.query.weight`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from sentopt.errors import ExportError
from sentopt.graph.architecture import Architecture, Block, Dense, Disentangled, FloatArray, HeadStep, Norm

FILE = "student.safetensors"


def to_bytes(student: Architecture) -> bytes:
    """The content of the file."""
    tensors: dict[str, FloatArray] = {}
    for i, block in enumerate(student.blocks):
        for each in fields(block):
            _put(tensors, f"blocks.{i}.{each.name}", getattr(block, each.name))
    for i, step in enumerate(student.head):
        _put(tensors, f"head.{i}", step.dense)
        _put(tensors, f"head.{i}.norm", step.norm)
    _put(tensors, "final_norm", student.final_norm)
    return save({name: np.ascontiguousarray(values) for name, values in tensors.items()})


def read(path: Path, teacher: Architecture) -> Architecture:
    """The student of `teacher` that is stored at `path`.

    Raises:
        ExportError: the file cannot be read, or holds another kind of student.
    """
    try:
        tensors = load_file(path)
        count = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blocks."))
        return replace(
            teacher,
            blocks=tuple(_block(tensors, i, teacher.blocks[0]) for i in range(count)),
            head=tuple(
                HeadStep(_dense(tensors, f"head.{i}"), step.activation, _norm(tensors, f"head.{i}.norm", step.norm))
                for i, step in enumerate(teacher.head)
            ),
            final_norm=_norm(tensors, "final_norm", teacher.final_norm),
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ExportError(f"{path} is no student of this model: {error}") from error


def _put(
    tensors: dict[str, FloatArray], name: str, part: Dense | Norm | Disentangled | FloatArray | float | None
) -> None:
    if isinstance(part, Dense):
        tensors[f"{name}.weight"], tensors[f"{name}.bias"] = part.weight, part.bias
    elif isinstance(part, Norm):
        tensors[f"{name}.scale"], tensors[f"{name}.bias"] = part.scale, part.bias
    elif isinstance(part, Disentangled):
        _put(tensors, f"{name}.keys", part.keys)
        _put(tensors, f"{name}.queries", part.queries)
    elif isinstance(part, np.ndarray):
        tensors[name] = part
    elif part is not None:
        tensors[name] = np.array([part], dtype=np.float32)


def _block(tensors: Mapping[str, FloatArray], i: int, like: Block) -> Block:
    """Layers of a student can be of several kinds; `like` says how its normalization is computed."""
    parts: dict[str, Any] = {}
    for each in fields(like):
        name = f"blocks.{i}.{each.name}"
        if each.name in ("attention_norm", "output_norm"):
            parts[each.name] = _norm(tensors, name, like.output_norm if f"{name}.scale" in tensors else None)
        elif each.name in ("window", "rope"):
            number = tensors[name][0].item() if name in tensors else None
            parts[each.name] = int(number) if each.name == "window" and number is not None else number
        elif each.name == "disentangled":
            vectors = Disentangled(tensors.get(f"{name}.keys"), tensors.get(f"{name}.queries"))
            parts[each.name] = vectors if like.disentangled else None
        else:
            parts[each.name] = _dense(tensors, name)
    return Block(**parts)


def _dense(tensors: Mapping[str, FloatArray], name: str) -> Dense:
    return Dense(tensors[f"{name}.weight"], tensors[f"{name}.bias"])


def _norm(tensors: Mapping[str, FloatArray], name: str, like: Norm | None) -> Norm | None:
    return Norm(tensors[f"{name}.scale"], tensors[f"{name}.bias"], like.epsilon) if like else None
