"""What MkDocs does besides the pages in docs/: it checks generated pages and includes files of the repository.

The root's files and the READMEs of demo/ and benchmarks/ stay where readers on a forge find them. Their links to files
that are no page of the site become the path of the file.
"""

from __future__ import annotations

import importlib.util
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
NOTEBOOK = "notebooks/trainer.ipynb"
INCLUDED = {
    "index.md": "README.md",
    "benchmarks.md": "benchmarks/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "deploy/javascript.md": "demo/embed/javascript/README.md",
    "deploy/browser.md": "demo/web/README.md",
    "deploy/c.md": "demo/embed/c/README.md",
}
"""Pages of the site and where in the repository their text stands."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


def _generate() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", Path(__file__).with_name("generate.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_pre_build(config: MkDocsConfig) -> None:
    """Refuse to build where a generated page is not what the code says now."""
    generate = _generate()
    if stale := generate.stale():
        raise SystemExit(f"stale: {', '.join(stale)}; run `python docs/generate.py`")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the included pages and the pictures that they show."""
    for page, source in INCLUDED.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for picture in sorted((ROOT / "benchmarks/results").glob("*.png")):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    notebook = json.loads((ROOT / "docs" / NOTEBOOK).read_text(encoding="utf-8"))
    files.append(File.generated(config, str(Path(NOTEBOOK).with_suffix(".md")), content=notebook_page(notebook)))
    files.append(File.generated(config, "demo.png", abs_src_path=str(ROOT / "demo/screenshot.png")))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links of the site."""
    uri = page.file.src_uri
    if uri == str(Path(NOTEBOOK).with_suffix(".md")):  # it would link to itself
        return markdown
    return site_links(markdown, INCLUDED.get(uri, f"docs/{uri}"), uri)


def site_links(markdown: str, source: str, page: str) -> str:
    """The text of `source`, a path in the repository, with its links as the page of the site needs them."""

    def rewritten(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        path, hash_, anchor = target.partition("#")
        if "://" in target or not path:
            return match.group(0)
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        uri = _uri_of(place)
        if uri is None:
            return f"`{place}`"
        return f"{picture}[{text}]({posixpath.relpath(uri, posixpath.dirname(page) or '.')}{hash_}{anchor})"

    return _LINK.sub(rewritten, markdown)


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook with its stored outputs as Markdown."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source:
            parts.append(f"```python\n{source}\n```")
            parts += [shown for output in cell["outputs"] if (shown := _output(output))]
    name = posixpath.basename(NOTEBOOK)
    return "\n\n".join([*parts, f"[The notebook]({name}) with these outputs is in the repository."]) + "\n"


def _output(output: dict[str, Any]) -> str:
    data = output.get("data", {})
    if "text/html" in data:
        return f'<div class="output">\n{"".join(data["text/html"])}\n</div>'
    if "image/png" in data:
        return f'<img alt="plot" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">'
    text = "".join(data.get("text/plain") or output.get("text", ""))
    return f"```text\n{text.rstrip()}\n```" if text and output.get("name") != "stderr" else ""


def _uri_of(place: str) -> str | None:
    """The page or picture of the site that a file of the repository is; None for other files."""
    for page, source in INCLUDED.items():
        if place in (source, posixpath.dirname(source)) and place:
            return page
    if place == f"docs/{NOTEBOOK}":
        return str(Path(NOTEBOOK).with_suffix(".md"))
    if place.startswith("docs/"):
        return place.removeprefix("docs/")
    if place.startswith("benchmarks/results/"):
        return place.removeprefix("benchmarks/")
    return "demo.png" if place == "demo/screenshot.png" else None
