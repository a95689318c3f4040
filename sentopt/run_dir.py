"""The layout of a run directory: every path that a stage reads or writes is named here."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sentopt.errors import RunDirError
from sentopt.files import durable, journal, lock

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
EXPORTS = Path("exports")
AVERAGE_FILE = "average.json"
"""Beside averaged weights: the names of the averaged runs."""
THRESHOLDS_FILE = "thresholds.json"
"""Beside the weights of a model that gives texts any number of labels: the thresholds of these."""
_LOCK = ".lock"
_LISTED = 5


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
        """Inputs, outputs, duration and result of each stage."""
        return self.root / "run.json"

    @property
    def data(self) -> Path:
        """Cleaned splits, one JSONL file each, and `labels.json`."""
        return self.root / "data"

    @property
    def reading(self) -> Path:
        """Texts as they are read, only while the data is prepared."""
        return self.root / "reading"

    def split(self, name: Split) -> Path:
        """The JSONL file of one split."""
        return self.data / f"{name}.jsonl"

    @property
    def trainer(self) -> Path:
        """The Trainer's own checkpoints; removed when training has finished."""
        return self.root / "trainer"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's files, a folder for each training, if `train.report_to` asks for them."""
        return self.root / "tensorboard"

    @property
    def averaged(self) -> Path:
        """The mean of the weights of other runs, if this run was made by `sentopt average`."""
        return self.root / "averaged"

    def live(self, digest: str) -> Path:
        """A model that a Python program handed over; `digest` is of its content."""
        return self.root / "live" / digest

    @property
    def trainer_record(self) -> Path:
        """Arguments, log and metrics of the Trainer that a Python program handed over."""
        return self.root / "trainer.json"

    @property
    def checkpoint(self) -> Path:
        """The fine-tuned model and its tokenizer, as the Auto classes load them."""
        return self.root / "checkpoint"

    @property
    def reference(self) -> Path:
        """Logits of the PyTorch model on the test split: every variant is compared with them."""
        return self.root / "reference.npy"

    @property
    def validation_reference(self) -> Path:
        """Logits of the PyTorch model on the validation split: they order the variants, or are further evidence."""
        return self.root / "reference-validation.npy"

    @property
    def soft_labels(self) -> Path:
        """The teacher's logits, and the texts that it answered besides those of the splits."""
        return self.root / "soft-labels"

    def teacher(self, name: str) -> RunDir:
        """The run that tunes a backbone to be the teacher."""
        return RunDir(self.root / "teachers" / name)

    @property
    def without_teacher(self) -> RunDir:
        """The run that trains the same model on the labels alone."""
        return RunDir(self.root / "without-teacher")

    @property
    def student(self) -> Path:
        """The distilled student: the weights of its layers and its head."""
        return self.root / "student"

    @property
    def distilling(self) -> Path:
        """The state of a distillation that was interrupted; removed when it has finished."""
        return self.root / "distilling"

    def variant(self, name: str) -> Path:
        """The folder of one variant."""
        return self.root / "variants" / name

    def model(self, name: str) -> Path:
        """The ONNX file of one variant."""
        return self.variant(name) / "model.onnx"

    def flips(self, name: str) -> Path:
        """The test texts whose label differs between one variant and PyTorch."""
        return self.variant(name) / "flips.csv"

    def answers(self, name: str) -> Path:
        """The logits of one variant on the test split, in the serving mode that it is judged in."""
        return self.variant(name) / "answers.npy"

    def mistakes(self, name: str) -> Path:
        """The test texts that the variant which ships gets wrong."""
        return self.variant(name) / "mistakes.csv"

    @property
    def samples(self) -> Path:
        """Raw benchmark samples in milliseconds."""
        return self.root / "bench-samples.json"

    @property
    def bundle(self) -> Path:
        """The selected variant with everything that an application needs."""
        return self.root / "bundle"

    @property
    def has_bundle(self) -> bool:
        """Whether there is a bundle."""
        return (self.bundle / "sentopt.json").is_file()

    @property
    def report(self) -> Path:
        """The report for reading in a terminal or on a forge."""
        return self.root / "report.md"

    @property
    def html_report(self) -> Path:
        """The same report as one self-contained page."""
        return self.root / "report.html"

    @property
    def reports(self) -> tuple[Path, Path]:
        """Both reports."""
        return self.report, self.html_report

    @property
    def plots(self) -> Path:
        """PNG files that the reports show."""
        return self.root / "plots"

    def replaced_with(self, output: Path) -> Path:
        """The path that is replaced as a whole when a stage writes `output`: the folder of a variant, else `output`."""
        return output.parent if output.name == self.model("").name else output

    @property
    def is_claimed(self) -> bool:
        """Whether sentopt made this directory: it has sentopt's journal, or a run.json of a sentopt without one."""
        return bool(journal.facts(self.root).get("run")) or _is_manifest(self.manifest)

    def check_usable(self) -> None:
        """That the directory is new, empty, or one that sentopt made. Changes nothing.

        Raises:
            RunDirError: it holds something else, or is no directory.
        """
        if os.path.lexists(self.root) and not self.root.is_dir():
            raise RunDirError(f"{self.root} is no folder; choose another --run-dir")
        foreign = self._foreign()
        if foreign and not self.is_claimed:
            listed = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
            raise RunDirError(
                f"{self.root.absolute() if self.root == Path() else self.root} is not a run directory of sentopt and "
                f"not empty: it holds {listed}. Nothing was changed. Name a new folder with --run-dir NEW_FOLDER"
            )

    def _foreign(self) -> list[str]:
        """Names in the directory, except those that a sentopt leaves that was killed at its start."""
        if not self.root.is_dir():
            return []
        try:
            paths = sorted(self.root.iterdir())
        except OSError as error:
            raise RunDirError(f"{self.root} cannot be read: {error.strerror}") from error
        return [path.name for path in paths if not _is_leftover(path)]

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run directory for this process, creating it if need be.

        Raises:
            RunDirError: another process holds it, sentopt did not make it, or it cannot be written.
        """
        self.check_usable()
        with contextlib.ExitStack() as stack:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock.held(self.root / _LOCK))
            except BlockingIOError as error:
                raise RunDirError(
                    f"{self.root} is in use by another sentopt process; wait for it, or choose another --run-dir"
                ) from error
            except OSError as error:
                if durable.is_disk_full(error):
                    raise
                raise RunDirError(f"cannot write in {self.root}: {error.strerror}; choose another --run-dir") from error
            yield


def _is_leftover(path: Path) -> bool:
    """The empty lock file, or a journal that was never finished."""
    if path.name == _LOCK:
        return path.is_file() and not path.is_symlink() and path.stat().st_size == 0
    return durable.is_temporary(path.name, journal.FILE)


def _is_manifest(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    kinds = {"schema_version": int, "name": str, "versions": dict, "hardware": dict, "stages": dict}
    return isinstance(document, dict) and all(isinstance(document.get(key), kind) for key, kind in kinds.items())


def _is_empty(manifest: Path) -> bool:
    """Whether no stage has finished. A damaged manifest is not empty, so that its damage is reported."""
    return _is_manifest(manifest) and not json.loads(manifest.read_text(encoding="utf-8"))["stages"]


def runs(exports: Path = EXPORTS) -> list[RunDir]:
    """The runs in `exports` in which a stage has finished; the one whose manifest was written last comes first."""
    manifests = sorted(exports.glob("*/run.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [RunDir(path.parent) for path in manifests if not _is_empty(path)]


def latest(exports: Path = EXPORTS, *, with_bundle: bool = False) -> RunDir:
    """The newest of the `runs` in `exports`; with `with_bundle`, the newest of those that have a bundle.

    Raises:
        RunDirError: there is none.
    """
    finished = runs(exports)
    if not finished:
        raise RunDirError(f"no run found in {exports}/: start one with `sentopt train`, or name one with --run-dir")
    if not with_bundle:
        return finished[0]
    bundled = next((run for run in finished if run.has_bundle), None)
    if bundled is None:
        listed = ", ".join(str(run.root) for run in finished[:_LISTED]) + (", ..." if len(finished) > _LISTED else "")
        raise RunDirError(
            f"no run in {exports}/ has a bundle. Found, the newest first: {listed}. Where nothing passed verification, "
            f"the report says why; otherwise make a bundle with `sentopt export --run-dir {finished[0].root}`"
        )
    return bundled


def newer_than(run: RunDir) -> list[RunDir]:
    """The runs beside `run` that are newer: those that `latest(with_bundle=True)` has passed over."""
    finished = runs(run.root.parent)
    return finished[: finished.index(run)] if run in finished else []
