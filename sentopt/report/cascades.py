"""What a student and a cascade are, how they were made, and what they do, in plain words."""

from __future__ import annotations

from collections.abc import Mapping

from sentopt.manifest import Manifest
from sentopt.report import teaching
from sentopt.report.section import Section
from sentopt.report.tables import Table
from sentopt.results import (
    BenchResult,
    BenchRow,
    CascadeRule,
    DistillResult,
    QuantizeResult,
    Verdict,
    VerifyResult,
)
from sentopt.variants import VARIANTS

TITLE = "The student and the cascade"
_PAGES = (("What is a cascade?", "questions/cascade.md"),)
_CASCADE = (
    "A cascade asks the student first. Where the student's probability for its answer is below a threshold, which "
    "falls with the length of the text, the text is deferred: the full model answers it. Both are in one file. Most "
    "texts are fast, and those that are deferred take longer than they would without a student. The median says "
    "nothing of these; the mean and p99 do."
)
_DRIFT = "If the share of deferred texts in service moves away from that of the test split, the texts have changed."


def sections(manifest: Manifest) -> list[Section]:
    """A part on the student and on the cascades; none in a run without them."""
    verdicts = manifest.result("verify", VerifyResult).verdicts if "verify" in manifest.stages else ()
    judged = {v.variant: v for v in verdicts if VARIANTS[v.variant].stages}
    rules = manifest.result("quantize", QuantizeResult).cascades if "quantize" in manifest.stages else {}
    if "quantize" in manifest.stages and not (judged or rules):
        return []  # a student of before, for a recipe that has none now
    distilled = manifest.result("distill", DistillResult) if "distill" in manifest.stages else None
    if not (distilled or judged or rules):
        return []
    rows = manifest.result("bench", BenchResult).rows if "bench" in manifest.stages else ()
    items = [*_students(judged), *_cascades(rules, judged, {row.variant: row for row in rows})]
    cascade = any(VARIANTS[name].stages == "cascade" for name in (*rules, *judged))
    paragraphs = [
        *([_student(distilled)] if distilled else []),
        *([_CASCADE] if cascade else []),
        *([_DRIFT] if any(v.deferred is not None for v in judged.values()) else []),
    ]
    notices = tuple(f"Note: {notice}." for notice in distilled.notices) if distilled else ()
    tables = (_tried(distilled),) if distilled else ()
    return [Section(TITLE, (*paragraphs, *notices), tuple(items), tables=tables, pages=_PAGES)]


def _student(distilled: DistillResult) -> str:
    """What the student is, and what it learned from."""
    learned_from = teaching.texts_in_words(distilled.texts, distilled.copies, distilled.unlabelled)
    return (
        "The student is a model with fewer layers that learns to answer as the fine-tuned one does. This one has "
        f"{distilled.layers} {'layer' if distilled.layers == 1 else 'layers'}. It learned from {learned_from}; the "
        f"fine-tuned model answered them in {distilled.teacher_seconds:.0f} s."
    )


def _tried(distilled: DistillResult) -> Table:
    """Every number of layers that was tried."""
    rows = tuple(
        (
            str(depth.layers),
            str(depth.steps),
            f"{depth.seconds:.0f}",
            f"{depth.loss:.4f}",
            "-" if depth.accuracy is None else f"{depth.accuracy:.4f}",
            "-" if depth.agreement is None else f"{depth.agreement:.4f}",
            f"{depth.cost:.2f}",
        )
        for depth in distilled.tried
    )
    kept = [depth.layers for depth in distilled.tried]
    return Table(
        ("layers", "steps", "seconds", "loss", "accuracy", "agreement", "cost"),
        rows,
        kept.index(distilled.layers) if distilled.layers in kept else None,
        title="Students on the validation split; cost: time of a text that is expected of the cascade (full model: 1)",
    )


def _students(judged: Mapping[str, Verdict]) -> list[str]:
    return [
        f"**{name}** answers every text with the student alone: {v.scores.accuracy:.4f} of the test texts are right, "
        f"{v.agreement:.4f} get the label that PyTorch gives."
        for name, v in judged.items()
        if VARIANTS[name].stages == "student"
    ]


def _cascades(
    rules: Mapping[str, CascadeRule],
    judged: Mapping[str, Verdict],
    rows: Mapping[str, BenchRow],
) -> list[str]:
    """The rule of each cascade, its figures on both splits, and its times; what is not known is left out."""
    names = [name for name, spec in VARIANTS.items() if spec.stages == "cascade" and (name in rules or name in judged)]
    told = {
        name: [
            *([_rule(rules[name])] if name in rules else []),
            *([_on_test(judged[name])] if name in judged else []),
            *([_times(rows[name])] if name in rows else []),
        ]
        for name in names
    }
    return [f"**{name}**: {' '.join(statements)}" for name, statements in told.items()]


def _rule(rule: CascadeRule) -> str:
    if rule.threshold >= 1.0:
        return (
            f"every text is deferred: on {rule.texts:,} distinct validation texts no threshold was proven that is "
            "likely to pass and saves time"
        )
    return (
        f"a text of {rule.threshold_tokens} tokens is deferred where the student's probability is below "
        f"{rule.threshold:.4f}, a shorter one more readily, a longer one less. On "
        f"{rule.texts:,} distinct validation texts that defers {rule.deferred:.1%} and changes {rule.changed} labels "
        f"({rule.lost} texts lost, {rule.gained} gained): the loss of accuracy is below {rule.limit * 100:.2f} points "
        f"with {rule.confidence:.0%} confidence, {rule.margin * 100:.2f} are allowed there."
    )


def _on_test(verdict: Verdict) -> str:
    share = f" defers {verdict.deferred:.1%} of the texts and" if verdict.deferred is not None else ""
    return f"On the test split it{share} is right for {verdict.scores.accuracy:.4f} of them."


def _times(row: BenchRow) -> str:
    all_deferred = row.deferred_latency
    mean = "" if row.latency.mean is None else f"{row.latency.mean:.2f} ms on average, "
    told = f"A test text takes {mean}{row.latency.p50:.2f} ms as the median and {row.latency.p99:.2f} ms as p99."
    if all_deferred is None or all_deferred.mean is None:
        return told
    return (
        f"{told} Where every text is deferred, a text takes {all_deferred.mean:.2f} ms on average and "
        f"{all_deferred.p99:.2f} ms as p99."
    )
