"""The end of a written report: the files of the run, and what to do next. It makes sense beside these files only."""

from __future__ import annotations

from pathlib import Path

from sentopt.manifest import Manifest
from sentopt.report.section import Page, Section
from sentopt.results import BenchResult, ExamineResult, Selection, TrainResult
from sentopt.run_dir import RunDir

FILES, NEXT = "Files of this run", "What next"
_HERE = RunDir(Path())


def sections(manifest: Manifest) -> list[Section]:
    """Links to the files that are there, then commands."""
    return [_files(manifest), _next(manifest)]


def link(path: Path) -> str:
    """A link to a file of the run directory, by its path in there."""
    return f"[{path.as_posix()}]({path.as_posix()})"


def _files(manifest: Manifest) -> Section:
    written = {Path(file.path) for entry in manifest.stages.values() for file in entry.outputs}
    flips = sorted(path for path in written if path.name == _HERE.flips("").name)
    items = [
        f"{link(_HERE.recipe)}: every value of the recipe",
        f"{link(_HERE.manifest)}: results, versions, machine, and the hash of every file",
        *(f"{link(path)}: {what}" for path, what in _described(manifest) if path in written),
        *([f"texts whose label a variant changes: {', '.join(map(link, flips))}"] if flips else []),
    ]
    return Section(FILES, items=tuple(items))


def _described(manifest: Manifest) -> list[tuple[Path, str]]:
    examined = manifest.result("examine", ExamineResult) if "examine" in manifest.stages else None
    return [
        (_HERE.split("test"), "the test texts; rows of tables count in it"),
        *([(_HERE.mistakes(examined.variant), f"all that {examined.variant} gets wrong")] if examined else []),
        (_HERE.samples, "every sample of the benchmark, in milliseconds"),
        *(
            [(_HERE.bundle / "sentopt.json", "what the bundle says of itself; the folder is what ships")]
            if _chosen(manifest)
            else []
        ),
    ]


def _next(manifest: Manifest) -> Section:
    ships = "bundle" in manifest.stages and _chosen(manifest) is not None
    commands = _of_a_bundle(manifest) if ships else _without_a_bundle(manifest)
    lead = f"In a terminal in this folder, the one with {link(_HERE.manifest)}:"
    return Section(NEXT, (lead,), steps=tuple(commands), pages=_pages(manifest, ships=ships))


def _chosen(manifest: Manifest) -> str | None:
    return manifest.result("select", Selection).variant if "select" in manifest.stages else None


def _of_a_bundle(manifest: Manifest) -> list[str]:
    quick = "bench" in manifest.stages and manifest.result("bench", BenchResult).depth == "quick"
    full = ["`sentopt bench --run-dir .` repeats the benchmark with more texts and lengths."]
    return [
        (
            '`sentopt predict --run-dir . "What a lovely day" "the weather"` answers a pair of texts; '
            "`--input FILE` answers a table."
            if manifest.result("train", TrainResult).are_pairs
            else '`sentopt predict --run-dir . "What a lovely day"` answers a text; `--input FILE` answers a table.'
        ),
        "`sentopt check --run-dir .` tells whether the files are intact and this CPU gives the verified answers.",
        "`sentopt demo --run-dir .` serves a web page and HTTP endpoints on this machine.",
        "`sentopt pack --run-dir .` makes one file of the bundle, to be copied to where it runs.",
        *(full if quick else []),
    ]


def _without_a_bundle(manifest: Manifest) -> list[str]:
    if "select" in manifest.stages:
        return ["`sentopt export --run-dir .` verifies again, after a change of the recipe with `--set KEY=VALUE`."]
    return ["`sentopt export --run-dir .` makes the variants, verifies and measures them, and writes a bundle."]


def _pages(manifest: Manifest, *, ships: bool) -> tuple[Page, ...]:
    refused = ("Refused, what now?", "questions/refused.md")
    deploy = ("Where a bundle runs", "deploy/index.md"), ("Retraining with new data", "questions/retraining.md")
    return (
        *(deploy if ships else [refused] if "select" in manifest.stages else []),
        ("How do I read the report?", "questions/report.md"),
        ("Command line", "cli.md"),
    )
