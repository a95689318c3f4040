"""A scored list as HTML: counts in words and bars, the comparison with labels of its own, and the rows."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence

import numpy as np

from sentopt.demo.own_labels import Marked, MarkedSets
from sentopt.demo.page.answered_table import confusion_html
from sentopt.demo.page.fragments import bar, named, quoted
from sentopt.demo.selection import NO_LABEL
from sentopt.demo.text_lists import TextList
from sentopt.report.tables import Table, as_html, counted, share
from sentopt.runtime.classifier import Prediction

SHOWN_ROWS, SHOWN_WRONG = 100, 50
_MOST_LABELS = 12  # with a bar
_LONGEST = 300  # characters of a cell on the page
_TENTHS = [f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}" for tenth in range(10)]

Answered = Sequence[Prediction | None]
"""The answer to each row; None where there is no text."""


def in_words(answers: Answered, milliseconds: float, labels: Sequence[str], *, sets: bool = False) -> str:
    """How many texts got which label, in words and as bars, and what was not read.

    `sets`: a text may have several labels, or none, which counts as one of them.
    """
    given = [answer for answer in answers if answer is not None]
    counts = Counter(answer.label for answer in given)
    if sets:
        counts = Counter(label for answer in given for label in answer.labels or (NO_LABEL,))
    shown = [*_commonest(counts, labels), *([NO_LABEL] if sets else [])]
    parts = [(label, counts[label], counts[label] / len(given)) for label in shown]
    bars = "".join(bar(label, f"{count:,} ({part:.0%})", part) for label, count, part in parts)
    notes = [f"{counted(len(given), 'text')} in {milliseconds:,.0f} ms."]
    if blank := len(answers) - len(given):
        notes.append(f"{counted(blank, 'row')} without a text {'is' if blank == 1 else 'are'} left unanswered.")
    if cut := sum(answer.truncated for answer in given):
        notes.append(f"{cut:,} of them {'was' if cut == 1 else 'were'} too long for the model and cut.")
    return f"<p>{' '.join(notes)}</p><ul class=bars>{bars}</ul>"


def by_score(answers: Answered, labels: Sequence[str]) -> str:
    """Texts by label and by tenth of the score, those tenths that occur and all between them."""
    counts = Counter((a.label, min(9, int(a.score * 10))) for a in answers if a is not None)
    if not counts:
        return ""
    tenths = range(min(tenth for _, tenth in counts), 10)
    shown = _commonest(Counter(answer.label for answer in answers if answer is not None), labels)
    rows = tuple((label, *(f"{counts[label, tenth]:,}" for tenth in tenths)) for label in shown)
    return as_html(Table(("label \\ score", *(_TENTHS[t] for t in tenths)), rows, title="Texts by label and score"))


def marked(texts: TextList, answers: Answered, found: Marked, text_columns: Sequence[int]) -> str:
    """Accuracy with its interval, confusion and the mistakes, against the labels that the list has."""
    notes = []
    if found.unknown:
        shown = quoted(found.unknown, longest=60)
        notes.append(f"Rows with values that are no label of this model were not compared: {shown}.")
    if found.by_position:
        shown = ", ".join(f"{i} = {label}" for i, label in enumerate(found.labels[:_MOST_LABELS]))
        notes.append(f"Your labels are numbers, which count the labels of the model from 0: {html.escape(shown)}.")
    if found.blank:
        notes.append(
            f"{counted(found.blank, 'row')} without a label {'was' if found.blank == 1 else 'were'} not compared."
        )
    said = f"<p>{' '.join(notes)}</p>" if notes else ""
    if not found.texts:
        return f"<h2>Against your labels</h2><p>No row has a label of this model.</p>{said}"
    lead = (
        f"{found.right:,} of {counted(found.texts, 'text')} right: accuracy (95 %) {share(found.right, found.texts)}."
    )
    counts = np.array(found.confusion, dtype=np.int64)
    table = confusion_html(found.labels, counts, counts.sum(axis=1), "texts with your labels")
    return f"<h2>Against your labels</h2><p>{lead}</p>{said}{table}{_wrong(texts, answers, found, text_columns)}"


def _commonest(counts: Counter[str], labels: Sequence[str]) -> list[str]:
    """The labels in their order; of many, those that most texts got."""
    kept = set(sorted(labels, key=lambda label: -counts[label])[:_MOST_LABELS])
    return [label for label in labels if label in kept]


def marked_sets(texts: TextList, answers: Answered, found: MarkedSets, text_columns: Sequence[int]) -> str:
    """Texts with exactly the labels of the list, precision and recall of each label, and the mistakes."""
    said = ""
    if found.unknown:
        shown = quoted(found.unknown, longest=60)
        said = f"<p>Rows with values that are no labels of this model were not compared: {shown}.</p>"
    if not found.texts:
        return f"<h2>Against your labels</h2><p>No row has labels of this model.</p>{said}"
    lead = (
        f"{found.right:,} of {counted(found.texts, 'text')} with exactly your labels (95 %): "
        f"{share(found.right, found.texts)}. A row without labels counts as a text that has none."
    )
    each = [
        (label, _part(both, both + added), _part(both, both + missed), f"{both + missed:,}", f"{both + added:,}")
        for label, (both, added, missed) in zip(found.labels, found.counts, strict=True)
    ]
    headings = ("label", "precision", "recall", "your texts", "answers")
    table = as_html(Table(headings, tuple(each), title="Each label against yours"))
    wrong = _wrong_sets(texts, answers, found, text_columns)
    return f"<h2>Against your labels</h2><p>{lead}</p>{said}{table}{wrong}"


def _part(some: int, of: int) -> str:
    return f"{some / of:.4f}" if of else "-"


def _wrong_sets(texts: TextList, answers: Answered, found: MarkedSets, text_columns: Sequence[int]) -> str:
    if not found.wrong:
        return "<p>No answer differs from your labels.</p>"
    rows = tuple(
        (str(i + 1), *_shown(texts, i, text_columns), named(own), named(answer.labels))
        for i, own in found.wrong[:SHOWN_WRONG]
        if (answer := answers[i])
    )
    part = f"the first {SHOWN_WRONG} of " if len(found.wrong) > SHOWN_WRONG else ""
    title = f"Answers that differ from your labels: {part}{len(found.wrong):,}"
    headings = ("row", *_headings(texts, text_columns), "your labels", "answer")
    return as_html(Table(headings, rows, title=title, holds_texts=True))


def _wrong(texts: TextList, answers: Answered, found: Marked, text_columns: Sequence[int]) -> str:
    if not found.wrong:
        return "<p>No answer differs from your labels.</p>"
    rows = tuple(
        (str(i + 1), *_shown(texts, i, text_columns), own, answer.label, f"{answer.score:.3f}")
        for i, own in found.wrong[:SHOWN_WRONG]
        if (answer := answers[i])
    )
    part = f"the {SHOWN_WRONG} surest of " if len(found.wrong) > SHOWN_WRONG else ""
    title = f"Answers that differ from your labels, the surest first: {part}{len(found.wrong):,}"
    headings = ("row", *_headings(texts, text_columns), "your label", "answer", "score")
    return as_html(Table(headings, rows, title=title, holds_texts=True))


def rows(texts: TextList, answers: Answered, text_columns: Sequence[int], *, sets: bool = False) -> str:
    """The first rows with their answers; the file that can be downloaded has all of them, and all columns."""
    shown = [
        (str(i + 1), *_shown(texts, i, text_columns), *_answer(answer, sets))
        for i, answer in enumerate(answers[:SHOWN_ROWS])
    ]
    many = len(answers) > SHOWN_ROWS
    title = f"The first {SHOWN_ROWS} of {len(answers):,} rows; the download has all" if many else "All rows"
    headings = ("row", *_headings(texts, text_columns), *(("labels",) if sets else ("label", "score")))
    return as_html(Table(headings, tuple(shown), title=title, holds_texts=True))


def _answer(answer: Prediction | None, sets: bool) -> tuple[str, ...]:
    if sets:
        return (named(answer.labels) if answer else "",)
    return (answer.label, f"{answer.score:.3f}") if answer else ("", "")


def _shown(texts: TextList, row: int, columns: Sequence[int]) -> list[str]:
    """The text of a row, or both of a pair."""
    return [shortened(texts.rows[row][column]) for column in columns]


def _headings(texts: TextList, columns: Sequence[int]) -> list[str]:
    """`text`, or the names of the columns of pairs."""
    return ["text"] if len(columns) == 1 else [texts.columns[column] for column in columns]


def shortened(text: str) -> str:
    """A text for a cell of the page."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST].rstrip()} …"
