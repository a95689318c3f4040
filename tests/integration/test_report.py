import json
import re
import shlex
import shutil
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pages import ROOT

from sentopt import Classifier, cli, manifest, recipe, records
from sentopt.data import store
from sentopt.demo.run_facts import RunFacts
from sentopt.files import journal
from sentopt.manifest import Manifest, StageEntry
from sentopt.measure.stats import compare_counts
from sentopt.measure.timing import LatencySummary
from sentopt.recipe import Recipe
from sentopt.report import afterwards, answers, cascades, glossary, plots, render, sections, tables, teaching
from sentopt.report.section import Section
from sentopt.results import (
    BenchResult,
    ChangedAnswer,
    ChangedAnswers,
    Confidence,
    CpuFlips,
    Criterion,
    DistillResult,
    ExamineResult,
    PrepareResult,
    Selection,
    StudentDepth,
    TeachingGain,
    TrainResult,
    Verdict,
    VerifyResult,
    WrongAnswer,
)
from sentopt.run_dir import RunDir
from sentopt.stages import select
from sentopt.variants import VARIANTS


class Collector(HTMLParser):
    """Tags, addresses that a browser would fetch, those that links lead to, parts, and what plots are said to show."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.parts: list[str] = []
        self.alts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.parts += [value or "" for name, value in attrs if (tag, name) == ("section", "id")]
        self.alts += [value or "" for name, value in attrs if (tag, name) == ("img", "alt")]
        links = self.linked if tag == "a" else self.fetched
        links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_html_is_self_contained_and_complete(finished_run: Path) -> None:
    page = Collector()
    page.feed((finished_run / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("img") == 7
    assert page.tags.count("table") >= 8
    assert all(address.startswith("data:image/png;base64,") for address in page.fetched)
    parts = [address for address in page.linked if address.startswith("#")]
    assert len(parts) == len(set(parts)) == page.tags.count("h2") == len(page.parts)
    assert {address[1:] for address in parts} == set(page.parts)
    pages = [address for address in page.linked if address.startswith(render.DOCUMENTATION)]
    assert all((ROOT / "docs" / address.removeprefix(render.DOCUMENTATION)).is_file() for address in pages)
    files = {path for path in page.linked if path not in (*parts, *pages)}
    assert all((finished_run / path).exists() for path in files)
    chosen = manifest.read(finished_run / "run.json").result("select", Selection).variant
    assert {"run.json", "recipe.toml", "bundle/", "bench-samples.json", "data/test.jsonl"} <= files
    assert {f"variants/{chosen}/mistakes.csv", "variants/onnx-int8/flips.csv"} <= files


def test_the_address_of_the_documentation_is_that_of_the_project() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    assert urls["Documentation"].replace("/tree/", "/blob/") + "/" == render.DOCUMENTATION


def test_every_plot_is_described_by_its_result(finished_run: Path) -> None:
    page = Collector()
    page.feed((finished_run / "report.html").read_text(encoding="utf-8"))
    found = manifest.read(finished_run / "run.json")
    assert len(page.alts) == 7
    assert all(re.search(r"\d", alt) for alt in page.alts)
    row = next(r for r in found.result("bench", BenchResult).rows if r.variant == "lean-int8")
    assert any(f"lean-int8 {row.latency.p50:.2f} to {row.latency.p99:.2f} ms" in alt for alt in page.alts)
    assert any("right" in alt and "Confusion matrix" in alt for alt in page.alts)
    written = (finished_run / "report.md").read_text(encoding="utf-8")
    assert len(re.findall(r"!\[(?:\\.|[^\]\\])+\]\(plots/(\w+)\.png\)", written)) == 7


def test_the_last_part_has_the_next_commands(
    run_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    written = (run_copy / "report.md").read_text(encoding="utf-8")
    last = written.rpartition("\n## ")[2]
    assert last.startswith("What next\n")
    commands = [shlex.split(command) for command in re.findall(r"^1\. `(sentopt [^`]+)`", last, re.MULTILINE)]
    assert [command[1] for command in commands] == ["predict", "check", "demo", "pack"]
    monkeypatch.chdir(run_copy)
    for _, *arguments in commands:
        if arguments[0] != "demo":  # it would wait for visitors
            assert cli.main(arguments) == 0, arguments
    assert "files" in capsys.readouterr().out


def test_a_run_without_a_bundle_is_told_what_makes_one(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    trained = replace(found, stages={name: found.stages[name] for name in ("prepare", "train")})
    *_, files, last = [*sections.sections(loaded, trained, {}), *afterwards.sections(trained)]
    assert not any("bundle" in item or "flips" in item for item in files.items)
    assert ["sentopt export --run-dir ." in step for step in last.steps] == [True]
    quick = with_result(found, "bench", replace(found.result("bench", BenchResult), depth="quick"))
    assert any("sentopt bench --run-dir ." in step for step in afterwards.sections(quick)[1].steps)


PLAIN = {"variant", "text", "texts", "label", "package", "version", "seconds", "finished", "answer", "change"}
PLAIN |= {
    "sample text",
    "before training",
    "after training",
    "term",
    "meaning",
    "what it is",
    "model",
    "label in the data",
}


def test_every_heading_of_the_tables_is_in_the_glossary(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    labels = found.result("prepare", PrepareResult).labels
    whole = with_a_cascade(refused_run(found, "onnx-int8"))
    parts = [*sections.sections(loaded, whole, {}), *teaching_and_distilling(), answers_with_texts()]
    headings = {heading for part in parts for table in part.tables for heading in table.headings}
    named = {heading for heading in headings - PLAIN - set(labels) if not re.fullmatch(r"\d+ x \d+", heading)}
    assert len(named) > 50
    assert [heading for heading in sorted(named) if not glossary.explain(heading).rows] == []
    shown = {row[0] for row in next(part for part in parts if part.title == "Glossary").tables[1].rows}
    assert {"verdict", "criterion", "at most", "texts/s", "MB", "peak memory", "split", "validation loss"} <= shown


def teaching_and_distilling() -> list[Section]:
    """The tables of parts that the fixture's run does not have."""
    compared = compare_counts(120, 3, 5, margin=0.01, confidence=0.95)
    gain = TeachingGain(120, 0.93, 0.91, 0.9, 100, 100, compared, compared)
    distilled = DistillResult(2, (StudentDepth(2, 100, 50.0, 0.3, 0.86, 0.89, 0.51),), 100, 100, 0, 2.0)
    tried = Manifest(stages={"distill": StageEntry("x", 1.0, "2026-01-01", (), records.to_json(distilled))})
    return [Section("The teacher", tables=(teaching.table(gain),)), *cascades.sections(tried)]


def answers_with_texts() -> Section:
    """The table of wrong answers."""
    mistake = WrongAnswer(1, "a text", "positive", "negative", 0.99, "negative", 0.98, 4, doubtful=True)
    changed = ChangedAnswer(1, "a text", "positive", "negative", 0.99, "positive", 0.98)
    own = Confidence(1.0, 0.1, 0.1, ())
    examined = ExamineResult("lean-int8", 2, own, 0.1, (), (), 1, 1, (mistake,), 0.95)
    examined = replace(examined, changes=(ChangedAnswers("lean-int8", 1, 0, (changed,)),))
    (wrong,), (changes,) = answers.wrong_section(examined), answers.changes_section(examined)
    assert "variants/lean-int8/flips.csv" in changes.text
    return replace(wrong, tables=(*wrong.tables, *changes.tables))


def test_markdown_shows_the_figures_and_existing_plots(finished_run: Path) -> None:
    text = (finished_run / "report.md").read_text(encoding="utf-8")
    for part in (
        "## Verdict",
        "## This run",
        "## How the verdicts were made",
        "## Speed",
        "## Training",
        "## Answers on the test split",
        "By length: tokens that are read of a text",
        "How often a score is right",
        "## What the scores are worth",
        "## Data",
        "## How it was made",
        "## Glossary",
        "Tango",
        "onnx-int8",
        "lean-int8",
    ):
        assert part in text
    for name in (
        *("loss", "confusion", "scores", "latency_by_length", "accuracy_latency"),
        *("latency_distribution", "differences"),
    ):
        assert f"(plots/{name}.png)" in text
        assert (finished_run / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_those_of_the_bundle(finished_run: Path) -> None:
    run_dir = RunDir(finished_run)
    examined = manifest.read(run_dir.manifest).result("examine", ExamineResult)
    classifier = Classifier.load(run_dir.bundle)
    rows, _ = store.read_distinct(run_dir)
    examples = [store.read_split(run_dir, "test")[row] for row in rows]
    predictions = classifier.predict([e.text for e in examples])
    labels = store.read_labels(run_dir)
    wrong = {row + 1 for row, p, e in zip(rows, predictions, examples, strict=True) if p.label != labels[e.label]}
    assert examined.wrong_texts == len(wrong)
    assert {answer.row for answer in examined.wrong} <= wrong
    assert examined.texts == len(rows)
    if wrong:
        assert f"## {answers.WRONG}" in (finished_run / "report.md").read_text(encoding="utf-8")


def test_mistakes_of_an_earlier_training_or_of_another_variant_are_not_shown(finished_run: Path) -> None:
    found = manifest.read(finished_run / "run.json")
    assert sections.examination(found) is not None
    examined = found.stages["examine"]
    another = "onnx-int8" if examined.result["variant"] == "onnx-fp32" else "onnx-fp32"
    for changed in ({"variant": another}, {"confidence": {**examined.result["confidence"], "error_before": 0.5}}):
        other = found.with_stage("examine", replace(examined, result={**examined.result, **changed}))
        assert sections.examination(other) is None
        parts = sections.sections(recipe.load(str(finished_run / "recipe.toml")), other, {})
        assert not {answers.WRONG, answers.CHANGED} & {section.title for section in parts}


def test_a_page_for_visitors_shows_no_mistakes(finished_run: Path, tmp_path: Path) -> None:
    """They are texts of the test split, which may be private; the page's examples are a few of them."""
    run = RunDir(shutil.copytree(finished_run, tmp_path / "run"))
    document = json.loads(run.manifest.read_text(encoding="utf-8"))
    mistake = {
        "row": 1,
        "text": "a secret text",
        "truth": "positive",
        "answer": "negative",
        "score": 0.99,
        "reference_answer": "negative",
        "reference_score": 0.99,
        "tokens": 4,
        "doubtful": True,
    }
    document["stages"]["examine"]["result"] |= {"wrong": [mistake], "wrong_texts": 1, "doubtful": 1}
    run.manifest.write_text(json.dumps(document), encoding="utf-8")
    facts = RunFacts.of(run.bundle, document["stages"]["bundle"]["result"]["variant"])
    assert facts is not None
    assert "a secret text" not in "".join(section.text for section in facts.sections.values())
    parts = sections.sections(facts.recipe, facts.manifest, {})
    assert any("a secret text" in section.text for section in parts)


def test_numbers_agree_with_their_nouns() -> None:
    assert [tables.counted(n, "text") for n in (0, 1, 2, 1_200)] == ["0 texts", "1 text", "2 texts", "1,200 texts"]


def test_text_table_is_aligned_and_marked() -> None:
    table = tables.Table(("variant", "ms"), (("a", "1.00"), ("longer", "10.00")), mark=1)
    assert tables.as_text(table).splitlines() == [
        "  variant     ms",
        "  -------  -----",
        "  a         1.00",
        "> longer   10.00",
    ]


def test_markdown_cells_cannot_break_the_table() -> None:
    table = tables.Table(("text",), (("a|b\nc",),))
    assert tables.as_markdown(table).splitlines()[-1] == "| a\\|b c |"


def test_html_is_escaped() -> None:
    assert "<script>" not in tables.as_html(tables.Table(("x",), (("<script>",),)))


def test_a_lead_within_chance_is_not_called_one(finished_run: Path) -> None:
    trained = manifest.read(finished_run / "run.json").result("train", TrainResult)
    assert ": beats the majority" in sections.against_majority(trained)
    n = sum(map(sum, trained.test.confusion))
    close = replace(trained, majority={**trained.majority, "test": trained.test.accuracy - 1 / n})
    assert "not proven (95 % interval" in sections.against_majority(close)
    behind = replace(trained, majority={**trained.majority, "test": 1.1})
    assert "does NOT beat" in sections.against_majority(behind)


def test_a_training_without_evaluations_says_so(finished_run: Path) -> None:
    trained = manifest.read(finished_run / "run.json").result("train", TrainResult)
    assert f"best validation {trained.metric}" in sections.training(trained)
    assert "Too short for an evaluation" in sections.training(replace(trained, evals=()))


def test_labels_with_dollar_signs_are_drawn_as_they_are(run_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    names = ("$", "$$", "$20^$", "A_1")
    found = manifest.read(run_copy / "run.json")
    trained = found.result("train", TrainResult)
    scores = tuple(replace(trained.test.per_class[0], label=name) for name in names)
    confusion = tuple(tuple(int(i == j) for j in range(4)) for i in range(4))
    renamed = replace(trained, test=replace(trained.test, per_class=scores, confusion=confusion))
    drawn: dict[str, list[str]] = {}
    save = Figure.savefig

    def watched(figure: Figure, path: Path, **settings: Any) -> None:
        save(figure, path, **settings)
        drawn[path.stem] = [label.get_text() for label in figure.axes[0].get_xticklabels()]

    monkeypatch.setattr(Figure, "savefig", watched)
    with_names = SimpleNamespace(stages=["train"], result=lambda stage, kind: renamed)
    plots.draw(RunDir(run_copy), with_names)  # type: ignore[arg-type]
    assert drawn["confusion"] == list(names)


@pytest.fixture
def read(run_copy: Path) -> tuple[RunDir, Recipe, Manifest]:
    """A finished run that a test may write reports for."""
    run_dir = RunDir(run_copy)
    return run_dir, recipe.load(str(run_dir.recipe)), manifest.read(run_dir.manifest)


def with_result(found: Manifest, stage: str, result: Any) -> Manifest:
    return found.with_stage(stage, replace(found.stages[stage], result=records.to_json(result)))


def refuse(verdict: Verdict, **changes: Any) -> Verdict:
    """A verdict whose accuracy loses twelve texts of 120 where five points are allowed."""
    lost: dict[str, Any] = {"outcome": "fail", "texts": 120, "lost": 14, "gained": 2, "loss": 0.10, "limit": 0.15}
    criterion = Criterion("accuracy", margin=0.05, by="labels", confidence=0.95, **{**lost, **changes})
    agreement = Criterion("agreement", "pass", 120, 16, 0, 0.13, 0.14, 0.15, "changes", 0.95)
    return replace(verdict, passed=False, exact=False, reason="because", criteria=(criterion, agreement))


def refused_run(found: Manifest, name: str, **changes: Any) -> Manifest:
    """The run with one variant refused, and the selection that follows."""
    verified = found.result("verify", VerifyResult)
    verdicts = tuple(refuse(v, **changes) if v.variant == name else v for v in verified.verdicts)
    measured = found.result("bench", BenchResult)
    selection = select.run(recipe.SelectSection(), list(VARIANTS.values()), verdicts, measured.rows)
    return with_result(with_result(found, "verify", replace(verified, verdicts=verdicts)), "select", selection)


def test_the_verdict_comes_first_and_fits_the_table(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    first, *_ = sections.sections(loaded, found, {})
    chosen = found.result("select", Selection).variant
    assert first.title == "Verdict"
    assert first.paragraphs[0].startswith(f"**{chosen} ships: ")
    (table,) = first.tables
    passed = [row[0] for row in table.rows if row[3] in ("pass", "pass*") and VARIANTS[row[0]].ships]
    assert f"fastest of the {len(passed)} variants" in first.paragraphs[0] or "within" in first.paragraphs[0]


def test_accuracy_has_its_interval_and_the_table_fits_a_terminal(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, _, found = read
    verified, measured = found.result("verify", VerifyResult), found.result("bench", BenchResult)
    table = sections.comparison(verified.verdicts, measured, found.result("select", Selection))
    column = table.headings.index("accuracy (95 %)")
    n = sum(c.support for c in verified.verdicts[0].scores.per_class)
    assert n == 120
    for row, verdict in zip(table.rows, verified.verdicts, strict=True):
        accuracy, interval = row[column].split(" ")
        low, high = map(float, interval.strip("()").split("-"))
        assert low <= float(accuracy) <= high
        assert float(accuracy) == pytest.approx(verdict.scores.accuracy, abs=5e-4)
    assert max(map(len, tables.as_text(table).splitlines())) <= 100


def test_a_verdict_without_counts_has_no_interval(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, _, found = read
    verdicts = found.result("verify", VerifyResult).verdicts
    bare = [replace(v, scores=replace(v.scores, per_class=())) for v in verdicts]
    table = sections.comparison(bare, found.result("bench", BenchResult), None)
    assert table.rows[0][1] == f"{verdicts[0].scores.accuracy:.3f}"
    assert table.mark is None


def test_the_legend_explains_the_table_and_tells_of_the_emulated_cpu(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, _, found = read
    verified, measured = found.result("verify", VerifyResult), found.result("bench", BenchResult)
    plain = sections.legend(verified.verdicts, measured)
    for term in ("accuracy: ", "agreement: ", "p50, p99: ", "speedup: ", "lean: "):
        assert term in plain
    assert "untested: " not in plain
    assert "emulated" not in plain
    flips = CpuFlips("EPYC-Milan", 16, 1, 0.2), CpuFlips("neoverse-n1", 16, 0, 0.1)
    changed = [
        replace(v, cpu_flips=flips, tested=False) if v.variant.endswith("int8") else v for v in verified.verdicts
    ]
    told = sections.legend(changed, measured)
    assert "emulated EPYC-Milan: 1 of 16 labels change (onnx-int8, lean-int8)" in told
    assert "emulated neoverse-n1: 0 of 16 labels change (onnx-int8, lean-int8)" in told
    assert all(v.worst_cpu == flips[0] for v in changed if v.cpu_flips)
    assert [v.worst_cpu for v in changed if not v.cpu_flips] == [None] * (len(changed) - 2)
    assert "untested: " in told
    assert max(map(len, told.splitlines())) <= 100
    without_lean = replace(measured, rows=tuple(row for row in measured.rows if "lean" not in row.variant))
    assert "lean: " not in sections.legend(verified.verdicts, without_lean)


def test_a_refusal_says_why_where_the_texts_are_and_what_to_do(read: tuple[RunDir, Recipe, Manifest]) -> None:
    run_dir, loaded, found = read
    render.write(run_dir, loaded, refused_run(found, "onnx-int8"))
    text = run_dir.report.read_text()
    part = text.partition("## Refused, what now?")[2].partition("\n## ")[0]
    assert "**onnx-int8** was refused. Accuracy: 14 of 120 texts lost, 2 gained." in part
    assert "up to 15.00 points (95% confidence); 5 are allowed." in part
    assert "[variants/onnx-int8/flips.csv](variants/onnx-int8/flips.csv)" in part
    assert "more texts do not help" in part
    assert "texts without labels" not in part
    assert "onnx-int8 was refused" not in text.partition("## Refused")[0], "told once"
    page = Collector()
    page.feed(run_dir.html_report.read_text())
    assert "variants/onnx-int8/flips.csv" in page.linked


def test_a_loss_within_the_margin_asks_for_texts(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    close = refused_run(found, "onnx-int8", lost=4, gained=2, loss=0.0167, limit=0.06)
    (part,) = (s for s in sections.sections(loaded, close, {}) if s.title.startswith("Refused"))
    assert "within the margin, but there are too few texts to prove it" in part.items[0]
    assert "What would decide it: " in part.items[0]
    assert any("texts without labels" in step for step in part.steps)
    assert not any("more texts do not help" in step for step in part.steps)


def test_where_nothing_is_refused_nothing_is_said_of_it(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    failed = [v for v in found.result("verify", VerifyResult).verdicts if not v.passed]
    titles = [s.title for s in sections.sections(loaded, found, {})]
    assert ("Refused, what now?" in titles) is bool(failed)


def test_a_run_that_is_only_trained_says_what_comes_next(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    trained = replace(found, stages={name: found.stages[name] for name in ("prepare", "train")})
    first = sections.sections(loaded, trained, {})[0]
    assert "There is no verdict yet" in first.paragraphs[0]
    assert "sentopt export" in first.paragraphs[0]


def test_only_terms_and_variants_that_the_report_uses_are_explained(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    last = sections.sections(loaded, found, {})[-1]
    variants, terms = last.tables
    assert {row[0] for row in variants.rows} == {r.variant for r in found.result("bench", BenchResult).rows}
    assert {"lean", "agreement", "p50", "exact", "margin"} <= {row[0] for row in terms.rows}
    assert "FP16" not in {row[0] for row in terms.rows}
    assert [row[0] for row in glossary.explain("Micro-batches of INT8 graphs; cleaner").rows] == [
        "INT8",
        "micro-batches",
    ]


def test_the_description_of_a_shipped_recipe_is_not_kept_for_other_data(finished_run: Path) -> None:
    """The fixture's run is the quickstart with other data and another model."""
    loaded, shipped = recipe.load(str(finished_run / "recipe.toml")), recipe.load("quickstart")
    assert loaded.run.description == shipped.run.description
    assert render.description(loaded) == ""
    assert shipped.run.description not in (finished_run / "report.md").read_text()
    assert render.description(shipped) == shipped.run.description
    own = replace(loaded, run=replace(loaded.run, description="my reviews"))
    assert render.description(own) == "my reviews"


def test_the_report_states_the_facts_of_the_run(finished_run: Path) -> None:
    part = (finished_run / "report.md").read_text().partition("## This run")[2].partition("\n## ")[0]
    for fact in (
        "240 train, 60 validation, 120 test texts",
        "negative, neutral, positive (3)",
        "**Machine:** ",
        "**Date:** 2",
    ):
        assert fact in part


def test_words_of_the_data_are_no_markup() -> None:
    section = sections.Section(
        "<T>", ("a <b> `x<y` **now** [click](javascript:alert) [x](../../etc/passwd)",), ("[a/b.csv](a/b.csv)",)
    )
    page = render.section_html(section, links=True)
    assert "a &lt;b&gt; <code>x&lt;y</code> <b>now</b>" in page
    assert page.count("<a href=") == 1
    assert "<a href='a/b.csv'>" in page
    assert "<a" not in render.section_html(section)


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_a_report_that_somebody_edited_is_kept(run_copy: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run_copy / name
    before = path.read_text()
    path.write_text(f"{before}\nmy remark\n")
    assert cli.main(["report", "--run-dir", str(run_copy)]) == 0
    assert path.read_text() == before
    kept = path.with_name(f"{path.stem}-edited-1{path.suffix}")
    assert kept.read_text() == f"{before}\nmy remark\n"
    path.write_text("again")
    assert cli.main(["report", "--run-dir", str(run_copy)]) == 0
    assert kept.read_text() == f"{before}\nmy remark\n"
    assert path.with_name(f"{path.stem}-edited-2{path.suffix}").read_text() == "again"


def test_reports_that_nobody_edited_are_replaced(read: tuple[RunDir, Recipe, Manifest]) -> None:
    run_dir, loaded, found = read
    assert render.write(run_dir, loaded, found) == ()
    assert render.write(run_dir, replace(loaded, run=replace(loaded.run, name="other")), found) == ()
    assert run_dir.report.read_text().startswith("# other\n")
    assert not list(run_dir.root.glob("*-edited-*"))
    run_dir.report.write_text("mine")
    (notice,) = render.write(run_dir, loaded, found)
    assert "report.md had been changed: your version is now" in notice
    assert "report-edited-1.md" in notice


def test_a_run_of_before_the_hashes_were_kept_is_known_by_its_manifest(read: tuple[RunDir, Recipe, Manifest]) -> None:
    run_dir, loaded, found = read
    facts = journal.facts(run_dir.root)
    journal.remember(run_dir.root, **{**dict.fromkeys(facts), "run": True})
    assert render.write(run_dir, replace(loaded, run=replace(loaded.run, name="other")), found) == ()
    assert render.write(run_dir, loaded, found) == ()
    journal.remember(run_dir.root, written_sha256=None)
    run_dir.report.write_text("mine")
    assert len(render.write(run_dir, loaded, found)) == 1


def test_a_writer_that_was_killed_between_its_steps_does_not_take_the_report_for_edited(
    read: tuple[RunDir, Recipe, Manifest], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir, loaded, found = read
    other = replace(loaded, run=replace(loaded.run, name="other"))

    def killed(path: Path, content: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("sentopt.files.atomic.write_text", killed)
        with pytest.raises(KeyboardInterrupt):
            render.write(run_dir, other, found)
    assert render.write(run_dir, other, found) == ()


def with_a_cascade(found: Manifest, *, figure: Any = "mean") -> Manifest:
    """The run, as if its lean INT8 graph were a cascade that ships."""
    verified, measured = found.result("verify", VerifyResult), found.result("bench", BenchResult)
    times = LatencySummary(1.0, 6.0, 8.0, 200, 2.0)
    rows = [
        replace(row, variant="cascade-int8", latency=times, deferred_latency=LatencySummary(3.2, 7.0, 9.5, 100, 3.6))
        for row in measured.rows
        if row.variant == "lean-int8"
    ]
    verdicts = [
        replace(v, variant="cascade-int8", deferred=0.2613) for v in verified.verdicts if v.variant == "lean-int8"
    ]
    found = with_result(found, "bench", replace(measured, rows=(*measured.rows, *rows)))
    found = with_result(found, "verify", replace(verified, verdicts=(*verified.verdicts, *verdicts)))
    return with_result(found, "select", Selection("cascade-int8", "latency", "cascade-int8 ships: because", figure))


def test_a_cascade_is_explained_beside_its_times_and_what_it_defers(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    parts = {s.title: s for s in sections.sections(loaded, with_a_cascade(found), {})}
    speed = parts["Speed"]
    assert "p95, all deferred" in speed.tables[0].headings
    assert speed.tables[0].rows[-1] == (
        "cascade-int8",
        *["2.00", "1.00", "6.00", "8.00", "3.60", "3.20", "7.00", "9.50"],
    )
    assert "compare it by the times of test texts" in speed.text
    assert "On the test split it defers 26.1% of the texts" in parts["The student and the cascade"].text
    assert parts["Verdict"].tables[0].headings[-1] == "deferred"
    terms = {row[0] for row in parts["Glossary"].tables[1].rows}
    assert {"student", "cascade", "deferred", "mean", "p95"} <= terms


def test_a_run_without_a_cascade_says_nothing_of_it(read: tuple[RunDir, Recipe, Manifest]) -> None:
    _, loaded, found = read
    parts = {s.title: s for s in sections.sections(loaded, found, {})}
    assert "The student and the cascade" not in parts
    assert parts["Speed"].tables[0].headings == ("variant", "mean", "p50", "p95", "p99")
    assert not any("deferred" in part.text for part in parts.values())


@pytest.mark.parametrize(("figure", "label", "x"), [("mean", "mean", 2.0), ("p99", "99th percentile", 8.0)])
def test_the_plot_compares_the_figure_that_decided(
    read: tuple[RunDir, Recipe, Manifest], monkeypatch: pytest.MonkeyPatch, figure: str, label: str, x: float
) -> None:
    from matplotlib.figure import Figure

    run_dir, _, found = read
    drawn: dict[str, tuple[str, dict[Any, list[Any]]]] = {}

    def watched(figure: Figure, path: Path, **_: Any) -> None:
        path.write_bytes(b"")
        (axes,) = figure.axes[:1]
        drawn[path.stem] = (
            axes.get_xlabel(),
            {line.get_label(): np.asarray(line.get_xdata()).tolist() for line in axes.lines},
        )

    monkeypatch.setattr(Figure, "savefig", watched)
    plots.draw(run_dir, with_a_cascade(found, figure=figure))
    said, points = drawn["accuracy_latency"]
    assert said == f"ms of one text, {label} (log scale)"
    assert points["cascade-int8 (ships)"] == [x]
