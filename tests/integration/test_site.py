"""The documentation builds as a site, every link works, and its pages load nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pages import ROOT

import sentopt
from sentopt import errors

pytest.importorskip("mkdocs")
_LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}
_NOT_LOADED = {"canonical", "alternate", "next", "prev"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class _Assets(HTMLParser):
    """Addresses that a browser loads by itself when it shows a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in _LOADED and given.get("rel") not in _NOT_LOADED and (address := given.get(_LOADED[tag])):
            self.addresses.append(address)


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        assets = _Assets()
        assets.feed(page.read_text(encoding="utf-8"))
        assert [a for a in assets.addresses if re.match(r"(https?:)?//", a)] == [], page


def test_style_sheets_load_nothing_from_elsewhere(site: Path) -> None:
    for sheet in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//", sheet.read_text(encoding="utf-8")) == [], sheet


def test_the_home_page_is_the_readme(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    assert 'sentopt</span><span class="o">.</span><span class="n">train' in home
    assert 'href="benchmarks.html"' in home


def test_the_python_page_documents_the_public_names(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    for name in {*sentopt.__all__} - {"__version__", "errors"}:
        assert f'id="sentopt.{name}"' in page
    for name in errors.__all__:
        assert f'id="sentopt.errors.{name}"' in page


def test_files_of_the_repository_that_are_no_page_are_named_not_linked(site: Path) -> None:
    page = (site / "deploy/javascript.html").read_text(encoding="utf-8")
    assert "transformers.mjs" in page
    assert 'href="transformers.mjs"' not in page


def test_the_notebook_is_a_page_with_its_outputs(site: Path) -> None:
    page = (site / "notebooks/trainer.html").read_text(encoding="utf-8")
    assert "<table" in page
    assert "lean-int8" in page
