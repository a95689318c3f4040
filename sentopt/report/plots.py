"""The plots of a report, as PNG files. Without matplotlib, a report has tables only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sentopt._optional import is_installed
from sentopt.files import atomic
from sentopt.manifest import Manifest
from sentopt.measure.scores import Scores
from sentopt.measure.stats import wilson_interval
from sentopt.measure.timing import Figure
from sentopt.report import colours, tail
from sentopt.report.answers import all_bands
from sentopt.report.differences import Difference, differences
from sentopt.report.sections import decisive_figure, examination, shown_scores
from sentopt.report.verification import verdict_word
from sentopt.results import BenchResult, ExamineResult, ScoreBand, Selection, TrainResult, Verdict, VerifyResult
from sentopt.run_dir import RunDir

_FIGURES: dict[Figure, str] = {"mean": "mean", "p50": "median", "p95": "95th percentile", "p99": "99th percentile"}
_GOLDEN = 0.618  # spreads points that would lie on each other
_MANY_LABELS = 12
_ROUND_NUMBERS = ((1.0, 1.5, 2.0, 3.0, 5.0, 7.0), (1.0, 2.0, 5.0), (1.0,))
_FEWEST_TICKS, _MOST_TICKS = 3, 8


def draw(run_dir: RunDir, manifest: Manifest) -> dict[str, Path]:
    """Draw the plots whose stages have finished; return the path of each by its name."""
    if not is_installed("matplotlib"):
        return {}
    with atomic.replace_folder(run_dir.plots) as folder:
        names = [_save(folder, name, figure) for name, figure in _figures(run_dir, manifest).items()]
    return {name: run_dir.plots / f"{name}.png" for name in names}


def _figures(run_dir: RunDir, manifest: Manifest) -> dict[str, Any]:
    """Those whose stages have finished, by name."""
    figures: dict[str, Any] = {}
    if "train" in manifest.stages:
        trained = manifest.result("train", TrainResult)
        if trained.steps:  # a model that was fine-tuned elsewhere has no loss to show
            figures["loss"] = _loss(trained)
        shown, who = shown_scores(trained, manifest)
        if shown.confusion:
            figures["confusion"] = _confusion(shown, who)
        if (examined := examination(manifest)) and examined.bands:
            figures["scores"] = _scores(examined, len(trained.test.per_class))
    verdicts = manifest.result("verify", VerifyResult).verdicts if "verify" in manifest.stages else ()
    if against := differences(verdicts):
        figures["differences"] = _differences(against, {v.variant: v for v in verdicts})
    if "bench" in manifest.stages:
        bench = manifest.result("bench", BenchResult)
        selection = manifest.result("select", Selection) if "select" in manifest.stages else None
        figures["latency_by_length"] = _latency(bench)
        figures["latency_distribution"] = _distribution(bench, tail.read_samples(run_dir, bench))
        if verdicts:
            figures["accuracy_latency"] = _tradeoff(bench, verdicts, selection)
    return figures


def _save(folder: Path, name: str, figure: Any) -> str:
    # Without metadata the same figures give the same bytes.
    figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight", metadata={"Software": None})
    return name


def _axes(title: str, x: str, y: str, *, size: tuple[float, float] = (7, 4.2)) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot, whose backend and open figures are the caller's

    figure = Figure(figsize=size)
    axes = figure.subplots()
    _label(axes, title, x, y)
    return figure, axes


def _label(axes: Any, title: str, x: str, y: str) -> None:
    axes.set(title=title, xlabel=x, ylabel=y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _loss(trained: TrainResult) -> Any:
    """Both lines are of the PyTorch model, so both have its colour."""
    figure, axes = _axes("Loss of the PyTorch model", "step", "cross entropy")
    own = colours.of_variant("torch")
    axes.plot([p.step for p in trained.loss], [p.loss for p in trained.loss], color=colours.FAINT, label="training")
    axes.plot([e.step for e in trained.evals], [e.loss for e in trained.evals], "o-", color=own, label="validation")
    axes.axvline(trained.best_step, color=own, linestyle=":", label="kept checkpoint")
    axes.legend(frameon=False)
    return figure


def _confusion(scores: Scores, who: str) -> Any:
    """Each row has the colour of its true label, the deeper the more of its texts are in the cell."""
    labels, counts = [c.label for c in scores.per_class], scores.confusion
    side = max(4.2, 1.5 + 0.4 * len(labels))
    figure, axes = _axes(
        f"Confusion on the test split ({who})", "answered label", "true label", size=(1.2 * side, side)
    )
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    cells = [[colours.tint(colours.of_label(i), share) for share in row] for i, row in enumerate(shares)]
    axes.imshow(cells)
    axes.grid(visible=False)
    axes.set_xticks(range(len(labels)), labels, parse_math=False)  # $ is a character of a label
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    if len(labels) > 3:
        axes.tick_params(axis="x", labelrotation=90)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        for place, tick in enumerate(ticks):
            tick.set_color(colours.of_label(place))
    size = 10 if len(labels) <= _MANY_LABELS else 7
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            ink = colours.ink_on(cells[i][j])
            axes.text(j, i, str(count), ha="center", va="center", color=ink, fontsize=size)
    return figure


def _latency(bench: BenchResult) -> Any:
    figure, axes = _axes("Latency of one text by its length (graph alone)", "tokens", "median ms (log scale)")
    shown = [(row.variant, sorted((c.tokens, c.p50) for c in row.grid if c.batch == 1)) for row in bench.rows]
    for variant, cells in shown:
        own = colours.of_variant(variant)
        axes.plot([t for t, _ in cells], [ms for _, ms in cells], "o-", color=own, label=variant)
    axes.set_yscale("log")
    _plain_numbers(axes.yaxis, [ms for _, cells in shown for _, ms in cells])
    lengths = sorted({tokens for _, cells in shown for tokens, _ in cells})
    axes.set_xticks(lengths, [str(tokens) for tokens in lengths])
    _legend_beside(axes)
    return figure


def _distribution(bench: BenchResult, samples: tail.Samples) -> Any:
    """A row for each variant: a point for each sample, a line from p50 to p99 over them."""
    height = 1.6 + 0.55 * len(bench.rows)
    figure, axes = _axes(
        "How long single texts take",
        "ms of one text (log scale); the line goes from p50 (bar) to p99 (diamond)",
        "",
        size=(7, height),
    )
    for place, row in enumerate(bench.rows):
        own, ms = colours.of_variant(row.variant), row.latency
        points = list(samples.get(row.variant, ()))
        spread = [place + 0.5 * ((i * _GOLDEN) % 1 - 0.5) for i in range(len(points))]
        axes.plot(points, spread, ".", color=own, alpha=0.35, markersize=4)
        axes.plot([ms.p50, ms.p99], [place] * 2, "-", color=colours.INK, linewidth=1.5)
        axes.plot(ms.p50, place, "|", color=colours.INK, markersize=16, markeredgewidth=3)
        axes.plot(ms.p99, place, "D", color=colours.INK, markersize=6)
        axes.annotate(
            f"p50 {ms.p50:.2f}, p99 {ms.p99:.2f}",
            (1.01, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
        )
    axes.set_yticks(range(len(bench.rows)), [row.variant for row in bench.rows])
    axes.set_ylim(len(bench.rows) - 0.5, -0.5)
    axes.set_xscale("log")
    _plain_numbers(
        axes.xaxis,
        [*(ms for own in samples.values() for ms in own), *(f for r in bench.rows for f in _ends(r.latency))],
    )
    return figure


def _ends(latency: Any) -> tuple[float, float]:
    return latency.p50, latency.p99


def _tradeoff(bench: BenchResult, verdicts: Sequence[Verdict], selection: Selection | None) -> Any:
    latency = decisive_figure(bench, selection)
    figure, axes = _axes(
        "Accuracy and latency of each variant",
        f"ms of one text, {_FIGURES[latency]} (log scale)",
        "test accuracy and its 95 % interval",
    )
    judged = {v.variant: v for v in verdicts}
    ends: list[float] = []
    rows = [row for row in bench.rows if row.variant in judged]
    for row in rows:
        own, verdict = colours.of_variant(row.variant), judged[row.variant]
        accuracy, texts = verdict.scores.accuracy, verdict.scores.texts
        milliseconds, ships = row.latency.figure(latency), selection is not None and selection.variant == row.variant
        label = f"{row.variant} ({'ships' if ships else verdict_word(row.variant, verdict)})"
        low, high = wilson_interval(round(accuracy * texts), texts, 0.95) if texts else (accuracy, accuracy)
        ends += [low, high, accuracy]
        bar = [[max(0.0, accuracy - low)], [max(0.0, high - accuracy)]]
        axes.errorbar([milliseconds], [accuracy], bar, fmt="none", ecolor=own, capsize=4, alpha=0.7)
        axes.plot(milliseconds, accuracy, "o" if verdict.passed else "X", markersize=9, color=own, label=label)
    if ends:
        axes.set_ylim(*_padded(ends))
    axes.set_xscale("log")
    _plain_numbers(axes.xaxis, [row.latency.figure(latency) for row in rows])
    _legend_beside(axes)
    return figure


def _differences(shown: Sequence[Difference], verdicts: dict[str, Verdict]) -> Any:
    """A row for each variant: its difference to PyTorch, which is the line at 0, and the margin of the gate."""
    height = 1.9 + 0.5 * len(shown)
    figure, axes = _axes(
        "Accuracy against PyTorch, with one-sided limits",
        "accuracy minus PyTorch's on the same texts, percentage points",
        "",
        size=(7, height),
    )
    axes.set_title(axes.get_title(), pad=24)  # above the names of the lines
    for place, one in enumerate(shown):
        own = colours.of_variant(one.variant)
        axes.plot([one.lower, one.upper], [place] * 2, "|-", color=own, linewidth=2, markersize=10)
        axes.plot(one.points, place, "o" if verdicts[one.variant].passed else "X", color=own, markersize=9)
        axes.annotate(one.in_words, (1.01, place), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    margin = max(one.margin for one in shown)
    lines = (0.0, "PyTorch", "-", "left"), (-margin, f"margin of the gate: -{margin:g}", "--", "right")
    for x, name, style, side in lines:
        axes.axvline(x, color=colours.INK, linestyle=style, linewidth=1.2)
        axes.annotate(name, (x, 1.02), xycoords=("data", "axes fraction"), ha=side, fontsize=9)
    names = [
        f"{one.variant} ({'exact' if one.exact else verdict_word(one.variant, verdicts[one.variant])})" for one in shown
    ]
    axes.set_yticks(range(len(shown)), names)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.set_xlim(*_padded([0.0, -margin, *(end for one in shown for end in (one.lower, one.upper))]))
    return figure


def _padded(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis on which all values are seen."""
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.01
    return low - pad, high + pad


def _legend_beside(axes: Any) -> None:
    """To the right of the axes, where it hides no point."""
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))


def _plain_numbers(axis: Any, values: Sequence[float]) -> None:
    """Limits around the values of a log scale, and round numbers such as 0.5, 1 and 2 on it, none as a power of ten."""
    from matplotlib.ticker import NullFormatter, NullLocator

    if not values:
        return
    low, high = min(values) / 1.15, max(values) * 1.15
    axis.axes.set(**{f"{axis.axis_name}lim": (low, high)})
    ticks = round_numbers(low, high)
    axis.set_ticks(ticks, [f"{tick:.10g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def round_numbers(low: float, high: float) -> list[float]:
    """Numbers from `low` to `high`, both above 0, that a log scale can show: at least three, few digits each."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in _ROUND_NUMBERS:
        ticks = [step * 10.0**decade for decade in decades for step in steps if low <= step * 10.0**decade <= high]
        if len(ticks) < _FEWEST_TICKS:
            break
        if len(ticks) <= _MOST_TICKS:
            return ticks
    else:
        return ticks[:: -(-len(ticks) // _MOST_TICKS)]
    unit = 10.0 ** math.floor(math.log10((high - low) / _FEWEST_TICKS))
    for width in (5 * unit, 2 * unit, unit, unit / 2):
        ticks = [round(i * width, 12) for i in range(math.ceil(low / width), math.floor(high / width) + 1)]
        if len(ticks) >= _FEWEST_TICKS:
            return ticks
    return ticks


def _scores(examined: ExamineResult, labels: int) -> Any:
    """The share of right answers by their score, with its 95 % interval: on the diagonal where scores are honest.

    Below it, how many texts have such a score. A band without texts is there, too.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5.6))
    share, count = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    bands, own = all_bands(examined.bands, labels), colours.of_variant(examined.variant)
    _label(share, f"How often a score is right ({examined.variant})", "", "share of right answers")
    _label(count, "", "score", "texts")
    share.plot([0, 1], [0, 1], ":", color=colours.FAINT, label="as often as the score says")
    for band in bands:
        _score_band(share, count, band, own)
    least = bands[0].least
    share.set(xlim=(least - 0.02, 1.02), ylim=(-0.03, 1.05))
    count.set(ylim=(0, 1.25 * max(band.texts for band in bands)))
    count.set_xticks([band.least for band in bands] + [1.0])
    share.legend(frameon=False, loc="lower right")
    return figure


def _score_band(share: Any, count: Any, band: ScoreBand, colour: str) -> None:
    count.bar(band.least + 0.05, band.texts, 0.09, color=colour)
    count.annotate(
        f"{band.texts:,}", (band.least + 0.05, band.texts), (0, 2), textcoords="offset points", ha="center", fontsize=8
    )
    if not band.texts:
        return
    right = band.right / band.texts
    low, high = wilson_interval(band.right, band.texts, 0.95)
    bar = [[max(0.0, right - low)], [max(0.0, high - right)]]
    share.errorbar([band.mean_score], [right], bar, fmt="o", color=colour, ecolor=colour, capsize=4, markersize=8)
