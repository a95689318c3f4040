"""What the demo shows of the run that a bundle comes from; nothing where the bundle was loaded without its run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sentopt import manifest, recipe
from sentopt.data import pairs
from sentopt.data.examples import Example
from sentopt.errors import SentoptError
from sentopt.manifest import Artefact, Manifest
from sentopt.measure import label_sets
from sentopt.recipe import Recipe
from sentopt.report import answers
from sentopt.report.render import drawn, samples
from sentopt.report.section import Section
from sentopt.report.sections import sections
from sentopt.results import BundleResult
from sentopt.run_dir import RunDir
from sentopt.runtime.description import Text

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
        if self.unusable([self.run_dir.split("test")]):
            return []
        return [Example(text, label) for _, text, label in self.test_lines()]

    def test_lines(self) -> Iterator[tuple[int, Text, int]]:
        """Place in bytes, text and label of each line of the test split; the file is never in memory as a whole.

        The label is a position; of a multi-label text, bit i of it stands for label i.
        """
        place = 0
        with self.run_dir.split("test").open("rb") as stream:
            for line in stream:
                row = json.loads(line)
                label = row["label"] if "label" in row else label_sets.code_of(row["labels"])
                yield place, pairs.of_fields(row), label
                place += len(line)

    def is_recorded(self, path: Path) -> bool:
        """Whether a stage of the run wrote a file of the run directory, be it still there or not."""
        return self._name(path) in self._recorded

    def unusable(self, paths: Sequence[Path]) -> list[str]:
        """Which of some files of the run directory are not there, or not as the run wrote them; names within it."""
        names = [self._name(path) for path in paths]
        return [name for name in names if not self._is_intact(self._recorded.get(name))]

    def _name(self, path: Path) -> str:
        return path.relative_to(self.run_dir.root).as_posix()

    def _is_intact(self, recorded: Artefact | None) -> bool:
        return recorded is not None and manifest.is_intact(self.run_dir.root, [recorded])

    @cached_property
    def _recorded(self) -> dict[str, Artefact]:
        """What the run recorded of each of its files, by name."""
        return {artefact.path: artefact for stage in self.manifest.stages.values() for artefact in stage.outputs}

    @cached_property
    def sections(self) -> dict[str, Section]:
        """The parts of the run's report, by title; without those that show texts which the page's examples do not."""
        public = replace(
            self.manifest,
            stages={name: replace(s, result=without_folders(s.result)) for name, s in self.manifest.stages.items()},
        )
        images = drawn(self.run_dir)
        parts = sections(self.recipe, public, images, samples(self.run_dir, self.manifest))
        return {section.title: section for section in parts if section.title not in answers.WITH_TEXTS}


def without_folders(value: Any) -> Any:
    """JSON with the folders of absolute paths left out: a page tells its visitors nothing of the server's disk."""
    if isinstance(value, str):
        return _FOLDERS.sub("", value)
    if isinstance(value, dict):
        return {key: without_folders(item) for key, item in value.items()}
    return [without_folders(item) for item in value] if isinstance(value, list) else value
