"""How the verdicts were made: what was proven of each variant, against which margin, from which texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from sentopt.recipe import Recipe
from sentopt.report import alt_texts
from sentopt.report.differences import differences, explained, signed
from sentopt.report.section import Section, picked
from sentopt.report.tables import Table, counted
from sentopt.results import BenchResult, Verdict, VerifyResult
from sentopt.variants import REFERENCE

PAGES = (("Verification", "verification.md"),)
_COUNTED = {
    "pass": "passed",
    "pass*": "passed with an asterisk (pass*)",
    "refused": "refused",
    "untested": "not tested",
    "unverified": "not verified",
}


def verdict_word(variant: str, verdict: Verdict | None) -> str:
    """One word for a verdict; `pass*` where too few texts could decide something."""
    if variant == REFERENCE:
        return "reference"
    if verdict is None:
        return "unverified"
    if not verdict.tested:
        return "untested"
    if not verdict.passed:
        return "refused"
    return "pass*" if verdict.undecided else "pass"


def counted_verdicts(verdicts: Sequence[Verdict], bench: BenchResult) -> str:
    """How many rows of the table have which verdict; PyTorch is none of them."""
    judged = {verdict.variant: verdict for verdict in verdicts}
    words = Counter(verdict_word(row.variant, judged.get(row.variant)) for row in bench.rows)
    rows = sum(words.values()) - words.pop("reference", 0)
    told = ", ".join(f"{words[word]} {said}" for word, said in _COUNTED.items() if words[word])
    return f"The table compares {counted(rows, 'variant')} with PyTorch, the reference: {told or 'none was made'}."


def emulated_cpus(verdicts: Sequence[Verdict]) -> list[str]:
    """The CPU models that answered for some variant, in the order of the recipe."""
    return list(dict.fromkeys(flips.model for v in verdicts for flips in v.cpu_flips))


def changed_on(cpu: str, verdict: Verdict) -> str:
    """How many labels of how many texts change there; empty where it did not answer."""
    found = next((flips for flips in verdict.cpu_flips if flips.model == cpu), None)
    return f"{found.changed} of {found.texts}" if found else ""


def section(recipe: Recipe, verified: VerifyResult, images: Mapping[str, Path]) -> Section:
    """The part on the verdicts: reference, evidence, criteria, and what each variant changes."""
    notices = tuple(f"Note: {notice}." for notice in verified.notices)
    confidence = recipe.verify.confidence
    shown = differences(verified.verdicts)
    paragraphs = (
        _reference_in_words(verified, confidence),
        *notices,
        _procedure(verified, confidence),
        *([explained(shown)] if shown and "differences" in images else []),
        f"A variant passes if all of this is proven with {confidence:.0%} confidence:",
    )
    return Section(
        "How the verdicts were made",
        paragraphs,
        _rules_of_sets(recipe) if any(v.scores.sets for v in verified.verdicts) else _rules(recipe),
        tables=(_against_reference(verified), _criteria(verified)),
        images=picked(images, "differences", alt_texts.differences(shown)) if shown else (),
        pages=PAGES,
    )


def _against_reference(verified: VerifyResult) -> Table:
    """What each variant changes of PyTorch's answers."""
    cpus = emulated_cpus(verified.verdicts)
    rows = tuple(
        (
            v.variant,
            verdict_word(v.variant, v),
            f"{v.comparison.lost} / {v.comparison.gained}",
            signed(v.comparison.difference * 100),
            f"{v.scores.macro_f1:.4f}",
            f"{v.max_probability_difference:.4f}",
            "-" if v.batch_flips is None else f"{v.batch_flips.changed} of {v.batch_flips.texts}",
            *(changed_on(cpu, v) or "-" for cpu in cpus),
        )
        for v in verified.verdicts
    )
    headings = (
        "variant",
        "verdict",
        "lost / gained",
        "accuracy change, points",
        "macro F1",
        "largest change of a probability",
        "labels changed by batching",
        *(f"labels changed on {cpu}" for cpu in cpus),
    )
    return Table(headings, rows, title="Each variant against PyTorch, on the test split")


def _reference_in_words(verified: VerifyResult, confidence: float) -> str:
    """Whether the PyTorch model is worth comparing with."""
    check = verified.reference
    if not check.proven or any(v.scores.sets for v in verified.verdicts):
        return f"{check.words[:1].upper()}{check.words[1:]}."
    return (
        f"The PyTorch model is proven to be better than guessing: its balanced accuracy on {check.texts:,} test texts "
        f"is {check.balanced_accuracy:.4f} (one-sided {confidence:.0%} limits {check.lower:.4f} and "
        f"{check.upper:.4f}); always giving one label gets {check.chance:.4f}."
    )


def _rules(recipe: Recipe) -> tuple[str, ...]:
    verify = recipe.verify
    measured = "Its accuracy and its macro F1 are" if recipe.train.metric == "macro_f1" else "Its accuracy is"
    points = "point" if verify.margin == 1.0 else "points"
    return (
        f"{measured} less than {verify.margin:g} percentage {points} below PyTorch's.",
        f"The recall of every label is less than {verify.recall_margin:g} points below PyTorch's. Labels with too few "
        "texts are tested together; if these are still too few, the verdict is pass* and what was seen must be within "
        "the margin.",
        f"Fewer than {verify.max_changed:g} % of the labels differ from PyTorch's.",
        "The test is Tango's score test for paired proportions (Statistics in Medicine 17, 1998) with an exact "
        "binomial limit, one-sided. It is applied to micro-batches and to single texts, and the worse of both counts.",
        "FP32 graphs that give PyTorch's labels and probabilities are exact and need no test.",
    )


def _rules_of_sets(recipe: Recipe) -> tuple[str, ...]:
    """Where a text has any number of labels."""
    verify = recipe.verify
    measured = "its micro F1 and its macro F1 are" if recipe.train.metric == "macro_f1" else "and its micro F1 are"
    points = "point" if verify.margin == 1.0 else "points"
    _, recall, _, method, exact = _rules(recipe)
    return (
        f"Its subset accuracy (all labels of a text are right), {measured} less than {verify.margin:g} percentage "
        f"{points} below PyTorch's, which answers with the thresholds of the run.",
        f"{recall} Of a label, it is the share of the texts with it that get it; of several, of the texts with one of "
        "them that get all of these that they have.",
        f"Fewer than {verify.max_changed:g} % of the texts get other labels than PyTorch gives.",
        f"{method} The limits of both F1 are those of a paired bootstrap over texts.",
        exact,
    )


def _procedure(verified: VerifyResult, confidence: float) -> str:
    """Evidence and order."""
    evidence = [f"{verified.texts:,} distinct test texts"]
    if verified.validation_texts:
        evidence.append(f"{verified.validation_texts:,} validation texts")
    if verified.unlabelled_texts:
        evidence.append(f"{verified.unlabelled_texts:,} texts without labels")
    told = f"The evidence: {', '.join(evidence)}."
    if not verified.order:
        return f"{told} All variants are exact, so none needed a test."
    by = (
        "by their agreement with PyTorch on the validation split"
        if verified.ordered_by == "validation"
        else "from the safest to the riskiest"
    )
    return (
        f"{told} Variants are tested {by} ({', '.join(verified.order)}), and testing stops at the first that fails. "
        f"So the probability of shipping any variant that loses more than its margin is under {1 - confidence:.0%}."
    )


def _criteria(verified: VerifyResult) -> Table:
    """Every criterion of every variant that was tested."""
    rows = tuple(
        (
            v.variant,
            c.name,
            c.outcome,
            str(c.texts),
            f"{c.lost} changed" if c.name == "agreement" else f"{c.lost} / {c.gained}",
            f"{c.loss * 100 + 0.0:.2f}",  # + 0.0 turns -0.0 into 0.0
            f"{c.limit * 100 + 0.0:.2f}",
            f"{c.margin * 100:g}",
            c.by,
        )
        for v in verified.verdicts
        for c in v.criteria
    )
    headings = ("variant", "criterion", "outcome", "texts", "lost / gained", "loss", "at most", "margin", "decided by")
    return Table(
        headings, rows, title="Each criterion, in percentage points: the loss seen, its limit, what is allowed"
    )
