"""What each choice in the lean graph's INT8 is worth, against the PyTorch logits of a finished run's test split.

    python benchmarks/int8_choices.py RUN_DIR

Prints a Markdown table: how many labels differ from PyTorch's, by how much probabilities move, how many labels depend
on the batch (one text at a time against 32 in file order), and whether no CPU can saturate.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from sentopt import recipe
from sentopt.data import store
from sentopt.graph import families, lean
from sentopt.graph.architecture import FloatArray
from sentopt.graph.calibration import calibrate
from sentopt.graph.products import Int8Array, Int8Products
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier, softmax
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import TextEncoder


class FullRange(Int8Products):
    """Weights of eight bits in every column, as quantizers do it."""

    largest = 127

    def round(self, weight: FloatArray) -> tuple[Int8Array, FloatArray]:
        """One scale a column, from its largest weight."""
        scales = np.maximum(np.abs(weight).max(axis=0), 1e-30) / np.float32(self.largest)
        return np.rint(weight / scales).astype(np.int8), scales.astype(np.float32)


class ReducedRange(FullRange):
    """Weights of seven bits: onnxruntime's `reduce_range`."""

    largest = 63


def main() -> None:
    """Print the table."""
    run_dir = RunDir(Path(sys.argv[1]))
    settings = recipe.load(str(run_dir.recipe))
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=settings.model.max_length)
    labels = store.read_labels(run_dir)
    texts = [example.text for example in store.read_split(run_dir, "test")]
    reference = np.load(run_dir.reference, allow_pickle=False)
    headings = ("labels changed", "mean change of p", "largest", "changed by the batch", "cannot saturate")
    print(f"| INT8, {len(texts)} test texts | {' | '.join(headings)} |")
    print("|---|---:|---:|---:|---:|---|")
    for name, model, safe in _contenders(run_dir, encoder):
        classifier = Classifier(OnnxSession(model), encoder, labels)
        alone, together = (classifier.logits(texts, batch_size=size) for size in (1, 32))
        moved = np.abs(softmax(alone) - softmax(reference))
        changed = int((alone.argmax(axis=1) != reference.argmax(axis=1)).sum())
        by_batch = int((alone.argmax(axis=1) != together.argmax(axis=1)).sum())
        print(f"| {name} | {changed} | {moved.mean():.4f} | {moved.max():.3f} | {by_batch} | {safe} |", flush=True)


def _contenders(run_dir: RunDir, encoder: TextEncoder) -> Iterator[tuple[str, bytes, str]]:
    architecture = families.read(run_dir.checkpoint)
    training = [example.text for example in store.read_split(run_dir, "train")]
    found = calibrate(architecture, encoder, training)
    plain = calibrate(architecture, encoder, training, strengths=())
    if run_dir.model("onnx-int8").is_file():
        yield "dynamic, one scale per weight", run_dir.model("onnx-int8").read_bytes(), "no"
    for name, products, safe in (
        ("calibrated, not smoothed", Int8Products(plain.sites), "yes"),
        ("calibrated, smoothed: `lean-int8`", Int8Products(found.sites), "yes"),
        ("... with 7-bit weights (`reduce_range`)", ReducedRange(found.sites), "yes"),
        ("... with full 8-bit weights", FullRange(found.sites), "no"),
    ):
        yield name, lean.write(architecture, products).SerializeToString(), safe


if __name__ == "__main__":
    main()
