"""Teachers: where a stronger model comes from, which of its graphs answers, and which of its outputs is which label."""

from __future__ import annotations

import hashlib
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
from sentopt.errors import BackboneError, DataError, ExportError, RunDirError
from sentopt.measure import hardware
from sentopt.progress import SILENT, Progress
from sentopt.results import BenchResult, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text, sha256_file
from sentopt.runtime.session import FloatArray
from sentopt.variants import REFERENCE, VARIANTS, VariantSpec

Kind = Literal["run", "classifier", "backbone"]
_KEY = "train.teacher"
_PINNED = re.compile(r"(?P<model>[\w./-]+)@(?P<revision>.*)", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LONGEST_NAME = 40
_EXACT = 1e-3


@dataclass(frozen=True)
class Source:
    """Where a teacher of a recipe comes from.

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
    def folder_name(self) -> str:
        """A name for the folder of the run that tunes this backbone; no two backbones have the same."""
        if self.name in BACKBONES:
            return self.name
        readable = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[-_LONGEST_NAME:].strip("-")
        return f"backbone-{readable}-{hashlib.sha256(self.name.encode()).hexdigest()[:8]}"


def locate(name: str, *, progress: Progress = SILENT) -> Source:
    """The source of a teacher by its name in a recipe. A model on the hub is fetched, to see whether it is tuned.

    Raises:
        BackboneError: there is none of that name, or it is no model that can be used; the message says what can be.
    """
    if run_dir := _run_of(name):
        return Source(name, "run", str(run_dir.root))
    if _is_known_backbone(name):
        return Source(name, "backbone", name)
    model, revision = _hub_id(name) or (name, "")
    try:
        folder = backbones.resolve(model, revision, progress=progress)
        is_tuned = model_files.is_classifier(folder)
        model_files.check(folder, tuned=is_tuned)
    except BackboneError as error:
        raise BackboneError(f"{_KEY}: {error}") from error
    return Source(name, "classifier" if is_tuned else "backbone", model, revision)


def identify(name: str) -> str:
    """A text that changes whenever the teacher does. Nothing is fetched.

    Raises:
        BackboneError: there is no teacher of that name, or its files cannot be read.
    """
    if run_dir := _run_of(name):
        return backbones.identify(str(run_dir.checkpoint))
    return backbones.identify(*(_hub_id(name) or (name, "")))


def _run_of(name: str) -> RunDir | None:
    """The run in a folder, or the one whose checkpoint the folder is.

    Raises:
        BackboneError: the run is not trained yet.
    """
    folder = _expanded(name)
    run_dir = next((run for run in (RunDir(folder), RunDir(folder.parent)) if run.is_claimed), None)
    if run_dir is None or (run_dir.root != folder and run_dir.checkpoint != folder):
        return None
    if not (run_dir.checkpoint / model_files.CONFIG).is_file():
        raise BackboneError(f"{_KEY}: the run {run_dir.root} is not trained yet: finish it with `sentopt train`")
    return run_dir


def _is_known_backbone(name: str) -> bool:
    return name in BACKBONES and not (_expanded(name) / model_files.CONFIG).is_file()


def _hub_id(name: str) -> tuple[str, str] | None:
    """Id and revision of a name that stands for a model on the hub; None for a folder or a known backbone.

    Raises:
        BackboneError: there is no such folder, and no commit hash is given.
    """
    if _expanded(name).exists() or _is_known_backbone(name):
        return None
    pinned = _PINNED.fullmatch(name)
    if pinned and _COMMIT.fullmatch(pinned["revision"]) and pinned["model"] not in BACKBONES:
        return pinned["model"], pinned["revision"]
    wrong = "" if not pinned else f" The revision must be the 40 digits of a commit, found {pinned['revision']!r}."
    if pinned and pinned["model"] in BACKBONES:
        wrong = f" {pinned['model']} is pinned by sentopt: write it without a revision."
    raise BackboneError(
        f"{_KEY}: there is no folder and no known backbone {name!r}{records.nearest(name, BACKBONES)}.{wrong} "
        "A teacher is the folder of a run or of a fine-tuned classifier, one on the hub as owner/model@COMMIT_HASH, "
        f'or a backbone, which is tuned first: {", ".join(BACKBONES)}. Several are a list: ["a", "b"]'
    )


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:  # ~somebody who has no account
        raise BackboneError(f"{_KEY}: {name!r} names the home folder of nobody who is known here") from error


@dataclass(frozen=True)
class Teacher:
    """A classifier that can answer.

    Attributes:
        name: what the recipe calls it.
        checkpoint: the folder of its weights and its tokenizer.
        labels: in the order of its outputs.
        max_length: tokens that it reads.
        candidate: a verified variant of a run; None for weights in FP32.
        pairs: whether it was tuned on pairs of texts; None where that is not known.
    """

    name: str
    checkpoint: Path
    labels: tuple[str, ...]
    max_length: int
    candidate: Candidate | None = None
    pairs: bool | None = None

    @classmethod
    def of_run(cls, name: str, run_dir: RunDir) -> Teacher:
        """The fastest variant of a run that passed verification on this instruction set; else its FP32 weights.

        Raises:
            RecipeError: the run's recipe cannot be read.
            RunDirError: its checkpoint is not what its training wrote, or gives texts any number of labels.
        """
        max_length = recipes.load(str(run_dir.recipe)).model.max_length
        if not _is_intact(run_dir, "train"):
            raise RunDirError(
                f"{_KEY}: the checkpoint of {run_dir.root} is not what its training wrote. Run "
                f"`sentopt train --run-dir {run_dir.root}` again, or copy the checkpoint to a folder of its own"
            )
        if store.is_multi_label(run_dir):
            raise RunDirError(
                f"{_KEY}: {run_dir.root} gives texts any number of labels (multi-label), a teacher gives each one"
            )
        labels, spec = store.read_labels(run_dir), _fastest(run_dir)
        candidate = Candidate.of(spec, run_dir, labels, max_length) if spec else None
        return cls(name, run_dir.checkpoint, labels, max_length, candidate, store.are_pairs(run_dir))

    @classmethod
    def of_classifier(cls, name: str, folder: Path, max_length: int) -> Teacher:
        """Any fine-tuned classifier in FP32; it reads at most as many tokens as its position embeddings allow.

        Raises:
            BackboneError: it is no single-label classifier.
        """
        try:
            model_files.check(folder, tuned=True)
            model_files.check_problem(folder, multi_label=False)
            labels = tuple(model_files.label_names(folder))
        except BackboneError as error:
            raise BackboneError(f"{_KEY}: {error}") from error
        return cls(name, folder, labels, min(max_length, model_files.length_limit(folder) or max_length))

    @property
    def identity(self) -> str:
        """A fingerprint of its weights and of what it reads: not of the variant that answers, which may change."""
        return manifest.fingerprint([backbones.identify(str(self.checkpoint)), self.max_length, self.labels])

    @property
    def variants(self) -> tuple[str, ...]:
        """The rows of the table of variants one of which will answer; see `open`."""
        return (self.candidate.spec.name,) if self.candidate else ("torch-cuda", "lean-fp32", REFERENCE)

    def open(self, texts: Sequence[Text]) -> tuple[Classifier, str]:
        """A classifier of such texts, and the name of its row in the table of variants.

        Without a verified variant, the weights answer in FP32: on a GPU, else by the lean graph, else by PyTorch. A
        lean graph that does not give PyTorch's logits for `texts` is not used.

        Raises:
            BackboneError: transformers cannot load it.
            DataError: it reads pairs of texts, and these are none, or the reverse.
        """
        pairs = bool(texts) and not isinstance(texts[0], str)
        self._check_kind(pairs=pairs)
        if self.candidate is not None:
            return self.candidate.open(), self.candidate.spec.name
        from sentopt.backends.torch import TorchEngine
        from sentopt.training import checkpoints

        tokenizer = checkpoints.load_tokenizer(self.checkpoint, self.max_length)
        model = checkpoints.load_tuned(self.checkpoint, self.labels, tokenizer)
        encoder = checkpoints.encoder_of(tokenizer, self.max_length, pairs=pairs)
        able = capabilities(self.checkpoint)
        device = "cuda" if "cuda" in able else "cpu"
        exact = Classifier(TorchEngine(model, device=device), encoder, self.labels)
        if device == "cuda":
            return exact, "torch-cuda"
        if "lean" in able and is_installed("onnx") and (graph := _lean_graph(self.checkpoint, pairs=pairs)):
            quick = Classifier.open(graph, encoder, self.labels)
            if not texts or np.abs(quick.logits(texts) - exact.logits(texts)).max() < _EXACT:
                return quick, "lean-fp32"
        return exact, REFERENCE

    def _check_kind(self, *, pairs: bool) -> None:
        if self.pairs not in (None, pairs):
            kinds = ("pairs of texts", "texts that stand alone")[:: 1 if pairs else -1]
            raise DataError(
                f"{_KEY}: the data has {kinds[0]}, and {self.name} was tuned on {kinds[1]}. Take a teacher that was "
                "tuned on data of the same kind"
            )

    def digest(self, variant: str) -> str:
        """A fingerprint of everything that the answers of this variant depend on."""
        return manifest.fingerprint(
            [self.identity, variant, sha256_file(self.candidate.model) if self.candidate else ""]
        )

    def columns(self, labels: Sequence[str]) -> list[int]:
        """For each label of the data, the position of its logit. Further outputs of the teacher are left out.

        Raises:
            DataError: the teacher does not know all of them.
        """
        outputs = [model_files.output_of(label, self.labels) for label in labels]
        columns = [column for column in outputs if column is not None]
        if len(set(columns)) == len(labels):
            return columns
        listed, wanted = ", ".join(self.labels), ", ".join(labels)
        if model_files.are_unnamed(self.labels):
            raise DataError(
                f"{_KEY}: the outputs of {self.name} have no names ({listed}), so they cannot be matched with the "
                f"labels of the data ({wanted}). Name them in id2label of {self.checkpoint / model_files.CONFIG}"
            )
        unknown = [label for label, column in zip(labels, outputs, strict=True) if column is None] or list(labels)
        unmatched = ", ".join(f"{label!r}{records.nearest(label, self.labels)}" for label in unknown)
        raise DataError(
            f"{_KEY}: {self.name} knows the labels {listed}, the data has {wanted}; without a match: {unmatched}. "
            "Take a teacher that was tuned on the same labels"
        )


def _lean_graph(checkpoint: Path, *, pairs: bool) -> bytes:
    """The lean FP32 graph; nothing where the files hold something that it does not know, such as BF16 weights."""
    from sentopt.graph import families, lean
    from sentopt.graph.products import FloatProducts

    try:
        return bytes(lean.write(families.read(checkpoint, pairs=pairs), FloatProducts()).SerializeToString())
    except (ExportError, KeyError, TypeError, ValueError):
        return b""


def _fastest(run_dir: RunDir) -> VariantSpec | None:
    """Of the variants in which the whole model answers, and that passed here: the one with most texts per second.

    Dynamic INT8 is none of them: its answer to a text depends on the texts beside it. Without a benchmark INT8 counts
    as faster than FP32.
    """
    rates: dict[str, float] = {}
    try:
        run = manifest.read(run_dir.manifest)
        verified = run.result("verify", VerifyResult)
        if "bench" in run.stages:
            rates = {row.variant: row.texts_per_second for row in run.result("bench", BenchResult).rows}
    except RunDirError:  # not verified, or by another version
        return None
    if verified.hardware.isa != hardware.describe().isa:
        return None
    able = {*capabilities(run_dir.checkpoint), "long"}
    passed = [VARIANTS[v.variant] for v in verified.verdicts if v.passed and v.variant in VARIANTS]
    usable = [
        spec
        for spec in passed
        if spec.name != REFERENCE
        and not (spec.stages or spec.trimmed or spec.quantize)
        and set(spec.needs) <= able
        and (spec.backend == "torch" or _is_intact(run_dir, VARIANTS[spec.file_owner].made_by, spec.file_owner))
    ]
    return max(usable, key=lambda spec: (rates.get(spec.name, 0.0), spec.dtype == "int8"), default=None)


def _is_intact(run_dir: RunDir, stage: str, variant: str = "") -> bool:
    """Whether the files of a stage, or its file of one variant, are what it wrote."""
    entry = manifest.read(run_dir.manifest).stages.get(stage)
    if entry is None:
        return False
    model = run_dir.model(variant).relative_to(run_dir.root).as_posix()
    files = [artefact for artefact in entry.outputs if not variant or artefact.path == model]
    return bool(files) and manifest.is_intact(run_dir.root, files)


def check_unseen(name: str, run_dir: RunDir, test: Sequence[Text], *, validation_is_test: bool) -> None:
    """That a run was neither trained nor tuned on test texts: it would hand their labels on.

    With `validation_is_test`, the run that is taught takes its validation texts from the test split, too.

    Raises:
        DataError: it was.
    """
    if recipes.load(str(run_dir.recipe)).model.tuned:  # nothing was trained here
        return
    splits = ["train"] if validation_is_test else ["train", "validation"]
    learned = {normal_form(e.text) for split in splits for e in store.read_split(run_dir, split)}  # type: ignore[arg-type]
    known = sum(normal_form(text) in learned for text in test)
    if known:
        raise DataError(
            f"{_KEY}: {name} was trained on {known} of the {len(test)} test texts of this run, so no test could be "
            "trusted. Give both runs the same splits: the same data, limits and run.seed, or files for each split"
        )


def combined(logits: Sequence[FloatArray]) -> FloatArray:
    """The logits of one teacher; of several, the mean of their logarithmic probabilities.

    Args:
        logits: of each teacher, float32 of shape (texts, labels), columns in the order of the data's labels.
    """
    if len(logits) == 1:
        return logits[0]
    shifted = [each - each.max(axis=1, keepdims=True) for each in logits]
    logarithms = [each - np.log(np.exp(each).sum(axis=1, keepdims=True)) for each in shifted]
    return np.asarray(np.mean(logarithms, axis=0, dtype=np.float64), dtype=np.float32)
