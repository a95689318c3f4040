"""Write the report of a run: `report.md`, the self-contained `report.html`, and the plots that both show."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

from sentopt.errors import RunDirError
from sentopt.files import atomic
from sentopt.manifest import Manifest
from sentopt.recipe import Recipe
from sentopt.report import plots
from sentopt.report.sections import Section, sections
from sentopt.report.tables import as_html, as_markdown
from sentopt.run_dir import RunDir
from sentopt.variants import VARIANTS


def write(run_dir: RunDir, recipe: Recipe, manifest: Manifest) -> None:
    """Write `report.md`, `report.html` and `plots/` from what the manifest holds.

    Raises:
        RunDirError: nothing has finished in this run yet.
    """
    if "train" not in manifest.stages:
        raise RunDirError(f"{run_dir.root} has nothing to report yet: run `sentopt train` first")
    images = plots.draw(run_dir, manifest)
    found = sections(recipe, manifest, images)
    atomic.write_text(run_dir.report, _markdown(recipe, run_dir, found))
    atomic.write_text(run_dir.html_report, _html(recipe, found))


def drawn(run_dir: RunDir) -> dict[str, Path]:
    """The plots of a report that was written, by name."""
    return {path.stem: path for path in run_dir.plots.glob("*.png")}


def _markdown(recipe: Recipe, run_dir: RunDir, sections: Sequence[Section]) -> str:
    lines = [f"# {recipe.run.name}", "", recipe.run.description, ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for paragraph in section.paragraphs:
            lines += [paragraph, ""]
        for table in section.tables:
            lines += [as_markdown(table), ""]
        for alt, path in section.images:
            lines += [f"![{alt}]({path.relative_to(run_dir.root).as_posix()})", ""]
    lines += ["## Variants", "", *(f"- `{name}`: {spec.summary}" for name, spec in VARIANTS.items()), ""]
    return "\n".join(lines)


_STYLE = """
:root { color-scheme: light dark; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
th, td { padding: 0.3rem 0.8rem; border-bottom: 1px solid var(--line); text-align: right; }
th:first-child, td:first-child { text-align: left; }
tr.chosen { background: #2a9d3a33; font-weight: 600; }
img { max-width: 100%; background: white; border-radius: 6px; margin: 1rem 0; }
"""


def _html(recipe: Recipe, parts_of_report: Sequence[Section]) -> str:
    parts = [
        (
            "<!doctype html><html lang=en><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
        ),
        f"<title>sentopt: {html.escape(recipe.run.name)}</title><style>{_STYLE}</style>",
        f"<h1>{html.escape(recipe.run.name)}</h1><p>{html.escape(recipe.run.description)}</p>",
    ]
    parts += [section_html(section) for section in parts_of_report]
    return "\n".join(parts) + "\n"


def section_html(section: Section) -> str:
    """One part of the report, its plots inlined."""
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.paragraphs]
    parts += [as_html(table) for table in section.tables]
    parts += [
        f"<img alt='{html.escape(alt)}' src='data:image/png;base64,{_inline(path)}'>" for alt, path in section.images
    ]
    return "\n".join(parts)


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
