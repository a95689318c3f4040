"""Stage `select`: the fastest variant among those that may ship, and the reason in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sentopt import gate
from sentopt.errors import RecipeError
from sentopt.recipe import SelectSection
from sentopt.results import BenchRow, ReferenceCheck, Selection, Verdict
from sentopt.variants import REFERENCE, VARIANTS, VariantSpec


def run(
    select: SelectSection, specs: Sequence[VariantSpec], verdicts: Sequence[Verdict], rows: Sequence[BenchRow]
) -> Selection:
    """Choose by the recipe's objective; within `select.tie` of the fastest, agreement with PyTorch decides."""
    judged = {v.variant: v for v in verdicts}
    shipping = {s.name for s in specs if s.ships}
    passed = [row for row in rows if row.variant in shipping and row.variant in judged and judged[row.variant].passed]
    refused = [name for name in judged if name in shipping and not judged[name].passed]
    if not passed:
        return Selection(
            None, select.objective, "no variant passed verification, so nothing ships. " + _why_refused(refused, judged)
        )
    fastest = min(passed, key=lambda row: cost(row, select.objective))
    tied = [
        row for row in passed if cost(row, select.objective) <= cost(fastest, select.objective) * (1.0 + select.tie)
    ]
    chosen = max(tied, key=lambda row: (judged[row.variant].agreement, -cost(row, select.objective)))
    reason = _why_chosen(chosen, fastest, passed, rows, select)
    parts = [reason, _undecided(judged[chosen.variant]), _no_int8(chosen.variant, refused)]
    return Selection(chosen.variant, select.objective, " ".join(filter(None, [*parts, _why_refused(refused, judged)])))


def refuse(check: ReferenceCheck, select: SelectSection) -> Selection:
    """Nothing ships: PyTorch itself is too weak a reference."""
    return Selection(
        None,
        select.objective,
        f"nothing ships: {check.words}. A comparison with it would say nothing; "
        "--set verify.allow_weak_reference=true insists",
    )


def fallback(spec: VariantSpec, verdicts: Mapping[str, Verdict], rows: Sequence[BenchRow]) -> VariantSpec | None:
    """The fastest verified FP32 graph that takes the same tokens; None for what is FP32 already.

    Raises:
        RecipeError: no such graph passed.
    """
    if spec.dtype == "float32":
        return None
    p50 = {row.variant: row.latency.p50 for row in rows}
    passed = [
        other
        for other in VARIANTS.values()
        if other.ships
        and (other.dtype, other.backend) == ("float32", "onnx")
        and other.name in p50
        and other.name in verdicts
        and verdicts[other.name].passed
    ]
    if spec.trimmed or not passed:
        why = "its tokens are its own" if spec.trimmed else "no FP32 graph was verified and measured in this run"
        raise RecipeError("export.fp32_fallback", [f"there is none for {spec.name}: {why}"])
    return min(passed, key=lambda other: p50[other.name])


def cost(row: BenchRow, objective: str) -> float:
    """What the objective minimizes: median milliseconds of one text, or seconds per text of many."""
    return row.latency.p50 if objective == "latency" else 1.0 / row.texts_per_second


def _why_chosen(
    chosen: BenchRow, fastest: BenchRow, passed: Sequence[BenchRow], rows: Sequence[BenchRow], select: SelectSection
) -> str:
    figure = (
        f"{chosen.latency.p50:.2f} ms per text"
        if select.objective == "latency"
        else f"{chosen.texts_per_second:.0f} texts/s"
    )
    words = (
        f"{chosen.variant} is the fastest of {len(passed)} verified variant{'s' if len(passed) != 1 else ''} ({figure})"
    )
    if chosen is not fastest:
        words = (
            f"{chosen.variant} ({figure}) is within {select.tie:.0%} of the fastest, {fastest.variant}, "
            "and its answers agree with PyTorch's at least as often"
        )
    reference = next((row for row in rows if row.variant == REFERENCE), None)
    if reference:
        words += (
            f", {cost(reference, select.objective) / cost(chosen, select.objective):.1f} times as fast as PyTorch eager"
        )
    return words + "."


def _undecided(verdict: Verdict) -> str:
    """What ships without having been decided."""
    if not verdict.undecided:
        return ""
    said = "; ".join(gate.in_words(criterion) for criterion in verdict.undecided)
    return f"* {said}: what was seen is within the margin."


def _no_int8(chosen: str, refused: Sequence[str]) -> str:
    """A headline where what ships is several times slower than what was refused."""
    int8 = [name for name in refused if VARIANTS[name].dtype == "int8"]
    return "No INT8 variant ships." if int8 and VARIANTS[chosen].dtype == "float32" else ""


def _why_refused(refused: Sequence[str], judged: dict[str, Verdict]) -> str:
    said = {True: "was refused", False: "was not tested"}
    return " ".join(f"{name} {said[judged[name].tested]}: {judged[name].reason}." for name in refused)
