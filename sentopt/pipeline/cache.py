"""Which stages of a run are current, and the only writer of its `run.json`.

A stage is skipped when the fingerprint of everything it depends on (input files, recipe sections, package versions, and
for measurements the machine) is the one it last ran with and its output files are intact.
"""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from sentopt import manifest, records
from sentopt import recipe as recipes
from sentopt.errors import RunDirError
from sentopt.files import atomic, journal
from sentopt.manifest import Manifest, StageEntry
from sentopt.measure import hardware
from sentopt.progress import Progress
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir

R = TypeVar("R")
_log = logging.getLogger(__name__)


@dataclass
class StageCache:
    """The finished stages of one run directory.

    `force` redoes stages that are current, each once. `recipe` is stored beside the manifest before a stage runs.
    `noted` are the notices that were said.
    """

    run_dir: RunDir
    recipe: Recipe
    progress: Progress
    force: bool
    manifest: Manifest = field(init=False)
    _claimed: bool = field(default=False, init=False)
    _intact: set[str] = field(default_factory=set, init=False)
    _redone: set[str] = field(default_factory=set, init=False)
    noted: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.manifest = manifest.read(self.run_dir.manifest)

    def run(
        self,
        name: str,
        kind: type[R],
        depends: object,
        outputs: Iterable[Path],
        work: Callable[[], R],
        *,
        title: str = "",
    ) -> R:
        """The result of the stage `name`: the stored one if it is current, else what `work` returns.

        Args:
            kind: type of the result.
            depends: everything that determines the result.
            outputs: files and folders that the stage writes.
            title: what is said when the stage starts, if not its name.

        Raises:
            RunDirError: an output is a file that sentopt did not write.
        """
        key = manifest.fingerprint(depends)
        if (not self.force or name in self._redone) and self.is_current(name, key):
            _log.info("%s: unchanged", name)
            return self.manifest.result(name, kind)
        self.claim()
        outputs = list(outputs)
        for path in outputs:
            journal.check(self.run_dir.replaced_with(path))
        self.progress.say(f"{title or name} ...")
        self.save_recipe()
        start = time.perf_counter()
        result = work()
        entry = StageEntry(
            fingerprint=key,
            seconds=round(time.perf_counter() - start, 3),
            finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            outputs=manifest.artefacts(self.run_dir.root, outputs),
            result=records.to_json(result),
        )
        self._save(self.manifest.with_stage(name, entry))
        self._intact.add(name)
        self._redone.add(name)
        self.progress.say(f"{name}: {entry.seconds:.1f} s")
        return result

    def note(self, *notices: str) -> None:
        """Say what was not said before."""
        for notice in notices:
            if notice not in self.noted:
                self.noted.append(notice)
                self.progress.say(f"note: {notice}")

    def claim(self) -> None:
        """Make the directory a run directory, before anything is written into it.

        Raises:
            RunDirError: it holds files of somebody else.
        """
        if not self._claimed:
            manifest.claim(self.run_dir)
            self.manifest = manifest.read(self.run_dir.manifest)
            self._claimed = True

    def is_current(self, name: str, key: str) -> bool:
        """Whether the stage last ran with the fingerprint `key` and its files are intact."""
        entry = self.manifest.stages.get(name)
        return entry is not None and entry.fingerprint == key and self._is_intact(name)

    def has(self, name: str) -> bool:
        """Whether the stage has finished."""
        return name in self.manifest.stages

    def result(self, name: str, kind: type[R]) -> R:
        """The result of an earlier stage.

        Raises:
            RunDirError: the stage has not finished, or its files are no longer what it wrote.
        """
        result = self.manifest.result(name, kind)
        if not self._is_intact(name):
            raise RunDirError(
                f"files that {name!r} wrote into {self.run_dir.root} are missing or changed: "
                f"run `sentopt {_verb(name)}` again"
            )
        return result

    def outputs(self, name: str) -> Sequence[object]:
        """Path, size and SHA-256 of the files that a stage wrote."""
        return self.manifest.stages[name].outputs

    def keep_only(self, names: Collection[str]) -> None:
        """Forget the other stages."""
        kept = {name: entry for name, entry in self.manifest.stages.items() if name in names}
        if len(kept) < len(self.manifest.stages):
            self._save(Manifest(stages=kept))

    def forget(self, *names: str) -> None:
        """Forget these stages."""
        self.keep_only(self.manifest.stages.keys() - set(names))

    def remove_bundle(self) -> None:
        """Remove the bundle of this run, if it has one."""
        if self.run_dir.bundle.exists():
            atomic.remove_folder(self.run_dir.bundle)
        self.keep_only(self.manifest.stages.keys() - {"bundle"})

    def _is_intact(self, name: str) -> bool:
        """Files are hashed once in the life of this object."""
        if name not in self._intact and manifest.is_intact(self.run_dir.root, self.manifest.stages[name].outputs):
            self._intact.add(name)
        return name in self._intact

    def save_recipe(self) -> None:
        """Store the recipe beside the manifest."""
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


def _verb(stage: str) -> str:
    return "train" if stage in ("prepare", "train") else "export"
