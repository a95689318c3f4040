"""What a plot shows and its main result, in words: for readers who do not see it."""

from __future__ import annotations

from collections.abc import Sequence

from sentopt.measure.scores import Scores
from sentopt.measure.timing import Figure
from sentopt.report.differences import Difference, signed
from sentopt.results import BenchResult, ExamineResult, TrainResult, Verdict


def loss(trained: TrainResult) -> str:
    """First and last loss on both splits, and what was kept."""
    curves = ("training", [p.loss for p in trained.loss]), ("validation", [e.loss for e in trained.evals])
    told = [f"{name} from {losses[0]:.2f} to {losses[-1]:.2f}" for name, losses in curves if losses]
    values = ", ".join(told) or "no values"
    return f"Loss by step: {values} in {trained.steps} steps; the weights of step {trained.best_step} are kept."


def confusion(scores: Scores, who: str) -> str:
    """How many texts are right, and which two labels are confused most often."""
    texts, right = sum(map(sum, scores.confusion)), sum(row[i] for i, row in enumerate(scores.confusion))
    lead = f"Confusion matrix of {who} on the test split: {right:,} of {texts:,} texts are right"
    names = [c.label for c in scores.per_class]
    wrong = [(n, i, j) for i, row in enumerate(scores.confusion) for j, n in enumerate(row) if i != j and n]
    if not wrong:
        return f"{lead}."
    most, true, answered = max(wrong, key=lambda one: one[0])
    return (
        f"{lead}. The most frequent error: {names[true]} is answered {names[answered]}, {most:,} of "
        f"{sum(scores.confusion[true]):,} texts."
    )


def scores(examined: ExamineResult) -> str:
    """How many texts have the highest scores, and how many of these are right."""
    top = max(examined.bands, key=lambda band: band.least)
    texts = sum(band.texts for band in examined.bands)
    return (
        f"Share of right answers of {examined.variant} by score, with 95 % intervals and the number of texts: "
        f"{top.texts:,} of {texts:,} texts score {top.least:.1f} or more ({top.mean_score:.3f} on average), and "
        f"{top.right / top.texts:.3f} of these are right. Calibration error {examined.confidence.error:.4f}."
    )


def differences(shown: Sequence[Difference]) -> str:
    """The difference of each variant, its limits, and the margin."""
    told = "; ".join(f"{one.variant} {one.in_words}" for one in shown)
    margin = signed(-max(one.margin for one in shown))
    return f"Accuracy minus PyTorch's in percentage points, with one-sided limits; the margin is {margin}: {told}."


def accuracy_latency(bench: BenchResult, verdicts: Sequence[Verdict], figure: Figure, chosen: str | None) -> str:
    """Accuracy and milliseconds of each variant, what ships and what was refused."""
    judged = {verdict.variant: verdict for verdict in verdicts}
    told = [
        f"{row.variant} {judged[row.variant].scores.accuracy:.3f} at {row.latency.figure(figure):.2f} ms"
        f"{_remark(judged[row.variant], chosen)}"
        for row in bench.rows
        if row.variant in judged
    ]
    return f"Test accuracy, with 95 % intervals, by {figure} latency of one text: {', '.join(told)}."


def _remark(verdict: Verdict, chosen: str | None) -> str:
    if verdict.variant == chosen:
        return " (ships)"
    return "" if verdict.passed else " (refused)" if verdict.tested else " (untested)"


def latency_by_length(bench: BenchResult) -> str:
    """The median milliseconds of each variant for the shortest and the longest text that was measured."""
    told = []
    for row in bench.rows:
        cells = sorted((cell.tokens, cell.p50) for cell in row.grid if cell.batch == 1)
        ends = dict.fromkeys(cells[:1] + cells[-1:])
        if cells:
            told.append(f"{row.variant} {' to '.join(f'{ms:.2f} ms at {tokens}' for tokens, ms in ends)}")
    return f"Median latency of the graph alone by number of tokens: {', '.join(told) or 'not measured'}."


def latency_distribution(bench: BenchResult) -> str:
    """p50 and p99 of each variant."""
    told = ", ".join(f"{row.variant} {row.latency.p50:.2f} to {row.latency.p99:.2f} ms" for row in bench.rows)
    return f"Time of single texts, from p50 to p99: {told}."
