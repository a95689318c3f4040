"""What the graphs of a run say of themselves, so that programs in other languages need no other file."""

from __future__ import annotations

from pathlib import Path

import onnx

from sentopt.data import store
from sentopt.graph import metadata
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir


def graph(model: onnx.ModelProto, recipe: Recipe, run_dir: RunDir) -> None:
    """Name labels, maximum length and the texts of pairs in a graph.

    Raises:
        RunDirError: the run has no data.
    """
    metadata.describe(model, store.read_labels(run_dir), recipe.model.max_length, pair=store.read_pair(run_dir))


def file(path: Path, recipe: Recipe, run_dir: RunDir) -> None:
    """`graph` for a file; weights in files beside it stay there."""
    metadata.describe_file(path, store.read_labels(run_dir), recipe.model.max_length, pair=store.read_pair(run_dir))
