"""The variants of a run side by side, as records, as text, as HTML and as a data frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sentopt._optional import needs_extra
from sentopt.measure.stats import wilson_interval
from sentopt.measure.timing import Figure
from sentopt.report import sections
from sentopt.report.tables import Table, as_html, as_text
from sentopt.report.verification import verdict_word
from sentopt.results import BenchResult, BenchRow, Selection, Verdict
from sentopt.variants import REFERENCE

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class ComparedVariant:
    """Quality and speed of one variant.

    `accuracy` is that on the distinct test texts, with its 95 % interval; `agreement` the share of them that PyTorch
    answers with the same label. Both are None where the variant was not verified. `mean_ms`, `p50_ms`, `p95_ms` and
    `p99_ms` are milliseconds of one test text, tokenization included; benchmarks of earlier versions have no mean.
    `speedup` is the ratio of latencies, PyTorch's to its, by the figure that `select.percentile` names. `deferred` is
    the share of the test texts that a cascade hands to its full model, `deferred_ms` the mean milliseconds of one such
    text; both are None for what is no cascade.
    """

    variant: str
    ships: bool
    verdict: str
    accuracy: float | None
    accuracy_low: float | None
    accuracy_high: float | None
    agreement: float | None
    mean_ms: float | None
    p50_ms: float
    p95_ms: float
    p99_ms: float
    texts_per_second: float
    megabytes: float
    speedup: float | None
    deferred: float | None
    deferred_ms: float | None


@dataclass(frozen=True)
class Comparison:
    """One row per variant, in the order of the table of variants. `legend` says what columns and words mean."""

    rows: tuple[ComparedVariant, ...]
    as_table: Table
    legend: str

    def __iter__(self) -> Iterator[ComparedVariant]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return as_text(self.as_table)

    def _repr_html_(self) -> str:
        return as_html(self.as_table)

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with the fields of `ComparedVariant` as columns.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        with needs_extra("train"):
            import pandas

        return pandas.DataFrame([asdict(row) for row in self.rows])


def compare(verdicts: Sequence[Verdict], bench: BenchResult, selection: Selection | None) -> Comparison:
    """All variants that were measured."""
    judged = {verdict.variant: verdict for verdict in verdicts}
    figure = sections.decisive_figure(bench, selection)
    speedups = _speedups(bench, figure)
    chosen = selection.variant if selection else None
    rows = tuple(
        _compared(row, judged.get(row.variant), speedups.get(row.variant), ships=row.variant == chosen)
        for row in bench.rows
    )
    table = sections.comparison(verdicts, bench, selection)
    return Comparison(rows, table, sections.legend(verdicts, bench, selection))


def _speedups(bench: BenchResult, figure: Figure) -> dict[str, float]:
    """PyTorch's latency divided by each variant's; nothing where PyTorch was not measured."""
    latencies = {row.variant: row.latency.figure(figure) for row in bench.rows}
    reference = latencies.get(REFERENCE)
    return {name: reference / latency for name, latency in latencies.items()} if reference else {}


def _compared(row: BenchRow, verdict: Verdict | None, speedup: float | None, *, ships: bool) -> ComparedVariant:
    n = verdict.comparison.n if verdict else 0
    low, high = wilson_interval(round(verdict.scores.accuracy * n), n, 0.95) if verdict else (None, None)
    return ComparedVariant(
        variant=row.variant,
        ships=ships,
        verdict=verdict_word(row.variant, verdict),
        accuracy=verdict.scores.accuracy if verdict else None,
        accuracy_low=low,
        accuracy_high=high,
        agreement=verdict.agreement if verdict else None,
        mean_ms=row.latency.mean,
        p50_ms=row.latency.p50,
        p95_ms=row.latency.p95,
        p99_ms=row.latency.p99,
        texts_per_second=row.texts_per_second,
        megabytes=row.bytes / 1e6,
        speedup=speedup,
        deferred=verdict.deferred if verdict else None,
        deferred_ms=row.deferred_latency.mean if row.deferred_latency else None,
    )
