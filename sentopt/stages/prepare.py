"""Stage `prepare`: from a dataset to three clean splits in the run directory."""

from __future__ import annotations

from collections import Counter

from sentopt.data import sources, store
from sentopt.data.splits import clean
from sentopt.recipe import Recipe
from sentopt.results import PrepareResult
from sentopt.run_dir import SPLITS, RunDir


def run(recipe: Recipe, run_dir: RunDir) -> PrepareResult:
    """Read, clean and store the dataset.

    Raises:
        DataError: the data cannot be read or learned from.
    """
    raw = sources.load(recipe.data)
    data = clean(raw, recipe.data, seed=recipe.run.seed)
    store.write(run_dir, data)
    counts: dict[str, dict[str, int]] = {
        split: {
            data.labels[label]: count for label, count in sorted(Counter(e.label for e in data.splits[split]).items())
        }
        for split in SPLITS
    }
    return PrepareResult(raw.description, sources.identify(recipe.data), data.labels, counts, data.notices)
