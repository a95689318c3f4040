"""How often the gate ships what it must not, and what it must: `python benchmarks/gate_error.py [--write
docs/verification.md]`.

Answers are simulated, verdicts are not: `sentopt.gate` judges variants whose true losses are known. They are made by
flipping answers of one reference that is right on 90 % of the texts; the flips of all variants of a run are correlated,
as those of quantized copies of one model are. A row is an error if *any* inferior variant passes, whichever is fastest.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from sentopt import gate
from sentopt.gate import Answers, Rules, deferral
from sentopt.measure import stats
from sentopt.report.tables import Table, as_markdown
from sentopt.results import Criterion
from sentopt.runtime.cores import available_cores

RULES = Rules(margin=0.01, recall_margin=0.03, max_changed=0.05, confidence=0.95, macro_f1=False)
ACCURACY, CORRELATION = 0.90, 0.5
KINDS = ("accuracy", "recall", "macro F1", "agreement")
BEGIN, END = "<!-- gate_error: begin -->", "<!-- gate_error: end -->"
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Variant:
    """True rates: `loss` of accuracy (lost minus gained) and `gained`.

    `of_label` loses so much of its recall besides; this share of all texts with label 0 goes `to_label`, whose
    precision suffers.
    """

    loss: float
    gained: float = 0.002
    of_label: tuple[int, float] | None = None
    to_label: tuple[int, float] | None = None

    def violated(self, shares: Sequence[float], rules: Rules) -> frozenset[str]:
        """The bounds that are reached or exceeded."""
        recall = self.of_label[1] if self.of_label else 0.0
        moved = self.to_label[1] if self.to_label else 0.0
        loss = self.loss + (shares[self.of_label[0]] * recall if self.of_label else 0.0) + shares[0] * moved
        found = {
            "accuracy": loss / rules.margin,
            "recall": max(self.loss + recall, self.loss + moved) / rules.recall_margin,
            "agreement": (loss + 2.0 * self.gained) / rules.max_changed,
            "macro F1": self.macro_f1_loss(shares) / rules.margin if rules.macro_f1 else 0.0,
        }
        return frozenset(name for name, times in found.items() if times >= (0.97 if name == "macro F1" else 1.0 - 1e-9))

    def macro_f1_loss(self, shares: Sequence[float]) -> float:
        """By a large sample."""
        texts = _draw(np.random.default_rng(1), 400_000, shares, [self])
        truth, reference, (candidate,) = texts.truth, texts.reference, texts.candidates
        return stats.macro_f1(truth, reference, len(shares)) - stats.macro_f1(truth, candidate, len(shares))


@dataclass(frozen=True)
class Scenario:
    """A row: sizes, shares of the labels, and the variants of the run in the order of the table of variants.

    `cascade` says that these are one cascade with ever bolder thresholds, of which validation chooses one.
    """

    name: str
    test: int
    variants: tuple[Variant, ...]
    shares: tuple[float, ...] = (0.5, 0.5)
    validation: int = 0
    unlabelled: int = 0
    by_table: bool = False
    references: int = 1
    cascade: bool = False
    rules: Rules = RULES


@dataclass(frozen=True)
class _Texts:
    truth: Ints
    reference: Ints
    candidates: tuple[Ints, ...]


def _draw(random: np.random.Generator, n: int, shares: Sequence[float], variants: Sequence[Variant]) -> _Texts:
    """Texts with their labels and the answers of the reference and of every variant."""
    labels = len(shares)
    bounds = np.round(np.cumsum([0.0, *shares]) / sum(shares) * n).astype(np.int64)
    truth = np.repeat(np.arange(labels), np.diff(bounds))  # stratified, as splits are
    right = random.random(n) < ACCURACY
    reference = np.where(right, truth, _other(random, truth, labels))
    shared = random.standard_normal(n)
    candidates = []
    for variant in variants:
        mixed = math.sqrt(CORRELATION) * shared + math.sqrt(1.0 - CORRELATION) * random.standard_normal(n)
        lost = _lowest(mixed, (variant.loss + variant.gained) / ACCURACY)
        if variant.of_label:
            label, rate = variant.of_label
            lost |= (truth == label) & _lowest(mixed, (variant.loss + variant.gained + rate) / ACCURACY)
        answers, flipped = reference.copy(), right & lost
        answers[flipped] = _other(random, reference[flipped], labels)
        if variant.to_label:
            label, rate = variant.to_label
            answers[right & (truth == 0) & _lowest(mixed, rate / ACCURACY)] = label
        fixed = ~right & _lowest(mixed, variant.gained / (1.0 - ACCURACY))
        answers[fixed] = truth[fixed]
        candidates.append(answers)
    return _Texts(truth, reference, tuple(candidates))


def _other(random: np.random.Generator, labels: Ints, count: int) -> Ints:
    return (labels + random.integers(1, count, size=len(labels))) % count


def _lowest(normal: npt.NDArray[np.float64], share: float) -> npt.NDArray[np.bool_]:
    """Which of these normal numbers are among the lowest `share` of all."""
    if share <= 0.0:
        return np.zeros(len(normal), dtype=bool)
    return np.asarray(normal < NormalDist().inv_cdf(min(share, 1.0 - 1e-12)))


@dataclass(frozen=True)
class Outcome:
    """What happened in one simulated run, for each variant.

    `passed` says what the gate said, `undecided` the kinds of criteria that it left open, `alone` whether the variant
    passes when all are tested by themselves.
    """

    passed: tuple[bool, ...]
    undecided: tuple[frozenset[str], ...]
    alone: tuple[bool, ...]


def simulate(scenario: Scenario, seed: int) -> Outcome:
    """One run: validation orders the variants, counts as evidence, or chooses a threshold; the test split decides."""
    random = np.random.default_rng(seed)
    validation = _validation(random, scenario)
    test = _draw(random, scenario.test, scenario.shares, scenario.variants)
    further = _draw(random, scenario.unlabelled, scenario.shares, scenario.variants)
    order = list(range(len(scenario.variants)))
    if not scenario.by_table:
        order.sort(key=lambda i: -(validation.candidates[i] == validation.reference).mean())
    if scenario.cascade:
        order = _boldest(validation, scenario.rules)
    judged, found = {}, {}
    names = [f"label {i}" for i in range(len(scenario.shares))]
    for i in order:
        evidence = [test, validation] if scenario.by_table else [test]
        answers = Answers(
            truth=np.concatenate([texts.truth for texts in evidence]),
            reference=np.concatenate([texts.reference for texts in evidence]),
            candidate=np.concatenate([texts.candidates[i] for texts in evidence]),
            free_reference=further.reference,
            free_candidate=further.candidates[i],
        )
        judged[i] = gate.judge(answers, names, scenario.rules)
        found[i] = gate.outcome(judged[i])
    tested = gate.fixed_sequence(found)
    variants = range(len(scenario.variants))
    return Outcome(
        passed=tuple(i in found and tested[i] and found[i] != "fail" for i in variants),
        undecided=tuple(_undecided(judged.get(i, ())) for i in variants),
        alone=tuple(i in found and found[i] != "fail" for i in variants),
    )


def _undecided(judged: Sequence[Criterion]) -> frozenset[str]:
    return frozenset(kind for kind in KINDS for c in judged if c.name.startswith(kind) and c.outcome == "undecided")


def _boldest(validation: _Texts, rules: Rules) -> list[int]:
    """The last of the thresholds that validation proves one after the other; none if it proves none."""
    proven = deferral.proven_in_sequence(validation.truth, validation.reference, validation.candidates, rules)
    return [proven - 1] if proven else []


def _validation(random: np.random.Generator, scenario: Scenario) -> _Texts:
    """Of several equally good references the one that is right most often: training keeps its best checkpoint."""
    drawn = [_draw(random, scenario.validation, scenario.shares, scenario.variants) for _ in range(scenario.references)]
    return max(drawn, key=lambda texts: float((texts.truth == texts.reference).sum()))


def scenarios() -> list[Scenario]:
    """Every row of the table."""
    margin, rows = RULES.margin, []
    for n in (300, 1_000, 3_000, 10_000):
        for times in (0.0, 0.5, 1.0, 1.5):
            variant = Variant(times * margin)
            rows.append(Scenario(f"one variant, loss {times:g} x margin", n, (variant,), validation=200))
    for n in (300, 1_000, 3_000, 10_000):
        for count in (2, 3, 5):
            name = f"{count} variants, all at the margin"
            rows.append(Scenario(name, n, (Variant(margin),) * count, validation=n // 2))
        mixed = tuple(Variant(times * margin) for times in (0.0, 0.5, 1.0, 1.0, 1.5))
        rows.append(Scenario("5 variants, loss 0, 0.5, 1, 1, 1.5 x margin", n, mixed, validation=n // 2))
        losing = tuple(replace(variant, gained=0.0) for variant in mixed)
        rows.append(Scenario("the same, nothing gained", n, losing, validation=n // 2))
    return [*rows, *_rare_labels(), *_many_labels(), *_macro_f1(), *_little_data(), *_agreement(), *_cascades()]


def _rare_labels() -> list[Scenario]:
    rows = []
    for n, share in ((1_000, 0.12), (3_000, 0.05), (10_000, 0.02), (3_000, 0.01)):
        for times in (0.0, 1.0, 1.5):
            variant = Variant(0.0, 0.001, (1, times * RULES.recall_margin))
            name = f"a label of {round(n * share)} texts loses {times:g} x its margin"
            rows.append(Scenario(name, n, (variant,), (1.0 - share, share), validation=200))
    collapsed = Variant(0.0, 0.001, (1, 0.6))
    rows.append(Scenario("a label of 30 texts loses 60 points", 3_000, (collapsed,), (0.99, 0.01), validation=200))
    lost = Variant(RULES.margin, 0.002)
    rows.append(Scenario("a label of 30 texts, accuracy at the margin", 3_000, (lost,), (0.99, 0.01), validation=200))
    several = tuple(Variant(0.0, 0.001, (1, times * RULES.recall_margin)) for times in (0.0, 1.0, 1.0))
    name = "3 variants, a label of 150 texts loses 0, 1, 1 x its margin"
    rows.append(Scenario(name, 3_000, several, (0.95, 0.05), validation=1_500))
    return rows


def _many_labels() -> list[Scenario]:
    rows = []
    for labels, each in ((77, 40), (77, 110), (20, 110), (6, 150)):
        for loss in (0.0, 0.01, 0.03):
            variant = Variant(loss, 0.001)
            name = f"{labels} labels of {each} texts, loss {loss * 100:g} points"
            rows.append(Scenario(name, labels * each, (variant,), (1 / labels,) * labels, validation=500))
    return rows


def _macro_f1() -> list[Scenario]:
    """The rarest label loses recall, or precision, until macro F1 has lost the margin."""
    rules, rows = replace(RULES, macro_f1=True), []
    for n, shares in (
        (1_000, (0.85, 0.15)),
        (1_300, (0.77, 0.23)),
        (3_000, (0.5, 0.4, 0.1)),
        (10_000, (0.5, 0.3, 0.1, 0.05, 0.05)),
    ):
        for what in ("recall", "precision"):
            rate = _rate_of_margin(what, shares, rules)
            for times in (0.0, 1.0, 1.5):
                variant = _rarest(what, shares, times * rate)
                name = f"macro F1 of {len(shares)} labels loses {times:g} x margin, by {what} of the rarest"
                rows.append(Scenario(name, n, (variant,), shares, validation=200, rules=rules))
    return rows


def _rarest(what: str, shares: Sequence[float], rate: float) -> Variant:
    last = (len(shares) - 1, rate)
    return Variant(0.0, 0.001, of_label=last) if what == "recall" else Variant(0.0, 0.001, to_label=last)


def _rate_of_margin(what: str, shares: Sequence[float], rules: Rules) -> float:
    """The rate of change at which macro F1 loses the margin, by bisection on a large sample."""
    low, high = 0.0, 0.5
    for _ in range(12):
        middle = (low + high) / 2.0
        loss = _rarest(what, shares, middle).macro_f1_loss(shares)
        low, high = (middle, high) if loss < rules.margin else (low, middle)
    return high


def _little_data() -> list[Scenario]:
    """2,000 labelled texts give 400 for the test and 160 for validation, 1,000 give 400 and 60."""
    rows = []
    for changed, variant in (
        ("0.5 % changed", Variant(0.001, 0.002)),
        ("loss at the margin", Variant(RULES.margin, 0.0)),
        ("loss at the margin, some gained", Variant(RULES.margin, 0.002)),
    ):
        alone = Scenario(f"2,000 texts, {changed}: test split alone", 400, (variant,), validation=160)
        counts = replace(alone, name=f"2,000 texts, {changed}: validation counts", by_table=True, references=5)
        rows += [alone, counts]
        rows.append(replace(counts, name=f"1,000 texts, {changed}: a fifth is test", test=200, validation=80))
        rows.append(replace(counts, name=f"1,000 texts, {changed}: two fifths are test", validation=60))
        for unlabelled in (1, 1_000, 5_000):
            name = f"2,000 texts, {changed}: {unlabelled:,} without labels"
            rows.append(replace(counts, name=name, unlabelled=unlabelled))
        rows.append(replace(rows[-1], name=f"{rows[-1].name}, macro F1 too", rules=replace(RULES, macro_f1=True)))
    recall = Variant(0.0, 0.001, (1, RULES.recall_margin))
    base = Scenario("", 400, (recall,), (0.8, 0.2), validation=160, by_table=True, unlabelled=5_000)
    rows.append(replace(base, name="2,000 texts, recall at its margin: 5,000 without labels"))
    three = (Variant(0.001, 0.002), Variant(RULES.margin, 0.0), Variant(RULES.margin, 0.002))
    rows.append(replace(base, name="2,000 texts, 3 variants: 5,000 without labels", variants=three, shares=(0.5, 0.5)))
    return rows


def _agreement() -> list[Scenario]:
    rows = []
    for n in (300, 3_000):
        for times in (0.5, 1.0):
            variant = Variant(0.0, times * RULES.max_changed / 2.0)
            name = f"labels changed {times:g} x the most, none lost on balance"
            rows.append(Scenario(name, n, (variant,), validation=200))
    return rows


def _cascades() -> list[Scenario]:
    """Thresholds that lose ever more. Validation takes the boldest that it proves, which is often one too many."""
    rows = []
    steps = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0)
    for n in (300, 1_000, 3_000, 10_000):
        for gained in (0.0, 0.005):
            what = ", some gained" if gained else ""
            name = f"a cascade, losing 0 to 2 x margin{what}: threshold chosen on validation"
            variants = tuple(Variant(times * RULES.margin, gained) for times in steps)
            rows.append(Scenario(name, n, variants, validation=n // 2, cascade=True))
    return rows


def measure(job: tuple[Scenario, int, int]) -> tuple[str, ...]:
    """One row: error or power, with the limits that so many simulated runs give it."""
    scenario, runs, seed = job
    violated = [variant.violated(scenario.shares, scenario.rules) for variant in scenario.variants]
    outcomes = [simulate(scenario, seed * 1_000_003 + run) for run in range(runs)]
    places = range(len(violated))
    wrong = sum(any(o.passed[i] and violated[i] - o.undecided[i] for i in places) for o in outcomes)
    alone = sum(any(o.alone[i] and violated[i] - o.undecided[i] for i in places) for o in outcomes)
    good = sum(any(o.passed[i] and not violated[i] for i in places) for o in outcomes)
    undecided = sum(any(o.passed[i] and o.undecided[i] for i in places) for o in outcomes)
    texts = f"{scenario.test:,}" + (f" + {scenario.validation:,}" if scenario.by_table else "")
    return (
        scenario.name,
        texts + (f" + {scenario.unlabelled:,}" if scenario.unlabelled else ""),
        _share(wrong, runs) if any(violated) else "-",
        f"{alone / runs:.1%}" if any(violated) and len(violated) > 1 and not scenario.cascade else "-",
        f"{good / runs:.1%}" if not all(violated) else "-",
        f"{undecided / runs:.1%}",
    )


def _share(count: int, runs: int) -> str:
    low, high = stats.wilson_interval(count, runs, 0.95)
    return f"{count / runs:.1%} ({low:.1%} to {high:.1%})"


HEADINGS = (
    "variants",
    "texts",
    "an inferior one passes",
    "... if each were tested by itself",
    "a good one passes",
    "ships with a label undecided, and says so",
)


def table(runs: int, chosen: Callable[[str], bool] = lambda name: True) -> Table:
    """All rows, in as many processes as there are cores."""
    jobs = [(scenario, runs, seed) for seed, scenario in enumerate(scenarios()) if chosen(scenario.name)]
    with ProcessPoolExecutor(available_cores()) as pool:
        return Table(HEADINGS, tuple(pool.map(measure, jobs)))


def main() -> None:
    """Print the table, or write it into a page between its two marks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4_000, help="simulated runs of each row (default: 4,000)")
    parser.add_argument("--only", default="", help="rows whose name holds this")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="a Markdown file that holds the two marks")
    arguments = parser.parse_args()
    start = time.perf_counter()
    found = as_markdown(table(arguments.runs, lambda name: arguments.only in name))
    print(found)
    print(f"{arguments.runs:,} simulated runs a row, {time.perf_counter() - start:.0f} s")
    if arguments.write:
        page = arguments.write.read_text(encoding="utf-8")
        before, _, rest = page.partition(BEGIN)
        _, _, after = rest.partition(END)
        arguments.write.write_text(f"{before}{BEGIN}\n{found}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
