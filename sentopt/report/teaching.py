"""What a teacher answered, and what the model gained by it."""

from __future__ import annotations

from sentopt.manifest import Manifest
from sentopt.measure.stats import PairedComparison, wilson_interval
from sentopt.report.section import Section
from sentopt.report.tables import Table
from sentopt.results import TeachingGain, TeachResult

_CONFIDENCE = 0.95


def sections(manifest: Manifest) -> list[Section]:
    """A part on the teacher; none in a run without one."""
    if "teach" not in manifest.stages:
        return []
    taught = manifest.result("teach", TeachResult)
    gain = manifest.result("gain", TeachingGain) if "gain" in manifest.stages else None
    paragraphs = [_answered(taught), *([in_words(gain)] if gain else [])]
    notices = tuple(f"Note: {notice}." for notice in taught.notices)
    return [Section("The teacher", (*paragraphs, *notices), tables=(table(gain),) if gain else ())]


def _answered(taught: TeachResult) -> str:
    """Who answered what."""
    sources = [
        (taught.texts, "training texts"),
        (taught.copies, "changed copies of them"),
        (taught.unlabelled, "texts without labels"),
    ]
    *others, last = [f"{count:,} {what}" for count, what in sources if count]
    learnt = f"{', '.join(others)} and {last}" if others else last
    who = [
        f"{one.name} ({one.variant}; {one.answered:,} answered now, in {one.seconds:.0f} s)" for one in taught.teachers
    ]
    several = " together" if len(who) > 1 else ""
    return f"The model learned what {', '.join(who)}{several} answered to {learnt}, beside the labels."


def in_words(gain: TeachingGain) -> str:
    """What the teacher gained, and whether that is proven."""
    compared = gain.against_untaught
    if compared is None:
        return (
            "What the teacher gained is not known: the model was not trained without it (train.without_teacher). "
            f"Its test accuracy is {gain.taught:.4f}, the teacher's {gain.teacher:.4f}."
        )
    word = "proven" if gain.proven else "not proven"
    return (
        f"With the teacher, test accuracy is {gain.taught:.4f}, without it {gain.untaught:.4f}: a gain of "
        f"{_points(compared.difference)} points, {word} ({compared.gained} of {gain.texts:,} texts gained, "
        f"{compared.lost} lost; at least {_points(compared.lower)} points with {compared.confidence:.0%} confidence). "
        f"The teacher's own is {gain.teacher:.4f}."
    )


def table(gain: TeachingGain) -> Table:
    """The three models on the same test texts; the last columns compare the one that ships with the others."""
    rows = [
        ("teacher", gain.teacher, gain.against_teacher),
        ("this model", gain.taught, None),
        ("this model without the teacher", gain.untaught, gain.against_untaught),
    ]
    return Table(
        ("model", "accuracy (95 %)", "lost", "gained", "difference"),
        tuple((name, _accuracy(share, gain.texts), *_cells(with_)) for name, share, with_ in rows if share is not None),
        title="This model against the others, on the same test texts",
    )


def _accuracy(share: float, texts: int) -> str:
    low, high = wilson_interval(round(share * texts), texts, _CONFIDENCE)
    return f"{share:.4f} ({low:.3f}-{high:.3f})"


def _cells(compared: PairedComparison | None) -> tuple[str, str, str]:
    """Texts lost and gained, and the difference with both one-sided limits, in percentage points."""
    if compared is None:
        return "-", "-", "-"
    limits = f"{_points(compared.lower)} to {_points(compared.upper)}"
    return str(compared.lost), str(compared.gained), f"{_points(compared.difference)} ({limits})"


def _points(share: float) -> str:
    return f"{100.0 * share:+.2f}"
