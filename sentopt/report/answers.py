"""What the variant that ships answers, text by text: by label, by length, how sure it is, and what it gets wrong."""

from __future__ import annotations

from collections.abc import Sequence

from sentopt.measure.scores import Scores
from sentopt.measure.stats import wilson_interval
from sentopt.report.section import Section
from sentopt.report.tables import Table
from sentopt.results import ChangedAnswers, Confidence, ExamineResult, LengthBand, ScoreBand, TrainResult

WRONG, CHANGED = "What it gets wrong", "What each variant changes"
WITH_TEXTS = (WRONG, CHANGED)
"""Titles of the parts that show texts of the test split."""
_CONFIDENCE = 0.95
_SHOWN = 20


def confidence_section(trained: TrainResult, examined: ExamineResult | None) -> Section:
    """How sure the answers are, of the variant that ships, or else of the PyTorch model."""
    shown = examined.confidence if examined else trained.confidence
    who = examined.variant if examined else "PyTorch"
    calibrated = [_calibration(trained.confidence, shown, who)]
    lead = (
        "An application can leave texts unanswered whose score is low (`Classifier.load(..., abstain_below=0.9)`). "
        "The table shows how many texts are still answered then, and how accurate these answers are."
    )
    tables = [_coverage(shown, who), *([_bands(examined.bands)] if examined else [])]
    return Section("What the scores are worth", (*calibrated, lead), tables=tuple(tables))


def _calibration(trained: Confidence, shown: Confidence, who: str) -> str:
    """What the temperature did to the PyTorch model, and how well the scores of what ships fit."""
    fits = f"The expected calibration error of {who} on the test split is {shown.error:.4f} (15 bins, Guo et al. 2017)."
    if trained.temperature == 1.0:
        return fits
    change = "less" if trained.error < trained.error_before else "no less, though it helped on the validation split"
    return (
        f"{fits} Logits are divided by {trained.temperature:.3f}, which was fitted on the validation split and is "
        f"stored in the weights. PyTorch's error on the test split was {trained.error_before:.4f} before and is "
        f"{trained.error:.4f} after: {change}."
    )


def _coverage(shown: Confidence, who: str) -> Table:
    rows = tuple(
        (f"{p.threshold:g}", f"{p.answered:.1%}", "-" if p.accuracy is None else f"{p.accuracy:.4f}")
        for p in shown.coverage
    )
    return Table(("abstain below", "answered", "accuracy of answers"), rows, title=f"Answers of {who} by their score")


def _bands(bands: Sequence[ScoreBand]) -> Table:
    rows = tuple(
        (
            f"{band.least:.1f} to {band.least + 0.1:.1f}",
            str(band.texts),
            f"{band.mean_score:.3f}",
            _share(band.right, band.texts),
        )
        for band in bands
    )
    return Table(("score", "texts", "mean score", "right (95 %)"), rows, title="How often a score is right")


def test_section(trained: TrainResult, shown: Scores, who: str, examined: ExamineResult | None) -> Section:
    """Accuracy by label and by length of the variant `who`, whose scores are `shown`."""
    texts = sum(c.support for c in shown.per_class)
    beside = (
        f" PyTorch: accuracy {trained.test.accuracy:.4f}, macro F1 {trained.test.macro_f1:.4f}."
        if shown is not trained.test
        else ""
    )
    text = (
        f"{who} on {texts:,} test texts: accuracy {_share(round(shown.accuracy * texts), texts)}, "
        f"macro precision {shown.macro_precision:.4f}, macro recall {shown.macro_recall:.4f}, "
        f"macro F1 {shown.macro_f1:.4f}.{beside}"
    )
    tables = [
        by_label(shown),
        confusion(shown),
        *([_lengths(examined.lengths)] if examined and examined.lengths else []),
    ]
    return Section("Answers on the test split", (text,), tables=tuple(tables))


def by_label(scores: Scores) -> Table:
    """Precision, recall with its interval, F1 and support of each label."""
    rows = tuple(
        (c.label, f"{c.precision:.4f}", _share(round(c.recall * c.support), c.support), f"{c.f1:.4f}", str(c.support))
        for c in scores.per_class
    )
    return Table(("label", "precision", "recall (95 %)", "F1", "texts"), rows, title="By label")


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
            _share(band.right, band.texts),
            f"{band.reference_right / band.texts:.4f}",
        )
        for band in bands
    )
    return Table(("tokens", "texts", "right (95 %)", "PyTorch"), rows, title="By length of the text")


def wrong_section(examined: ExamineResult) -> list[Section]:
    """The wrong answers that the variant is surest of; none where it makes no mistake."""
    if not examined.wrong:
        return []
    shown = examined.wrong[:_SHOWN]
    doubtful = (
        f" To {examined.doubtful} of them PyTorch gives the same answer, and both score 0.95 or more. They are marked "
        "with a question mark, and worth reading first: the label is wrong, or the model misses what a reader sees."
        if examined.doubtful
        else ""
    )
    lead = (
        f"{examined.variant} gives {examined.wrong_texts:,} of {examined.texts:,} distinct test texts another label "
        f"than the data has.{doubtful} The table has the {len(shown)} answers that it is surest of."
    )
    rows = tuple(
        (
            answer.text,
            f"{answer.truth}{' ?' if answer.doubtful else ''}",
            f"{answer.answer} {answer.score:.3f}",
            f"{answer.reference_answer} {answer.reference_score:.3f}",
            str(answer.row),
        )
        for answer in shown
    )
    table = Table(("text", "label in the data", "answer", "PyTorch", "row"), rows)
    return [Section(WRONG, (lead,), tables=(table,))]


def changes_section(examined: ExamineResult) -> list[Section]:
    """Texts that variants lose and gain against PyTorch; none where no variant does."""
    tables = tuple(_changed(change) for change in examined.changes if change.texts)
    if not tables:
        return []
    lead = (
        "Lost are texts that PyTorch answers correctly and the variant does not; gained are the reverse. The tables "
        "have up to five of each, the variant's surest answers first. All are in `flips.csv` of the variant."
    )
    return [Section(CHANGED, (lead,), tables=tables)]


def _changed(change: ChangedAnswers) -> Table:
    rows = tuple(
        (
            answer.text,
            "gained" if answer.gained else "lost",
            answer.truth,
            f"{answer.answer} {answer.score:.3f}",
            f"{answer.reference_answer} {answer.reference_score:.3f}",
            str(answer.row),
        )
        for answer in change.texts
    )
    title = f"{change.variant}: {change.lost} lost, {change.gained} gained"
    return Table(("text", "change", "label in the data", "answer", "PyTorch", "row"), rows, title=title)


def _share(right: int, texts: int) -> str:
    """A share with its 95 % interval."""
    if not texts:
        return "-"
    low, high = wilson_interval(right, texts, _CONFIDENCE)
    return f"{right / texts:.4f} ({low:.3f}-{high:.3f})"
