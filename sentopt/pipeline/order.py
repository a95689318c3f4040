"""The order of the stages, what each depends on, and the only writer of `run.json`.

A stage is skipped when the fingerprint of everything it depends on (input files, recipe sections, package versions, and
for measurements the machine) is the one it last ran with and its output files are intact.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from sentopt import backbones, gate, manifest, model_files, records
from sentopt import recipe as recipes
from sentopt._optional import is_installed, require
from sentopt.data import sources, store, unlabelled
from sentopt.errors import RecipeError, RunDirError
from sentopt.files import atomic, journal
from sentopt.manifest import Manifest, StageEntry
from sentopt.measure import hardware
from sentopt.pipeline import continuation, forecast
from sentopt.pipeline.forecast import Forecast
from sentopt.progress import Lines, Progress
from sentopt.recipe import Recipe
from sentopt.report import render
from sentopt.results import (
    BenchResult,
    BundleResult,
    ExportResult,
    PrepareResult,
    QuantizeResult,
    ReferenceCheck,
    Selection,
    StringInput,
    TrainResult,
    Verdict,
    VerifyResult,
)
from sentopt.run_dir import RunDir
from sentopt.training import distributed
from sentopt.variants import VARIANTS, VariantSpec, runnable

R = TypeVar("R")
Depth = Literal["quick", "full"]
_log = logging.getLogger(__name__)


@dataclass
class Pipeline:
    """One run: its recipe, its directory, and what it has found so far.

    `say` receives one line per thing worth telling; `force` redoes stages that are unchanged, and replaces a checkpoint
    that was trained otherwise. `inputs` are files that are read besides those that the recipe names.
    """

    recipe: Recipe
    run_dir: RunDir
    say: Callable[[str], None] = lambda line: None
    force: bool = False
    inputs: Sequence[Path] = ()
    manifest: Manifest = field(init=False)
    progress: Progress = field(init=False)
    _is_claimed: bool = field(default=False, init=False)
    _noted: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.manifest = manifest.read(self.run_dir.manifest)
        self.progress = Lines(self.say)

    def prepare(self) -> PrepareResult:
        """Clean splits in the run directory.

        Raises:
            RunDirError: the directory is not sentopt's, holds what the run is to read, or a checkpoint that was trained
                otherwise and that `force` does not replace.
        """
        continuation.check_inputs(self.run_dir, self.recipe, self.inputs)
        self._claim()
        if not self.force:
            continuation.check(self.run_dir, self.manifest, self.recipe)
        stage = require("sentopt.stages.prepare", extra="train")
        depends = [
            sources.identify(self.recipe.data),
            replace(self.recipe.data, unlabelled=""),
            self.recipe.run.seed,
            self._model_identity() if self.recipe.model.tuned else "",  # decides the order of labels
            _versions("datasets", "scikit-learn"),
        ]
        result = self._stage(
            "prepare", PrepareResult, depends, [self.run_dir.data], lambda key: stage.run(self.recipe, self.run_dir)
        )
        self._note(*result.notices, *self._foresee(result))
        return result

    def _foresee(self, prepared: PrepareResult) -> tuple[str, ...]:
        """What the splits can decide."""
        test_rows, validation_rows = store.read_distinct(self.run_dir)
        if not gate.validation_counts(self.recipe, len(test_rows)):
            validation_rows = []
        test, validation = (
            {label: sum(examples[row].label == i for row in rows) for i, label in enumerate(prepared.labels)}
            for rows, examples in (
                (test_rows, store.read_split(self.run_dir, "test")),
                (validation_rows, store.read_split(self.run_dir, "validation")),
            )
        )
        unlabelled_too = bool(self.recipe.data.unlabelled)
        return gate.foresee(test, validation, gate.Rules.of(self.recipe), unlabelled=unlabelled_too)

    def forecast(self, depth: Depth | None = "full") -> Forecast | None:
        """What the run will take after `prepare`, measured here and said; None where its model is trained already.

        `depth` is that of the benchmark; None for a training alone. Under torchrun nothing is measured.
        """
        self._fit_to_model()
        prepared = self.prepare()
        is_current = self._is_current("train", manifest.fingerprint(self._train_depends())) and not self.force
        if is_current or distributed.world_size() > 1:
            return None
        require("torch", extra="train")
        found = forecast.measure(self.recipe, self.run_dir, prepared, depth=depth)
        for line in forecast.in_words(found):
            self.say(line)
        self._note(*found.hints)
        self.progress.expect(found.seconds)
        return found

    def _train_depends(self) -> list[object]:
        return [
            self._outputs("prepare"),
            self._model_identity(),
            [self.recipe.model, recipes.identity(self.recipe.train), self.recipe.run.seed],
            _versions("torch", "transformers", "tokenizers", "accelerate"),
        ]

    def train(self) -> TrainResult:
        """The tuned checkpoint and its logits on the test split."""
        self._fit_to_model()
        self.prepare()
        depends = self._train_depends()
        self._announce_training(depends)
        result = self._stage(
            "train",
            TrainResult,
            depends,
            [self.run_dir.checkpoint, self.run_dir.reference, self.run_dir.validation_reference],
            self._train,
            doing="taking over the tuned model" if self.recipe.model.tuned else "",
        )
        self._note(*result.notices)
        return result

    def _note(self, *notices: str) -> None:
        """Say each notice once."""
        for notice in notices:
            if notice not in self._noted:
                self._noted.append(notice)
                self.say(f"note: {notice}")

    def _train(self, key: str) -> TrainResult:
        stage = require("sentopt.stages.train", extra="train")
        result: TrainResult = stage.run(
            self.recipe, self.run_dir, resume_key=key, note=self._note, progress=self.progress
        )
        continuation.remember(self.run_dir, self.recipe)
        return result

    def join_training(self) -> None:
        """In every process of a distributed training but rank 0: take part in what rank 0 trains."""
        if key := distributed.share(None):
            self._fit_to_model()
            require("sentopt.stages.train", extra="train").join_training(self.recipe, self.run_dir, resume_key=key)

    def _fit_to_model(self) -> None:
        """Refuse a model that cannot be used, and cut texts where it ends: everything later reads this recipe."""
        model = self.recipe.model
        longest = backbones.check(model.backbone, model.revision, tuned=model.tuned)
        if longest is None or model.max_length <= longest:
            return
        self.recipe = recipes.with_overrides(self.recipe, {"model.max_length": longest}, source=model.backbone)
        if distributed.is_first():
            self.say(
                f"note: texts are cut at {longest} tokens, not at {model.max_length}: {model.backbone} reads no more"
            )

    def _announce_training(self, depends: object) -> None:
        """Tell the other processes, where there are any, whether there is something to train."""
        if distributed.world_size() == 1:
            return
        key = manifest.fingerprint(depends)
        needed = not self.recipe.model.tuned and (self.force or not self._is_current("train", key))
        if needed:
            backbones.resolve(self.recipe.model.backbone, self.recipe.model.revision)  # fetched once, for all of them
        distributed.share(key if needed else "")

    def export(self) -> ExportResult:
        """The FP32 ONNX graphs, checked against PyTorch."""
        self._needs("train", TrainResult)
        continuation.check_trained(self.run_dir, self.manifest, self.recipe)
        if self.recipe.export.string_input and not is_installed("onnxruntime_extensions"):
            require("onnxruntime_extensions", extra="string")  # now, and not when the benchmark is done
        specs = [spec for spec in self._specs() if spec.made_by == "export"]
        depends = [
            self._outputs("train"),
            [
                replace(self.recipe.export, string_input=False, fp32_fallback=False, trim_keep=0),
                self.recipe.model.max_length,
                [s.name for s in specs],
            ],
            _versions("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime"),
        ]
        result = self._stage(
            "export",
            ExportResult,
            depends,
            [self.run_dir.model(spec.name) for spec in specs],
            lambda key: require("sentopt.stages.export", extra="export").run(
                self.recipe, self.run_dir, specs=specs, progress=self.progress
            ),
        )
        for notice in result.notices:
            self.say(f"note: {notice}")
        return result

    def quantize(self) -> QuantizeResult:
        """The INT8 graphs."""
        self.export()
        specs = [spec for spec in self._specs() if spec.made_by == "quantize"]
        depends = [
            self._outputs("prepare"),
            self._outputs("train"),
            self._outputs("export"),
            [specs, self.recipe.model.max_length, self.recipe.export.trim_keep],
            _versions("optimum-onnx", "onnx", "onnxruntime", "numpy"),
        ]
        trimmed = [self.run_dir.variant(spec.name) / "tokenizer.json" for spec in specs if spec.trimmed]
        return self._stage(
            "quantize",
            QuantizeResult,
            depends,
            [self.run_dir.model(spec.name) for spec in specs] + trimmed,
            lambda key: require("sentopt.stages.quantize", extra="export").run(
                self.recipe, self.run_dir, specs=specs, progress=self.progress
            ),
        )

    def verify(self) -> VerifyResult:
        """A verdict for every variant, valid for this machine's instruction set."""
        from sentopt.backends import emulation

        self.quantize()
        specs = self._specs()
        depends = [
            self._outputs("train"),
            self._outputs("export"),
            self._outputs("quantize"),
            [self.recipe.verify, self.recipe.train.metric, self.recipe.model.max_length, [s.name for s in specs]],
            unlabelled.depends(self.recipe.data),
            [hardware.describe().isa, emulation.is_available()],
            _versions("onnxruntime", "openvino", "torch", "numpy"),
        ]
        return self._stage(
            "verify",
            VerifyResult,
            depends,
            [self.run_dir.flips(spec.name) for spec in specs if spec.ships],
            lambda key: require("sentopt.stages.verify", extra="train").run(
                self.recipe,
                self.run_dir,
                specs=specs,
                reference_check=self.check_reference(),
                progress=self.progress,
            ),
        )

    def check_reference(self) -> ReferenceCheck:
        """Whether the PyTorch model is proven to know more than the majority answer: else nothing may ship."""
        self._needs("train", TrainResult)
        examples = store.read_split(self.run_dir, "test")
        distinct, _ = store.read_distinct(self.run_dir)
        truth = np.array([e.label for e in examples])[distinct]
        answers = np.load(self.run_dir.reference, allow_pickle=False).argmax(axis=1)[distinct]
        return gate.check_reference(
            truth,
            answers,
            confidence=self.recipe.verify.confidence,
            allowed=self.recipe.verify.allow_weak_reference,
            unnamed=self.recipe.model.tuned and model_files.has_unnamed_labels(self._model_folder()),
        )

    def refuse_weak_reference(self, check: ReferenceCheck) -> Selection:
        """Record that nothing ships, whatever its variants would answer, and remove an older bundle of this run."""
        self._remove_bundle()
        kept = {name: entry for name, entry in self.manifest.stages.items() if name in ("prepare", "train", "select")}
        if len(kept) < len(self.manifest.stages):
            self._save(Manifest(stages=kept))
        words = (
            f"nothing ships: {check.words}. A comparison with it would say nothing; "
            "--set verify.allow_weak_reference=true insists"
        )
        objective = self.recipe.select.objective
        return self._stage("select", Selection, [check, objective], [], lambda key: Selection(None, objective, words))

    def bench(self, depth: Depth) -> BenchResult:
        """Timings of every variant on this machine; a full benchmark also stands in for a quick one."""
        self.verify()
        specs = self._specs()
        base = [
            self._outputs("train"),
            self._outputs("export"),
            self._outputs("quantize"),
            [self.recipe.bench, self.recipe.model.max_length, [s.name for s in specs]],
            hardware.describe(),
            _versions("onnxruntime", "openvino", "torch", "tokenizers", "numpy"),
        ]
        if depth == "quick" and self._is_current("bench", manifest.fingerprint([*base, "full"])):
            depth = "full"
        return self._stage(
            "bench",
            BenchResult,
            [*base, depth],
            [self.run_dir.samples],
            lambda key: require("sentopt.stages.bench", extra="bench").run(
                self.recipe, self.run_dir, specs=specs, depth=depth, progress=self.progress
            ),
        )

    def select(self) -> Selection:
        """The fastest verified variant for the recipe's objective."""
        verified, measured = self._needs("verify", VerifyResult), self._needs("bench", BenchResult)
        depends = [verified, measured, self.recipe.select]
        return self._stage(
            "select",
            Selection,
            depends,
            [],
            lambda key: require("sentopt.stages.select", extra="train").run(
                self.recipe.select, self._specs(), verified.verdicts, measured.rows
            ),
        )

    def bundle(self) -> BundleResult | None:
        """What ships, or None where no variant may; then an older bundle of this run is removed."""
        selection = self.select()
        if selection.variant is None:
            self._remove_bundle()
            return None
        spec = VARIANTS[selection.variant]
        verdicts = {v.variant: v for v in self._needs("verify", VerifyResult).verdicts}
        measured = self._needs("bench", BenchResult)
        fallback = self._fallback(spec, verdicts, measured) if self.recipe.export.fp32_fallback else None
        depends = [
            self._outputs("train"),
            self._outputs("export"),
            self._outputs("quantize"),
            selection,
            verdicts,
            measured,
            spec,
            fallback.name if fallback else None,
            *self._string_input_depends(),
        ]
        return self._stage(
            "bundle",
            BundleResult,
            depends,
            [self.run_dir.bundle],
            lambda key: require("sentopt.stages.bundle", extra="train").run(
                self.recipe,
                self.run_dir,
                spec=spec,
                verdict=verdicts[spec.name],
                fallback=(fallback, verdicts[fallback.name]) if fallback else None,
                bench=measured,
                confidence=self._needs("train", TrainResult).confidence,
                data=self._needs("prepare", PrepareResult),
                add=self._add_string_input if self.recipe.export.string_input else None,
            ),
        )

    @staticmethod
    def _fallback(spec: VariantSpec, verdicts: Mapping[str, Verdict], measured: BenchResult) -> VariantSpec | None:
        """The fastest verified FP32 graph that takes the same tokens; None for what is FP32 already.

        Raises:
            RecipeError: no such graph passed.
        """
        if spec.dtype == "float32":
            return None
        p50 = {row.variant: row.latency.p50 for row in measured.rows}
        graphs = [
            other
            for other in VARIANTS.values()
            if other.ships and other.dtype == "float32" and other.backend == "onnx" and other.name in p50
        ]
        passed = [other for other in graphs if other.name in verdicts and verdicts[other.name].passed]
        if spec.trimmed or not passed:
            why = "its tokens are its own" if spec.trimmed else "no FP32 graph was verified and measured in this run"
            raise RecipeError("export.fp32_fallback", [f"there is none for {spec.name}: {why}"])
        return min(passed, key=lambda other: p50[other.name])

    def _string_input_depends(self) -> list[object]:
        """Nothing unless it is asked for: a bundle without it stays current where the package is upgraded."""
        packages = ("onnx", "onnxruntime", "onnxruntime-extensions")
        return ["string_input", hardware.versions(packages)] if self.recipe.export.string_input else []

    def _add_string_input(self, folder: Path) -> StringInput:
        stage = require("sentopt.stages.string_input", extra="export")
        made: StringInput = stage.add(self.run_dir, folder, seed=self.recipe.run.seed)
        return made

    def report(self) -> None:
        """`report.md`, `report.html` and `plots/` of whatever has been found so far."""
        finished = {
            name: (entry.fingerprint, entry.finished)
            for name, entry in self.manifest.stages.items()
            if name != "report"
        }
        paths = [self.run_dir.report, self.run_dir.html_report, self.run_dir.plots]
        self._stage(
            "report", dict, [finished, _versions("sentopt", "matplotlib")], paths, lambda key: self._write_report()
        )

    def _model_folder(self) -> Path:
        return backbones.resolve(self.recipe.model.backbone, self.recipe.model.revision)

    def _model_identity(self) -> str:
        return backbones.identify(self.recipe.model.backbone, self.recipe.model.revision)

    def _write_report(self) -> dict[str, Any]:
        render.write(self.run_dir, self.recipe, self.manifest)
        return {}

    def _stage(
        self,
        name: str,
        kind: type[R],
        depends: object,
        outputs: Iterable[Path],
        work: Callable[[str], R],
        *,
        doing: str = "",
    ) -> R:
        key = manifest.fingerprint(depends)
        if not self.force and self._is_current(name, key):
            _log.info("%s: unchanged", name)
            return self.manifest.result(name, kind)
        self._claim()
        outputs = list(outputs)
        for path in outputs:
            journal.check(self.run_dir.replaced_with(path))
        self.say(f"{doing or name} ...")
        self._save_recipe()
        start = time.perf_counter()
        result = work(key)
        entry = StageEntry(
            fingerprint=key,
            seconds=round(time.perf_counter() - start, 3),
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            outputs=manifest.artefacts(self.run_dir.root, outputs),
            result=records.to_json(result),
        )
        self._save(self.manifest.with_stage(name, entry))
        self.say(f"{name}: {entry.seconds:.1f} s")
        return result

    def _claim(self) -> None:
        """Before anything is written: the directory is sentopt's, or becomes it."""
        if not self._is_claimed:
            manifest.claim(self.run_dir)
            self.manifest = manifest.read(self.run_dir.manifest)
            self._is_claimed = True

    def _is_current(self, name: str, key: str) -> bool:
        entry = self.manifest.stages.get(name)
        return entry is not None and entry.fingerprint == key and manifest.is_intact(self.run_dir.root, entry.outputs)

    def _needs(self, name: str, kind: type[R]) -> R:
        """The result of an earlier stage whose files are still what it wrote."""
        result = self.manifest.result(name, kind)
        if not manifest.is_intact(self.run_dir.root, self.manifest.stages[name].outputs):
            raise RunDirError(
                f"files that {name!r} wrote into {self.run_dir.root} are missing or changed: "
                f"run `sentopt {_verb(name)}` again"
            )
        return result

    def _outputs(self, name: str) -> Sequence[object]:
        return self.manifest.stages[name].outputs

    def _specs(self) -> list[VariantSpec]:
        from sentopt.backends.opening import capabilities

        try:
            return runnable(capabilities(self.run_dir.checkpoint), self.recipe.export.variants)
        except ValueError as error:
            raise RecipeError(str(self.run_dir.recipe), [f"export.variants: {error}"]) from error

    def _save_recipe(self) -> None:
        text = recipes.to_toml(self.recipe)
        if not self.run_dir.recipe.is_file() or self.run_dir.recipe.read_text(encoding="utf-8") != text:
            atomic.write_text(self.run_dir.recipe, text)

    def _save(self, updated: Manifest) -> None:
        self.manifest = Manifest(
            schema_version=manifest.SCHEMA_VERSION,
            name=self.recipe.run.name,
            versions=hardware.versions(),
            hardware=records.to_json(hardware.describe()),
            stages=updated.stages,
        )
        manifest.write(self.run_dir.manifest, self.manifest)

    def _remove_bundle(self) -> None:
        if self.run_dir.bundle.exists():
            atomic.remove_folder(self.run_dir.bundle)
        if "bundle" in self.manifest.stages:
            self._save(Manifest(stages={k: v for k, v in self.manifest.stages.items() if k != "bundle"}))


def _versions(*packages: str) -> dict[str, str]:
    installed = hardware.versions()
    return {package: installed[package] for package in packages if package in installed}


def _verb(stage: str) -> str:
    return "train" if stage in ("prepare", "train") else "export"
