"""Write the report of a run: `report.md`, the self-contained `report.html`, and the plots that both show."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path

from sentopt import recipe as recipes
from sentopt.errors import RecipeError, RunDirError
from sentopt.files import edited
from sentopt.manifest import Manifest
from sentopt.recipe import Recipe
from sentopt.report import afterwards, plots, tail
from sentopt.report.markup import in_markdown
from sentopt.report.section import Page, Section
from sentopt.report.sections import sections
from sentopt.report.tables import as_html, as_markdown
from sentopt.results import BenchResult
from sentopt.run_dir import RunDir

DOCUMENTATION = "https://github.com/sentopt/sentopt/blob/main/docs/"
"""Where the pages of the documentation are; pyproject.toml names the folder."""


def write(run_dir: RunDir, recipe: Recipe, manifest: Manifest) -> tuple[str, ...]:
    """Write `report.md`, `report.html` and `plots/` from what the manifest holds.

    A report that somebody has changed since sentopt wrote it gets another name, `report-edited-1.md`.

    Returns:
        A notice for each report that was kept under another name.

    Raises:
        RunDirError: nothing has finished in this run yet.
    """
    if "train" not in manifest.stages:
        raise RunDirError(f"{run_dir.root} has nothing to report yet: run `sentopt train` first")
    images = plots.draw(run_dir, manifest)
    parts = [*sections(recipe, manifest, images, samples(run_dir, manifest)), *afterwards.sections(manifest)]
    lead = description(recipe)
    reports = {
        run_dir.report: _markdown(recipe.run.name, lead, run_dir, parts),
        run_dir.html_report: _html(recipe.run.name, lead, parts),
    }
    recorded = _hashes_in(manifest)
    kept = [(path, edited.write_text(path, text, recorded=recorded.get(path.name))) for path, text in reports.items()]
    return tuple(f"{path} had been changed: your version is now {old}" for path, old in kept if old)


def samples(run_dir: RunDir, manifest: Manifest) -> tail.Samples:
    """The raw samples of the benchmark, which explain its tail; none where it or they are missing."""
    return tail.read_samples(run_dir, manifest.result("bench", BenchResult)) if "bench" in manifest.stages else {}


def drawn(run_dir: RunDir) -> dict[str, Path]:
    """The plots of a report that was written, by name."""
    return {path.stem: path for path in run_dir.plots.glob("*.png")}


def _hashes_in(manifest: Manifest) -> dict[str, str]:
    """Hashes of the reports of a run that was made before they were kept in the journal."""
    entry = manifest.stages.get("report")
    return {a.path: a.sha256 for a in entry.outputs} if entry else {}


def description(recipe: Recipe) -> str:
    """What the recipe says of itself; nothing if it is a shipped one's that was given other data or another model."""
    said = recipe.run.description
    for name in recipes.builtin_names():
        try:
            shipped = recipes.load(name)
        except RecipeError:
            continue
        same = (shipped.data.dataset, shipped.model.backbone) == (recipe.data.dataset, recipe.model.backbone)
        if shipped.run.description == said and not same:
            return ""
    return said


def _markdown(name: str, lead: str, run_dir: RunDir, parts: Sequence[Section]) -> str:
    lines = [f"# {name}", "", *([lead, ""] if lead else [])]
    for section in parts:
        lines += [f"## {section.title}", ""]
        for paragraph in section.paragraphs:
            lines += [paragraph, ""]
        for items, bullet in ((section.items, "-"), (section.steps, "1.")):
            lines += [*(f"{bullet} {item}" for item in items), *([""] if items else [])]
        for table in section.tables:
            lines += [*([f"{table.title}:", ""] if table.title else []), as_markdown(table), ""]
        for alt, path in section.images:
            lines += [f"![{in_markdown(alt)}]({path.relative_to(run_dir.root).as_posix()})", ""]
        if section.pages:
            links = ", ".join(f"[{title}]({DOCUMENTATION}{page})" for title, page in section.pages)
            lines += [f"Documentation: {links}", ""]
    return "\n".join(lines)


STYLE = """
:root { color-scheme: light dark; --line: #8884; --text: #1f2328; --page: #ffffff; --good: #116329; --bad: #a40e26;
  --link: #0550ae; --code: #eef0f2; --chosen: #dff3e4; }
@media screen and (prefers-color-scheme: dark) {
  :root { --text: #e4e6ea; --page: #16181c; --good: #6fdb8b; --bad: #ff9a91; --link: #8ab8ff; --code: #262a31;
    --chosen: #1d3a27; }
  img { filter: invert(0.9) hue-rotate(180deg); }
}
body { font: 16px/1.55 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
  background: var(--page); color: var(--text); }
a { color: var(--link); }
h1 { margin-bottom: 0.5rem; }
h2 { margin-top: 2.5rem; padding-bottom: 0.2rem; border-bottom: 1px solid var(--line); }
p, li { max-width: 48rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 1rem 0; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.9rem; }
caption { text-align: left; font-weight: 600; padding: 0.3rem 0; white-space: nowrap; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th.words, td.words { text-align: left; }
th { vertical-align: bottom; }
td.short { white-space: nowrap; }
td.good { color: var(--good); }
td.bad { color: var(--bad); font-weight: 600; }
tr.chosen { background: var(--chosen); font-weight: 600; }
code { background: var(--code); padding: 0.1em 0.3em; border-radius: 4px; font-size: 0.9em; overflow-wrap: anywhere; }
img { max-width: 100%; background: white; border-radius: 6px; margin: 1rem 0; }
nav ul { list-style: none; padding: 0; columns: 16rem; }
nav li { padding: 0.1rem 0; }
@media print {
  :root { color-scheme: light; }
  body { font-size: 10pt; max-width: none; margin: 0; }
  nav { display: none; }
  h2 { break-after: avoid; }
  .scroll { overflow: visible; }
  tr, img { break-inside: avoid; }
  img { max-height: 11cm; }
}
"""


def _html(name: str, lead: str, parts: Sequence[Section]) -> str:
    lines = [
        (
            "<!doctype html><html lang=en><meta charset=utf-8>"
            "<meta name=viewport content='width=device-width, initial-scale=1'>"
        ),
        f"<title>sentopt: {html.escape(name)}</title><style>{STYLE}</style>",
        f"<header><h1>{html.escape(name)}</h1>{f'<p>{html.escape(lead)}</p>' if lead else ''}</header>",
        _contents(parts),
        "<main>",
        *(f"<section id='{_anchor(section)}'>{section_html(section, links=True)}</section>" for section in parts),
        "</main>",
    ]
    return "\n".join(lines) + "\n"


def _contents(parts: Sequence[Section]) -> str:
    """Links to the parts of the page."""
    items = "".join(f"<li><a href='#{_anchor(section)}'>{html.escape(section.title)}</a></li>" for section in parts)
    return f"<nav aria-label='Contents'><ul>{items}</ul></nav>"


def _anchor(section: Section) -> str:
    return re.sub(r"[^a-z0-9]+", "-", section.title.lower()).strip("-")


def section_html(section: Section, *, links: bool = False) -> str:
    """One part of the report, its plots inlined.

    With `links` to files beside the report and to the documentation, else with the paths of the files.
    """
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    parts += [f"<p>{_inline(paragraph, links=links)}</p>" for paragraph in section.paragraphs]
    for items, tag in ((section.items, "ul"), (section.steps, "ol")):
        if items:
            parts.append(f"<{tag}>{''.join(f'<li>{_inline(item, links=links)}</li>' for item in items)}</{tag}>")
    parts += [as_html(table) for table in section.tables]
    parts += [
        f"<img alt='{html.escape(alt)}' src='data:image/png;base64,{_base64(path)}'>" for alt, path in section.images
    ]
    if links and section.pages:
        parts.append(f"<p>Documentation: {', '.join(map(_page, section.pages))}</p>")
    return "\n".join(parts)


def _page(page: Page) -> str:
    title, path = page
    return f"<a href='{DOCUMENTATION}{html.escape(path)}'>{html.escape(title)}</a>"


def _inline(text: str, *, links: bool = False) -> str:
    """HTML of a text with `code`, **bold** and [links](relative/path). Nothing else in it is markup.

    A link leads to a file beside the report, never to an address: labels and file names of the data are in these texts.
    """
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    escaped = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escaped)
    target = r"<a href='\2'><code>\1</code></a>" if links else r"<code>\2</code>"
    return re.sub(r"\[([\w./-]+)\]\((\w[\w./-]*)\)", target, escaped)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")
