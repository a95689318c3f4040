"""What the graphs of a run say of themselves, so that programs in other languages need no other file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

import onnx

from sentopt.data import store
from sentopt.graph import metadata
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir


def graph(model: onnx.ModelProto, recipe: Recipe, run_dir: RunDir) -> None:
    """Name labels, maximum length, thresholds and the texts of pairs in a graph.

    Raises:
        RunDirError: the run has no data, or a multi-label one no thresholds.
    """
    metadata.describe(model, store.read_labels(run_dir), recipe.model.max_length, **_kind(run_dir))


def file(path: Path, recipe: Recipe, run_dir: RunDir) -> None:
    """`graph` for a file; weights in files beside it stay there."""
    metadata.describe_file(path, store.read_labels(run_dir), recipe.model.max_length, **_kind(run_dir))


class _Kind(TypedDict):
    thresholds: Sequence[float]
    pair: tuple[str, str] | None


def _kind(run_dir: RunDir) -> _Kind:
    return {"thresholds": store.read_decision(run_dir).thresholds, "pair": store.read_pair(run_dir)}
