"""The test texts with their answers as HTML, in which nothing of a text or a label is markup, and as CSV."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

import numpy as np

from sentopt.data import pairs
from sentopt.data.answered import IntArray
from sentopt.demo.selection import REFERENCE_NAME, SplitAnswers, display_name, short_label
from sentopt.files import safe_csv
from sentopt.report.tables import scrolling
from sentopt.runtime.description import Text

_LONGEST = 300  # characters of a text that are shown at once
_ONE_LINE = 60  # characters of the HTML of a cell after the first, which is not broken into lines
_WIDEST = 12  # labels of a table of confusions; of more, the commonest confusions are listed
_COMMONEST = 20
_SHORT_HEADINGS = ("label in the data", "answer", "score", REFERENCE_NAME, "its score", "tokens", "row")
_WORDS = (0, 1, 3)  # columns behind those of the texts


def rows_html(
    answers: SplitAnswers, texts: IntArray, contents: Sequence[Text], names: Sequence[str] = ("text",)
) -> str:
    """A table of some texts; empty where there are none.

    Args:
        answers: of a variant.
        texts: their positions.
        contents: the texts themselves.
        names: of the column of the texts, or of those of both texts of pairs.
    """
    if not len(texts):
        return ""
    doubtful = answers.answered.doubtful
    body = []
    for i, text, cells in zip(texts.tolist(), contents, _cells(answers, texts), strict=True):
        mark = ' <b title="likely wrong">?</b>' if doubtful[i] else ""
        shown = [html.escape(short_label(cell)) for cell in cells]
        shown[0] += mark
        body.append([*map(_text, pairs.parts(text)), *shown])
    words = [*range(len(names)), *(len(names) + i for i in _WORDS)]
    caption = f"Texts with the answers of {display_name(answers.variant)}"
    return _table(caption, (*names, *_SHORT_HEADINGS), body, words)


def as_csv(answers: SplitAnswers, texts: IntArray, contents: Sequence[Text]) -> str:
    """The same as CSV, with whole texts and labels, and a column that says which labels are likely wrong."""
    name = display_name(answers.variant)
    of_text = dict.fromkeys(key for text in contents for key in pairs.as_fields(text)) or ("text",)
    own = (f"answer of {name}", "score", "pytorch", "pytorch_score")
    headings = (*of_text, "label", *own, "tokens", "row", "doubtful")
    doubtful = answers.answered.doubtful[texts]
    rows = (
        (*pairs.parts(text), *cells, "yes" if doubt else "")
        for text, cells, doubt in zip(contents, _cells(answers, texts), doubtful.tolist(), strict=True)
    )
    return safe_csv.to_csv(headings, rows)


def confusion_html(labels: Sequence[str], counts: IntArray, of: IntArray, what: str) -> str:
    """Counts of labels in the data (rows) and answers (columns); of many labels, the commonest pairs.

    Args:
        labels: their names.
        counts: of shape (labels, labels).
        of: how many texts have each label.
        what: is counted.
    """
    names = [html.escape(short_label(label)) for label in labels]
    if len(labels) > _WIDEST:
        return _commonest(names, counts, of, what)
    headings = ("label \\ answer", *map(short_label, labels), "all answers")
    body = [[name, *_counts(row), f"{all_texts:,}"] for name, row, all_texts in zip(names, counts, of, strict=True)]
    caption = f"By label in the data (rows) and answer (columns): {what}"
    return _table(caption, headings, body, (0,), row_headings=True)


def _commonest(names: Sequence[str], counts: IntArray, of: IntArray, what: str) -> str:
    order = np.argsort(-counts, axis=None, kind="stable")[:_COMMONEST]
    pairs = [divmod(int(cell), len(names)) for cell in order]
    body = [
        [names[truth], names[answer], f"{counts[truth, answer]:,}", f"{of[truth]:,}"]
        for truth, answer in pairs
        if counts[truth, answer]
    ]
    headings = ("label in the data", "answer", "texts", "all answers of the label")
    caption = f"The commonest of {len(names)} times {len(names)} pairs of label and answer: {what}"
    return _table(caption, headings, body, (0, 1)) if body else ""


def _cells(answers: SplitAnswers, texts: IntArray) -> Iterable[tuple[str, ...]]:
    """Of each text: label in the data, answer, score, PyTorch's answer and score, tokens, row."""
    both = answers.answered
    for i in texts.tolist():
        yield (
            answers.name(both.truth[i]),
            answers.name(both.own.labels[i]),
            f"{both.own.scores[i]:.4f}",
            answers.name(both.reference.labels[i]),
            f"{both.reference.scores[i]:.4f}",
            f"{answers.tokens[i]}",
            f"{answers.rows[i]}",
        )


def _text(text: str) -> str:
    """A text in a cell; of a long one the beginning, which opens the whole."""
    if len(text) <= _LONGEST:
        return f"<bdi>{html.escape(text)}</bdi>"
    beginning = html.escape(text[:_LONGEST].rstrip())
    return f"<details><summary><bdi>{beginning} …</bdi></summary><bdi>{html.escape(text)}</bdi></details>"


def _counts(row: Iterable[int]) -> list[str]:
    return [f"{int(count):,}" for count in row]


def _table(
    caption: str,
    headings: Sequence[str],
    body: Iterable[Sequence[str]],
    words: Sequence[int],
    *,
    row_headings: bool = False,
) -> str:
    """A table whose cells are HTML.

    Args:
        caption: what it shows, as text.
        headings: of the columns, as text.
        body: the cells, as HTML.
        words: columns that hold no numbers.
        row_headings: whether the first column names the rows.
    """
    classes = ["words" if i in words else "" for i in range(len(headings))]
    head = "".join(f'<th scope=col class="{c}">{html.escape(h)}</th>' for h, c in zip(headings, classes, strict=True))
    rows = "".join(f"<tr>{_row(cells, classes, row_headings)}</tr>" for cells in body)
    return scrolling(head, rows, caption)


def _row(cells: Sequence[str], classes: Sequence[str], row_heading: bool) -> str:
    tags = ["th scope=row" if row_heading else "td", *["td"] * (len(cells) - 1)]
    short = ["", *(" short" if len(cell) <= _ONE_LINE else "" for cell in cells[1:])]
    return "".join(
        f'<{tag} class="{kind}{one_line}">{cell}</{tag[:2]}>'
        for tag, cell, kind, one_line in zip(tags, cells, classes, short, strict=True)
    )
