"""The layout of a run directory, and nothing else: every path that a stage reads or writes is named here."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sentopt.errors import RunDirError

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
EXPORTS = Path("exports")


@dataclass(frozen=True)
class RunDir:
    """Paths inside one run directory."""

    root: Path

    @property
    def recipe(self) -> Path:
        """The resolved recipe, every value explicit."""
        return self.root / "recipe.toml"

    @property
    def manifest(self) -> Path:
        """What each stage read, wrote, took and found."""
        return self.root / "run.json"

    @property
    def data(self) -> Path:
        """Cleaned splits, one JSONL file each, and `labels.json`."""
        return self.root / "data"

    def split(self, name: Split) -> Path:
        """The JSONL file of one split."""
        return self.data / f"{name}.jsonl"

    @property
    def trainer(self) -> Path:
        """The Trainer's own checkpoints: there while training, gone when it has finished."""
        return self.root / "trainer"

    @property
    def averaged(self) -> Path:
        """The mean of other runs' weights, where that is what this run was made from."""
        return self.root / "averaged"

    @property
    def checkpoint(self) -> Path:
        """The tuned model and its tokenizer, as the Auto classes load them."""
        return self.root / "checkpoint"

    @property
    def reference(self) -> Path:
        """Logits of the PyTorch model on the test split: what every variant is compared with."""
        return self.root / "reference.npy"

    @property
    def validation_reference(self) -> Path:
        """Its logits on the validation split: they order the variants, or count as evidence, too."""
        return self.root / "reference-validation.npy"

    def variant(self, name: str) -> Path:
        """The folder of one variant."""
        return self.root / "variants" / name

    def model(self, name: str) -> Path:
        """The ONNX file of one variant."""
        return self.variant(name) / "model.onnx"

    def flips(self, name: str) -> Path:
        """The test texts to which one variant gives another label than PyTorch does."""
        return self.variant(name) / "flips.csv"

    @property
    def samples(self) -> Path:
        """Raw benchmark samples in milliseconds."""
        return self.root / "bench-samples.json"

    @property
    def bundle(self) -> Path:
        """What ships."""
        return self.root / "bundle"

    @property
    def report(self) -> Path:
        """The report for reading in a terminal or on a forge."""
        return self.root / "report.md"

    @property
    def html_report(self) -> Path:
        """The same report as one self-contained page."""
        return self.root / "report.html"

    @property
    def plots(self) -> Path:
        """PNG files that the reports show."""
        return self.root / "plots"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory for this process, creating it if need be.

        Raises:
            RunDirError: another process holds it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunDirError(
                    f"{self.root} is in use by another sentopt process; wait for it, or choose another --run-dir"
                ) from error
            yield


def latest(exports: Path = EXPORTS) -> RunDir:
    """The run in `exports` whose manifest was written last.

    Raises:
        RunDirError: there is none.
    """
    manifests = sorted(exports.glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    if not manifests:
        raise RunDirError(f"no run found in {exports}/: start one with `sentopt train`, or name one with --run-dir")
    return RunDir(manifests[-1].parent)
