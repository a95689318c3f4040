"""Why variants were refused, in plain words, and what can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sentopt import gate
from sentopt.recipe import Recipe
from sentopt.report.section import Section
from sentopt.results import Criterion, Verdict, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.variants import VARIANTS

_PAGES = (("Refused, what now?", "questions/refused.md"),)
WEAK_REFERENCE = (
    "What to do: look at the accuracy, the confusion matrix and the loss below. The usual causes are wrong labels, too "
    "few texts, and too little training (`--set train.epochs=N` trains longer).",
)


def sections(recipe: Recipe, verified: VerifyResult, *, shipped: str | None) -> list[Section]:
    """A part on the refused variants and the next steps; none where all that can ship passed."""
    failed = [v for v in verified.verdicts if VARIANTS[v.variant].ships and not v.passed]
    if not failed:
        return []
    items = [_in_words(v, recipe) for v in failed]
    steps = _what_now(recipe, failed, shipped)
    return [Section("Refused, what now?", (_lead(failed, shipped),), tuple(items), steps, pages=_PAGES)]


def _lead(failed: Sequence[Verdict], shipped: str | None) -> str:
    count = f"{len(failed)} variants were" if len(failed) > 1 else "One variant was"
    if shipped:
        return f"{count} not accepted. {shipped} passed and ships."
    return f"{count} not accepted, and nothing ships. The checkpoint works in PyTorch: `checkpoint/`."


def _in_words(verdict: Verdict, recipe: Recipe) -> str:
    if not verdict.tested:
        return f"**{verdict.variant}** was not tested: {verdict.reason}."
    reasons = [_criterion(c, recipe.verify.confidence) for c in verdict.criteria if c.outcome == "fail"]
    advice = gate.advise(verdict.criteria, gate.Rules.of(recipe))
    would = f" What would decide it: {'; '.join(advice)}." if advice else ""
    return (
        f"**{verdict.variant}** was refused. {' '.join(reasons)}{would} "
        f"Texts whose label changes: {_flips(verdict.variant)}."
    )


def _criterion(c: Criterion, confidence: float) -> str:
    """What is lost, how much that may be in truth, and what is allowed."""
    allowed = f"{c.margin * 100:g} {'is' if c.margin == 0.01 else 'are'} allowed"
    if c.name == "agreement":
        return (
            f"Agreement: {c.lost} of {c.texts:,} labels differ from PyTorch's. It may be up to {c.limit * 100:.2f} % "
            f"({confidence:.0%} confidence); {allowed}."
        )
    within = (
        ""
        if c.loss >= c.margin
        else f" The loss seen, {c.loss * 100:.2f}, is within the margin, but there are too few texts to prove it."
    )
    return (
        f"{c.name[:1].upper()}{c.name[1:]}: {c.lost} of {c.texts:,} texts lost, {c.gained} gained. The loss may be "
        f"up to {c.limit * 100:.2f} points ({confidence:.0%} confidence); {allowed}.{within}"
    )


def _flips(variant: str) -> str:
    path = RunDir(Path()).flips(variant).as_posix()
    return f"[{path}]({path})"


def _what_now(recipe: Recipe, failed: Sequence[Verdict], shipped: str | None) -> tuple[str, ...]:
    outside = any(c.outcome == "fail" and c.loss >= c.margin for v in failed for c in v.criteria)
    undecided = any(c.outcome == "fail" and c.loss < c.margin for v in failed for c in v.criteria)
    steps = ["Read the changed texts in `flips.csv`: do they matter to you, or are their labels doubtful?"]
    if undecided:
        steps.append(
            "Where the loss is within the margin but not proven, more test texts decide."
            if recipe.train.teacher
            else "Where the loss is within the margin but not proven, more test texts decide, or texts without labels: "
            "`--set data.unlabelled=FILE`, then `sentopt export`."
        )
    if outside:
        steps.append(
            "Where more is lost than the margin, more texts do not help. If your application can afford the loss, say "
            "so with a wider margin: `sentopt export --set verify.margin=N` for accuracy and macro F1, "
            "`verify.recall_margin` for the recall of each label, `verify.max_changed` for the agreement."
        )
    if not shipped and all(VARIANTS[v.variant].dtype == "int8" for v in failed):
        steps.append("Let FP32 graphs be exported, too, which lose nothing: leave `export.variants` empty.")
    return tuple(steps)
