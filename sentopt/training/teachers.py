"""Teachers: where a stronger model comes from, which of its graphs answers, and which of its outputs is which label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from sentopt import backbones, manifest, model_files, records
from sentopt import recipe as recipes
from sentopt._optional import is_installed
from sentopt.backbones import BACKBONES
from sentopt.backends.opening import Candidate, capabilities
from sentopt.data import store
from sentopt.data.duplicates import normal_form
from sentopt.errors import BackboneError, DataError
from sentopt.measure import hardware
from sentopt.results import BenchResult, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import sha256_file
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder
from sentopt.variants import REFERENCE, VARIANTS, VariantSpec

Kind = Literal["run", "classifier", "backbone"]
_PINNED = re.compile(r"(?P<id>[^@]+)@(?P<revision>[0-9A-Za-z]+)")
_EXAMPLES = "This is a great product!", "I am very disappointed with the service.", "", "It was an average experience."
_EXACT = 1e-3


@dataclass(frozen=True)
class Place:
    """Where a teacher of a recipe is.

    Attributes:
        name: what the recipe says.
        kind: a run of sentopt, a fine-tuned classifier, or a backbone that is tuned first.
        model: the run directory, or what `backbones.resolve` takes.
        revision: of a model on the hub.
    """

    name: str
    kind: Kind
    model: str
    revision: str = ""

    @property
    def run_dir(self) -> RunDir:
        """Of a run."""
        return RunDir(Path(self.model))

    @property
    def slug(self) -> str:
        """A folder name for the run that tunes this backbone."""
        return re.sub(r"[^A-Za-z0-9.-]+", "-", self.name).strip("-.") or "teacher"


def place(name: str) -> Place:
    """Find a teacher by its name in a recipe; a model on the hub is fetched, to see whether it is tuned.

    Raises:
        BackboneError: there is none of that name, or it is no model that can be used; the message says what can be.
    """
    folder = Path(name).expanduser()
    if RunDir(folder).is_claimed:
        if not (RunDir(folder).checkpoint / "config.json").is_file():
            raise BackboneError(f"train.teacher: the run {folder} is not trained yet: finish it with `sentopt train`")
        return Place(name, "run", str(folder))
    if name in BACKBONES and not (folder / "config.json").is_file():
        return Place(name, "backbone", name)
    pinned = _PINNED.fullmatch(name)
    model, revision = (pinned["id"], pinned["revision"]) if pinned and not folder.exists() else (name, "")
    if not revision and not folder.exists():
        raise BackboneError(
            f"train.teacher: there is no folder and no known backbone {name!r}{records.nearest(name, BACKBONES)}. "
            "A teacher is the folder of a run or of a fine-tuned classifier, one on the hub as "
            f"owner/model@COMMIT_HASH, or a backbone, which is tuned first: {', '.join(BACKBONES)}"
        )
    try:
        found = backbones.resolve(model, revision)
    except BackboneError as error:
        raise BackboneError(f"train.teacher: {error}") from error
    kind: Kind = "classifier" if model_files.is_classifier(found) else "backbone"
    return Place(name, kind, model, revision)


def identify(name: str) -> str:
    """A text that changes whenever the teacher does. Nothing is fetched.

    Raises:
        BackboneError: its files cannot be read.
    """
    folder = Path(name).expanduser()
    if RunDir(folder).is_claimed:
        return backbones.identify(str(RunDir(folder).checkpoint))
    return backbones.identify(name)


@dataclass(frozen=True)
class Teacher:
    """A classifier that can answer.

    Attributes:
        name: what the recipe calls it.
        checkpoint: the folder of its weights and its tokenizer.
        max_length: tokens that it reads.
        variant: the row of the table of variants that answers.
        candidate: that variant of a run; None for a graph that is made here.
    """

    name: str
    checkpoint: Path
    max_length: int
    variant: str
    candidate: Candidate | None = None

    @classmethod
    def of_run(cls, name: str, run_dir: RunDir) -> Teacher:
        """The fastest variant of a run that passed verification on this instruction set; else its FP32 weights.

        Raises:
            RecipeError, RunDirError: the run's files cannot be read.
        """
        recipe = recipes.load(str(run_dir.recipe))
        spec = _fastest(run_dir)
        if spec is None:
            return cls.of_classifier(name, run_dir.checkpoint, recipe.model.max_length)
        labels = store.read_labels(run_dir)
        candidate = Candidate.of(spec, run_dir, labels, recipe.model.max_length)
        return cls(name, run_dir.checkpoint, recipe.model.max_length, spec.name, candidate)

    @classmethod
    def of_classifier(cls, name: str, folder: Path, max_length: int) -> Teacher:
        """FP32, as exact as PyTorch: on a GPU, by the lean graph, or by PyTorch where the architecture has none."""
        longest = model_files.length_limit(folder)
        length = min(max_length, longest) if longest else max_length
        able = capabilities(folder)
        has_graph = "lean" in able and is_installed("onnx")
        variant = "torch-cuda" if "cuda" in able else "lean-fp32" if has_graph else REFERENCE
        return cls(name, folder, length, variant)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The labels in the order of its logits.

        Raises:
            BackboneError: its outputs have no names.
        """
        if self.candidate is not None:
            return self.candidate.labels
        names = model_files.label_names(self.checkpoint)
        if model_files.are_unnamed(names):
            raise BackboneError(
                f"train.teacher: the outputs of {self.name} have no names ({', '.join(names)}), so they cannot be "
                f"matched with the labels of the data. Name them in id2label of {self.checkpoint / model_files.CONFIG}"
            )
        return tuple(names)

    @property
    def digest(self) -> str:
        """A fingerprint of everything that its answers depend on."""
        graph = sha256_file(self.candidate.model) if self.candidate else ""
        weights = backbones.identify(str(self.checkpoint))
        return manifest.fingerprint([weights, graph, self.variant, self.max_length])

    def open(self) -> Classifier:
        """A classifier with the labels in the order of `outputs`.

        A lean graph that is made here answers some texts beside PyTorch first; where it differs, PyTorch answers.
        """
        if self.candidate is not None:
            return self.candidate.open()
        from sentopt.backends.torch import TorchEngine
        from sentopt.graph import families, lean
        from sentopt.graph.products import FloatProducts

        encoder = TextEncoder.load(self.checkpoint, max_length=self.max_length)
        device = "cuda" if self.variant == "torch-cuda" else "cpu"
        exact = Classifier(TorchEngine.load(self.checkpoint, device=device), encoder, self.outputs)
        if self.variant != "lean-fp32":
            return exact
        graph = lean.write(families.read(self.checkpoint), FloatProducts()).SerializeToString()
        quick = Classifier.open(graph, encoder, self.outputs)
        difference = np.abs(quick.logits(_EXAMPLES) - exact.logits(_EXAMPLES)).max()
        return quick if difference < _EXACT else exact

    def columns(self, labels: Sequence[str]) -> list[int]:
        """For each label of the data, the position of its logit.

        Raises:
            DataError: the teacher does not know all of them.
        """
        found = [model_files.output_of(label, self.outputs) for label in labels]
        columns = [column for column in found if column is not None]
        if len(set(columns)) == len(labels):
            return columns
        unknown = [label for label, column in zip(labels, found, strict=True) if column is None] or list(labels)
        raise DataError(
            f"train.teacher: {self.name} knows the labels {', '.join(self.outputs)}, the data has "
            f"{', '.join(labels)}; {_unmatched(unknown, self.outputs)}"
        )


def _unmatched(unknown: Sequence[str], outputs: Sequence[str]) -> str:
    nearest = [records.nearest(label, outputs) for label in unknown]
    listed = ", ".join(f"{label!r}{near}" for label, near in zip(unknown, nearest, strict=True))
    return f"without a match: {listed}. Take a teacher that was tuned on the same labels"


def _fastest(run_dir: RunDir) -> VariantSpec | None:
    """Of the variants in which the whole model answers, and that passed here: the one with most texts per second.

    Without a benchmark INT8 counts as faster than FP32.
    """
    written = manifest.read(run_dir.manifest)
    if "verify" not in written.stages:
        return None
    verified = written.result("verify", VerifyResult)
    if verified.hardware.isa != hardware.describe().isa:
        return None
    able = {*capabilities(run_dir.checkpoint), "long"}
    passed = [
        VARIANTS[verdict.variant]
        for verdict in verified.verdicts
        if verdict.passed and verdict.variant in VARIANTS and verdict.variant != REFERENCE
    ]
    usable = [
        spec
        for spec in passed
        if not spec.stages and not spec.trimmed and set(spec.needs) <= able and _is_intact(run_dir, spec)
    ]
    rates: dict[str, float] = {}
    if "bench" in written.stages:
        rates = {row.variant: row.texts_per_second for row in written.result("bench", BenchResult).rows}
    return max(usable, key=lambda spec: (rates.get(spec.name, 0.0), spec.dtype == "int8"), default=None)


def _is_intact(run_dir: RunDir, spec: VariantSpec) -> bool:
    """Whether the checkpoint and the graph are what the run's stages wrote."""
    wanted = run_dir.model(spec.file_owner).relative_to(run_dir.root).as_posix()
    checkpoint = run_dir.checkpoint.relative_to(run_dir.root).as_posix()
    files = [
        artefact
        for entry in manifest.read(run_dir.manifest).stages.values()
        for artefact in entry.outputs
        if artefact.path == wanted or artefact.path.startswith(f"{checkpoint}/")
    ]
    has_graph = spec.backend == "torch" or any(artefact.path == wanted for artefact in files)
    return has_graph and manifest.is_intact(run_dir.root, files)


def check_unseen(name: str, run_dir: RunDir, test: Sequence[str]) -> None:
    """That a run was neither trained nor tuned on test texts: it would hand their labels on.

    Raises:
        DataError: it was.
    """
    learnt = {normal_form(e.text) for split in ("train", "validation") for e in store.read_split(run_dir, split)}
    known = sum(normal_form(text) in learnt for text in test)
    if known:
        raise DataError(
            f"train.teacher: {name} was trained on {known} of the {len(test)} test texts of this run, so no test could "
            "be trusted. Give both runs the same splits: the same data, limits and run.seed, or files for each split"
        )


def combined(answers: Sequence[FloatArray]) -> FloatArray:
    """The logits of one teacher; of several, the mean of their logarithmic probabilities.

    Args:
        answers: of each teacher, float32 of shape (texts, labels), columns in the order of the data's labels.
    """
    if len(answers) == 1:
        return answers[0]
    logs = [a - a.max(axis=1, keepdims=True) for a in answers]
    logs = [a - np.log(np.exp(a).sum(axis=1, keepdims=True)) for a in logs]
    return np.asarray(np.mean(logs, axis=0, dtype=np.float64), dtype=np.float32)
