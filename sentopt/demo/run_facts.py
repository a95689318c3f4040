"""What the demo can tell about the run that a bundle comes from; nothing where the bundle stands alone."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sentopt import manifest, recipe
from sentopt.errors import SentoptError
from sentopt.manifest import Manifest
from sentopt.recipe import Recipe
from sentopt.report.section import Section
from sentopt.report.sections import sections
from sentopt.results import BundleResult
from sentopt.run_dir import RunDir

_FOLDERS = re.compile(r"(?<![\w:/])/(?:[^\s/:,;]+/)+")


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
    def sections(self) -> dict[str, Section]:
        """The parts of the run's report, by title."""
        found = replace(
            self.manifest,
            stages={name: replace(s, result=without_folders(s.result)) for name, s in self.manifest.stages.items()},
        )
        images = {path.stem: path for path in self.run_dir.plots.glob("*.png")}
        return {section.title: section for section in sections(self.recipe, found, images)}


def without_folders(value: Any) -> Any:
    """JSON with the folders of absolute paths left out: a page tells its visitors nothing of the server's disk."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    return [without_folders(item) for item in value] if isinstance(value, list) else value
