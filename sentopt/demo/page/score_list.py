"""The third tab: a table file, a pasted table or pasted lines, scored, and compared with labels that they bring."""

from __future__ import annotations

import asyncio
import csv
import functools
import hashlib
import html
import io
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from sentopt.bundles import score
from sentopt.data import pairs
from sentopt.demo import own_labels, text_lists
from sentopt.demo.page import given, live, scored
from sentopt.demo.page.events import QUIET, download
from sentopt.demo.page.examples import Examples
from sentopt.demo.service import Service
from sentopt.demo.text_lists import TextList
from sentopt.errors import DataError, InputError, RequestRefused
from sentopt.files import safe_csv
from sentopt.report.tables import counted
from sentopt.runtime.classifier import Prediction
from sentopt.runtime.description import Text

T = TypeVar("T")
_AT_ONCE = 100  # texts between two steps of the progress bar
_PASTED = 3
_LINES, _TABLE = "one text per line", "a table whose first line names the columns"
_NO_LABELS, _NONE = "none", -1  # in the place of a position
_NAMES = 12  # of columns, that are shown
_READERS = 2  # threads
_OVERHEAD = 4 / 3 * 1.1  # of base64, and of the request around it
_UPLOAD = Path(__file__).with_name("upload.js").read_text(encoding="utf-8")


@dataclass(frozen=True)
class _Source:
    """What is to be scored: an uploaded file, or else what was pasted and how it is to be read."""

    file: str
    pasted: str
    kind: str

    @classmethod
    def of(cls, file: object, pasted: object, kind: object) -> _Source:
        """What is no text counts as nothing: the page sends texts, and others may send anything."""
        return cls(*(value if isinstance(value, str) else "" for value in (file, pasted, kind)))

    @property
    def is_table(self) -> bool:
        return bool(self.file) or self.kind == _TABLE

    @functools.cached_property
    def digest(self) -> str:
        """Of the texts, however they are to be read."""
        return hashlib.sha256((self.file or self.pasted).encode(errors="surrogatepass")).hexdigest()

    @property
    def mark(self) -> str:
        """Of the texts as they are read: columns that were chosen for others are not theirs."""
        return f"{'table' if self.is_table else 'lines'} {self.digest}"

    def read(self, most: int) -> TextList:
        """Takes a while for a large file.

        Raises:
            InputError: it cannot be read, or has more than `most` rows.
        """
        if self.file:
            return text_lists.from_upload(self.file, most=most)
        if self.kind == _TABLE:
            return text_lists.from_table(self.pasted, most=most)
        return text_lists.from_lines(self.pasted)


class ScoreList:
    """The components of the tab; `source` is the field for pasted texts."""

    def __init__(self, service: Service, examples: Examples) -> None:
        """Make the components, and say what happens when they are used."""
        self._service = service
        self._limits = service.limits
        self._labels, self._thresholds = service.classifier.labels, service.classifier.thresholds
        self._pair = service.pair
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="sentopt-lists")
        with gr.Row():
            with gr.Column():
                self._make_source(examples)
            with gr.Column():
                self._make_choices()
        self._comparison = gr.HTML(elem_id="comparison", elem_classes="evidence")
        self._table = gr.HTML(elem_id="scored", elem_classes="evidence")
        self._csv = gr.Textbox(visible="hidden", elem_id="csv")
        self._connect()

    def _make_source(self, examples: Examples) -> None:
        largest = int(self._limits.body_bytes / _OVERHEAD)
        self._upload = gr.HTML(
            "", html_template=_file_field(largest), js_on_load=_UPLOAD, elem_id="upload", padding=False
        )
        self._remove = gr.Button("Remove the file", size="sm", visible=False, elem_id="remove-file")
        rows = [[" ".join(part.split()) for part in pairs.parts(text)] for text in examples.texts[:_PASTED]]
        pasted = _as_table([self._pair, *rows]) if self._pair else "\n".join(text for (text,) in rows)
        what = "a table with a column for each text" if self._pair else "lines or a table"
        self.source = gr.Textbox(pasted, label=f"Or paste {what}", lines=8, max_lines=20, elem_id="list-texts")
        self._kind = gr.Radio(  # a line is no pair
            [_LINES, _TABLE],
            value=_TABLE if self._pair else _LINES,
            label="What was pasted",
            visible=not self._pair,
            elem_id="kind",
        )
        texts = "pairs" if self._pair else "texts"
        gr.HTML(
            f"<p class=hint>At most {self._limits.texts:,} {texts} of {self._limits.characters:,} characters. For "
            "larger files, use <code>sentopt predict --input FILE</code> on your machine.</p>",
            padding=False,
        )

    def _make_choices(self) -> None:
        found, *columns = self._at_the_start()
        self._found = gr.HTML(found, elem_id="found", padding=False)
        headings = [f"Column with {name}" for name in self._pair or ("the texts", "the second texts")]
        self._text_columns = [
            gr.Dropdown(choices, value=value, label=heading, visible=bool(self._pair), elem_id=name)
            for name, heading, (choices, value) in zip(("text-column", "pair-column"), headings, columns, strict=True)
        ]
        self._label_column = gr.Dropdown(
            [(_NO_LABELS, _NONE), *columns[0][0]],
            value=_NONE,
            label="Column with the right labels, if there is one",
            visible=bool(self._pair),
            elem_id="label-column",
        )
        # What the kind and the columns above were found for: a click may come before the answer that brings them.
        at_the_start = _Source("", str(self.source.value), str(self._kind.value))
        self._looked_at = gr.Textbox(at_the_start.mark, visible="hidden", elem_id="looked-at")
        self._button = gr.Button("Score them", variant="primary", elem_id="score")
        self._refusal = gr.HTML(live.alert(), elem_id="refusal", padding=False)
        self._summary = gr.HTML(live.status(), elem_id="summary", padding=False)
        self._download = gr.Button("Download as CSV", elem_id="download")  # shown where the summary has counts

    def _connect(self) -> None:
        columns = [self._found, *self._text_columns, self._label_column, self._refusal, self._looked_at]
        pasted = [self.source, self._kind]
        events = [self._upload.upload, self._remove.click, self.source.change, self._kind.input, self._button.click]
        results = [self._refusal, self._summary, self._comparison, self._table, self._csv]
        # The results of another list go at once, before the server is asked: it may refuse.
        gr.on(events, None, None, results, js=f"() => {json.dumps(_cleared())}")
        self._upload.upload(self._look_at_file, self._upload, [self._remove, *pasted, *columns], **QUIET)
        removed = self._remove.click(self._without_file, None, [self._upload, self._remove, *pasted], **QUIET)
        removed.then(self._look, [self._upload, *pasted], columns, **QUIET)
        self.source.change(
            self._look_at_pasted,
            [self._upload, self.source],
            [self._kind, *columns],
            trigger_mode="always_last",
            **QUIET,
        )
        self._kind.input(self._look, [self._upload, *pasted], columns, **QUIET)
        self._button.click(
            self._score,
            [self._upload, *pasted, self._looked_at, self._label_column, *self._text_columns],
            results,
            api_visibility="private",
        )
        self._download.click(None, self._csv, None, js=download("scored.csv"))

    async def _look(self, file: object, pasted: object, kind: object) -> tuple[Any, ...]:
        """What was found, the choices of columns, a refusal, and what all this is of."""
        source = _Source.of(file, pasted, kind)
        hidden = [gr.update(visible=False)] * 3
        if not source.is_table:
            return _lines_in_words(source.pasted), *hidden, live.alert(), source.mark
        try:
            return await self._in_thread(self._choices, source)
        except InputError as error:
            return live.status(), *hidden, live.alert(str(error)), source.mark

    async def _look_at_pasted(self, file: object, pasted: object) -> tuple[Any, ...]:
        kind = await self._in_thread(self._likely_kind, pasted)
        return kind, *await self._look(file, pasted, kind)

    def _likely_kind(self, pasted: object) -> str:
        is_table = isinstance(pasted, str) and text_lists.looks_like_table(pasted)
        return _TABLE if is_table or self._pair else _LINES

    async def _look_at_file(self, file: object) -> tuple[Any, ...]:
        pasted, kind = gr.update(visible=not file), gr.update(visible=not file and not self._pair)
        return gr.update(visible=bool(file)), pasted, kind, *await self._look(file, "", _LINES)

    async def _without_file(self) -> tuple[Any, ...]:
        return "", gr.update(visible=False), gr.update(visible=True), gr.update(visible=not self._pair)

    def _at_the_start(self) -> tuple[Any, ...]:
        """What is said of the examples, and the choices of the columns of texts with what is chosen."""
        if self._pair is None:
            return _lines_in_words(str(self.source.value)), ([], None), ([], None)
        source = _Source("", str(self.source.value), _TABLE)
        try:
            texts = source.read(self._limits.texts)
            first, second = self._likely_columns(texts)
        except InputError:  # examples are anything
            return live.status(), ([], None), ([], None)
        names = [(name, i) for i, name in enumerate(texts.columns)]
        return _table_in_words(source, texts), (names, first), (names, second)

    def _choices(self, source: _Source) -> tuple[Any, ...]:
        """What was read, and the dropdowns of the columns with what they are likely for."""
        texts = source.read(self._limits.texts)
        columns = self._likely_columns(texts)
        names = [(name, i) for i, name in enumerate(texts.columns)]
        chosen = [gr.update(choices=names, value=column, visible=True) for column in columns]
        return (
            _table_in_words(source, texts),
            *(chosen if self._pair else [*chosen, gr.update(visible=False)]),
            gr.update(
                choices=[(_NO_LABELS, _NONE), *names],
                value=self._likely_label_column(texts, columns),
                visible=True,
            ),
            live.alert(),
            source.mark,
        )

    async def _score(
        self,
        file: object,
        pasted: object,
        kind: object,
        looked_at: object,
        label_column: object,
        text_column: object,
        pair_column: object,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        asked = _Source.of(file, pasted, kind), looked_at, label_column, (text_column, pair_column)
        try:
            texts, columns, labels = await self._in_thread(self._as_chosen, *asked)
            answers, milliseconds = await self._answers(_texts_of(texts, columns), progress)
            return await self._in_thread(self._shown, texts, answers, milliseconds, columns, labels)
        except (InputError, RequestRefused, DataError) as error:
            return live.alert(str(error)), *_cleared()[1:]

    def _as_chosen(
        self, source: _Source, looked_at: object, label_column: object, text_columns: Sequence[object]
    ) -> tuple[TextList, list[int], int]:
        """What is to be scored, its columns of texts, and that of labels or `_NONE`.

        A click may come before the answer that says what a new list is likely to be. What is chosen on the page was
        chosen for the list before then, so the likely is taken.

        Raises:
            InputError: it cannot be read.
        """
        if self._pair or not str(looked_at).endswith(source.digest):
            source = replace(source, kind=self._likely_kind(source.pasted))
        texts = source.read(self._limits.texts)
        likely = self._likely_columns(texts)
        if not source.is_table:
            return texts, likely, _NONE
        if looked_at != source.mark:
            return texts, likely, self._likely_label_column(texts, likely)
        chosen = [
            own if isinstance(own, int) else own_likely for own, own_likely in zip(text_columns, likely, strict=False)
        ]
        return texts, chosen, label_column if isinstance(label_column, int) else _NONE

    def _likely_label_column(self, texts: TextList, text_columns: list[int]) -> int:
        found = text_lists.likely_label(texts, self._labels, *text_columns, sets=bool(self._thresholds))
        return _NONE if found is None else found

    def _likely_columns(self, texts: TextList) -> list[int]:
        """The column of the texts, or those of both texts of pairs.

        Raises:
            InputError: pairs are expected, and there is one column.
        """
        if self._pair is None:
            return [text_lists.likely_text(texts)]
        return list(text_lists.likely_pair(texts, self._pair, self._labels))

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Reading takes a while, and some files take long: they keep each other waiting, and nobody else."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *args)

    async def _answers(self, texts: list[Text], progress: Any) -> tuple[list[Prediction | None], float]:
        """The answer to each text, None for a blank one, and the milliseconds that they took."""
        self._service.check(texts)
        filled = [text for text in texts if not given.is_blank(text)]
        predictions: list[Prediction] = []
        milliseconds = 0.0
        for start in range(0, len(filled), _AT_ONCE):
            progress((start, len(filled)), desc="scoring", unit="texts")
            answers = await self._service.answer(filled[start : start + _AT_ONCE])
            predictions += answers.predictions
            milliseconds += answers.milliseconds
        in_order = iter(predictions)
        return [None if given.is_blank(text) else next(in_order) for text in texts], milliseconds

    def _shown(
        self,
        texts: TextList,
        answers: list[Prediction | None],
        milliseconds: float,
        text_columns: list[int],
        label_column: int,
    ) -> tuple[str, ...]:
        """Values of the results."""
        if not any(answers):
            return live.alert(), live.status("<p>There is no text to score.</p>"), "", "", ""
        sets = bool(self._thresholds)
        added = score.answer_columns(self._labels, taken=texts.columns, sets=sets)
        comparison = "" if label_column == _NONE else self._compared(texts, answers, text_columns, label_column)
        rows = [[*row, *_cells(answer, len(added), sets)] for row, answer in zip(texts.rows, answers, strict=True)]
        table = "" if sets else scored.by_score(answers, self._labels)
        return (
            live.alert(),
            live.status(scored.in_words(answers, milliseconds, self._labels, sets=sets)),
            comparison,
            table + scored.rows(texts, answers, text_columns, sets=sets),
            safe_csv.to_csv([*texts.columns, *added], rows),
        )

    def _compared(
        self, texts: TextList, answers: list[Prediction | None], text_columns: list[int], label_column: int
    ) -> str:
        """The answers beside the labels of a column, as HTML."""
        values = texts.column(label_column)
        if self._thresholds:
            given_sets = [None if answer is None else answer.labels for answer in answers]
            found = own_labels.mark_sets(values, given_sets, self._labels)
            return scored.marked_sets(texts, answers, found, text_columns)
        single = [None if answer is None else (answer.label, answer.score) for answer in answers]
        return scored.marked(texts, answers, own_labels.mark(values, single, self._labels), text_columns)


def _texts_of(texts: TextList, columns: list[int]) -> list[Text]:
    """The texts of a column, or the pairs of two."""
    if len(columns) == 1:
        return list(texts.column(columns[0]))
    return list(zip(*map(texts.column, columns), strict=True))


def _cleared() -> list[str]:
    """Values of the results where there are none."""
    return [live.alert(), live.status(), "", "", ""]


def _as_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows with tabs between the cells, as a spreadsheet copies them."""
    written = io.StringIO()
    csv.writer(written, delimiter="\t", lineterminator="\n").writerows(rows)
    return written.getvalue().rstrip("\n")


def _cells(answer: Prediction | None, count: int, sets: bool) -> list[str]:
    if answer is None:
        return [""] * count
    probabilities = [f"{p:.4f}" for p in answer.probabilities.values()]
    if sets:
        return [json.dumps(answer.labels, ensure_ascii=False), *probabilities]
    return [answer.label, f"{answer.score:.4f}", *probabilities]


def _file_field(largest: int) -> str:
    """The browser's own field for a file, which keyboards and screen readers know."""
    suffixes = ",".join(text_lists.SUFFIXES)
    return (
        f"<label class=field><span>A table: CSV, TSV, JSON or Excel, at most {largest / 2**20:.1f} MiB</span>"
        f'<input type="file" accept="{suffixes}" data-limit="{largest}"></label>'
    )


def _lines_in_words(pasted: str) -> str:
    texts = sum(bool(text) for (text,) in text_lists.from_lines(pasted).rows)
    return live.status(f"<p>{counted(texts, 'line')}, each a text.</p>")


def _table_in_words(source: _Source, texts: TextList) -> str:
    what = text_lists.name_of(source.file) if source.file else "A table"
    names = ", ".join(texts.columns[:_NAMES]) + (", …" if len(texts.columns) > _NAMES else "")
    notes = "".join(f"<p>{html.escape(notice)}</p>" for notice in texts.notices)
    found = f"{what}: {counted(len(texts.rows), 'row')} with the columns {names}."
    return live.status(f"<p>{html.escape(found)}</p>{notes}")
