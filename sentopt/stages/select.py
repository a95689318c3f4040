"""Stage `select`: the fastest variant among those that passed and that a bundle can hold, and the reason in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sentopt import gate
from sentopt.errors import RecipeError
from sentopt.measure.timing import Figure, shared_figure
from sentopt.recipe import SelectSection
from sentopt.report.tables import listed
from sentopt.results import BenchRow, ReferenceCheck, Selection, Verdict
from sentopt.variants import REFERENCE, VARIANTS, VariantSpec


def run(
    select: SelectSection, specs: Sequence[VariantSpec], verdicts: Sequence[Verdict], rows: Sequence[BenchRow]
) -> Selection:
    """Choose by the recipe's objective; within `select.tie` of the fastest, agreement with PyTorch decides.

    Latencies are compared by the recipe's figure, or by their medians if some are of a version without means. The
    reason has one statement a line.
    """
    figure = shared_figure(select.percentile, [row.latency for row in rows])
    speed = partial(cost, objective=select.objective, figure=figure)
    judged = {v.variant: v for v in verdicts}
    shipping = {s.name for s in specs if s.ships}
    passed = [row for row in rows if row.variant in judged and judged[row.variant].passed]
    candidates = [row for row in passed if row.variant in shipping]
    for_comparison = [row.variant for row in passed if row.variant not in shipping and row.variant != REFERENCE]
    refused = [name for name in judged if name in shipping and not judged[name].passed]
    if not candidates:
        none = "No variant that a bundle can hold passed verification, so nothing ships."
        lines = [none, _only_for_comparison(for_comparison), *_why_refused(refused, judged)]
        return Selection(None, select.objective, "\n".join(filter(None, lines)), figure)
    fastest = min(candidates, key=speed)
    limit = speed(fastest) * (1.0 + select.tie)
    tied = [row for row in candidates if speed(row) <= limit]
    chosen = max(tied, key=lambda row: (judged[row.variant].agreement, -speed(row)))
    lines = [
        _why_chosen(chosen, fastest, candidates, select, _figures(chosen, rows, select.objective, figure)),
        _without_means(select, figure),
        _only_for_comparison(for_comparison),
        _undecided(judged[chosen.variant]),
        _no_int8(chosen.variant, refused),
        *_why_refused(refused, judged),
    ]
    return Selection(chosen.variant, select.objective, "\n".join(filter(None, lines)), figure)


def refuse(check: ReferenceCheck, select: SelectSection) -> Selection:
    """Nothing ships: PyTorch itself is too weak a reference."""
    return Selection(
        None,
        select.objective,
        f"nothing ships: {check.words}. A comparison with it would be meaningless; "
        "--set verify.allow_weak_reference=true compares and ships all the same",
        select.percentile,
    )


def fallback(
    spec: VariantSpec, verdicts: Mapping[str, Verdict], rows: Sequence[BenchRow], *, percentile: Figure = "mean"
) -> VariantSpec | None:
    """The verified FP32 graph that takes the same tokens and answers one text fastest; None for what is FP32 already.

    Raises:
        RecipeError: no such graph passed.
    """
    if spec.dtype == "float32":
        return None
    figure = shared_figure(percentile, [row.latency for row in rows])
    latency = {row.variant: row.latency.figure(figure) for row in rows}
    passed = [
        other
        for other in VARIANTS.values()
        if other.ships
        and (other.dtype, other.backend) == ("float32", "onnx")
        and other.name in latency
        and other.name in verdicts
        and verdicts[other.name].passed
    ]
    if spec.trimmed or not passed:
        why = "its tokens are its own" if spec.trimmed else "no FP32 graph was verified and measured in this run"
        raise RecipeError("export.fp32_fallback", [f"there is none for {spec.name}: {why}"])
    return min(passed, key=lambda other: latency[other.name])


def cost(row: BenchRow, *, objective: str, figure: Figure) -> float:
    """What the objective minimizes: that figure of the milliseconds of one text, or seconds per text of many."""
    return row.latency.figure(figure) if objective == "latency" else 1.0 / row.texts_per_second


def _why_chosen(
    chosen: BenchRow, fastest: BenchRow, candidates: Sequence[BenchRow], select: SelectSection, figures: str
) -> str:
    if chosen is not fastest:
        return (
            f"{chosen.variant} ships: {figures}. It is within {select.tie:.0%} of the fastest, {fastest.variant}, "
            "and its labels agree with PyTorch's at least as often."
        )
    if len(candidates) == 1:
        return f"{chosen.variant} ships: {figures}. It is the only variant that passed and that a bundle can hold."
    return (
        f"{chosen.variant} ships: {figures}. "
        f"It is the fastest of the {len(candidates)} variants that passed and that a bundle can hold."
    )


def _figures(chosen: BenchRow, rows: Sequence[BenchRow], objective: str, figure: Figure) -> str:
    """The speed of the chosen variant, and how it compares with PyTorch's."""
    speed = (
        f"{chosen.latency.figure(figure):.2f} ms per text ({figure})"
        if objective == "latency"
        else f"{chosen.texts_per_second:.0f} texts/s"
    )
    reference = next((row for row in rows if row.variant == REFERENCE), None)
    if reference is None:
        return speed
    cost_of = partial(cost, objective=objective, figure=figure)
    ratio = cost_of(reference) / cost_of(chosen)
    return f"{speed}, {ratio:.1f} times as fast as PyTorch"


def _without_means(select: SelectSection, figure: Figure) -> str:
    """That another figure was compared than the recipe asks for."""
    if select.objective != "latency" or figure == select.percentile:
        return ""
    return "Medians were compared, because this benchmark is of an earlier version and has no means."


def _only_for_comparison(names: Sequence[str]) -> str:
    """The rows of the table that passed and are no candidates: so that the count can be reconciled with the table."""
    if not names:
        return ""
    are = "are" if len(names) > 1 else "is"
    return (
        f"{listed(names)} passed, but {are} measured for comparison only: "
        "a bundle runs without PyTorch and without a GPU."
    )


def _undecided(verdict: Verdict) -> str:
    """What ships without having been decided."""
    if not verdict.undecided:
        return ""
    criteria = "; ".join(gate.describe(criterion) for criterion in verdict.undecided)
    return f"* {criteria}: what was seen is within the margin."


def _no_int8(chosen: str, refused: Sequence[str]) -> str:
    """A headline where what ships is several times slower than what was refused."""
    int8 = [name for name in refused if VARIANTS[name].dtype == "int8"]
    return "No INT8 variant ships." if int8 and VARIANTS[chosen].dtype == "float32" else ""


def _why_refused(refused: Sequence[str], judged: Mapping[str, Verdict]) -> list[str]:
    verbs = {True: "was refused", False: "was not tested"}
    return [f"{name} {verbs[judged[name].tested]}: {judged[name].reason}." for name in refused]
