"""Every command and every line of Python in README and docs runs, unless it says why it cannot.

A page runs from top to bottom in a folder with a small finished run of the recipe `quickstart`, and with tables as the
pages name them. The recipe and its backbone are small ones here; commands and code are those of the page.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from csv_files import read_csv, write_csv
from pages import PAGES, arguments, blocks

from sentopt import backbones, cli
from sentopt.recipe import reading

_STARS = {"negative": "1", "neutral": "3", "positive": "5"}
_RECIPE = """
[run]
name = "quickstart"

[data]
dataset = "files"
train = "{data}/train.csv"
validation = "{data}/validation.csv"
test = "{data}/test.csv"

[model]
backbone = "minilm"
max_length = 48

[train]
epochs = 3.0
learning_rate = 3e-3
precision = "fp32"
batch_size = 8

[export]
variants = ["lean-fp32", "lean-int8"]

[verify]
margin = 5.0
recall_margin = 15.0
max_changed = 15.0
cpu_texts = 0

[bench]
rounds = 2
texts = 5
throughput_texts = 20
grid = [[1, 8], [2, 16]]
"""


def _runs(page: str) -> bool:
    return any(block.language in ("sh", "python") and not block.reason for block in blocks(page))


@pytest.fixture(scope="module")
def small_quickstart(
    backbone: Path, reviews: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[pytest.MonkeyPatch]:
    """The recipe `quickstart` and the backbone `minilm` are small ones."""
    recipes = shutil.copytree(reading.BUILTIN_FOLDER, tmp_path_factory.mktemp("shipped") / "recipes")
    (recipes / "quickstart.toml").write_text(_RECIPE.format(data=reviews), encoding="utf-8")
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in backbone.iterdir()}
    small = backbones.Backbone("minilm", "owner/small", "0" * 40, "Apache-2.0", files, longest=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backbones.BACKBONES, "minilm", small)
        patch.setenv(backbones.MODEL_VARIABLE, str(backbone))
        patch.setenv("SENTOPT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(reading, "BUILTIN_FOLDER", recipes)
        yield patch


@pytest.fixture(scope="module")
def furnished(small_quickstart: pytest.MonkeyPatch, reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables that pages name, and what `sentopt train && sentopt export` leave there."""
    folder = tmp_path_factory.mktemp("furnished")
    rows = [(r["text"], r["label"], r["text"], _STARS[r["label"]]) for r in read_csv(reviews / "train.csv")]
    header = ("text", "label", "review", "stars")
    for name, some in (("reviews", rows), ("stars", rows), ("sample", rows[:20]), ("new", rows[120:])):
        write_csv(folder / f"{name}.csv", [row if name != "stars" else row[:1] + row[3:] for row in some],
                  header if name != "stars" else ("text", "stars"))  # fmt: skip
    before = Path.cwd()
    os.chdir(folder)
    try:
        for verb in ("train", "export"):
            assert cli.main([verb]) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if _runs(page)])
def test_page_runs(page: str, furnished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shutil.copytree(furnished, tmp_path / "folder"))
    for block in blocks(page):
        if block.reason:
            continue
        if block.language == "python":
            exec(compile(block.code, str(block), "exec"), {"__name__": "__main__"})
        elif block.language == "sh":
            for command in block.commands:
                given = arguments(command)
                assert given is not None, f"{block}: only sentopt is run here, give a reason for {command!r}"
                assert cli.main(given) == 0, f"{block}: {command}"
