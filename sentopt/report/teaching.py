"""What a teacher answered, and what the model gained by it."""

from __future__ import annotations

from sentopt.manifest import Manifest
from sentopt.measure.stats import PairedComparison
from sentopt.recipe import Recipe
from sentopt.report.section import Section
from sentopt.report.tables import Table, listed, share
from sentopt.results import TeachingGain, TeachResult

_PAGES = (("Does a teacher help?", "questions/teacher.md"),)
_ONE_SEED = (
    "Both are single trainings of the same recipe with one seed. A proven gain says that this model is better than "
    "that one on texts such as those of the test split."
)


def sections(recipe: Recipe, manifest: Manifest) -> list[Section]:
    """A part on the teacher; none in a run without one."""
    if not recipe.train.teacher or "teach" not in manifest.stages:
        return []
    answers = manifest.result("teach", TeachResult)
    gain = manifest.result("gain", TeachingGain) if "gain" in manifest.stages else None
    compared = [in_words(gain)] if gain else []
    notices = tuple(f"Note: {notice}." for notice in answers.notices)
    has_baseline = gain is not None and gain.baseline is not None
    paragraphs = (_answered(answers), *compared, *([_ONE_SEED] if has_baseline else []), *notices)
    return [Section("The teacher", paragraphs, tables=(table(gain),) if gain else (), pages=_PAGES)]


def _answered(answers: TeachResult) -> str:
    """Who answered what."""
    who = ", ".join(f"{one.name} ({one.variant})" for one in answers.teachers)
    together = " together" if len(answers.teachers) > 1 else ""
    texts = texts_in_words(answers.texts, answers.copies, answers.unlabelled)
    return f"Beside the labels, the model learned the answers of {who}{together} to {texts}."


def texts_in_words(labelled: int, copies: int, unlabelled: int) -> str:
    """The texts that a model learned answers to; what there is none of is not named."""
    counts = [(labelled, "training texts"), (copies, "changed copies of them"), (unlabelled, "texts without labels")]
    return listed([f"{count:,} {what}" for count, what in counts if count] or ["no texts"])


def in_words(gain: TeachingGain) -> str:
    """What the teacher gained, and whether that is proven."""
    compared = gain.against_baseline
    if compared is None:
        return (
            "What the teacher gained is not known: the model was not trained without it (train.without_teacher). "
            f"Its test accuracy is {gain.taught:.4f}, the teacher's {gain.teacher:.4f}."
        )
    word = "proven" if gain.proven else "not proven"
    return (
        f"With the teacher, test accuracy is {gain.taught:.4f} ({gain.steps:,} steps), without it {gain.baseline:.4f} "
        f"({gain.baseline_steps:,} steps): a gain of {_points(compared.difference)} points, {word} "
        f"({compared.gained} of {gain.texts:,} texts gained, {compared.lost} lost; at least {_points(compared.lower)} "
        f"points with {compared.confidence:.0%} confidence). The teacher's own is {gain.teacher:.4f}."
    )


def table(gain: TeachingGain) -> Table:
    """The three models on the same test texts; the last columns compare this model with the others."""
    rows = [
        ("teacher", gain.teacher, gain.against_teacher),
        ("this model", gain.taught, None),
        ("this model without the teacher", gain.baseline, gain.against_baseline),
    ]
    return Table(
        ("model", "accuracy (95 %)", "lost", "gained", "difference, points", "one-sided limits"),
        tuple(
            (name, share(round(accuracy * gain.texts), gain.texts), *_cells(with_))
            for name, accuracy, with_ in rows
            if accuracy is not None
        ),
        title="This model against the others, on the same test texts",
    )


def _cells(compared: PairedComparison | None) -> tuple[str, str, str, str]:
    """Texts lost and gained, the difference, and its lower and upper one-sided limit, in percentage points."""
    if compared is None:
        return "-", "-", "-", "-"
    limits = f"{_points(compared.lower)}, {_points(compared.upper)} ({compared.confidence:.0%} each)"
    return str(compared.lost), str(compared.gained), _points(compared.difference), limits


def _points(share: float) -> str:
    return f"{100.0 * share:+.2f}"
