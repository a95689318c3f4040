"""Score every row of a table file into another, a window of rows at a time, in the order of the input."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from sentopt import records
from sentopt.data.examples import as_text
from sentopt.data.options import TableOptions
from sentopt.data.tables import DETECTED, Row, RowWriter, count_rows, read_rows
from sentopt.errors import DataError
from sentopt.runtime.classifier import Classifier

_WINDOW = 512


@dataclass(frozen=True)
class TableSummary:
    """How many rows were scored, had no text, had a text that was cut, were abstained from; and the count of labels."""

    rows: int
    empty: int
    truncated: int
    abstained: int
    seconds: float
    labels: dict[str, int]
    notices: tuple[str, ...] = ()


def score_table(
    classifier: Classifier,
    source: Path,
    target: Path,
    *,
    text_column: str,
    progress: bool,
    options: TableOptions = DETECTED,
) -> TableSummary:
    """Write the rows of `source` to `target` with the columns `label`, `score` and `p_<label>` added.

    The label is empty where the classifier abstains. `options` say how a CSV or TSV file is written.

    Raises:
        DataError: unreadable input, a missing column, columns that would be overwritten, or no rows.
    """
    if source.resolve() == target.resolve():
        raise DataError(f"{source} would overwrite itself; choose another output file")
    notices: list[str] = []
    rows = read_rows(source, options, notices.append)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{source} has no rows")
    added = answer_columns(classifier.labels)
    _check_columns(source, first, text_column, added)
    counts: Counter[str] = Counter()
    empty = truncated = 0
    start = time.perf_counter()
    with (
        RowWriter(target, [*(c for c in first if c not in added), *added]) as writer,
        _bar(progress, count_rows(source)) as bar,
    ):
        for window in _windows(chain([first], rows)):
            texts = [as_text(row.get(text_column), source.name) for row in window]
            answers = classifier.predict(texts)
            writer.write(
                [
                    {
                        **row,
                        "label": "" if a.abstained else a.label,
                        "score": round(a.score, 6),
                        **{f"p_{k}": round(p, 6) for k, p in a.probabilities.items()},
                    }
                    for row, a in zip(window, answers, strict=True)
                ]
            )
            counts.update("" if a.abstained else a.label for a in answers)
            empty += sum(not text.strip() for text in texts)
            truncated += sum(a.truncated for a in answers)
            bar.update(len(window))
    labels = {label: counts[label] for label in classifier.labels}
    return TableSummary(
        counts.total(), empty, truncated, counts[""], time.perf_counter() - start, labels, tuple(notices)
    )


def answer_columns(labels: Sequence[str]) -> list[str]:
    """The columns that an answer adds to a row."""
    return ["label", "score", *(f"p_{label}" for label in labels)]


def _check_columns(source: Path, row: Row, text_column: str, added: list[str]) -> None:
    if text_column not in row:
        hint = records.nearest(text_column, [str(name) for name in row])
        raise DataError(
            f"{source} has no column {text_column!r}{hint}; it has {', '.join(repr(c) for c in row)}. "
            "Name it with --text-column"
        )
    if text_column in added:
        raise DataError(f"the text column {text_column!r} has the name of an output column; rename it in {source}")


def _windows(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while window := list(islice(rows, _WINDOW)):
        yield window


def _bar(progress: bool, total: int | None) -> Any:
    """A tqdm bar on stderr. tqdm is there wherever tokenizers is: its dependency huggingface_hub brings it."""
    from tqdm import tqdm

    return tqdm(total=total, unit="row", unit_scale=True, file=sys.stderr, disable=not progress)
