from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sentopt import manifest
from sentopt.report import plots, sections, tables
from sentopt.results import TrainResult
from sentopt.run_dir import RunDir


class Collector(HTMLParser):
    """Tags, and every address that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]


def test_html_is_self_contained_and_complete(finished_run: Path) -> None:
    page = Collector()
    page.feed((finished_run / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("img") == 4
    assert page.tags.count("table") >= 8
    assert all(address.startswith("data:image/png;base64,") for address in page.fetched)


def test_markdown_shows_the_figures_and_existing_plots(finished_run: Path) -> None:
    text = (finished_run / "report.md").read_text(encoding="utf-8")
    for part in (
        "## Result",
        "## Verification",
        "## Speed",
        "## Training",
        "## Test split",
        "## Data",
        "Tango",
        "onnx-int8",
        "lean-int8",
    ):
        assert part in text
    for name in ("loss", "confusion", "latency_by_length", "accuracy_latency"):
        assert f"(plots/{name}.png)" in text
        assert (finished_run / "plots" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


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
    assert f"Best validation {trained.metric}" in sections.training(trained)
    assert "Too short to be evaluated" in sections.training(replace(trained, evals=()))


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
