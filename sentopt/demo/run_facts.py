"""What the demo shows of the run that a bundle comes from; nothing where the bundle was loaded without its run."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sentopt import manifest, recipe
from sentopt.data import store
from sentopt.data.examples import Example
from sentopt.errors import SentoptError
from sentopt.manifest import Manifest
from sentopt.recipe import Recipe
from sentopt.report import answers
from sentopt.report.render import drawn
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
            run = manifest.read(run_dir.manifest)
            if run.result("bundle", BundleResult).variant != variant:
                return None
            return cls(run_dir, run, recipe.load(str(run_dir.recipe)))
        except SentoptError:
            return None

    def test_examples(self) -> list[Example]:
        """The test split; nothing where its file is not there, or is not what this run was made from."""
        name = self.run_dir.split("test").relative_to(self.run_dir.root).as_posix()
        files = [a for a in self.manifest.stages["prepare"].outputs if a.path == name]
        if not files or not manifest.is_intact(self.run_dir.root, files):
            return []
        return store.read_split(self.run_dir, "test")

    @cached_property
    def sections(self) -> dict[str, Section]:
        """The parts of the run's report, by title; without those that show texts which the page's examples do not."""
        public = replace(
            self.manifest,
            stages={name: replace(s, result=without_folders(s.result)) for name, s in self.manifest.stages.items()},
        )
        images = drawn(self.run_dir)
        parts = sections(self.recipe, public, images)
        return {section.title: section for section in parts if section.title not in answers.WITH_TEXTS}


def without_folders(value: Any) -> Any:
    """JSON with the folders of absolute paths left out: a page tells its visitors nothing of the server's disk."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    return [without_folders(item) for item in value] if isinstance(value, list) else value
