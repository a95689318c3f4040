"""The evidence of a report: paired differences, plots that can be read, why p99 is high, and what describes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sentopt import records
from sentopt.manifest import Manifest, StageEntry
from sentopt.measure.confidence import CoveragePoint
from sentopt.measure.hardware import Hardware
from sentopt.measure.scores import ClassScores, Scores
from sentopt.measure.stats import compare_counts, wilson_interval
from sentopt.measure.timing import LatencySummary, summarize
from sentopt.report import alt_texts, answers, colours, plots, render, tables, tail, verification
from sentopt.report.differences import differences, explained
from sentopt.results import (
    BenchResult,
    BenchRow,
    Confidence,
    Criterion,
    ExamineResult,
    GridCell,
    ReferenceCheck,
    ScoreBand,
    Selection,
    TrainResult,
    Verdict,
    VerifyResult,
)
from sentopt.run_dir import RunDir
from sentopt.variants import VARIANTS

HARDWARE = Hardware("a processor", ("avx2",), 2, None, 2**34, "Linux")
TEXTS, ROUNDS = 20, 5
LOST = {"torch": (0, 0), "lean-fp32": (0, 0), "lean-int8": (5, 3), "onnx-int8": (30, 16)}


def scores(right: int = 1084) -> Scores:
    per_class = tuple(ClassScores(label, 0.9, 0.9, 0.9, 600) for label in ("bad", "good"))
    wrong = 1200 - right
    return Scores(right / 1200, 0.9, 0.9, 0.9, per_class, ((600 - wrong + 4, wrong - 4), (4, 596)))


def verdict(name: str, **changes: Any) -> Verdict:
    lost, gained = LOST.get(name, (0, 0))
    compared = compare_counts(1200, lost, gained, margin=0.01, confidence=0.95)
    passed, exact = compared.lower > -0.01, lost + gained == 0
    criterion = Criterion(
        "accuracy",
        "pass" if passed else "fail",
        1200,
        lost,
        gained,
        -compared.difference,
        -compared.lower,
        0.01,
        "labels",
        0.95,
    )
    made = Verdict(
        variant=name,
        passed=passed,
        serving_mode="micro-batches",
        reason="because",
        comparison=compared,
        scores=scores(1084 - lost + gained),
        agreement=0.99,
        max_probability_difference=0.0,
        changed_labels=0,
        criteria=() if exact else (criterion,),
        exact=exact,
    )
    return replace(made, **changes)


def measured(name: str, samples: Sequence[float], deferred: LatencySummary | None = None) -> BenchRow:
    grid = (GridCell(1, 16, 1.0), GridCell(1, 128, 4.0), GridCell(8, 16, 5.0))
    return BenchRow(name, summarize(samples), 100.0, grid, 1.0, 1.0, 1, 23_000_000, deferred)


def bench(rows: Sequence[BenchRow], rounds: int = ROUNDS) -> BenchResult:
    return BenchResult("full", HARDWARE, 2, rounds, summarize([0.1]), tuple(rows))


def manifest_of(**results: object) -> Manifest:
    stages = {name: StageEntry("x", 1.0, "2026-01-01", (), records.to_json(r)) for name, r in results.items()}
    return Manifest(stages=stages)


def verified(verdicts: Sequence[Verdict]) -> VerifyResult:
    check = ReferenceCheck(1200, 0.9, 0.5, 0.9, 0.88, 0.92, 0.5, True, False, "proven")
    return VerifyResult(HARDWARE, 1200, tuple(verdicts), check, (), "validation", 0, 0)


ALL = [verdict(name) for name in LOST]
TIMES = {"torch": 6.31, "lean-fp32": 2.9, "lean-int8": 1.78, "onnx-int8": 1.99}
BENCH = bench([measured(name, [ms] * 10) for name, ms in TIMES.items()])
CHOSEN = Selection("lean-int8", "latency", "because", "mean")
EXAMINED = ExamineResult(
    variant="lean-int8",
    texts=1200,
    confidence=Confidence(1.0, 0.02, 0.02, (CoveragePoint(0.5, 1.0, 0.9),)),
    reference_error=0.02,
    bands=(ScoreBand(0.5, 100, 0.55, 60), ScoreBand(0.9, 1100, 0.97, 1060)),
    lengths=(),
    wrong_texts=0,
    doubtful=0,
    wrong=(),
    sure=0.95,
)


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Mapping[str, Any]]:
    """The figures of a run with these results, by name, instead of their files."""
    from matplotlib.figure import Figure

    figures: dict[str, Any] = {}

    def watched(figure: Figure, path: Path, **_: Any) -> None:
        path.write_bytes(b"")
        figures[path.stem] = figure

    monkeypatch.setattr(Figure, "savefig", watched)

    def draw(**results: object) -> Mapping[str, Any]:
        plots.draw(RunDir(tmp_path), manifest_of(**results))
        return figures

    return draw


# Paired differences


def test_the_interval_of_a_difference_is_that_of_the_gate() -> None:
    judged = verdict("lean-int8")
    pooled = replace(judged.criteria[0], texts=1500, lost=6, gained=3, loss=0.002, limit=0.0071, confidence=0.975)
    plain, with_more = differences([ALL[0], judged, replace(judged, criteria=(pooled,))])
    assert plain.lower == pytest.approx(judged.comparison.lower * 100)
    assert plain.upper == pytest.approx(judged.comparison.upper * 100)
    assert (with_more.texts, with_more.confidence) == (1500, 0.975)
    assert with_more.lower == pytest.approx(-0.71)
    assert with_more.points == pytest.approx(-0.2)
    same = compare_counts(1500, 6, 3, margin=0.01, confidence=0.975)
    assert with_more.upper == pytest.approx(same.upper * 100)


def test_a_difference_is_right_of_the_margin_where_the_gate_says_pass() -> None:
    for one, judged in zip(differences(ALL), ALL[1:], strict=True):
        assert (one.lower > -one.margin) is judged.passed, one.variant
    assert [one.variant for one in differences(ALL)] == ["lean-fp32", "lean-int8", "onnx-int8"], "not the reference"
    assert "Exact graphs answer as PyTorch does" in explained(differences(ALL))
    assert "Exact" not in explained(differences(ALL[2:]))


def test_it_is_said_which_variants_answered_more_texts() -> None:
    judged = verdict("lean-int8")
    pooled = replace(judged.criteria[0], texts=1500, lost=6, gained=3, loss=0.002, limit=0.0071, confidence=0.975)
    several = differences([replace(judged, criteria=(pooled,)), verdict("onnx-int8"), verdict("lean-fp32")])
    assert "on the same texts (1,500 for lean-int8; 1,200 for onnx-int8, lean-fp32). A bar" in explained(several)
    assert "on the same 1,200 texts. A bar" in explained(several[1:])


def test_differences_are_drawn_beside_pytorch_and_the_margin(drawn: Any) -> None:
    (axes,) = drawn(verify=verified(ALL))["differences"].axes
    lines = {round(line.get_xdata()[0], 6): line for line in axes.lines if len(set(line.get_xdata())) == 1}
    assert {0.0, -1.0} <= lines.keys()
    texts = [text.get_text() for text in axes.texts]
    assert {"PyTorch", "margin of the gate: -1"} <= set(texts)
    assert differences(ALL)[1].in_words in texts
    names = [tick.get_text() for tick in axes.get_yticklabels()]
    assert names == ["lean-fp32 (exact)", "lean-int8 (pass)", "onnx-int8 (refused)"]
    low, high = axes.get_xlim()
    assert all(low < end < high for one in differences(ALL) for end in (one.lower, one.upper, -one.margin, 0.0))


# Plots


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_variant_and_every_label_has_a_colour_that_can_be_seen() -> None:
    of_variants = {name: colours.of_variant(name) for name in VARIANTS}
    assert len(set(of_variants.values())) == len(VARIANTS)
    assert [name for name, own in of_variants.items() if contrast(own, colours.PAPER) < 3] == []
    of_labels = [colours.of_label(place) for place in range(10)]
    assert len(set(of_labels)) == 10
    assert [own for own in of_labels if contrast(own, colours.PAPER) < 4.5] == []


def test_numbers_can_be_read_on_every_tint_of_every_label() -> None:
    for place in range(10):
        for share in (0.0, 0.3, 0.5, 0.6, 0.7, 0.8, 1.0):
            paper = colours.tint(colours.of_label(place), share)
            shown = "#" + "".join(f"{round(255 * channel):02x}" for channel in paper)
            assert contrast(colours.ink_on(paper), shown) >= 4.5, (place, share)


def test_a_variant_has_one_colour_in_all_plots_and_a_label_too(drawn: Any) -> None:
    figures = drawn(train=TRAINED, verify=verified(ALL), bench=BENCH, select=CHOSEN, examine=EXAMINED)
    own = colours.of_variant("lean-int8")
    for name in ("accuracy_latency", "latency_by_length", "differences", "latency_distribution", "scores"):
        used = {line.get_color() for axes in figures[name].axes for line in axes.lines}
        assert own in used, name
    (axes,) = figures["confusion"].axes
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_color() for tick in ticks] == [colours.of_label(0), colours.of_label(1)]


def test_the_accuracy_axis_holds_every_interval(drawn: Any) -> None:
    (axes,) = drawn(verify=verified(ALL), bench=BENCH, select=CHOSEN)["accuracy_latency"].axes
    low, high = axes.get_ylim()
    for judged in ALL:
        least, most = wilson_interval(round(judged.scores.accuracy * 1200), 1200, 0.95)
        assert low < least < most < high
    bars = {tuple(round(y, 6) for y in path.vertices[:, 1]) for c in axes.collections for path in c.get_paths()}
    assert len(bars) == len({judged.scores.accuracy for judged in ALL}), "a bar for each variant"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["torch (reference)", "lean-fp32 (pass)", "lean-int8 (ships)", "onnx-int8 (refused)"]


@pytest.mark.parametrize(("low", "high"), [(1.2, 1.8), (0.15, 2.9), (4.1, 4.3), (0.01, 1_000), (2.0, 2.05), (9.5, 11)])
def test_ticks_of_a_log_scale_are_plain_numbers(low: float, high: float) -> None:
    ticks = plots.round_numbers(low, high)
    assert 3 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)
    assert all(re.fullmatch(r"\d+(\.\d{1,3})?", f"{tick:.10g}") for tick in ticks), ticks


def test_ticks_of_latencies_are_shown_as_milliseconds(drawn: Any) -> None:
    near = bench([measured(name, [ms] * 10) for name, ms in {"torch": 1.8, "lean-int8": 1.3}.items()])
    figures = drawn(verify=verified(ALL[::2]), bench=near)
    for name in ("accuracy_latency", "latency_distribution"):
        axis = figures[name].axes[0].xaxis
        shown = [tick.get_text() for tick in axis.get_ticklabels()]
        assert len(shown) >= 3, name
        assert all(re.fullmatch(r"[\d.]+", text) for text in shown), shown
    lengths = [tick.get_text() for tick in figures["latency_by_length"].axes[0].get_xticklabels()]
    assert lengths == ["16", "128"], "those that were measured"


def test_bands_without_texts_are_shown(drawn: Any) -> None:
    bands = answers.all_bands(EXAMINED.bands, 2)
    assert [round(band.least, 1) for band in bands] == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert [band.texts for band in bands] == [100, 0, 0, 0, 1100]
    assert answers.all_bands(EXAMINED.bands, 3)[0].least == pytest.approx(0.3)
    section = answers.confidence_section(TRAINED, EXAMINED)
    assert ("0.6 to 0.7", "0", "-", "-") in section.tables[1].rows
    share, count = drawn(train=TRAINED, verify=verified(ALL), select=CHOSEN, examine=EXAMINED)["scores"].axes
    assert [bar.get_height() for bar in count.patches] == [100, 0, 0, 0, 1100]
    assert share.get_ylabel() == "share of right answers"


# Why p99 is high


def long_texts() -> list[float]:
    """Two of twenty texts, not the first, take 5 ms in every round, the others 1 ms."""
    return [5.0 if text in (4, 17) else 1.0 for _ in range(ROUNDS) for text in range(TEXTS)]


def moments() -> list[float]:
    """Two texts in every round, never the same."""
    return [5.0 if text // 2 == turn + 3 else 1.0 for turn in range(ROUNDS) for text in range(TEXTS)]


def explain(samples: Sequence[float] | None, rounds: int = ROUNDS, name: str = "lean-int8") -> str:
    given = {name: samples} if samples else {}
    return "\n".join(tail.explain(bench([measured(name, samples or moments())], rounds), {}, given))


def test_long_texts_are_told_from_moments_of_the_machine() -> None:
    assert (
        "p99 is 5.0 times p50. 10 samples took longer than 3.00 ms: 10 of 2 texts that were slow in most rounds. "
        "The cause: these texts themselves. How long the texts are is not recorded; the graph alone takes 1.00 ms for "
        "16 tokens and 4.00 ms for 128."
    ) in explain(long_texts())
    machine = explain(moments())
    assert (
        "10 of texts that were not slow in most rounds. "
        "The cause: moments of the machine, as far as 5 rounds tell." in machine
    )
    assert "tokens" not in machine


def test_the_first_text_of_a_round_may_be_slow_for_the_pause_before_it() -> None:
    first = explain([5.0 if text < 1 else 1.0 for _ in range(ROUNDS) for text in range(TEXTS)])
    assert "5 of the first text of the rounds, after a pause. The cause: the pause or that text." in first
    assert "pause" not in explain(long_texts())


def test_both_causes_are_counted() -> None:
    both = explain([max(pair) for pair in zip(long_texts(), moments(), strict=True)])
    assert "20 samples took longer than 3.00 ms: 10 of 2 texts that were slow in most rounds, 10 of texts that" in both
    assert "The cause: these texts themselves; moments of the machine, as far as 5 rounds tell." in both


def test_no_reason_is_invented() -> None:
    assert "The single samples are not at hand, so the cause is not known." in explain(None)
    for rounds in (1, 3):
        told = explain(moments(), rounds)
        assert "Without a second round, the samples do not tell texts from moments of the machine." in told
    assert "p99 of a variant rests on the slowest 1 of 100 samples (20 texts in 5 rounds)." in explain(None)
    assert "No variant has a p99 of more than 3 times its p50." in explain([1.0] * 100)


@pytest.mark.parametrize(
    ("p99", "words"),
    [
        (9.5, "So its p99 is what deferred texts take."),
        (4.0, "Its p99 is above that. 10 samples took longer than 4.00"),
    ],
)
def test_the_two_ways_of_a_cascade_explain_its_tail(p99: float, words: str) -> None:
    row = measured("cascade-int8", long_texts(), LatencySummary(3.2, 7.0, p99, 100, 3.6))
    told = "\n".join(tail.explain(bench([row]), {"cascade-int8": 0.2613}, {"cascade-int8": long_texts()}))
    assert "**cascade-int8** answers in two ways: 26.1% of the test texts are deferred." in told
    assert words in told
    assert "No other variant has a p99" in told
    seldom = "\n".join(tail.explain(bench([row]), {"cascade-int8": 0.004}, {}))
    assert "two ways" not in seldom, "so few are not in p99"


def test_samples_of_another_benchmark_are_not_used(tmp_path: Path) -> None:
    run, result = RunDir(tmp_path), bench([measured("lean-int8", moments()), measured("torch", long_texts())])
    assert tail.read_samples(run, result) == {}
    for content in ("[]", "{", '{"single_text": {"lean-int8": ["x"], "torch": 3}}', '{"single_text": {"torch": [1]}}'):
        run.samples.write_text(content)
        assert tail.read_samples(run, result) == {}
    run.samples.write_text(json.dumps({"single_text": {"lean-int8": moments(), "torch": [1.0] * 100}}))
    assert tail.read_samples(run, result) == {"lean-int8": moments()}


# Words and tables


def test_the_count_of_verdicts_is_that_of_the_rows() -> None:
    verdicts = [*ALL, verdict("torch-bf16")]
    rows = [*BENCH.rows, measured("torch-bf16", [4.0] * 10), measured("long-int8", [4.0] * 10)]
    assert verification.counted_verdicts(verdicts, bench(rows)) == (
        "The table compares 5 variants with PyTorch, the reference: 3 passed, 1 refused, 1 not verified."
    )


def test_a_plot_is_described_by_its_main_result() -> None:
    assert alt_texts.accuracy_latency(BENCH, ALL, "mean", "lean-int8") == (
        "Test accuracy, with 95 % intervals, by mean latency of one text: torch 0.903 at 6.31 ms, "
        "lean-fp32 0.903 at 2.90 ms, lean-int8 0.902 at 1.78 ms (ships), onnx-int8 0.892 at 1.99 ms (refused)."
    )
    assert "the margin is -1.00: lean-fp32 0.00 (" in alt_texts.differences(differences(ALL))
    assert "bad is answered good, 112 of 600 texts" in alt_texts.confusion(scores(), "PyTorch")
    assert "1,100 of 1,200 texts score 0.9 or more" in alt_texts.scores(EXAMINED)
    assert "lean-int8 1.00 ms at 16 to 4.00 ms at 128" in alt_texts.latency_by_length(BENCH)
    assert "lean-int8 1.78 to 1.78 ms" in alt_texts.latency_distribution(BENCH)


def test_a_table_can_be_read_and_scrolled_without_a_mouse() -> None:
    written = tables.as_html(tables.Table(("a", "<b>"), (("1", "2"),), title='He said "no"'))
    assert re.findall(r"<th\b[^>]*>", written) == ['<th scope=col class="words">', "<th scope=col>"]
    assert written.startswith('<div class=scroll tabindex=0 role=region aria-label="He said &quot;no&quot;">')
    assert 'aria-label="Table: a, &lt;b&gt;"' in tables.as_html(tables.Table(("a", "<b>"), ()))


def test_text_of_the_page_has_contrast_in_both_schemes() -> None:
    light, _, dark = render.STYLE.partition("prefers-color-scheme: dark")
    for scheme in (light, dark.partition("}\n")[0]):
        own = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", scheme))
        pairs = [(ink, paper) for ink in ("text", "good", "bad", "link") for paper in ("page", "chosen", "code")]
        weak = [pair for pair in pairs if contrast(own[pair[0]], own[pair[1]]) < 4.5]
        assert weak == []


TRAINED = TrainResult(
    device="cpu",
    precision="fp32",
    processes=1,
    steps=0,
    epochs=0.0,
    seconds=0.0,
    samples_per_second=0.0,
    resumed_from_step=0,
    best_step=0,
    best_metric=0.0,
    backbone="x",
    parameters=1,
    metric="macro_f1",
    loss=(),
    evals=(),
    validation=scores(),
    test=scores(),
    confidence=EXAMINED.confidence,
    majority={"test": 0.5, "train": 0.5, "validation": 0.5},
    truncated={"test": 0, "train": 0, "validation": 0},
    samples=(),
)
