"""What a bundle says ends up in wheels, Markdown, YAML, HTML and terminals, where it is text and never markup."""

from __future__ import annotations

import ast
import csv
import email
import io
import re
import shutil
import subprocess
import tarfile
import zipfile
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import small_bundles
import yaml
from markdown_it import MarkdownIt

from sentopt import Classifier, cli, recipe
from sentopt.bundles import card, pack
from sentopt.errors import BundleError, DataError
from sentopt.report.markup import as_code, in_markdown
from sentopt.report.tables import Table, as_markdown
from sentopt.run_dir import RunDir
from sentopt.runtime.description import read_description
from sentopt.stages import prepare

NODE = shutil.which("node")
MAKE_WEB = Path(__file__).parents[2] / "demo" / "embed" / "javascript" / "make-web.mjs"
LABELS = [
    '"""; import os  # \\',
    "<script>alert(1)</script> `code` ``more`` **bold** [a](javascript:b) | c",
    "${x} {y} %s 😀 \u200d # - 1. &amp;",
]
NASTY = "fine\r\nRequires-Dist: evil\n\n\x1b[2J\x07<script>alert(1)</script> [a](http://b) `c` | d\u202e\u2028\x85e"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


def fill(facts: dict[str, Any]) -> None:
    """Labels that are allowed, and texts of findings that are not fit for anything."""
    facts["labels"] = LABELS
    facts["verified"]["reason"] = NASTY
    facts["verified"]["per_label"] = [
        {"label": label, "precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 1} for label in [*LABELS[:2], NASTY]
    ]
    facts["measured"]["hardware"].update(cpu=NASTY, isa=[NASTY])
    facts["measured"]["onnxruntime"] = NASTY
    facts["made_from"].update(
        dataset=NASTY, files=NASTY, backbone=NASTY, backbone_revision=NASTY, backbone_license=NASTY
    )
    facts["made_from"]["texts"] = {NASTY: 3}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    bundle = small_bundles.write(tmp_path / "bundle")
    (bundle / "a, \"b\" 'c' <d>.txt".replace('"', "").replace("<d>", "d")).write_text("x")
    return small_bundles.edit(small_bundles.rehash(bundle), fill)


def entries(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def metadata(files: dict[str, bytes]) -> Message:
    (content,) = (content for name, content in files.items() if name.endswith(".dist-info/METADATA"))
    return email.message_from_string(content.decode())


@pytest.mark.parametrize("self_contained", [False, True])
def test_no_text_of_a_bundle_becomes_a_header_of_a_wheel(folder: Path, tmp_path: Path, *, self_contained: bool) -> None:
    files = entries(pack.wheel(folder, tmp_path, name="mine", version="1", self_contained=self_contained))
    found = metadata(files)
    assert set(found.keys()) == {
        "Metadata-Version",
        "Name",
        "Version",
        "Summary",
        "Requires-Python",
        "Requires-Dist",
        "Description-Content-Type",
    }
    needs = [need.partition(">")[0] for need in found.get_all("Requires-Dist", [])]
    base = ["numpy", "onnxruntime", "onnxruntime", "tokenizers"]  # Intel Macs need another version of onnxruntime
    assert needs == (base if self_contained else ["sentopt"])
    assert not CONTROL.search(found["Summary"])
    assert len(found["Summary"]) <= 300
    assert "evil" in str(found.get_payload())


def test_the_module_of_a_wheel_is_the_same_whatever_the_labels_are(folder: Path, tmp_path: Path) -> None:
    files = entries(pack.wheel(folder, tmp_path, name="mine", version="1"))
    plain = entries(pack.wheel(small_bundles.write(tmp_path / "plain"), tmp_path / "out", name="mine", version="1"))
    trees = [ast.parse(content["mine/__init__.py"]) for content in (files, plain)]
    for tree in trees:
        assert isinstance(tree.body[0], ast.Expr)
        del tree.body[0]  # the docstring
    assert ast.dump(trees[0]) == ast.dump(trees[1])


def test_the_record_of_a_wheel_lists_its_entries_whatever_they_are_called(folder: Path, tmp_path: Path) -> None:
    files = entries(pack.wheel(folder, tmp_path, name="mine", version="1"))
    rows = list(csv.reader(io.StringIO(files["mine-1.dist-info/RECORD"].decode())))
    assert all(len(row) == 3 for row in rows)
    assert {row[0] for row in rows} == set(files)
    assert any("," in name for name in files)


def test_names_that_would_break_other_formats_are_packed_nowhere(tmp_path: Path) -> None:
    bundle = small_bundles.write(tmp_path / "bundle")
    for key, value in (("labels", ["a", "b", "c\nRequires-Dist: evil"]), ("name", "a\nb"), ("variant", "a\x1b[2J")):
        small_bundles.edit(bundle, lambda facts, change={key: value}: facts.update(change))
        with pytest.raises(BundleError, match="control character"):
            pack.wheel(bundle, tmp_path / "out", name="mine", version="1")
        with pytest.raises(BundleError, match="control character"):
            pack.archive(bundle, tmp_path / "out.tar.gz")
    assert not list(tmp_path.glob("out*"))


def test_the_card_shows_every_text_and_none_of_it_is_markup(folder: Path) -> None:
    body = card.body(read_description(folder))
    assert not CONTROL.search(body)
    page = MarkdownIt("commonmark").enable("table").render(body)
    for tag in ("<script", "<a ", "<strong", "<img", "<em"):
        assert tag not in page
    for label in LABELS[:2]:
        shown = label.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
        assert f"<code>{shown}</code>" in page
        assert f">{shown}</td>" in page
    headings = re.findall(r"<h[1-6]>(.*?)</h", page)
    assert headings == ["small", "Use", "Quality", "Data", "Licence", "Speed", "Intended use and limits", "Files"]
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL):
        assert len(re.findall("<t[hd]", row)) in (2, 3, 5)


def test_the_front_matter_is_the_same_yaml_whatever_the_texts_are(folder: Path) -> None:
    front = card.front_matter(read_description(folder), license_id='x: "y"\n- z 😀')
    block = yaml.safe_load(front.strip().strip("-"))
    assert set(block) == {"pipeline_tag", "library_name", "tags", "license", "base_model", "model-index"}
    assert block["license"] == 'x: "y"�- z 😀'
    assert block["base_model"].startswith("fine��Requires-Dist: evil")
    assert front.count("---") == 2


def test_a_terminal_gets_no_control_characters(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_bundles.edit(folder, lambda facts: facts.update(golden=facts["golden"][:1]))
    assert cli.main(["check", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "it was verified with fine��Requires-Dist: evil" in said
    assert not CONTROL.search(said)
    assert len(said.splitlines()) == 5


def test_refusals_quote_what_they_found_without_control_characters(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for change in ({"engine": NASTY}, {"truncation_side": NASTY}, {"model_file": NASTY}, {NASTY: 1, "labels": [NASTY]}):
        small_bundles.edit(folder, lambda facts, change=change: facts.update(change))
        assert cli.main(["check", str(folder)]) == 1
        assert not CONTROL.search(capsys.readouterr().err)
        small_bundles.edit(folder, lambda facts: facts.update(engine="onnxruntime", truncation_side="right"))
        small_bundles.edit(folder, lambda facts: facts.update(model_file=small_bundles.MODEL, labels=LABELS))


def test_an_archive_holds_nothing_outside_its_folder(folder: Path, tmp_path: Path) -> None:
    small_bundles.edit(folder, lambda facts: facts.update(name="../..\\evil:name"))
    with tarfile.open(pack.archive(folder, tmp_path / "packed.tar.gz")) as tar:
        assert {name.partition("/")[0] for name in tar.getnames()} == {"evil-name"}
        assert all(member.isfile() for member in tar)


@pytest.mark.parametrize("text", ["a`b", "`", "``a`` `b`", "a``", " a ", "<b>", "*a*"])
def test_code_shows_its_text_as_it_stands(text: str) -> None:
    page = MarkdownIt("commonmark").render(as_code(text))
    shown = text.replace("<", "&lt;").replace(">", "&gt;")
    assert page in (f"<p><code>{shown}</code></p>\n", f"<p><code>{shown.strip()}</code></p>\n")


@pytest.mark.parametrize("text", ["a|b", "a\\|b", "a\\", "|", "\\\\|", "`a|b`"])
def test_a_cell_of_a_table_stays_one_cell(text: str) -> None:
    page = MarkdownIt("commonmark").enable("table").render(as_markdown(Table(("x", "y"), ((in_markdown(text), "1"),))))
    assert f"<td>{text}</td>" in page
    assert page.count("<td") == 2


def test_labels_that_no_bundle_can_carry_are_refused_before_training(tmp_path: Path) -> None:
    rows = "".join(f'text number {i},"good\nnews"\nother text {i},bad\n' for i in range(30))
    (tmp_path / "train.csv").write_text(f"text,label\n{rows}", encoding="utf-8")
    settings = {"data.dataset": "files", "data.train": str(tmp_path / "train.csv")}
    chosen = recipe.load("quickstart", settings)
    with pytest.raises(DataError, match=r"the label 'good\\nnews' cannot be used: .* U\+000A; rename"):
        prepare.run(chosen, RunDir(tmp_path / "run"))


def test_a_classifier_gives_the_labels_as_they_are(folder: Path) -> None:
    assert set(Classifier.load(folder)("great").probabilities) == set(LABELS)


@pytest.mark.skipif(NODE is None, reason="node is not on PATH")
@pytest.mark.parametrize("name", ["../../up.txt", "/etc/passwd", "a\\..\\up.txt", "C:up.txt", ".."])
def test_a_page_for_the_web_copies_nothing_from_or_to_outside(tmp_path: Path, name: str) -> None:
    bundle = small_bundles.write(tmp_path / "bundle")
    small_bundles.edit(bundle, lambda facts: facts["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))
    done = subprocess.run(
        [str(NODE), str(MAKE_WEB), str(bundle), str(tmp_path / "page")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "lists a file that lies outside the bundle" in done.stderr
    assert not (tmp_path / "page").exists()


@pytest.mark.skipif(NODE is None, reason="node is not on PATH")
@pytest.mark.parametrize(
    "name", ["../secret.onnx", "//host/model.onnx", "https://host/model.onnx", "%2e%2e/secret.onnx"]
)
def test_a_page_for_the_web_copies_no_model_from_outside(tmp_path: Path, name: str) -> None:
    bundle = small_bundles.write(tmp_path / "bundle")
    (tmp_path / "secret.onnx").write_bytes(b"secret")
    small_bundles.edit(bundle, lambda facts: facts.update(model_file=name))
    done = subprocess.run(
        [str(NODE), str(MAKE_WEB), str(bundle), str(tmp_path / "page")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "lists a file that lies outside the bundle" in done.stderr
    assert not (tmp_path / "page").exists()
