"""Latencies and cascades in tables, reports and cards: what is shown, and what stays readable of earlier versions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_bundles

from sentopt import records
from sentopt.bundles import card, facts
from sentopt.errors import BundleError
from sentopt.manifest import Manifest, StageEntry
from sentopt.measure.hardware import Hardware
from sentopt.measure.scores import ClassScores, Scores
from sentopt.measure.stats import PairedComparison
from sentopt.measure.timing import LatencySummary
from sentopt.report import cascades
from sentopt.report.comparison import Comparison, compare
from sentopt.results import (
    BenchResult,
    BenchRow,
    CascadeRule,
    DistillResult,
    PrepareResult,
    QuantizeResult,
    ReferenceCheck,
    Selection,
    StudentDepth,
    Verdict,
    VerifyResult,
)
from sentopt.runtime.description import read_description

HARDWARE = Hardware("a processor", ("avx2",), 2, None, 2**34, "Linux")
SCORES = Scores(0.9, 0.9, 0.9, 0.9, (ClassScores("a", 0.9, 0.9, 0.9, 600), ClassScores("b", 0.9, 0.9, 0.9, 600)), ())
COMPARISON = PairedComparison(1200, 1, 1, 0.0, -0.005, 0.005, 0.01, 0.99, 0.01, 0.95)
CHOSEN = Selection("cascade-int8", "latency", "because", "mean")
TIMES = {
    "torch": LatencySummary(6.0, 12.0, 130.0, 200, 9.0),
    "lean-int8": LatencySummary(2.0, 4.0, 11.0, 200, 3.0),
    "student-int8": LatencySummary(0.7, 1.0, 2.0, 200, 0.75),
    "cascade-int8": LatencySummary(1.0, 6.0, 8.0, 200, 2.0),
}
ALL_DEFERRED = LatencySummary(3.2, 7.0, 9.5, 100, 3.6)
RECORDED = {
    "layers": 2,
    "threshold": 0.9,
    "threshold_tokens": 20,
    "max_length": 0,
    "reads": "head",
    "deferred": 0.2613,
    "texts": 1200,
    "deferred_output": "deferred",
}
SHARE = {"cascade-int8": 0.2613}


def verdict(name: str, deferred: float | None = None) -> Verdict:
    return Verdict(name, True, "micro-batches", "because", COMPARISON, SCORES, 0.99, 0.0, 0, deferred=deferred)


def bench(times: dict[str, LatencySummary]) -> BenchResult:
    rows = tuple(
        BenchRow(name, ms, 100.0, (), 1.0, 1.0, 1, 90_900_000, ALL_DEFERRED if name in SHARE else None)
        for name, ms in times.items()
    )
    return BenchResult("full", HARDWARE, 2, 5, TIMES["torch"], rows)


def compared(times: dict[str, LatencySummary] = TIMES, selection: Selection | None = CHOSEN) -> Comparison:
    return compare([verdict(name, SHARE.get(name)) for name in times], bench(times), selection)


def of_cascade(comparison: Comparison, column: str) -> str:
    table = comparison.as_table
    (row,) = (row for row in table.rows if row[0] == "cascade-int8")
    return row[table.headings.index(column)]


def test_the_table_shows_the_mean_the_tail_and_the_share_that_is_deferred() -> None:
    shown = compared()
    cells = {column: of_cascade(shown, column) for column in ("mean ms", "p50", "p99", "speedup", "deferred")}
    assert cells == {"mean ms": "2.00", "p50": "1.00", "p99": "8.00", "speedup": "4.50", "deferred": "26.1%"}
    assert max(map(len, str(shown).splitlines())) <= 120
    for line in (
        "speedup: PyTorch's mean divided by this one",
        "deferred: share of the test texts that the cascade's full model answers",
        "cascade-int8: where every text is deferred, a text takes 3.60 ms (mean; p99 9.50)",
    ):
        assert line in shown.legend.splitlines()


def test_records_of_the_table_hold_every_figure() -> None:
    (row,) = (row for row in compared() if row.variant == "cascade-int8")
    assert (row.mean_ms, row.p50_ms, row.p95_ms, row.p99_ms) == (2.0, 1.0, 6.0, 8.0)
    assert (row.deferred, row.deferred_ms, row.speedup) == (0.2613, 3.6, 4.5)
    (lean,) = (row for row in compared() if row.variant == "lean-int8")
    assert (lean.deferred, lean.deferred_ms, lean.speedup) == (None, None, 3.0)


@pytest.mark.parametrize(("figure", "speedup"), [("p50", "6.00"), ("p95", "2.00"), ("p99", "16.25")])
def test_the_speedup_is_by_the_figure_that_decided(figure: Any, speedup: str) -> None:
    shown = compared(selection=Selection("cascade-int8", "latency", "because", figure))
    assert of_cascade(shown, "speedup") == speedup
    assert f"speedup: PyTorch's {figure} divided by this one" in shown.legend


def test_a_run_of_an_earlier_version_shows_no_mean_and_compares_medians() -> None:
    old = {name: LatencySummary(t.p50, t.p95, t.p99, t.samples) for name, t in TIMES.items() if name not in SHARE}
    for selection in (None, Selection("lean-int8", "latency", "because")):
        shown = compared(old, selection)
        assert "deferred" not in shown.as_table.headings
        assert {row[shown.as_table.headings.index("mean ms")] for row in shown.as_table.rows} == {"-"}
        assert [row.speedup for row in shown] == pytest.approx([1.0, 3.0, 6.0 / 0.7])
        assert "speedup: PyTorch's p50 divided by this one" in shown.legend
        assert "deferred" not in shown.legend
        assert all(row.mean_ms is None for row in shown)


DISTILLED = DistillResult(
    layers=2,
    tried=(StudentDepth(1, 100, 33.0, 0.4, 0.82, 0.85, 0.61), StudentDepth(2, 100, 50.0, 0.3, 0.86, 0.89, 0.51)),
    texts=10_734,
    copies=10_734,
    unlabelled=0,
    teacher_seconds=21.0,
    notices=("a notice",),
)
RULE = CascadeRule(0.91, 22, 1200, 0.26, 4, 2, 5, 0.0043, 0.005, 0.95)


def run(**results: object) -> Manifest:
    """A manifest with these stages, and the data."""
    data = PrepareResult("here", {}, ("a", "b"), {"test": {"a": 600, "b": 600}}, ())
    entries = {
        name: StageEntry("x", 1.0, "2026-01-01", (), records.to_json(result))
        for name, result in {"prepare": data, **results}.items()
    }
    return Manifest(stages=entries)


def verified(*names: str) -> VerifyResult:
    check = ReferenceCheck(1200, 0.9, 0.5, 0.9, 0.88, 0.92, 0.5, True, False, "proven")
    return VerifyResult(
        HARDWARE, 1200, tuple(verdict(n, SHARE.get(n)) for n in names), check, names, "validation", 0, 0
    )


def test_the_report_explains_the_student_and_the_cascade() -> None:
    quantized = QuantizeResult((), None, None, {"cascade-int8": RULE})
    (part,) = cascades.sections(run(distill=DISTILLED, quantize=quantized, verify=verified(*TIMES), bench=bench(TIMES)))
    for words in (
        "This one has 2 layers.",
        "It learned from 10,734 training texts and 10,734 changed copies of them;",
        "Note: a notice.",
        "below 0.9100, a shorter one more readily",
        "On 1,200 distinct validation texts that defers 26.0% and changes 5 labels (4 texts lost, 2 gained)",
        "the loss of accuracy is below 0.43 points with 95% confidence, 0.50 are allowed there.",
        "On the test split it defers 26.1% of the texts and is right for 0.9000 of them.",
        "Where every text is deferred, a text takes 3.60 ms on average and 9.50 ms as p99.",
        "**student-int8** answers every text with the student alone: 0.9000 of the test texts are right",
    ):
        assert words in part.text
    (tried,) = part.tables
    assert tried.mark == 1


def test_what_is_not_there_is_not_explained() -> None:
    assert cascades.sections(run()) == []
    assert cascades.sections(run(verify=verified("torch", "lean-int8"), bench=bench(TIMES))) == []
    assert cascades.sections(run(distill=DISTILLED, quantize=QuantizeResult((), None))) == []
    (part,) = cascades.sections(run(distill=DISTILLED))
    assert "A cascade asks" not in part.text


@pytest.mark.parametrize(
    ("threshold", "words"),
    [(0.9, "a text of 20 tokens is deferred where the student's probability is below 0.9000,"), (1.0, "every text is")],
)
def test_the_rule_is_told(threshold: float, words: str) -> None:
    rule = CascadeRule(threshold, 20, 1200, 0.26, 4, 2, 5, 0.0043, 0.005, 0.95)
    (part,) = cascades.sections(run(quantize=QuantizeResult((), None, None, {"cascade-int8": rule})))
    assert words in part.text


def test_a_card_tells_what_a_cascade_costs(tmp_path: Path) -> None:
    folder = small_bundles.write(tmp_path / "bundle")
    earlier = card.body(read_description(folder))
    assert "\n\nOf 100 texts, 50 take at most 1.00 ms, 99 at most 2.00 ms (one at a time, tokenization" in earlier
    row = records.to_json(bench(TIMES).rows[-1])
    small_bundles.edit(folder, lambda found: found["measured"].update(row=row))
    small_bundles.edit(folder, lambda found: found.update(cascade=RECORDED))
    description = read_description(folder)
    told = card.body(description)
    for words in (
        "One test text takes 2.00 ms on average. Of 100 texts, 50 take at most 1.00 ms, 95 at most 6.00 ms, 99 at most",
        "defers what it is not sure of to the full model in the same file: 26.1% of the test texts.",
        "Where every text is deferred, a text takes 3.60 ms on average.",
    ):
        assert words in told
    assert facts.measured(description).all_deferred == 3.6
    assert facts.share_deferred(description) == 0.2613


@pytest.mark.parametrize(
    ("message", "change"),
    [
        ("latency.mean must be a number", lambda f: f["measured"]["row"]["latency"].update(mean="fast")),
        ("deferred_latency must be an object", lambda f: f["measured"]["row"].update(deferred_latency=3)),
        ("cascade.deferred must be a number from 0 to 1", lambda f: f.update(cascade={**RECORDED, "deferred": 7})),
    ],
)
def test_figures_that_cannot_be_are_refused(tmp_path: Path, message: str, change: Any) -> None:
    folder = small_bundles.edit(small_bundles.write(tmp_path / "bundle"), change)
    with pytest.raises(BundleError, match=message):
        card.write(read_description(folder))
