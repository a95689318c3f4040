"""How fast the variants are, and on which machine that was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sentopt.measure.hardware import Hardware
from sentopt.measure.timing import LatencySummary
from sentopt.report import alt_texts, tail
from sentopt.report.section import Section, picked
from sentopt.report.tables import Table
from sentopt.results import BenchResult, Verdict

_PAGE = ("INT8 and the lean graph", "int8.md")
_RANDOM_TEXTS = (
    "The figures by number and length of texts are those of random tokens. What a cascade defers of these says nothing "
    "of what it defers of real texts: compare it by the times of test texts."
)


def section(
    bench: BenchResult, verdicts: Sequence[Verdict], images: Mapping[str, Path], samples: tail.Samples
) -> Section:
    """The part on times: what they are, why p99 is high where it is, and what start and memory cost."""
    text = (
        f"Measured on {machine(bench.hardware)}. "
        "The mean is what a text costs a server; the percentiles say what single users wait for. "
        f"Tokenization takes {bench.tokenization.p50:.3f} ms of the time of one text."
    )
    random = () if all(row.deferred_latency is None for row in bench.rows) else (_RANDOM_TEXTS,)
    deferred = {v.variant: v.deferred for v in verdicts if v.deferred is not None}
    return Section(
        "Speed",
        (text, *random),
        tuple(tail.explain(bench, deferred, samples)),
        tables=(_latencies(bench), _grid(bench), _start(bench)),
        images=(
            *picked(images, "latency_distribution", alt_texts.latency_distribution(bench)),
            *picked(images, "latency_by_length", alt_texts.latency_by_length(bench)),
        ),
        pages=(_PAGE,),
    )


def _grid(bench: BenchResult) -> Table:
    """Medians by number and length of texts."""
    cells = [(cell.batch, cell.tokens) for cell in bench.rows[0].grid]
    return Table(
        ("variant", *(f"{b} x {t}" for b, t in cells)),
        tuple((row.variant, *(f"{cell.p50:.2f}" for cell in row.grid)) for row in bench.rows),
        title="Median milliseconds of the graph alone, by number of texts x tokens of each",
    )


def _start(bench: BenchResult) -> Table:
    """Cold start, memory and size."""
    return Table(
        ("variant", "load ms", "first answer ms", "peak memory MiB", "file MB"),
        tuple(
            (
                row.variant,
                f"{row.load_ms:.0f}",
                f"{row.first_ms:.1f}",
                f"{row.peak_memory_bytes / 2**20:.0f}",
                f"{row.bytes / 1e6:.1f}",
            )
            for row in bench.rows
        ),
        title="Start and memory of a fresh process",
    )


def _latencies(bench: BenchResult) -> Table:
    """Every figure of one text, and those of texts that a cascade defers if there is one."""
    has_cascade = any(row.deferred_latency for row in bench.rows)

    def cells(latency: LatencySummary | None) -> tuple[str, ...]:
        if latency is None:
            return ("-",) * 4
        return tuple(map(milliseconds, (latency.mean, latency.p50, latency.p95, latency.p99)))

    figures = ("mean", "p50", "p95", "p99")
    return Table(
        ("variant", *figures, *([f"{figure}, all deferred" for figure in figures] if has_cascade else [])),
        tuple((r.variant, *cells(r.latency), *(cells(r.deferred_latency) if has_cascade else ())) for r in bench.rows),
        title="Milliseconds of one test text, tokenization included",
    )


def machine(hardware: Hardware) -> str:
    """Processor, cores, memory and instructions."""
    quota = f", CPU quota {hardware.cpu_quota:g}" if hardware.cpu_quota else ""
    memory = f"{hardware.memory_bytes / 2**30:.0f} GiB"
    return f"{hardware.cpu}, {hardware.cores} cores{quota}, {memory} ({', '.join(hardware.isa)})"


def milliseconds(value: float | None) -> str:
    """Benchmarks of earlier versions have no mean."""
    return "-" if value is None else f"{value:.2f}"
