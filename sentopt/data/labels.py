"""Labels as written in tables, mapped to an ordered list of names: spellings are merged, unusable columns refused."""

from __future__ import annotations

import ast
import datetime
import difflib
import json
import math
import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np

from sentopt import records
from sentopt.data.duplicates import normal_form
from sentopt.data.rows import Positions, Rows
from sentopt.errors import DataError
from sentopt.recipe import DataSection
from sentopt.run_dir import Split
from sentopt.runtime.surrogates import repaired

SHOWN = 5
_MOST_LABELS = 1000
_MOST_SCORES = 20
FEW = 10
_WHOLE = re.compile(r"-?\d{1,18}")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4}([T ].*)?")
_LITERAL = re.compile(r"\[.*\]|\{.*\}|b'.*'|b\".*\"", re.DOTALL)
_LONGEST_LITERAL = 1000  # characters
_QUOTED = r"'[^']*'|\"[^\"]*\""
_OF_NUMPY = re.compile(rf"\[\s*(?:-?\d+(?:\s+-?\d+)+|(?:{_QUOTED})(?:\s+(?:{_QUOTED}))+)\s*\]")
"""`[2 14]` and `['joy' 'fear']`: NumPy writes no commas, which Python reads as one text, or not at all."""
_NONE = ("none", "n/a", "#n/a", "na", "<na>", "null", "nil", "\\n", "-", "?")
_MOST_TYPOS = 3
_SIBLINGS = 3
_NUMBER = re.compile(r"\d+")
_UNKNOWN, _NONE_GIVEN = -1, -2


@dataclass(frozen=True)
class Labelled:
    """Rows, and the position of each one's label among the names, int64."""

    rows: Rows
    labels: Positions


@dataclass(frozen=True)
class Named:
    """Rows of each split, with the position of each row's label in `names`."""

    names: tuple[str, ...]
    splits: Mapping[Split, Labelled]

    def first(self, label: int) -> str:
        """The place of the first row with a label, for messages."""
        return next(
            part.rows.where(int(np.argmax(part.labels == label)))
            for part in self.splits.values()
            if (part.labels == label).any()
        )

    def only(self, kept: Sequence[int]) -> Named:
        """The same rows with only the label names at the positions `kept`, which cover all rows."""
        position = np.zeros(len(self.names), dtype=np.int64)
        position[list(kept)] = range(len(kept))
        splits = {split: replace(part, labels=position[part.labels]) for split, part in self.splits.items()}
        return Named(tuple(self.names[label] for label in kept), splits)


def name_rows(
    rows: Mapping[Split, Rows], declared: tuple[str, ...], data: DataSection, notices: list[str], *, by_position: bool
) -> Named:
    """Give every row the position of its label in `declared` or, if none are declared, in the list of all labels.

    With `by_position`, numbers are positions in `declared`, regardless of which numbers occur.

    Raises:
        DataError: a row has no label or an undeclared label, or the column holds scores, dates, ids or texts.
    """
    values = Values()
    written = {split: values.written(split_rows) for split, split_rows in rows.items()}
    notices.extend(values.notices())
    counts = Counter[str]()
    for labels in written.values():
        counts.update({label: count for label, count in labels.counts().items() if label})
    if declared:
        names, position = declared, match_names(counts, declared, by_position, notices)
    else:
        names, position = infer_names(counts, notices)
    named, unlabelled, wrong = {}, RowSet(), RowSet()
    for split, labels in written.items():
        found = np.array([position.get(text, _NONE_GIVEN if _is_missing(text) else _UNKNOWN) for text in labels.texts])
        of_rows = found.astype(np.int64)[labels.rows.codes]
        unlabelled.add(labels, np.flatnonzero(of_rows == _NONE_GIVEN))
        wrong.add(labels, np.flatnonzero(of_rows == _UNKNOWN))
        kept = np.flatnonzero(of_rows >= 0)
        named[split] = Labelled(labels.rows.take(kept), of_rows[kept])
    if wrong.size:
        raise DataError(wrong_labels(wrong, names))
    drop_unlabelled(unlabelled, nan_hint({*counts} - {*position}, names), data, notices)
    return Named(names, named)


@dataclass(frozen=True)
class _Written:
    """Rows, and each of their distinct labels as text; an empty one where no row has it."""

    rows: Rows
    texts: Sequence[str]

    def counts(self) -> dict[str, int]:
        """How often each label occurs, in order of first occurrence."""
        of_code = np.bincount(self.rows.codes, minlength=len(self.texts)).tolist()
        counts: dict[str, int] = {}
        for code, _ in self.rows.labels():
            counts[self.texts[code]] = counts.get(self.texts[code], 0) + of_code[code]
        return counts


class RowSet:
    """A number of rows, and the first of them for a message."""

    def __init__(self) -> None:
        self.size = 0
        self.shown: list[tuple[str, str]] = []
        """The place and the label of each."""

    def add(self, written: _Written, positions: Positions) -> None:
        """Rows at these positions."""
        self.size += len(positions)
        for row in positions[: SHOWN - len(self.shown)].tolist():
            self.shown.append((written.rows.where(row), written.texts[written.rows.codes[row]]))

    def add_one(self, where: str, label: str) -> None:
        """One row."""
        self.size += 1
        if len(self.shown) < SHOWN:
            self.shown.append((where, label))


def nan_hint(unused: Iterable[str], names: Sequence[str]) -> str:
    """A hint on how to keep a label that is written `nan`; by default it means no label."""
    written = sorted(label for label in unused if label.lower() == "nan")
    if not written:
        return ""
    return f"{', '.join(map(repr, written))} is read as no label; to keep it as one{_listing([*names, *written])}"


def as_written(value: Any, where: str) -> str:
    """The value of one cell as a label; an empty text for an empty cell.

    Raises:
        DataError: it is a date, an object, several values, or bytes that are not UTF-8.
    """
    return Values().text(value, where, 1)


def _is_missing(label: str) -> bool:
    """Whether an unknown label means no label: an empty text, `nan` (an empty cell), or -1 (as in `datasets`)."""
    return label in ("", "-1") or label.lower() == "nan"


def is_hidden(rows: Rows, others: Iterable[Rows]) -> str:
    """If the labels of a split are hidden, how: all are empty, or all are -1 and no other row is.

    Else an empty text.
    """
    values = Values()
    labels = set(values.written(rows).counts())
    if labels and labels <= {"", "nan"}:
        return "all empty"
    if labels == {"-1"} and all("-1" not in values.written(other).counts() for other in others):
        return "all -1"
    return ""


def items_of(value: Any) -> list[Any] | None:
    """The items of a list of labels, which may be written as a text; None for anything else."""
    if isinstance(value, str) and (text := value.strip()) and text[0] == "[" and len(text) < _LONGEST_LITERAL:
        value = _literal(text)
    return list(value) if isinstance(value, list | tuple | set | frozenset) else None


def _literal(text: str) -> Any:
    """The value that a text writes as Python or NumPy would; None where it writes none."""
    if _OF_NUMPY.fullmatch(text):
        return [item[1:-1] if item[0] in "'\"" else int(item) for item in re.findall(rf"{_QUOTED}|-?\d+", text)]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


class Values:
    """Converts labels to strings. `1`, `1.0` and `"1"` are the same label; None, NaN and blanks are an empty string."""

    def __init__(self) -> None:
        self._unwrapped = 0
        self._decoded = 0

    def written(self, rows: Rows) -> _Written:
        """The labels of rows as strings.

        Raises:
            DataError: a label is a date, an object, several values, or bytes that are not UTF-8.
        """
        texts = [""] * len(rows.values)
        counts = np.bincount(rows.codes, minlength=len(texts)).tolist()
        for code, row in rows.labels():
            texts[code] = self.text(rows.values[code], rows.where(row), counts[code])
        return _Written(rows, texts)

    def notices(self) -> list[str]:
        """What to say of labels that were converted."""
        notices = []
        if self._unwrapped:
            notices.append(f"{self._unwrapped:,} label(s) are lists of one value, which is taken as the label")
        if self._decoded:
            notices.append(f"{self._decoded:,} label(s) are bytes, which are read as UTF-8")
        return notices

    def text(self, value: Any, where: str, rows: int = 1) -> str:
        """One label of `rows` rows as a string; an empty one where there is none.

        Raises:
            DataError: see `written`.
        """
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return self._of_string(value, where, rows)
        if isinstance(value, int):
            return str(value)
        if isinstance(value, float | Decimal):
            return str(int(value)) if math.isfinite(value) and value == int(value) else str(value)
        return self._of_other(value, where, rows)

    def _of_string(self, value: str, where: str, rows: int) -> str:
        text = repaired(value.strip())
        if not normal_form(text):
            return ""
        if _LITERAL.fullmatch(text) and len(text) < _LONGEST_LITERAL:
            literal = _literal(text)
            return text if literal is None else self._of_other(literal, where, rows)
        return text[:-2] if text.endswith(".0") and _WHOLE.fullmatch(text[:-2]) else text

    def _of_other(self, value: Any, where: str, rows: int) -> str:
        if isinstance(value, bytes | bytearray):
            self._decoded += rows
            try:
                return bytes(value).decode("utf-8").strip()
            except UnicodeDecodeError as error:
                raise DataError(f"{where}: the label is bytes that are not UTF-8 ({bytes(value)[:20]!r})") from error
        if isinstance(value, list | tuple | set):
            if len(value) == 1:
                self._unwrapped += rows
                return self.text(next(iter(value)), where, rows)
            raise DataError(
                f"{where}: the label is a list ({str(value)[:60]}), and others are not: where texts have any number of "
                "labels, write a list for each text, or all of them as one text with data.label_separator"
            )
        if isinstance(value, dict):
            raise DataError(
                f"{where}: the label is an object with {', '.join(map(str, list(value)[:SHOWN]))}; expected one value. "
                "Write the one that is the label into a column of its own, and name it with --set data.label_column; "
                "where they are 0 and 1, one for each label, name all of them in data.label_columns (COLUMN.FIELD)"
            )
        if isinstance(value, datetime.date | datetime.time):
            raise DataError(_no_label("dates", [str(value)]))
        return str(value).strip()


def drop_unlabelled(unlabelled: RowSet, nan: str, data: DataSection, notices: list[str]) -> None:
    """Note that these rows are left out, with a hint `nan`.

    Raises:
        DataError: the recipe does not leave them out.
    """
    if not unlabelled.size:
        return
    shown = ", ".join(where for where, _ in unlabelled.shown)
    more = f", and {unlabelled.size - SHOWN} more" if unlabelled.size > SHOWN else ""
    if data.missing_labels == "error":
        raise DataError(
            f"{unlabelled.size} row(s) have no label: {shown}: no label{more}. "
            f"Label them, or leave them out with --set data.missing_labels=drop{'. ' if nan else ''}{nan}"
        )
    notices.append(f"left out {unlabelled.size:,} row(s) without a label: {shown}{more}{'; ' if nan else ''}{nan}")


def wrong_labels(wrong: RowSet, labels: Sequence[str]) -> str:
    """What to say of rows whose label is none of `labels`."""
    shown = ", ".join(f"{where}: {label!r}{records.nearest(label, labels)}" for where, label in wrong.shown)
    more = f", and {wrong.size - SHOWN} more" if wrong.size > SHOWN else ""
    return (
        f"{wrong.size} row(s) have a label that is not one of {', '.join(labels)}: {shown}{more}. "
        "Correct the rows, or the list with --set data.labels"
    )


def infer_names(
    counts: Counter[str],
    notices: list[str],
    if_none: str = "empty these cells and set data.missing_labels=drop",
) -> tuple[tuple[str, ...], dict[str, int]]:
    """The names of all labels, in numerical or alphabetical order, and the position of each spelling.

    `if_none` is what to do where a name such as `none` means no label.
    """
    missing = {value for value in counts if value.lower() == "nan"}
    counts = Counter({value: count for value, count in counts.items() if value not in missing})
    spelled = _merged(counts, notices)
    names = list(dict.fromkeys(spelled.values()))
    totals = Counter[str]()
    for value, count in counts.items():
        totals[spelled[value]] += count
    _check_are_labels(totals)
    names.sort()
    if names and all(_as_number(name) is not None for name in names):
        names.sort(key=lambda name: _as_number(name) or 0.0)
        notices.append(_numbers(names))
    elif numbers := sorted(name for name in names if _WHOLE.fullmatch(name)):
        others = [name for name in names if name not in numbers]
        notices.append(
            f"labels are partly numbers ({', '.join(numbers[:SHOWN])}) and partly names ({', '.join(others[:SHOWN])}), "
            "and each is used as a label; if numbers stand for names, list the names in the order of "
            "their numbers in data.labels"
        )
    _note_doubtful(totals, notices, if_none)
    position = {name: i for i, name in enumerate(names)}
    return tuple(names), {value: position[name] for value, name in spelled.items()}


def _merged(counts: Counter[str], notices: list[str]) -> dict[str, str]:
    """For each label as written, the most frequent spelling among those that differ in case, blanks or Unicode form."""
    groups: dict[str, list[str]] = {}
    for value in counts:
        groups.setdefault(normal_form(value), []).append(value)
    spelled: dict[str, str] = {}
    for values in groups.values():
        chosen = max(values, key=lambda value: counts[value])
        spelled |= dict.fromkeys(values, chosen)
        if len(values) > 1:
            others = ", ".join(f"{value!r} ({counts[value]:,})" for value in values if value != chosen)
            notices.append(
                f"the label(s) {others} are taken as {chosen!r} ({counts[chosen]:,}): they differ only in case, "
                f"blanks and Unicode form; to keep them apart{_listing(list(counts))}"
            )
    return spelled


def _listing(names: Sequence[str]) -> str:
    """A hint on how to declare these labels, written out if there are few."""
    if len(names) > 2 * SHOWN:
        return ", list all labels in data.labels"
    return f": --set {shlex.quote(f'data.labels={json.dumps(names, ensure_ascii=False)}')}"


def _numbers(names: Sequence[str]) -> str:
    first = int(names[0]) if _WHOLE.fullmatch(names[0]) else 0
    start = f", counting from {first}" if names == [str(first + i) for i in range(len(names))] else ""
    examples = ", ".join(f'"name of {name}"' for name in names[:3])
    more = ", ..." if len(names) > 3 else ""
    return (
        f"labels are numbers ({', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}{start}), in this "
        f"order; give them names in the same order with --set 'data.labels=[{examples}{more}]'"
    )


def _check_are_labels(totals: Counter[str]) -> None:
    """Refuse a column of scores, dates, ids or texts."""
    names, rows = list(totals), totals.total()
    many = len(names) > max(2, rows / 2)
    numbers = [_as_number(name) for name in names]
    if names and all(number is not None for number in numbers):
        fractions = sum(not float(number or 0).is_integer() for number in numbers)
        if fractions and (len(names) > _MOST_SCORES or many):
            values = sorted(float(number or 0) for number in numbers)
            middle = values[len(values) // 2]
            raise DataError(
                f"data.label_column looks like a score, not a label: {len(names)} different numbers from {values[0]:g} "
                f"to {values[-1]:g}. Bin it first, for example: "
                f'table["label"] = ["high" if score >= {middle:g} else "low" for score in table["score"]]'
            )
    if names and all(_DATE.fullmatch(name) for name in names):
        raise DataError(_no_label("dates", names))
    if many and rows > 9:
        what = "texts" if sum(map(len, names)) / len(names) > 40 else "an id"
        raise DataError(
            f"data.label_column looks like {what}, not a label: {len(names)} different values in {rows} rows, "
            f"for example {', '.join(repr(name[:60]) for name in names[:3])}; name the right one with "
            "--set data.label_column=NAME"
        )
    if len(names) > _MOST_LABELS:
        raise DataError(
            f"found {len(names)} different labels, for example {', '.join(names[:3])}: is data.label_column right?"
        )


def _no_label(what: str, names: Sequence[str]) -> str:
    return (
        f"data.label_column looks like {what}, not labels, for example {', '.join(names[:3])}; "
        "name the right one with --set data.label_column=NAME"
    )


def _as_number(name: str) -> float | None:
    try:
        return float(name.replace(",", ".", 1)) if re.fullmatch(r"[-+]?\d*[.,]?\d+(e[-+]?\d+)?", name) else None
    except ValueError:
        return None


def _note_doubtful(totals: Counter[str], notices: list[str], if_none: str) -> None:
    """Note names that may mean "no label", and names that look like several labels in one."""
    for name in totals:
        if normal_form(name) in _NONE:
            notices.append(f"{name!r} ({totals[name]:,} rows) is used as a label; if it means no label, {if_none}")
    folded = {normal_form(name) for name in totals}
    for name in totals:
        parts = [normal_form(part) for part in re.split(r"[,;|/+]", name)]
        if len(parts) > 1 and all(part in folded for part in parts):
            notices.append(
                f"the label {name!r} looks like several labels in one; it is used as one label. Where texts have any "
                "number of labels, name what stands between them: --set data.label_separator=CHARACTER"
            )
            return


def note_typos(counts: Mapping[str, int], first: Mapping[str, str], notices: list[str]) -> None:
    """Note rare labels that look like a misspelled frequent label.

    `counts` counts training texts, `first` holds the place of the first text of a label. Three cases are not typos:
    names that differ only in digits; one of several similar names that are equally rare; and a label that is about as
    rare as several labels without a similar frequent one.
    """
    meant = {name: _meant(name, counts) for name, count in counts.items() if count <= FEW}
    likely = {name: near for name, near in meant.items() if near}
    least = max(_SIBLINGS, len(likely))
    ordinary = [counts[name] for name, near in meant.items() if not near]
    typos = {
        name: near
        for name, near in likely.items()
        if sum(counts[name] <= 2 * count and count <= 2 * counts[name] for count in ordinary) < least
    }
    for name, near in list(typos.items())[:_MOST_TYPOS]:
        notices.append(
            f"the label {name!r} has {counts[name]} text(s), first {first[name]}; is it {near!r} ({counts[near]:,})?"
        )
    if len(typos) > _MOST_TYPOS:
        notices.append(f"{len(typos) - _MOST_TYPOS} more label(s) with few texts are spelled like a frequent one")


def _meant(name: str, counts: Mapping[str, int]) -> str:
    """The frequent label that a rare one may be a typo of, or an empty text."""
    plain = _NUMBER.sub("", name)
    others = [other for other in counts if other != name and _NUMBER.sub("", other) != plain]
    frequent = [other for other in others if counts[other] >= 20 * counts[name]]
    near = [] if _WHOLE.fullmatch(name) else difflib.get_close_matches(name, frequent, 1, 0.8)
    if not near:
        return ""
    as_rare = [other for other in counts if other != name and counts[other] <= 2 * counts[name]]
    siblings = difflib.get_close_matches(name, as_rare, _SIBLINGS, 0.8)
    return near[0] if len(siblings) < _SIBLINGS else ""


def match_names(counts: Counter[str], names: tuple[str, ...], by_position: bool, notices: list[str]) -> dict[str, int]:
    """The position in `names` of each label as written: by spelling (ignoring case and blanks) or by number."""
    exact = {name.strip(): i for i, name in enumerate(names)}
    forms = Counter(normal_form(name) for name in names)
    folded = {normal_form(name): i for i, name in enumerate(names) if forms[normal_form(name)] == 1}
    position = {value: exact[value] for value in counts if value in exact}
    other = {value: folded[normal_form(value)] for value in counts if normal_form(value) in folded}
    other = {value: i for value, i in other.items() if value not in position}
    if other:
        examples = ", ".join(
            f"{value!r} ({counts[value]:,}) as {names[i]!r}" for value, i in list(other.items())[:SHOWN]
        )
        more = f" and {len(other) - SHOWN} more" if len(other) > SHOWN else ""
        notices.append(f"labels are matched ignoring case, blanks and Unicode form: {examples}{more}")
    position |= other
    rest = [value for value in counts if value not in position]
    numbers = [value for value in rest if _WHOLE.fullmatch(value)]
    if by_position or position:
        position |= {value: int(value) for value in numbers if 0 <= int(value) < len(names)}
    else:
        position |= _by_number(numbers, names, notices)
    if len(names) == 2 and not position and {normal_form(value) for value in rest} == {"false", "true"}:
        notices.append(f"false is taken as {names[0]!r}, true as {names[1]!r}")
        position = {value: int(normal_form(value) == "true") for value in rest}
    return position


def _by_number(values: Sequence[str], names: tuple[str, ...], notices: list[str]) -> dict[str, int]:
    """Map numbers to names: positions from 0, positions from 1, or in ascending order if there are as many as names."""
    numbers = sorted({int(value) for value in values})
    in_order = len(numbers) == len(names)
    labelled = [number for number in numbers if number != -1 or in_order]
    if not labelled or labelled == list(range(len(names))):
        return {value: int(value) for value in values if int(value) >= 0}
    if in_order or (labelled[0] >= 1 and labelled[-1] == len(names)):
        order = {n: i for i, n in enumerate(numbers)} if in_order else {n: n - 1 for n in labelled}
        mapping = ", ".join(f"{number} is {names[i]!r}" for number, i in order.items())
        notices.append(f"labels are numbers that do not count from 0; assuming that {mapping}")
        return {value: order[int(value)] for value in values if int(value) in order}
    if labelled[0] == 1 and labelled[-1] < len(names):
        raise DataError(
            f"labels are the numbers {', '.join(map(str, labelled[:SHOWN]))}, data.labels has {len(names)} names: "
            f"neither 0 nor {len(names)} occurs, so they may count from 0 or from 1. "
            "Name in data.labels only what occurs, in order"
        )
    return {value: int(value) for value in values if 0 <= int(value) < len(names)}
