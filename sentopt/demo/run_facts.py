"""What the demo can tell about the run that a bundle comes from; nothing where the bundle stands alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sentopt import manifest, recipe, report
from sentopt.errors import SentoptError
from sentopt.manifest import Manifest
from sentopt.recipe import Recipe
from sentopt.results import BundleResult
from sentopt.run_dir import RunDir


@dataclass(frozen=True)
class RunFacts:
    """A finished run: its directory, its manifest and its recipe."""

    run_dir: RunDir
    manifest: Manifest
    recipe: Recipe

    @classmethod
    def of(cls, bundle: Path, variant: str) -> RunFacts | None:
        """The run in whose directory a bundle of `variant` lies, if that is the one which the run made."""
        run_dir = RunDir(bundle.resolve().parent)
        try:
            found = manifest.read(run_dir.manifest)
            if found.result("bundle", BundleResult).variant != variant:
                return None
            return cls(run_dir, found, recipe.load(str(run_dir.recipe)))
        except SentoptError:
            return None

    @cached_property
    def sections(self) -> dict[str, report.Section]:
        """The parts of the run's report, by title."""
        images = {path.stem: path for path in self.run_dir.plots.glob("*.png")}
        return {section.title: section for section in report.sections(self.recipe, self.manifest, images)}
