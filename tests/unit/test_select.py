import pytest

from sentopt import records
from sentopt.measure.scores import Scores
from sentopt.measure.stats import PairedComparison
from sentopt.measure.timing import Figure, LatencySummary
from sentopt.recipe import SelectSection
from sentopt.results import BenchRow, Selection, Verdict
from sentopt.stages import select
from sentopt.variants import VARIANTS

SCORES = Scores(0.9, 0.9, 0.9, 0.9, (), ())
COMPARISON = PairedComparison(100, 1, 1, 0.0, -0.005, 0.005, 0.01, 0.99, 0.01, 0.95)


def row(name: str, ms: float, per_second: float = 100.0) -> BenchRow:
    return timed(name, LatencySummary(ms, ms, ms, 10, ms), per_second)


def timed(name: str, latency: LatencySummary, per_second: float = 100.0) -> BenchRow:
    return BenchRow(name, latency, per_second, (), 1.0, 1.0, 1, 1)


def verdict(name: str, agreement: float = 0.99, passed: bool = True) -> Verdict:
    return Verdict(name, passed, "micro-batches", "because", COMPARISON, SCORES, agreement, 0.0, 0)


def choose(rows: list[BenchRow], verdicts: list[Verdict], objective: str = "latency") -> Selection:
    return select.run(SelectSection(objective), list(VARIANTS.values()), verdicts, rows)  # type: ignore[arg-type]


ROWS = [
    row("torch", 10.0),
    row("torch-bf16", 0.1),
    row("onnx-fp32", 5.0, 900),
    row("onnx-int8", 2.0, 400),
    row("onnx-int8-per-channel", 3.0),
]
ALL = [verdict(r.variant) for r in ROWS]


def test_fastest_that_may_ship() -> None:
    chosen = choose(ROWS, ALL)
    assert chosen.variant == "onnx-int8"
    assert "2.00 ms per text (mean)" in chosen.reason
    assert "5.0 times as fast as PyTorch" in chosen.reason


def test_the_reason_counts_the_rows_that_a_reader_sees_pass() -> None:
    """Four rows pass: three that can ship, and torch-bf16, which is explained."""
    lines = choose(ROWS, ALL).reason.splitlines()
    assert "fastest of the 3 variants that passed and that a bundle can hold" in lines[0]
    assert lines[1].startswith("torch-bf16 passed, but is measured for comparison only")
    assert not any("torch " in line for line in lines[1:]), "the reference is no variant that passed"
    gpu = [*ROWS, row("torch-cuda", 0.2)]
    assert "torch-bf16 and torch-cuda passed, but are" in choose(gpu, [*ALL, verdict("torch-cuda")]).reason


def test_the_only_variant_is_not_called_the_fastest() -> None:
    chosen = choose(ROWS[:1] + ROWS[2:3], [verdict("torch"), verdict("onnx-fp32")])
    assert "the only variant that passed" in chosen.reason
    assert "fastest" not in chosen.reason


def test_throughput_is_another_objective() -> None:
    assert choose(ROWS, ALL, "throughput").variant == "onnx-fp32"


def test_refused_and_unverified_variants_never_ship() -> None:
    refused = choose(ROWS, [verdict("torch"), verdict("onnx-fp32"), verdict("onnx-int8", passed=False)])
    assert refused.variant == "onnx-fp32"
    assert "onnx-int8 was refused: because" in refused.reason


def test_ties_go_to_the_more_faithful() -> None:
    rows = [row("onnx-int8", 2.0), row("onnx-int8-per-channel", 2.04)]
    chosen = choose(rows, [verdict("onnx-int8", 0.97), verdict("onnx-int8-per-channel", 0.99)])
    assert chosen.variant == "onnx-int8-per-channel"
    assert "within 3% of the fastest, onnx-int8" in chosen.reason


def test_nothing_passed() -> None:
    chosen = choose(ROWS, [verdict(r.variant, passed=False) for r in ROWS])
    assert chosen.variant is None
    assert chosen.reason.startswith("No variant that a bundle can hold passed verification, so nothing ships.\n")
    assert "onnx-int8 was refused: because." in chosen.reason.splitlines()


def test_where_only_pytorch_passes_the_reason_says_why_it_does_not_ship() -> None:
    """The table shows torch-bf16 as passed."""
    verdicts = [verdict("torch"), verdict("torch-bf16"), verdict("onnx-fp32", passed=False)]
    lines = choose(ROWS, verdicts).reason.splitlines()
    assert lines[0].startswith("No variant that a bundle can hold passed")
    assert lines[1].startswith("torch-bf16 passed, but is measured for comparison only")


CASCADE = [
    timed("torch", LatencySummary(8.0, 16.0, 30.0, 200, 10.0)),
    timed("lean-int8", LatencySummary(2.0, 4.0, 6.0, 200, 2.4)),
    timed("cascade-int8", LatencySummary(0.8, 6.0, 9.0, 200, 2.6)),
]


@pytest.mark.parametrize(
    ("percentile", "variant", "words"),
    [
        ("mean", "lean-int8", "2.40 ms per text (mean), 4.2 times as fast as PyTorch"),
        ("p50", "cascade-int8", "0.80 ms per text (p50), 10.0 times as fast as PyTorch"),
        ("p95", "lean-int8", "4.00 ms per text (p95), 4.0 times as fast as PyTorch"),
        ("p99", "lean-int8", "6.00 ms per text (p99), 5.0 times as fast as PyTorch"),
    ],
)
def test_the_recipe_names_the_figure_that_decides(percentile: Figure, variant: str, words: str) -> None:
    """The median alone would ship a cascade that is slower on average."""
    rules = SelectSection(percentile=percentile)
    chosen = select.run(rules, list(VARIANTS.values()), [verdict(r.variant) for r in CASCADE], CASCADE)
    assert (chosen.variant, chosen.figure) == (variant, percentile)
    assert words in chosen.reason
    assert SelectSection().percentile == "mean"


def test_where_one_row_has_no_mean_all_are_compared_by_the_median_and_the_reason_says_so() -> None:
    old = [*CASCADE[:2], timed("cascade-int8", LatencySummary(0.8, 6.0, 9.0, 200))]
    chosen = choose(old, [verdict(r.variant) for r in old])
    assert (chosen.variant, chosen.figure) == ("cascade-int8", "p50")
    assert "0.80 ms per text (p50)" in chosen.reason
    assert "Medians were compared" in chosen.reason.splitlines()[1]
    assert "Medians" not in choose(old, [verdict(r.variant) for r in old], "throughput").reason
    assert "Medians" not in choose(CASCADE, [verdict(r.variant) for r in CASCADE]).reason


def test_a_selection_of_an_earlier_version_was_by_the_median() -> None:
    old = records.from_json(Selection, {"variant": "lean-int8", "objective": "latency", "reason": "because"})
    assert old.figure == "p50"


def test_the_fallback_is_fastest_by_the_same_figure() -> None:
    rows = [
        timed("lean-fp32", LatencySummary(2.0, 3.0, 4.0, 200, 2.2)),
        timed("cascade-fp32", LatencySummary(1.0, 5.0, 9.0, 200, 2.5)),
    ]
    judged = {r.variant: verdict(r.variant) for r in rows}
    for percentile, expected in {"mean": "lean-fp32", "p50": "cascade-fp32"}.items():
        found = select.fallback(VARIANTS["lean-int8"], judged, rows, percentile=percentile)  # type: ignore[arg-type]
        assert found is not None
        assert found.name == expected
