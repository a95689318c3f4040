"""A run: what it found, and what can be done with it."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentopt import manifest
from sentopt import progress as progress_module
from sentopt import recipe as recipes
from sentopt.api import arguments, bundles
from sentopt.api.arguments import NAMED, StrPath
from sentopt.errors import BundleError, RunDirError
from sentopt.manifest import Manifest
from sentopt.pipeline import Depth, Pipeline
from sentopt.pipeline.evidence import check_reference
from sentopt.progress import Choice
from sentopt.recipe import Recipe
from sentopt.report import render, sections
from sentopt.report.comparison import Comparison, compare
from sentopt.results import (
    BenchResult,
    PrepareResult,
    ReferenceCheck,
    Selection,
    TeachingGain,
    TrainResult,
    Verdict,
    VerifyResult,
)
from sentopt.run_dir import RunDir
from sentopt.training import distributed
from sentopt.training.caller import kept_for_programs
from sentopt.wording import for_python

if TYPE_CHECKING:
    from sentopt.runtime.classifier import Classifier


@dataclass(frozen=True)
class Report:
    """The report of a run: two files of the same content, one for a forge, one self-contained page."""

    markdown: Path
    html: Path

    def __str__(self) -> str:
        return self.markdown.read_text(encoding="utf-8")

    def _repr_markdown_(self) -> str:
        return str(self)


@dataclass(frozen=True)
class Run:
    """A run directory and its recipe. Properties read what has finished so far from the directory."""

    run_dir: RunDir
    recipe: Recipe

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.run_dir.root

    def __fspath__(self) -> str:
        return str(self.path)

    @for_python
    def optimize(
        self,
        *,
        depth: Depth = "quick",
        overrides: Mapping[str, Any] | None = None,
        force: bool = False,
        progress: Choice = True,
        **settings: Any,
    ) -> Run:
        """Export, verify, benchmark, select and bundle. Stages that are unchanged are skipped.

        That no variant passed is a result: `selection.variant` and `bundle` are None then.

        Args:
            depth: "quick" measures what the selection needs, "full" also a grid of batches and lengths.
            overrides: recipe keys of the sections distill, export, verify, bench and select, such as
                `{"verify.margin": 0.5}`.
            force: redo stages that are unchanged.
            progress: True for bars or lines on stderr, False for none, or a function that receives lines.
            settings: recipe keys without their section, such as `margin=0.5`.

        Returns:
            The run with the recipe that it now has.

        Raises:
            RecipeError: a key or a value cannot be used, or decides the checkpoint.
            RunDirError: the run directory is in use, or its files are not what earlier stages wrote.
            ExportError: a graph does not compute what the model computes.
            MissingExtraError: the packages of `sentopt[export,bench]` are not installed.
        """
        if not distributed.is_rank_zero():
            return self
        if distributed.world_size() > 1 and "train" not in self.manifest.stages:
            raise RunDirError(f"{self.path} is not trained yet: call sentopt.train in every rank first")
        given = arguments.settings_of(overrides, settings)
        recipe = recipes.with_overrides(self.recipe, given, source=NAMED)
        arguments.check_changes_nothing_trained(self.recipe, recipe)
        pipeline = Pipeline(recipe, self.run_dir, progress_module.of(progress), force)
        with kept_for_programs(), self.run_dir.locked():
            if pipeline.check_reference().passed:
                pipeline.bench(depth)
            pipeline.bundle()
            pipeline.report()
            pipeline.progress.expect({})  # what was forecast is done
        return Run(self.run_dir, pipeline.recipe)

    def benchmark(self, *, force: bool = False, progress: Choice = True, **settings: Any) -> Run:
        """`optimize` with the full benchmark."""
        return self.optimize(depth="full", force=force, progress=progress, **settings)

    def write_report(self) -> Report:
        """Write the report again.

        Raises:
            RunDirError: nothing has finished yet, or the directory is in use.
        """
        with self.run_dir.locked():
            Pipeline(self.recipe, self.run_dir).report()
        return Report(*self.run_dir.reports)

    @property
    def manifest(self) -> Manifest:
        """What `run.json` holds: per stage, files with their hashes, versions, seconds, results."""
        return manifest.read(self.run_dir.manifest)

    @property
    def data(self) -> PrepareResult:
        """Labels, texts per split, and what was noticed."""
        return self.manifest.result("prepare", PrepareResult)

    @property
    def training(self) -> TrainResult:
        """Steps, loss, scores on validation and test texts."""
        return self.manifest.result("train", TrainResult)

    @property
    def teaching(self) -> TeachingGain | None:
        """What a teacher gained, on the test split; None where the recipe names none, or training has not ended."""
        written = self.manifest
        return written.result("gain", TeachingGain) if "gain" in written.stages and self.recipe.train.teacher else None

    @property
    def reference(self) -> ReferenceCheck:
        """Whether the PyTorch model is proven better than always giving the same label."""
        self.manifest.result("train", TrainResult)
        return check_reference(self.recipe, self.run_dir)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What each variant was found to be, compared with PyTorch on the test split."""
        return self.manifest.result("verify", VerifyResult).verdicts

    @property
    def timings(self) -> BenchResult:
        """The benchmark."""
        return self.manifest.result("bench", BenchResult)

    @property
    def selection(self) -> Selection:
        """Which variant ships, or None, and why."""
        return self.manifest.result("select", Selection)

    @property
    def table(self) -> Comparison:
        """Accuracy and speed of all variants side by side.

        Raises:
            RunDirError: they have not been measured: `optimize()` does.
        """
        written = self.manifest
        if "bench" not in written.stages or "verify" not in written.stages:
            raise RunDirError(f"the variants of {self.path} have not been measured: call optimize()")
        selection = written.result("select", Selection) if "select" in written.stages else None
        return compare(written.result("verify", VerifyResult).verdicts, written.result("bench", BenchResult), selection)

    @property
    def report(self) -> Report:
        """The written report.

        Raises:
            RunDirError: there is none yet.
        """
        written = Report(*self.run_dir.reports)
        if not written.markdown.is_file():
            raise RunDirError(f"{self.path} has no report yet: call optimize(), or write_report()")
        return written

    @property
    def bundle(self) -> Path | None:
        """The folder of what ships; None where nothing does, or optimize() was not called yet."""
        return self.run_dir.bundle if self.run_dir.has_bundle else None

    def classifier(self, **options: Any) -> Classifier:
        """The verified bundle, loaded; `options` are those of `Classifier.load`.

        Raises:
            BundleError: there is no bundle, with the reason, or it cannot be loaded.
        """
        from sentopt.runtime.classifier import Classifier

        return Classifier.load(self._bundle(), **options)

    def pack(self, output: StrPath | None = None, **options: Any) -> Path:
        """Write the bundle as one file; see `sentopt.pack`."""
        return bundles.pack(self._bundle(), output, **options)

    def push(self, repository: str, **options: Any) -> str:
        """Upload the bundle to the Hugging Face Hub; see `sentopt.push`."""
        return bundles.push(self._bundle(), repository, **options)

    def demo(self, **options: Any) -> bundles.Demo | None:
        """Serve the bundle as a web page; see `sentopt.serve`."""
        return bundles.serve(self._bundle(), **options)

    def _bundle(self) -> Path:
        if self.bundle is None:
            stages = self.manifest.stages
            why = self.selection.reason if "select" in stages else "call optimize(), or run `sentopt export`"
            raise BundleError(f"{self.path} has no bundle: {why}")
        return self.bundle

    def __str__(self) -> str:
        stages = self.manifest.stages
        lines = [f"{self.recipe.run.name} in {self.path}"]
        if "bench" in stages and "verify" in stages:
            lines += ["", str(self.table)]
        elif "train" in stages:
            lines += [sections.training(self.training)]
        if "select" in stages:
            lines += ["", self.selection.reason]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<sentopt.Run {self}>" if "\n" not in str(self) else str(self)

    def _repr_html_(self) -> str:
        """Table, verdict in words, and plots, for notebooks."""
        written = self.manifest
        head = f"<h3>{html.escape(self.recipe.run.name)}</h3>"
        if "train" not in written.stages:
            return head + "<p>nothing has finished yet</p>"
        shown = [
            s
            for s in sections.sections(
                self.recipe, written, render.drawn(self.run_dir), render.samples(self.run_dir, written)
            )
            if s.title in _IN_NOTEBOOKS
        ]
        return head + "\n".join(render.section_html(section) for section in shown)


_IN_NOTEBOOKS = ("Verdict", "Refused, what now?", "Speed", "The teacher", "Training")
