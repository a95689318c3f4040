"""Results about bundles as a person reads them, a line each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from sentopt.bundles.check import BundleCheck, machine_in_words, runtime_in_words
from sentopt.bundles.score import TableSummary
from sentopt.data import pairs
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.comparison import routes_in_words
from sentopt.runtime.description import Text
from sentopt.runtime.trials import Trial, Tuned
from sentopt.runtime.tuning import Tuning


def of_check(folder: Path, checked: BundleCheck) -> Iterator[str]:
    """What was compared, on which machine."""
    limits = [f" from {limit:g}" for limit in checked.thresholds] or [""] * len(checked.labels)
    labels = ", ".join(f"{label}{limit}" for label, limit in zip(checked.labels, limits, strict=True))
    of = f" of pairs of {' and '.join(checked.pair)}" if checked.pair else ""
    yield f"{folder}: {checked.variant}, {'any of the ' if checked.thresholds else ''}labels {labels}{of}"
    yield f"files:   {checked.files} intact (size and SHA-256)"
    yield (
        f"golden:  {checked.golden_texts} {'pairs' if checked.pair else 'texts'} answered as verified, "
        f"largest probability difference {checked.largest_difference:.4f} (allowed {checked.tolerance:.4f})"
    )
    if routes := routes_in_words(checked.golden_texts, checked.deferred, checked.rerouted):
        yield f"cascade: {routes}"
    yield f"machine: {machine_in_words(checked)}"
    yield f"runtime: {runtime_in_words(checked)}"


def of_answer(text: Text, answer: Prediction, *, sets: bool, as_json: bool) -> str:
    """A line for a text or a pair: label, score and text between tabs, or JSON.

    `sets`: the model gives any number of labels, which stand in the place of the label.
    """
    if as_json:
        return json.dumps({**pairs.as_fields(text), **asdict(answer)})
    said = (", ".join(answer.labels) or "(none of the labels)") if sets else answer.label
    return "\t".join(["?" if answer.abstained else said, f"{answer.score:.4f}", *pairs.parts(text)])


def of_counts(summary: TableSummary) -> Iterator[str]:
    """How many rows have each label, and of a multi-label model how many have none."""
    yield from (f"  {label}: {count}" for label, count in summary.labels.items())
    if summary.without_label:
        yield f"  none of the labels: {summary.without_label}"


def _doubt(classifier: Classifier) -> str:
    """What makes an answer abstain."""
    if classifier.thresholds:
        return f"have a label whose presence or absence is less sure than {classifier.abstain_below:g}"
    return f"scored below {classifier.abstain_below:g}"


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
    if summary.columns[0].startswith("predicted_"):
        yield f"{source} has columns of such names already; the answers are in {', '.join(summary.columns)}"
    for count, what in (
        (summary.empty, "had no text and got no answer"),
        (summary.truncated, f"were cut at {classifier.encoder.max_length} tokens"),
        (summary.abstained, f"{_doubt(classifier)} and got no label"),
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
