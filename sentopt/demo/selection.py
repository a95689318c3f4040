"""Which test texts are listed: filters, order, pages and counts, and the sentence that says so."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from sentopt.data.answered import SURE, Answered, IntArray
from sentopt.measure import label_sets
from sentopt.report.tables import listed
from sentopt.runtime.names import printable
from sentopt.runtime.session import BoolArray
from sentopt.variants import REFERENCE

PAGE = 25  # rows
_LONGEST_LABEL = 60  # characters
REFERENCE_NAME = "PyTorch"
NO_LABEL = "none of the labels"
Kind = Literal["wrong", "lost", "gained", "doubtful", "all"]
KINDS: tuple[tuple[str, Kind], ...] = (
    ("wrong answers", "wrong"),
    ("lost against PyTorch", "lost"),
    ("gained against PyTorch", "gained"),
    ("likely wrong labels", "doubtful"),
    ("all", "all"),
)
"""Each choice as it is named, and its value."""


@dataclass(frozen=True)
class SplitAnswers:
    """The distinct test texts, and what a variant and PyTorch answer to them; arrays of shape (texts,).

    `rows` count from 1 in the test split. `tokens` are those that are read of a text. Where the texts have `sets` of
    labels (multi-label), these stand in `answered` as bits: bit i for label i.
    """

    variant: str
    labels: tuple[str, ...]
    rows: IntArray
    tokens: IntArray
    answered: Answered
    sets: bool = False

    def name(self, answer: int) -> str:
        """A label by its position, or the labels of a set."""
        if not self.sets:
            return self.labels[answer]
        return ", ".join(self.labels[i] for i in label_sets.positions(answer)) or NO_LABEL

    def has(self, answers: IntArray, label: int) -> BoolArray:
        """Which of some answers, of shape (texts,), are a label, or have it among others."""
        return np.asarray(answers >> label & 1, dtype=bool) if self.sets else np.asarray(answers == label)

    def counts(self, texts: IntArray) -> IntArray:
        """How many of some texts have each label and each answer: shape (labels in the data, answers); not of sets."""
        shape = (len(self.labels), len(self.labels))
        cells = np.ravel_multi_index((self.answered.truth[texts], self.answered.own.labels[texts]), shape)
        return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)


@dataclass(frozen=True)
class Filters:
    """What is listed, and in which order. `truth` and `answer` are positions of labels; None stands for any.

    `tokens` are the least and the most that a text may have. Texts that score less than `least_score` are left out.
    """

    kind: Kind = "wrong"
    truth: int | None = None
    answer: int | None = None
    tokens: tuple[int, int] | None = None
    least_score: float = 0.0
    surest_first: bool = True


@dataclass(frozen=True)
class Page:
    """A part of a list: its `number` from 0, the positions of its texts, and how many rows stand before and in all."""

    number: int
    texts: IntArray
    before: int
    total: int

    @property
    def is_first(self) -> bool:
        """Nothing stands before it."""
        return self.before == 0

    @property
    def is_last(self) -> bool:
        """Nothing follows."""
        return self.before + len(self.texts) >= self.total


def select(answers: SplitAnswers, filters: Filters) -> IntArray:
    """Positions of the texts that pass all filters, in order."""
    own = answers.answered
    passing = _of_kind(answers, filters) & _in_range(answers, filters)
    if filters.truth is not None:
        passing &= answers.has(own.truth, filters.truth)
    if filters.answer is not None:
        passing &= answers.has(own.own.labels, filters.answer)
    return own.by_score(np.flatnonzero(passing), surest_first=filters.surest_first)


def confusion(answers: SplitAnswers, filters: Filters) -> tuple[IntArray, IntArray]:
    """Texts by label and answer: a cell has as many as are listed where its label and its answer are chosen.

    Returns:
        The counts, of shape (labels in the data, answers), and how many texts of each label the filters of length and
        score leave, whatever is answered: shape (labels,).
    """
    in_range = _in_range(answers, filters)
    listed = np.flatnonzero(in_range & _of_kind(answers, filters))
    return answers.counts(listed), answers.counts(np.flatnonzero(in_range)).sum(axis=1)


def page(texts: IntArray, number: int) -> Page:
    """A page of a list; the nearest one where it has none of this number."""
    last = max(0, (len(texts) - 1) // PAGE)
    number = min(max(0, number), last)
    return Page(number, texts[number * PAGE : (number + 1) * PAGE], number * PAGE, len(texts))


def in_words(answers: SplitAnswers, filters: Filters, shown: Page) -> str:
    """How many texts pass, of how many, which ones these are, and which of them the page has."""
    restricted = _restrictions(answers, filters)
    every = f"{len(answers.rows):,} texts"
    what = f"{_kind_in_words(answers.variant, filters.kind)}{restricted}"
    if not shown.total:
        return f"There are none among {every}: {what}. {_advice(answers.variant, filters, restricted)}"
    order = "the surest first" if filters.surest_first else "the least sure first"
    rows = f"Rows {shown.before + 1:,} to {shown.before + len(shown.texts):,}, {order}."
    return f"{shown.total:,} of {every}: {what}. {rows}"


def counted_in_words(answers: SplitAnswers, filters: Filters) -> str:
    """What a table of confusions counts: the texts that pass all filters but those of label and answer."""
    others = replace(filters, truth=None, answer=None)
    return f"{_kind_in_words(answers.variant, filters.kind)}{_restrictions(answers, others)}"


def short_label(label: str) -> str:
    """A label as the page shows it: without control characters, and not too long."""
    return printable(label, longest=_LONGEST_LABEL)


def display_name(variant: str) -> str:
    """What a variant is called on the page."""
    return REFERENCE_NAME if variant == REFERENCE else variant


def _of_kind(answers: SplitAnswers, filters: Filters) -> BoolArray:
    own = answers.answered
    if filters.kind == "all":
        return np.ones(len(own.truth), dtype=bool)
    return ~own.right if filters.kind == "wrong" else np.asarray(getattr(own, filters.kind))


def _in_range(answers: SplitAnswers, filters: Filters) -> BoolArray:
    """The texts whose length and score pass."""
    passing = answers.answered.own.scores >= np.float32(filters.least_score)
    if filters.tokens is not None:
        passing &= (answers.tokens >= filters.tokens[0]) & (answers.tokens <= filters.tokens[1])
    return np.asarray(passing)


def _kind_in_words(variant: str, kind: Kind) -> str:
    name = display_name(variant)
    both = f"{name} and {REFERENCE_NAME} both"
    return {
        "wrong": f"wrong answers of {name}",
        "lost": f"texts that {REFERENCE_NAME} answers correctly and {name} does not",
        "gained": f"texts that {name} answers correctly and {REFERENCE_NAME} does not",
        "doubtful": f"likely wrong labels ({both} give the same other one, and score {SURE:g} or more)",
        "all": f"all answers of {name}",
    }[kind]


def _restrictions(answers: SplitAnswers, filters: Filters) -> str:
    parts = []
    if filters.truth is not None:
        parts.append(f"the label {short_label(answers.labels[filters.truth])} in the data")
    if filters.answer is not None:
        parts.append(f"the answer {short_label(answers.labels[filters.answer])}")
    if filters.tokens is not None:
        parts.append(f"{filters.tokens[0]:,} to {filters.tokens[1]:,} tokens")
    if filters.least_score > 0:
        parts.append(f"a score of at least {filters.least_score:.2f}")
    return f", with {listed(parts)}" if parts else ""


def _advice(variant: str, filters: Filters, restricted: str) -> str:
    if variant == REFERENCE and filters.kind in ("lost", "gained"):
        return f"{REFERENCE_NAME} is what the variants are compared with: choose a variant."
    return "Choose any label, answer and length, and a lower score." if restricted else "Choose what else to show."
