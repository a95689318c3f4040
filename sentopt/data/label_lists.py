"""Labels of texts that have any number of them: from lists, separated names, or columns of 0 and 1, to codes.

A text without any label is a text like others; a row whose labels are missing is one that `data.missing_labels` is for.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sentopt.data import labels, splits
from sentopt.data.examples import RawData
from sentopt.data.labels import Labelled, Named
from sentopt.data.rows import Rows
from sentopt.errors import DataError
from sentopt.measure.label_sets import MOST_LABELS
from sentopt.recipe import TEST_AS_VALIDATION, DataSection
from sentopt.run_dir import Split


def are_sets(raw: RawData, data: DataSection) -> bool:
    """Whether texts have any number of labels: the recipe says so, or all labels are lists, and not all lists of one.

    Rows whose label is missing (None, or an empty text) do not count.

    Raises:
        DataError: some labels are lists, not all of them lists of one, and others are not.
    """
    if data.label_columns or data.label_separator or raw.multi_label:
        return True
    several, single = "", ""
    for split in raw.splits.values():
        rows = Rows.of(split)
        for code, row in rows.labels():
            value = rows.values[code]
            if _is_missing(value):
                continue
            items = labels.items_of(value)
            if items is None:
                single = single or f"{rows.where(row)}: the label is {str(value)[:60]!r}"
            elif len(items) != 1:
                several = several or f"{rows.where(row)} it is a list ({str(value)[:60]})"
            if several and single:
                raise DataError(
                    f"{single}, and in {several}: where texts have any number of labels, write a list for each text, "
                    "or all of them as one text with data.label_separator"
                )
    return bool(several)


def labelled_rows(raw: RawData, data: DataSection, notices: list[str]) -> Named:
    """The usable rows of each split that is given, with the code of each one's labels.

    Raises:
        DataError: a row has no labels, or some that cannot be used; or there are corrections, which have one label.
    """
    if data.corrections:
        raise DataError(
            "data.corrections corrects the one label of a text, and the labels of these texts are lists: correct the "
            "data itself"
        )
    written = {split: _as_items(Rows.of(rows), data) for split, rows in raw.splits.items()}
    if data.validation == TEST_AS_VALIDATION:
        written.pop("validation", None)
    rows = splits.given_rows(dataclasses.replace(raw, splits=written), data, notices, _is_hidden)
    return _named(rows, raw.labels, data, notices, by_position=raw.by_position)


def _as_items(rows: Rows, data: DataSection) -> Rows:
    """The rows with the labels of each as a tuple of texts; None where they are missing."""
    values: list[Any] = [None] * len(rows.values)
    for code, row in rows.labels():
        values[code] = _items(rows.values[code], rows.where(row), data)
    return dataclasses.replace(rows, values=tuple(values))


def _items(value: Any, where: str, data: DataSection) -> tuple[str, ...] | None:
    """The labels of a row, each once.

    Raises:
        DataError: they are no list, or no text with the separator, or a label is empty or there twice.
    """
    given = labels.items_of(value)
    if given is None and data.label_separator:
        written = "" if _is_missing(value) else labels.Values().text(value, where)
        given = [part for part in written.split(data.label_separator) if part.strip()]
    if given is None:
        if _is_missing(value):
            return None
        raise DataError(
            f"{where}: the label is {str(value)[:60]!r}, and others are lists; expected a list of labels for each "
            "text, an empty one where a text has none"
        )
    texts = [labels.Values().text(item, where) for item in given]
    if "" in texts:
        raise DataError(f"{where}: an empty label in the list {str(value)[:60]}; leave it out")
    twice = [text for text, count in Counter(texts).items() if count > 1]
    if twice:
        raise DataError(
            f"{where}: the label {twice[0]!r} is there twice ({str(value)[:60]}); expected the labels of the text, "
            "each once. Where these are 0 and 1 for each label, give them as columns, which data.label_columns names"
        )
    return tuple(texts)


def _is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return True
    return isinstance(value, str) and value.strip().lower() in ("", "nan")


def _is_hidden(rows: Rows, others: Sequence[Rows]) -> str:
    """How the labels of a split are hidden: no row has any, and rows of other splits have."""
    if any(rows.distinct()):
        return ""
    missing = all(value is None for value in rows.distinct())
    return "all empty" if missing or any(any(other.distinct()) for other in others) else ""


def _named(
    rows: Mapping[Split, Rows], declared: tuple[str, ...], data: DataSection, notices: list[str], *, by_position: bool
) -> Named:
    """Give every row the code of its labels among `declared` or, if none are declared, among all that occur."""
    counts = Counter[str]()
    for part in rows.values():
        of_code = np.bincount(part.codes, minlength=len(part.values)).tolist()
        for code, _ in part.labels():
            counts.update(dict.fromkeys(part.values[code] or (), of_code[code]))
    if declared:
        names, position = declared, labels.match_names(counts, declared, by_position, notices)
    else:
        names, position = labels.infer_names(counts, notices, "leave it out: a text may have none")
    _check_number(names)
    unlabelled, wrong = labels.RowSet(), labels.RowSet()
    named = {split: _coded(part, position, unlabelled, wrong) for split, part in rows.items()}
    if wrong.size:
        raise DataError(labels.wrong_labels(wrong, names))
    labels.drop_unlabelled(unlabelled, "", data, notices)
    return Named(names, named)


def _check_number(names: Sequence[str]) -> None:
    if len(names) < 2:
        told = f"the texts have {len(names)} label(s) in all ({', '.join(names) or 'none'})"
        raise DataError(
            f"{told}; at least two are needed where a text may have any number of them. For one label that a text has "
            "or not, name both cases in a column"
        )
    if len(names) > MOST_LABELS:
        raise DataError(
            f"found {len(names)} different labels, for example {', '.join(names[:3])}; at most {MOST_LABELS} are "
            "supported where a text may have any number of them"
        )


def _coded(part: Rows, position: Mapping[str, int], unlabelled: labels.RowSet, wrong: labels.RowSet) -> Labelled:
    """The rows that have labels, with their codes; the others go to `unlabelled` or `wrong`."""
    codes = np.zeros(len(part.values), dtype=np.int64)
    is_missing = np.zeros(len(part.values), dtype=np.bool_)
    unknown: dict[int, str] = {}
    for code, _ in part.labels():
        items = part.values[code]
        is_missing[code] = items is None
        for item in items or ():
            if item in position:
                codes[code] |= np.int64(1) << np.int64(position[item])
            else:
                unknown.setdefault(code, item)
    for row in np.flatnonzero(np.isin(part.codes, list(unknown))).tolist() if unknown else ():
        wrong.add_one(part.where(row), unknown[int(part.codes[row])])
    missing = is_missing[part.codes]
    for row in np.flatnonzero(missing).tolist():
        unlabelled.add_one(part.where(row), "")
    kept = np.flatnonzero(~missing)
    return Labelled(part.take(kept), codes[part.codes[kept]])
