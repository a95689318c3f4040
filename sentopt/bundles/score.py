"""Classifies every row of a table file and writes the answers to another file, in the order of the input."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from sentopt import records
from sentopt.data import formats
from sentopt.data.examples import as_text
from sentopt.data.options import TableOptions
from sentopt.data.tables import DETECTED, Row, RowWriter, arrow_types, count_rows, read_rows, table_format
from sentopt.errors import DataError
from sentopt.files import outputs
from sentopt.runtime.batching import batched
from sentopt.runtime.classifier import Classifier

_WINDOW = 512


@dataclass(frozen=True)
class TableSummary:
    """Counts of rows: all, without text, with a text that was cut, left unanswered; and of each label."""

    rows: int
    empty: int
    truncated: int
    abstained: int
    seconds: float
    labels: dict[str, int]
    columns: tuple[str, ...]
    notices: tuple[str, ...] = ()


def score_table(
    classifier: Classifier,
    source: Path,
    target: Path,
    *,
    text_column: str,
    progress: bool,
    options: TableOptions = DETECTED,
    overwrite: bool = False,
) -> TableSummary:
    """Write the rows of `source` to `target` with the columns `label`, `score` and `p_<label>` added.

    If `source` has one of these columns, all added ones are named `predicted_label` and so on. The label is empty where
    the classifier abstains. `options` is the dialect of a CSV or TSV file.

    Raises:
        DataError: unreadable input, a missing column, columns that would be overwritten, or no rows.
        OutputError: `target` exists and `overwrite` is false, or is `source`.
    """
    table_format(target)
    outputs.check(target, overwrite=overwrite, inputs=[source])
    notices: list[str] = []
    rows = read_rows(source, options, notices.append)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{source} has no rows")
    _check_columns(source, first, text_column)
    types = {} if table_format(target) != "parquet" or read_as_text(source) else arrow_types(read_rows(source, options))
    columns = list(types) or _columns(source, first, options)
    label, score, *probabilities = added = _free_columns(source, classifier.labels, columns)
    counts: Counter[str] = Counter()
    empty = truncated = 0
    start = time.perf_counter()
    with (
        RowWriter(target, [*columns, *added], types) as writer,
        _bar(progress, count_rows(source)) as bar,
    ):
        for window in batched(chain([first], rows), _WINDOW):
            texts = [as_text(row.get(text_column), source.name) for row in window]
            answers = classifier.predict(texts)
            writer.write(
                [
                    {
                        **row,
                        label: "" if a.abstained else a.label,
                        score: round(a.score, 6),
                        **{c: round(p, 6) for c, p in zip(probabilities, a.probabilities.values(), strict=True)},
                    }
                    for row, a in zip(window, answers, strict=True)
                ]
            )
            counts.update("" if a.abstained else a.label for a in answers)
            empty += sum(not text.strip() for text in texts)
            truncated += sum(a.truncated for a in answers)
            bar.update(len(window))
    labels = {label: counts[label] for label in classifier.labels}
    seconds = time.perf_counter() - start
    return TableSummary(
        counts.total(), empty, truncated, counts[""], seconds, labels, columns=tuple(added), notices=tuple(notices)
    )


def answer_columns(labels: Sequence[str], *, taken: Collection[str] = ()) -> list[str]:
    """Names of the columns that an answer adds to a row; with the prefix `predicted_` if one of them is `taken`.

    Raises:
        DataError: the prefixed names are taken, too.
    """
    plain = ["label", "score", *(f"p_{label}" for label in labels)]
    if not set(plain) & set(taken):
        return plain
    renamed = [f"predicted_{name}" for name in plain]
    if duplicates := [name for name in renamed if name in taken]:
        raise DataError(
            f"the columns {', '.join(map(repr, duplicates))} exist already, and the answers need these names"
        )
    return renamed


def _free_columns(source: Path, labels: Sequence[str], columns: Sequence[str]) -> list[str]:
    try:
        return answer_columns(labels, taken=columns)
    except DataError as error:
        raise DataError(f"{source}: {error}; rename them there") from error


def read_as_text(source: Path) -> bool:
    """Whether the format has no types, so that every value is read as text."""
    return formats.reading_format(source) in ("csv", "tsv")


def _columns(source: Path, first: Row, options: TableOptions) -> list[str]:
    """The columns of all rows; JSON rows may differ in theirs."""
    if formats.reading_format(source) not in ("json", "jsonl"):
        return list(first)
    return list(dict.fromkeys(column for row in read_rows(source, options) for column in row))


def _check_columns(source: Path, row: Row, text_column: str) -> None:
    if text_column not in row:
        hint = records.nearest(text_column, [str(name) for name in row])
        raise DataError(
            f"{source} has no column {text_column!r}{hint}; it has {', '.join(repr(c) for c in row)}. "
            "Name it with --text-column"
        )


def _bar(progress: bool, total: int | None) -> Any:
    """A tqdm bar on stderr. tqdm is there wherever tokenizers is: its dependency huggingface_hub brings it."""
    from tqdm import tqdm

    return tqdm(total=total, unit="row", unit_scale=True, file=sys.stderr, disable=not progress)
