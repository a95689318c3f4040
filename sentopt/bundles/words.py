"""Results about bundles as a person reads them, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from sentopt.bundles.check import BundleCheck, machine_in_words, runtime_in_words
from sentopt.bundles.score import TableSummary
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.comparison import routes_in_words
from sentopt.runtime.trials import Trial, Tuned
from sentopt.runtime.tuning import Tuning


def of_check(folder: Path, checked: BundleCheck) -> Iterator[str]:
    """What was compared, on which machine."""
    yield f"{folder}: {checked.variant}, labels {', '.join(checked.labels)}"
    yield f"files:   {checked.files} intact (size and SHA-256)"
    yield (
        f"golden:  {checked.golden_texts} texts answered as verified, "
        f"largest probability difference {checked.largest_difference:.4f} (allowed {checked.tolerance:.4f})"
    )
    if routes := routes_in_words(checked.golden_texts, checked.deferred, checked.rerouted):
        yield f"cascade: {routes}"
    yield f"machine: {machine_in_words(checked)}"
    yield f"runtime: {runtime_in_words(checked)}"


def of_tuning(tuned: Tuned) -> Iterator[str]:
    """Every trial, and what is kept."""
    yield from (f"  {_trial(trial)}" for trial in tuned.trials)
    chosen = tuned.tuning
    yield (
        f"kept for this machine: {_counted(chosen.threads, 'thread')} for one text; "
        f"{_counted(chosen.workers, 'worker')}, {_micro_batch(chosen)}, for many ({tuned.path})"
    )


def of_scored_rows(summary: TableSummary, source: str, classifier: Classifier) -> Iterator[str]:
    """What there is to note about the rows of a table that were scored."""
    yield from summary.notices
    if summary.columns[0] != "label":
        yield f"{source} has columns of such names already; the answers are in {', '.join(summary.columns)}"
    for count, what in (
        (summary.empty, "had no text and got no answer"),
        (summary.truncated, f"were cut at {classifier.encoder.max_length} tokens"),
        (summary.abstained, f"scored below {classifier.abstain_below:g} and got no label"),
    ):
        if count:
            yield f"{count} row(s) {what}"


def _trial(trial: Trial) -> str:
    way = trial.tuning
    if trial.milliseconds is not None:
        return f"one text, {_counted(way.threads, 'thread')}: {trial.milliseconds:.2f} ms"
    return f"many, {_counted(way.workers, 'worker')}, {_micro_batch(way)}: {trial.texts_per_second:.0f} texts/s"


def _micro_batch(way: Tuning) -> str:
    return "one text at a time" if way.max_batch == 1 else f"up to {way.max_batch} texts of {way.max_tokens} tokens"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count > 1 else ''}"
