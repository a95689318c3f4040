"""What the variant that ships answers, text by text: by label, by length, how sure it is, and what it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sentopt.measure.scores import Scores
from sentopt.report.section import Section
from sentopt.report.tables import Table, second_heading, share, texts_of
from sentopt.results import AnsweredText, ChangedAnswers, Confidence, ExamineResult, LengthBand, ScoreBand, TrainResult
from sentopt.run_dir import RunDir

WRONG, CHANGED = "What it gets wrong", "What each variant changes"
WITH_TEXTS = (WRONG, CHANGED)
"""Titles of the parts that show texts of the test split."""
_BANDS = 10  # of scores
_ROWS = "Rows count in `data/test.jsonl`."


def confidence_section(trained: TrainResult, examined: ExamineResult | None) -> Section:
    """How sure the answers are, of the variant that ships, or else of the PyTorch model."""
    shown = examined.confidence if examined else trained.confidence
    who = examined.variant if examined else "PyTorch"
    lead = (
        "An application can leave texts unanswered whose score is low (`Classifier.load(..., abstain_below=0.9)`). "
        "The table shows how many texts are still answered then, and how accurate these answers are."
    )
    if trained.thresholds:
        lead += (
            " Where a text has any number of labels, its score is the probability of the label whose presence or "
            "absence is least probable, and an answer is accurate if all labels are right."
        )
    labels = len(trained.test.per_class)
    tables = [_coverage(shown, who), *([_bands(all_bands(examined.bands, labels))] if examined else [])]
    fits = [_calibration(trained.confidence, examined), *_calibration_of_labels(trained)]
    return Section("What the scores are worth", (" ".join(fits), lead), tables=tuple(tables))


def _calibration_of_labels(trained: TrainResult) -> list[str]:
    """What temperatures did, where each label has one."""
    own = [t for t in trained.temperatures if t != 1.0]
    if not own:
        return []
    before, after = trained.confidence.error_before, trained.confidence.error
    return [
        f"The logits of {len(own)} of {len(trained.temperatures)} labels are divided by temperatures "
        f"({min(own):.3f} to {max(own):.3f}), which were fitted on the validation split and are stored in the weights. "
        f"Without them PyTorch's error on all test texts would be {before:.4f} and not {after:.4f}."
    ]


def _calibration(trained: Confidence, examined: ExamineResult | None) -> str:
    """How well the scores of what ships fit, those of PyTorch, and what the temperature did to these."""
    method = "on the test split (15 bins, Guo et al. 2017)"
    fits = f"The expected calibration error of PyTorch {method} is {trained.error:.4f}."
    if examined:
        own, reference = examined.confidence.error, examined.reference_error
        fits = (
            f"The expected calibration error {method} of {examined.variant} is {own:.4f}, of PyTorch {reference:.4f}."
        )
    if trained.temperature == 1.0:
        return fits
    return (
        f"{fits} Logits are divided by {trained.temperature:.3f}, which was fitted on the validation split and is "
        f"stored in the weights. Without it PyTorch's error on all test texts would be {trained.error_before:.4f} and "
        f"not {trained.error:.4f}."
    )


def _coverage(shown: Confidence, who: str) -> Table:
    rows = tuple(
        (f"{p.threshold:g}", f"{p.answered:.1%}", "-" if p.accuracy is None else f"{p.accuracy:.4f}")
        for p in shown.coverage
    )
    return Table(("abstain below", "answered", "accuracy of answers"), rows, title=f"Answers of {who} by their score")


def all_bands(bands: Sequence[ScoreBand], labels: int) -> list[ScoreBand]:
    """The recorded bands, and those that have no texts: from the lowest score that the highest of n labels can have."""
    recorded = {round(band.least * _BANDS): band for band in bands}
    lowest = min([*recorded, _BANDS // max(labels, 1), _BANDS - 1])
    return [recorded.get(i) or ScoreBand(i / _BANDS, 0, (i + 0.5) / _BANDS, 0) for i in range(lowest, _BANDS)]


def _bands(bands: Sequence[ScoreBand]) -> Table:
    rows = tuple(
        (
            f"{band.least:.1f} to {band.least + 0.1:.1f}",
            str(band.texts),
            f"{band.mean_score:.3f}" if band.texts else "-",
            share(band.right, band.texts),
        )
        for band in bands
    )
    return Table(("score", "texts", "mean score", "right (95 %)"), rows, title="How often a score is right")


def answer_section(
    reference: Scores, shown: Scores, who: str, examined: ExamineResult | None, thresholds: Sequence[float] = ()
) -> Section:
    """Accuracy by label and by length of the variant `who`, whose scores are `shown`; `reference` are PyTorch's.

    `thresholds` are those of the labels where a text may have any number of them.
    """
    texts = shown.texts
    beside = (
        f" PyTorch on the same texts: accuracy {reference.accuracy:.4f}, macro F1 {reference.macro_f1:.4f}."
        if shown is not reference
        else ""
    )
    text = (
        f"{who} on {texts:,} test texts: accuracy {share(round(shown.accuracy * texts), texts)}, "
        f"macro precision {shown.macro_precision:.4f}, macro recall {shown.macro_recall:.4f}, "
        f"macro F1 {shown.macro_f1:.4f}.{beside}{_of_sets(shown)}"
    )
    tables = [
        by_label(shown, thresholds),
        *([confusion(shown)] if shown.confusion else []),
        *([_lengths(examined.lengths)] if examined and examined.lengths else []),
    ]
    return Section("Answers on the test split", (text,), tables=tuple(tables))


def _of_sets(scores: Scores) -> str:
    """What there is to say besides where a text has any number of labels; else nothing."""
    if scores.sets is None:
        return ""
    found = scores.sets
    return (
        " A text has any number of labels, and counts as right if all of them are (subset accuracy). Of all labels of "
        f"all texts together, the precision is {found.micro_precision:.4f}, the recall {found.micro_recall:.4f} and "
        f"the micro F1 {found.micro_f1:.4f}. The mean average precision, which no threshold decides, is "
        f"{found.average_precision:.4f}."
    )


def by_label(scores: Scores, thresholds: Sequence[float] = ()) -> Table:
    """Precision, recall with its interval, F1 and support of each label, and its threshold if there are any."""
    rows = tuple(
        (
            c.label,
            *([f"{thresholds[i]:.4f}"] if thresholds else []),
            f"{c.precision:.4f}",
            share(round(c.recall * c.support), c.support),
            f"{c.f1:.4f}",
            str(c.support),
        )
        for i, c in enumerate(scores.per_class)
    )
    headings = ("label", *(["threshold"] if thresholds else []), "precision", "recall (95 %)", "F1", "texts")
    return Table(headings, rows, title="By label")


def confusion(scores: Scores) -> Table:
    """Counts of (true label, answered label)."""
    labels = [c.label for c in scores.per_class]
    rows = tuple((label, *(str(count) for count in row)) for label, row in zip(labels, scores.confusion, strict=True))
    return Table(("true \\ answered", *labels), rows, title="Texts by true label (rows) and answer (columns)")


def _lengths(bands: Sequence[LengthBand]) -> Table:
    rows = tuple(
        (
            f"{band.least} to {band.most}",
            str(band.texts),
            share(band.right, band.texts),
            f"{band.reference_right / band.texts:.4f}",
        )
        for band in bands
    )
    return Table(
        ("tokens", "texts", "right (95 %)", "PyTorch"), rows, title="By length: tokens that are read of a text"
    )


def wrong_section(examined: ExamineResult) -> list[Section]:
    """The wrong answers that the variant is surest of; none where it makes no mistake."""
    if not examined.wrong:
        return []
    path = RunDir(Path()).mistakes(examined.variant).as_posix()
    doubtful = (
        f" {examined.doubtful} of them score {examined.sure:g} or more in PyTorch as well. They are marked with a "
        "question mark, and worth reading first: the label is wrong, or both models miss what a reader sees."
        if examined.doubtful
        else ""
    )
    lead = (
        f"{examined.variant} gives {examined.wrong_texts:,} of {examined.texts:,} distinct test texts another label "
        f"than the data has.{doubtful} The table has the {len(examined.wrong)} answers that it is surest of; all are "
        f"in [{path}]({path}). {_ROWS}"
    )
    pair = second_heading(examined.wrong)
    rows = tuple(
        (
            *texts_of(answer, pair),
            f"{answer.truth}{' ?' if answer.doubtful else ''}",
            *_both_answers(answer),
            str(answer.row),
        )
        for answer in examined.wrong
    )
    table = Table(("text", *pair, "label in the data", "answer", "PyTorch", "row"), rows, holds_texts=True)
    return [Section(WRONG, (lead,), tables=(table,))]


def changes_section(examined: ExamineResult) -> list[Section]:
    """Texts that variants lose and gain against PyTorch; none where no variant does."""
    tables = tuple(_changed(change) for change in examined.changes if change.texts)
    if not tables:
        return []
    paths = [RunDir(Path()).flips(change.variant).as_posix() for change in examined.changes if change.texts]
    files = ", ".join(f"[{path}]({path})" for path in paths)
    lead = (
        "Lost are texts that PyTorch answers correctly and the variant does not; gained are the reverse. The tables "
        f"have up to five of each, the variant's surest answers first. All are in {files}. {_ROWS}"
    )
    return [Section(CHANGED, (lead,), tables=tables)]


def _changed(change: ChangedAnswers) -> Table:
    pair = second_heading(change.texts)
    rows = tuple(
        (
            *texts_of(answer, pair),
            "gained" if answer.gained else "lost",
            answer.truth,
            *_both_answers(answer),
            str(answer.row),
        )
        for answer in change.texts
    )
    title = f"{change.variant}: {change.lost} lost, {change.gained} gained"
    return Table(
        ("text", *pair, "change", "label in the data", "answer", "PyTorch", "row"),
        rows,
        title=title,
        holds_texts=True,
    )


def _both_answers(answer: AnsweredText) -> tuple[str, str]:
    """That of the variant and that of PyTorch, with their scores."""
    return f"{answer.answer} {answer.score:.3f}", f"{answer.reference_answer} {answer.reference_score:.3f}"
