"""The five plots of a report, as PNG files. Without matplotlib, a report has tables only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentopt._optional import is_installed
from sentopt.files import atomic
from sentopt.manifest import Manifest
from sentopt.measure.scores import Scores
from sentopt.measure.stats import wilson_interval
from sentopt.measure.timing import Figure
from sentopt.report.sections import decisive_figure, examination, shown_scores
from sentopt.results import BenchResult, ExamineResult, Selection, TrainResult, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.variants import VARIANTS

_COLOURS = ("#1f77b4", "#9467bd", "#7f7f7f", "#2ca02c", "#d62728", "#ff7f0e", "#17becf", "#8c564b")

_PALETTE = 20  # colours of one of matplotlib's maps

_FIGURES: dict[Figure, str] = {"mean": "mean", "p50": "median", "p95": "95th percentile", "p99": "99th percentile"}


def draw(run_dir: RunDir, manifest: Manifest) -> dict[str, Path]:
    """Draw the plots whose stages have finished; return the path of each by its name."""
    if not is_installed("matplotlib"):
        return {}
    drawn: list[str] = []
    with atomic.replace_folder(run_dir.plots) as folder:
        if "train" in manifest.stages:
            trained = manifest.result("train", TrainResult)
            if trained.steps:  # a model that was fine-tuned elsewhere has no loss to show
                drawn.append(_save(folder, "loss", _loss(trained)))
            drawn.append(_save(folder, "confusion", _confusion(*shown_scores(trained, manifest))))
        if (examined := examination(manifest)) and examined.bands:
            drawn.append(_save(folder, "scores", _scores(examined)))
        if "bench" in manifest.stages and "verify" in manifest.stages:
            bench, verified = manifest.result("bench", BenchResult), manifest.result("verify", VerifyResult)
            drawn += [
                _save(folder, "latency_by_length", _latency(bench)),
                _save(folder, "accuracy_latency", _tradeoff(bench, verified, _figure(manifest, bench))),
            ]
    return {name: run_dir.plots / f"{name}.png" for name in drawn}


def _save(folder: Path, name: str, figure: Any) -> str:
    # Without metadata the same figures give the same bytes.
    figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return name


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot, whose backend and open figures are the caller's

    figure = Figure(figsize=(7, 4.2))
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def _loss(trained: TrainResult) -> Any:
    figure, axes = _axes("Loss", "step", "cross entropy")
    axes.plot([p.step for p in trained.loss], [p.loss for p in trained.loss], color=_COLOURS[0], label="training")
    axes.plot(
        [e.step for e in trained.evals], [e.loss for e in trained.evals], "o-", color=_COLOURS[5], label="validation"
    )
    axes.axvline(trained.best_step, color=_COLOURS[2], linestyle=":", label="kept checkpoint")
    axes.legend(frameon=False)
    return figure


def _confusion(scores: Scores, who: str) -> Any:
    labels, counts = [c.label for c in scores.per_class], scores.confusion
    figure, axes = _axes(f"Confusion on the test split ({who})", "answered", "true")
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.grid(visible=False)
    axes.set_xticks(range(len(labels)), labels, parse_math=False)  # $ is a character of a label
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            axes.text(j, i, str(count), ha="center", va="center", color="white" if shares[i][j] > 0.5 else "black")
    return figure


def _latency(bench: BenchResult) -> Any:
    figure, axes = _axes("Latency of one text by its length (graph alone)", "tokens", "median ms (log scale)")
    for row in bench.rows:
        own = colour(row.variant)
        cells = sorted((cell.tokens, cell.p50) for cell in row.grid if cell.batch == 1)
        axes.plot([t for t, _ in cells], [ms for _, ms in cells], "o-", color=own, label=row.variant)
    axes.set_yscale("log")
    _plain_numbers(axes.yaxis)
    _legend_beside(axes)
    return figure


def _figure(manifest: Manifest, bench: BenchResult) -> Figure:
    selection = manifest.result("select", Selection) if "select" in manifest.stages else None
    return decisive_figure(bench, selection)


def _tradeoff(bench: BenchResult, verified: VerifyResult, latency: Figure) -> Any:
    figure, axes = _axes(
        "Accuracy and latency of each variant",
        f"ms of one text, {_FIGURES[latency]} (log scale)",
        "test accuracy and its 95 % interval",
    )
    judged = {v.variant: v for v in verified.verdicts}
    for row in bench.rows:
        own, verdict = colour(row.variant), judged.get(row.variant)
        if verdict is None:
            continue
        marker = "o" if verdict.passed else "x"
        label = row.variant if verdict.passed else f"{row.variant} (refused)"
        accuracy, texts = verdict.scores.accuracy, sum(c.support for c in verdict.scores.per_class)
        milliseconds = row.latency.figure(latency)
        axes.plot(milliseconds, accuracy, marker, markersize=9, color=own, label=label)
        if texts:
            low, high = wilson_interval(round(accuracy * texts), texts, 0.95)
            axes.plot([milliseconds] * 2, [low, high], "-", color=own, alpha=0.4)
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis)
    _legend_beside(axes)
    return figure


def _legend_beside(axes: Any) -> None:
    """To the right of the axes, where it hides no point."""
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _plain_numbers(axis: Any) -> None:
    """1, 2, 5, 10 ... on a log scale, instead of powers of ten."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def colour(variant: str) -> Any:
    """That of a variant in every plot of every run: by its place in the table of variants."""
    from matplotlib import colormaps

    place = list(VARIANTS).index(variant) if variant in VARIANTS else len(VARIANTS)
    return colormaps["tab20"](place) if place < _PALETTE else colormaps["tab20b"](place - _PALETTE)


def _scores(examined: ExamineResult) -> Any:
    """The share of right answers by their score, with its 95 % interval: on the diagonal where scores are honest."""
    figure, axes = _axes(f"How often a score is right ({examined.variant})", "score", "share of right answers")
    axes.plot([0, 1], [0, 1], ":", color=_COLOURS[2], label="as often as the score says")
    own = colour(examined.variant)
    for band in examined.bands:
        share = band.right / band.texts
        low, high = wilson_interval(band.right, band.texts, 0.95)
        axes.plot([band.mean_score] * 2, [low, high], "-", color=own, alpha=0.4)
        axes.plot(band.mean_score, share, "o", markersize=9, color=own)
        axes.annotate(
            f"{band.texts:,}", (band.mean_score, low), (0, -12), textcoords="offset points", ha="center", fontsize=8
        )
    axes.set(xlim=(min(0.95, min(band.least for band in examined.bands)), 1.02), ylim=(-0.08, 1.05))
    axes.legend(frameon=False)
    return figure
