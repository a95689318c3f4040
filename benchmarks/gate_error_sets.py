"""How often the gate errs where texts have any number of labels: `python benchmarks/gate_error_sets.py --runs 600`.

Answers are simulated, verdicts are not: `sentopt.gate` judges variants whose true losses are known. A variant loses
exactly the margin of one criterion, half as much again, or nothing. The table says how often that criterion is met all
the same, and how often the variant may ship. `gate_error.py` is the simulation for single labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from sentopt import gate
from sentopt.gate import Answers, Rules
from sentopt.measure import label_sets, set_stats
from sentopt.measure.stats import wilson_interval
from sentopt.report.tables import Table, as_markdown
from sentopt.runtime.cores import available_cores

RULES = Rules(margin=0.01, recall_margin=0.03, max_changed=0.05, confidence=0.95, macro_f1=True)
SHARES = (0.4, 0.25, 0.15, 0.1)
"""How many texts have each label; the labels are independent, so some texts have none."""
_WRONG = 0.03  # of the reference, for each label of each text
_LARGE = 400_000
Bools = npt.NDArray[np.bool_]
Change = Callable[[np.random.Generator, Bools, Bools, float], Bools]


def lose_texts(random: np.random.Generator, has: Bools, given: Bools, rate: float) -> Bools:
    """One label of a text changes, for the share `rate` of all texts that are right."""
    right = (has == given).all(axis=1)
    rows = np.flatnonzero(right & (random.random(len(has)) < rate / max(right.mean(), 1e-9)))
    changed = given.copy()
    changed[rows, random.integers(0, has.shape[1], len(rows))] ^= True
    return changed


def lose_the_rarest(random: np.random.Generator, has: Bools, given: Bools, rate: float) -> Bools:
    """The rarest label is left out, for the share `rate` of the texts that have it."""
    changed = given.copy()
    kept = has[:, -1] & given[:, -1]
    changed[kept & (random.random(len(has)) < rate / (1 - _WRONG)), -1] = False
    return changed


def add_labels(random: np.random.Generator, has: Bools, given: Bools, rate: float) -> Bools:
    """Labels are added, at the rate `rate` to each text that lacks them."""
    return np.asarray(given | (random.random(has.shape) < rate))


@dataclass(frozen=True)
class Scenario:
    """A row: the criterion, how it is violated, and by how many margins."""

    criterion: str
    change: Change
    rate: float
    times: float
    texts: int


def loss_of(criterion: str, has: Bools, given: Bools, changed: Bools) -> float:
    """The true loss of a criterion, on a large sample."""
    if criterion == "subset accuracy":
        return float((has == given).all(axis=1).mean() - (has == changed).all(axis=1).mean())
    if criterion == "recall":
        return float(given[has[:, -1], -1].mean() - changed[has[:, -1], -1].mean())
    truth, *answers = map(label_sets.codes, (has, given, changed))
    average = "micro" if criterion == "micro F1" else "macro"
    before, after = (set_stats.f1(truth, one, has.shape[1])[average] for one in answers)  # type: ignore[index]
    return before - after


def draw(random: np.random.Generator, texts: int) -> tuple[Bools, Bools]:
    """Which labels texts have, and which ones the reference gives."""
    has = random.random((texts, len(SHARES))) < SHARES
    return has, has ^ (random.random(has.shape) < _WRONG)


def rate_of(criterion: str, change: Change, loss: float) -> float:
    """The rate at which a change loses so much, by bisection on a large sample."""
    has, given = draw(np.random.default_rng(1), _LARGE)
    low, high = 0.0, 0.5
    for _ in range(14):
        middle = (low + high) / 2
        found = loss_of(criterion, has, given, change(np.random.default_rng(2), has, given, middle))
        low, high = (middle, high) if found < loss else (low, middle)
    return high


def scenarios() -> list[Scenario]:
    """Every row of the table."""
    rows = []
    for criterion, change, margin in (
        ("subset accuracy", lose_texts, RULES.margin),
        ("recall", lose_the_rarest, RULES.recall_margin),
        ("micro F1", add_labels, RULES.margin),
        ("macro F1", lose_the_rarest, RULES.margin),
    ):
        for times in (0.0, 1.0, 1.5):
            rate = rate_of(criterion, change, times * margin) if times else 0.0
            rows += [Scenario(criterion, change, rate, times, texts) for texts in (1_000, 3_000)]
    return rows


def simulate(scenario: Scenario, seed: int) -> tuple[bool, bool]:
    """Whether the criterion is met, and whether the variant may ship."""
    random = np.random.default_rng(seed)
    has, given = draw(random, scenario.texts)
    changed = scenario.change(random, has, given, scenario.rate)
    names = [f"label {i}" for i in range(len(SHARES))]
    criteria = gate.judge_sets(Answers.labelled(*map(label_sets.codes, (has, given, changed))), names, RULES)
    own = f"recall of label {len(SHARES) - 1}" if scenario.criterion == "recall" else scenario.criterion
    met = next(criterion.outcome == "pass" for criterion in criteria if criterion.name == own)
    return met, gate.outcome(criteria) != "fail"


def row(scenario: Scenario, runs: int) -> tuple[str, ...]:
    """A row of the table."""
    found = np.array([simulate(scenario, 1_000_003 + seed) for seed in range(runs)])
    met, passed = int(found[:, 0].sum()), int(found[:, 1].sum())
    low, high = wilson_interval(met, runs, 0.95)
    what = f"{scenario.criterion} loses {scenario.times:g} x its margin"
    return what, f"{scenario.texts:,}", f"{met / runs:.1%} ({low:.1%} to {high:.1%})", f"{passed / runs:.1%}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=600, help="simulated runs for each row")
    runs = parser.parse_args(arguments).runs
    with ProcessPoolExecutor(available_cores()) as pool:
        rows = tuple(pool.map(partial(row, runs=runs), scenarios()))
    print(as_markdown(Table(("variant", "texts", "that criterion is met", "the variant may ship"), rows)))


if __name__ == "__main__":
    main()
