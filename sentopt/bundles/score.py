"""Classifies every row of a table file and writes the answers to another file, in the order of the input."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sentopt.data import formats, pairs, scorable
from sentopt.data.options import TableOptions
from sentopt.data.tables import DETECTED
from sentopt.errors import DataError
from sentopt.files import outputs
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.description import Text


@dataclass(frozen=True)
class TableSummary:
    """Counts of rows: all, without text, with a text that was cut, left unanswered; and of each label.

    Of a multi-label model a row counts for each of its labels; `without_label` are answered rows that have none.
    """

    rows: int
    empty: int
    truncated: int
    abstained: int
    seconds: float
    labels: dict[str, int]
    columns: tuple[str, ...]
    notices: tuple[str, ...] = ()
    without_label: int = 0


def score_table(
    classifier: Classifier,
    source: Path,
    target: Path,
    *,
    text_column: str,
    progress: bool,
    pair_column: str = "",
    options: TableOptions = DETECTED,
    overwrite: bool = False,
) -> TableSummary:
    """Write the rows of `source` to `target` with the columns `label`, `score` and `p_<label>` added.

    `pair_column` has the second texts of pairs; without one, texts stand alone.
    Of a multi-label model the columns are `labels` and `p_<label>`: a list, which CSV holds as JSON.

    If `source` has one of these columns, all added ones are named `predicted_label` and so on. The label is empty where
    the classifier abstains. A row without a text gets no answer: its added columns are null, or empty in CSV. `options`
    is the dialect of a CSV or TSV file.

    Raises:
        DataError: unreadable input, a missing column, columns that would be overwritten, no columns, or a delimiter or
            quote that is none.
        OutputError: `target` exists and `overwrite` is false, or is `source`.
    """
    options.check()
    formats.table_format(target)
    outputs.check(target, overwrite=overwrite, inputs=[source])
    notices: list[str] = []
    columns = (text_column, pair_column) if pair_column else (text_column,)
    table = scorable.opened(source, target, columns, options, notices.append)
    sets = bool(classifier.thresholds)
    added = free_columns(source, classifier.labels, table.columns, sets=sets)
    tally = Tally()
    start = time.perf_counter()
    with table.writer(types_of(added, sets=sets)) as writer, _bar(progress, table.count) as bar:
        for window in table.windows:
            answers = answers_to(classifier, window.texts)
            writer.write(window.rows, [cells(added, answer, sets=sets) for answer in answers])
            tally.add(answers)
            bar.update(len(answers))
    return TableSummary(
        tally.rows,
        tally.unanswered,
        tally.truncated,
        tally.abstained,
        time.perf_counter() - start,
        tally.of_labels(classifier.labels),
        columns=tuple(added),
        notices=tuple(notices),
        without_label=tally.without_label,
    )


class Tally:
    """What became of rows: how many there are, got no answer, had a text that was cut, or got no label.

    `abstained` answers were left out for their score; of those that were given, some of a multi-label model are
    `without_label`.
    """

    def __init__(self) -> None:
        self.rows = self.unanswered = self.truncated = self.abstained = self.without_label = 0
        self._labels: Counter[str] = Counter()

    def add(self, answers: Sequence[Prediction | None]) -> None:
        """Count further rows."""
        given = [answer for answer in answers if answer is not None]
        self.rows += len(answers)
        self.unanswered += len(answers) - len(given)
        self.truncated += sum(answer.truncated for answer in given)
        self.abstained += sum(answer.abstained for answer in given)
        labelled = [answer.labels for answer in given if not answer.abstained]
        self.without_label += labelled.count(())
        self._labels.update(label for labels in labelled for label in labels)

    def of_labels(self, labels: Sequence[str]) -> dict[str, int]:
        """How often each label was given."""
        return {label: self._labels[label] for label in labels}


def answers_to(classifier: Classifier, texts: Sequence[Text]) -> list[Prediction | None]:
    """The answer to each text; None where there is no text, or neither one of a pair."""
    answers: Iterator[Prediction] = iter(classifier.predict([text for text in texts if _is_there(text)]))
    return [next(answers) if _is_there(text) else None for text in texts]


def _is_there(text: Text) -> bool:
    return any(part.strip() for part in pairs.parts(text))


def cells(columns: Sequence[str], answer: Prediction | None, *, sets: bool = False) -> dict[str, Any]:
    """What an answer adds to a row: the values of these columns, or nothing in each of them.

    `sets`: the model gives any number of labels; the row gets a list of them, or nothing where it abstains.
    """
    if answer is None:
        return dict.fromkeys(columns)
    each = [round(p, 6) for p in answer.probabilities.values()]
    if sets:
        return dict(zip(columns, [None if answer.abstained else list(answer.labels), *each], strict=True))
    label = "" if answer.abstained else answer.label
    return dict(zip(columns, [label, round(answer.score, 6), *each], strict=True))


def answer_columns(labels: Sequence[str], *, taken: Collection[str] = (), sets: bool = False) -> list[str]:
    """Names of the columns that an answer adds to a row; with the prefix `predicted_` if one of them is `taken`.

    `sets`: the model gives any number of labels.

    Raises:
        DataError: the prefixed names are taken, too.
    """
    plain = [*(["labels"] if sets else ["label", "score"]), *(f"p_{label}" for label in labels)]
    if not set(plain) & set(taken):
        return plain
    renamed = [f"predicted_{name}" for name in plain]
    if duplicates := [name for name in renamed if name in taken]:
        raise DataError(
            f"the columns {', '.join(map(repr, duplicates))} exist already, and the answers need these names"
        )
    return renamed


def types_of(columns: Sequence[str], *, sets: bool = False) -> scorable.Added:
    """The types of the columns that `answer_columns` names."""
    return {name: float if i else list[str] if sets else str for i, name in enumerate(columns)}


def free_columns(source: Path | str, labels: Sequence[str], columns: Sequence[str], *, sets: bool = False) -> list[str]:
    """`answer_columns` for the rows of a table.

    Raises:
        DataError: its columns leave no names for the answers.
    """
    try:
        return answer_columns(labels, taken=columns, sets=sets)
    except DataError as error:
        raise DataError(f"{source}: {error}; rename them there") from error


def _bar(progress: bool, total: int | None) -> Any:
    """A tqdm bar on stderr. tqdm is there wherever tokenizers is: its dependency huggingface_hub brings it."""
    from tqdm import tqdm

    return tqdm(total=total, unit="row", unit_scale=True, file=sys.stderr, disable=not progress)
