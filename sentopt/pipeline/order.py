"""The order of the stages. Each makes sure that those before it have run, and is skipped while it is current."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from sentopt import manifest
from sentopt._optional import check_installed
from sentopt.backends import emulation
from sentopt.data.examples import RawData
from sentopt.manifest import Manifest
from sentopt.pipeline import continuation, dependencies, evidence, forecast, limits, ranks, steps, teaching
from sentopt.pipeline.cache import StageCache
from sentopt.pipeline.forecast import Forecast
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe
from sentopt.report import render
from sentopt.results import (
    BenchResult,
    BundleResult,
    DistillResult,
    ExportResult,
    PrepareResult,
    QuantizeResult,
    ReferenceCheck,
    Selection,
    TrainResult,
    VerifyResult,
)
from sentopt.run_dir import RunDir
from sentopt.training import distributed

Depth = Literal["quick", "full"]


@dataclass
class Pipeline:
    """One run: its recipe, its directory, and the stages in their order.

    `force` redoes stages that are current, and replaces a checkpoint that was trained otherwise. `inputs` are files
    that are read besides those that the recipe names. `given` are the rows of a recipe whose data is in memory.
    """

    recipe: Recipe
    run_dir: RunDir
    progress: Progress = SILENT
    force: bool = False
    inputs: Sequence[Path] = ()
    given: RawData | None = None
    cache: StageCache = field(init=False)
    _prepared: PrepareResult | None = field(default=None, init=False)
    _fits_model: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.cache = StageCache(self.run_dir, self.recipe, self.progress, self.force)

    @property
    def manifest(self) -> Manifest:
        """What has finished so far."""
        return self.cache.manifest

    def prepare(self) -> PrepareResult:
        """Clean splits in the run directory; `continuation.begin` says what is refused, and `force` replaces."""
        if self._prepared:
            return self._prepared
        continuation.begin(self.cache, self.recipe, self.inputs, replaces=self.force)
        work = partial(steps.prepare, self.recipe, self.run_dir, self.given)
        result = self.cache.run("prepare", PrepareResult, dependencies.prepare(self.recipe), [self.run_dir.data], work)
        left_out = limits.of_data(self.recipe, result)
        self.cache.note(*result.notices, *left_out, *evidence.foresee(self.recipe, self.run_dir, result))
        self._prepared = result
        return result

    def forecast(self, depth: Depth | None = "full") -> Forecast | None:
        """What the run will take after `prepare`, measured here and said; None where its model is trained already.

        `depth` is that of the benchmark; None for a training alone. Under torchrun nothing is measured.
        """
        check_installed("torch", extra="train")
        if self.force or not self.cache.has("train"):  # later, the stages ask where they are not current
            limits.check_training(self.recipe)
            if depth:
                limits.check_packages(self.recipe)
        self._fit_to_model()
        prepared = self.prepare()
        key = manifest.fingerprint(dependencies.train(self.recipe, self.cache))
        if (self.cache.is_current("train", key) and not self.force) or distributed.world_size() > 1:
            return None
        expected = forecast.announce(self.recipe, self.run_dir, prepared, self.progress, depth=depth, again=self.force)
        self.cache.note(*expected.hints)
        return expected

    def train(self) -> TrainResult:
        """The tuned checkpoint and its logits on the test and validation splits."""
        self._fit_to_model()
        self.prepare()
        teaching.teach(self)
        depends = dependencies.train(self.recipe, self.cache)
        key = manifest.fingerprint(depends)
        if not self.recipe.model.tuned and (self.force or not self.cache.is_current("train", key)):
            limits.check_training(self.recipe)
            self.cache.save_recipe()  # the other ranks read it
            self.cache.forget("gain")
            ranks.announce(key, self.recipe.model, self.run_dir)
        note, progress = self.cache.note, self.progress
        work = partial(steps.train, self.recipe, self.run_dir, resume_key=key, note=note, progress=progress)
        outputs = [self.run_dir.checkpoint, self.run_dir.reference, self.run_dir.validation_reference]
        title = "taking over the tuned model" if self.recipe.model.tuned else ""
        result = self.cache.run("train", TrainResult, depends, outputs, work, title=title)
        self.cache.note(*result.notices)
        teaching.compare(self)
        return result

    def join_training(self) -> None:
        """In every process of a distributed training but rank 0: take part in what rank 0 trains."""
        while told := ranks.announced():
            recipe, _ = limits.within_model(told.recipe, fetch=True)  # what rank 0 was started with counts
            steps.join_training(recipe, told.run_dir, resume_key=told.key)

    def export(self) -> ExportResult:
        """The FP32 ONNX graphs, checked against PyTorch."""
        self._ensure_trained()
        specs = limits.variants(self.recipe, self.run_dir, made_by="export")

        def work() -> ExportResult:
            limits.check_packages(self.recipe)
            return steps.export(self.recipe, self.run_dir, specs, self.progress)

        depends = dependencies.export(self.recipe, self.cache, specs)
        result = self.cache.run("export", ExportResult, depends, limits.files(self.run_dir, specs), work)
        self.cache.note(*result.notices)
        return result

    def distill(self) -> DistillResult | None:
        """The student of a cascade; None where no variant has one."""
        self._ensure_trained()
        if not any(spec.stages for spec in limits.variants(self.recipe, self.run_dir)):
            self.cache.note(*limits.without_student(self.recipe, self.run_dir))
            return None
        depends = dependencies.distill(self.recipe, self.cache)
        key, progress = manifest.fingerprint(depends), self.progress
        work = partial(steps.distill, self.recipe, self.run_dir, resume_key=key, progress=progress)
        result = self.cache.run("distill", DistillResult, depends, [self.run_dir.student], work)
        self.cache.note(*result.notices)
        return result

    def quantize(self) -> QuantizeResult:
        """The INT8 graphs, and those of the student."""
        self.export()
        self.distill()
        specs = limits.variants(self.recipe, self.run_dir, made_by="quantize")
        work = partial(steps.quantize, self.recipe, self.run_dir, specs, self.progress)
        depends = dependencies.quantize(self.recipe, self.cache, specs)
        return self.cache.run("quantize", QuantizeResult, depends, limits.files(self.run_dir, specs), work)

    def verify(self) -> VerifyResult:
        """A verdict for every variant, valid for this machine's instruction set."""
        self.quantize()
        specs = limits.variants(self.recipe, self.run_dir)
        check = self.check_reference
        work = partial(steps.verify, self.recipe, self.run_dir, specs, self.progress, check_reference=check)
        emulated = [not emulation.problem(cpu) for cpu in self.recipe.verify.cpu]
        depends = dependencies.verify(self.recipe, self.cache, specs, emulated=emulated)
        outputs = limits.findings(self.run_dir, specs)
        return self.cache.run("verify", VerifyResult, depends, outputs, work)

    def check_reference(self) -> ReferenceCheck:
        """Whether the PyTorch model is proven better than always giving the same label: else nothing may ship."""
        self._ensure_trained()
        return evidence.check_reference(self.recipe, self.run_dir)

    def bench(self, depth: Depth = "quick") -> BenchResult:
        """Timings of every variant on this machine; a full benchmark also stands in for a quick one."""
        self.verify()
        specs = limits.variants(self.recipe, self.run_dir)
        depends = dependencies.bench(self.recipe, self.cache, specs)
        if depth == "quick" and self.cache.is_current("bench", manifest.fingerprint([*depends, "full"])):
            depth = "full"
        work = partial(steps.bench, self.recipe, self.run_dir, specs, self.progress, depth=depth)
        return self.cache.run("bench", BenchResult, [*depends, depth], [self.run_dir.samples], work)

    def select(self) -> Selection:
        """The fastest verified variant for the recipe's objective; none where PyTorch itself is too weak to compare."""
        check, rules = self.check_reference(), self.recipe.select
        if not check.passed:
            self.cache.keep_only(("prepare", "teach", "train", "gain", "select"))
            work = partial(steps.refuse, check, rules)
            return self.cache.run("select", Selection, [check, rules.objective], [], work)
        measured = self.bench()
        verified = self.cache.result("verify", VerifyResult)
        specs = limits.variants(self.recipe, self.run_dir)
        work = partial(steps.select, rules, specs, verified.verdicts, measured.rows)
        return self.cache.run("select", Selection, [verified, measured, rules], [], work)

    def bundle(self) -> BundleResult | None:
        """What ships, or None where no variant may; then an older bundle of this run is removed."""
        selection = self.select()
        if selection.variant is None:
            self.cache.remove_bundle()
            self.cache.forget("examine")
            return None
        from sentopt.pipeline import shipping  # with the stages that it gathers for

        shipping.examine(self.recipe, self.run_dir, self.cache, selection.variant)
        shipment = shipping.shipment(self.recipe, self.cache, selection.variant)
        depends = dependencies.bundle(self.recipe, self.cache, selection, shipment)
        work = partial(steps.bundle, self.recipe, self.run_dir, shipment, self.progress)
        return self.cache.run("bundle", BundleResult, depends, [self.run_dir.bundle], work)

    def report(self) -> None:
        """`report.md`, `report.html` and `plots/` of what has finished so far."""

        def work() -> dict[str, object]:
            self.cache.note(*render.write(self.run_dir, self.recipe, self.manifest))
            return {}

        outputs = [*self.run_dir.reports, self.run_dir.plots]
        self.cache.run("report", dict, dependencies.report(self.cache), outputs, work)

    def _ensure_trained(self) -> None:
        """The checkpoint that later stages read, trained now if this run has none."""
        if not self.cache.has("train"):
            self.train()
        self.cache.result("train", TrainResult)
        continuation.check_trained(self.run_dir, self.manifest, self.recipe)

    def _fit_to_model(self) -> None:
        """Everything later reads a recipe that the model can follow."""
        if self._fits_model:
            return
        untrained = not self.cache.has("train")
        self.recipe, notices = limits.within_model(self.recipe, fetch=untrained, progress=self.progress)
        self.cache.recipe, self._fits_model = self.recipe, True
        if distributed.is_rank_zero():
            self.cache.note(*notices)
