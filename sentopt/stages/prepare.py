"""Stage `prepare`: from a dataset to three clean splits in the run directory."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sentopt import backbones
from sentopt.data import sources, store
from sentopt.data.examples import explained_by
from sentopt.data.splits import CleanData, clean, reorder
from sentopt.errors import BackboneError, DataError
from sentopt.recipe import Recipe
from sentopt.results import PrepareResult
from sentopt.run_dir import SPLITS, RunDir


def run(recipe: Recipe, run_dir: RunDir) -> PrepareResult:
    """Read, clean and store the dataset; for a tuned model, with the labels in its order.

    Raises:
        DataError: the data cannot be read or learned from, or has labels that a tuned model does not know.
        BackboneError: the tuned model cannot be had, or does not say what its labels are.
    """
    raw = sources.load(recipe.data)
    with explained_by(raw.notices):
        data = clean(raw, recipe.data, seed=recipe.run.seed, tuned=recipe.model.tuned)
    if recipe.model.tuned:
        data = _in_order_of_model(data, _label_names(backbones.resolve(recipe.model.backbone, recipe.model.revision)))
    store.write(run_dir, data)
    counts: dict[str, dict[str, int]] = {
        split: {
            data.labels[label]: count for label, count in sorted(Counter(e.label for e in data.splits[split]).items())
        }
        for split in SPLITS
    }
    return PrepareResult(raw.description, sources.identify(recipe.data), data.labels, counts, data.notices)


def _label_names(model: Path) -> list[str]:
    try:
        names = json.loads((model / "config.json").read_text(encoding="utf-8"))["id2label"]
        return [str(names[str(i)]) for i in range(len(names))]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(
            f"{model} does not say what its labels are: config.json needs id2label with a name for 0, 1, ... ({error})"
        ) from error


def _in_order_of_model(data: CleanData, names: Sequence[str]) -> CleanData:
    """Labels are matched by name, whatever the case; nameless ones (`LABEL_0`) by position, with a notice."""
    if all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        if len(names) != len(data.labels):
            raise DataError(
                f"the model has {len(names)} labels without names, the data has {len(data.labels)}: "
                f"{', '.join(data.labels)}; give the model's labels names in its config.json (id2label)"
            )
        told = ", ".join(f"{name} is {label}" for name, label in zip(names, data.labels, strict=True))
        return replace(data, notices=(*data.notices, f"the model's labels have no names; it is assumed that {told}"))
    spelled = {label.casefold(): label for label in data.labels}
    unknown = [label for label in data.labels if label.casefold() not in {name.casefold() for name in names}]
    if unknown:
        raise DataError(
            f"the data has the label(s) {', '.join(unknown)}, the model knows {', '.join(names)}; "
            "name the data's labels as the model does with --set data.labels"
        )
    return reorder(data, [spelled.get(name.casefold(), name) for name in names])
