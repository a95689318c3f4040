"""The third tab: a table file, a pasted table or pasted lines, scored, and compared with labels that they bring."""

from __future__ import annotations

import asyncio
import html
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from sentopt.bundles.score import answer_columns
from sentopt.demo import text_lists
from sentopt.demo.own_labels import mark
from sentopt.demo.page import live, scored
from sentopt.demo.page.events import QUIET, download
from sentopt.demo.page.examples import Examples
from sentopt.demo.service import Service
from sentopt.demo.text_lists import TextList
from sentopt.errors import DataError, InputError, RequestRefused
from sentopt.files import safe_csv
from sentopt.report.tables import counted
from sentopt.runtime.classifier import Prediction

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
        self._labels = service.classifier.labels
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
        pasted = "\n".join(" ".join(text.split()) for text in examples.texts[:_PASTED])
        self.source = gr.Textbox(pasted, label="Or paste lines or a table", lines=8, max_lines=20, elem_id="list-texts")
        self._kind = gr.Radio([_LINES, _TABLE], value=_LINES, label="What was pasted", elem_id="kind")
        gr.HTML(
            f"<p class=hint>At most {self._limits.texts:,} texts of {self._limits.characters:,} characters. For larger "
            "files, use <code>sentopt predict --input FILE</code> on your machine.</p>",
            padding=False,
        )

    def _make_choices(self) -> None:
        self._found = gr.HTML(_lines_in_words(str(self.source.value)), elem_id="found", padding=False)
        self._text_column = gr.Dropdown([], label="Column with the texts", visible=False, elem_id="text-column")
        self._label_column = gr.Dropdown(
            [(_NO_LABELS, _NONE)],
            label="Column with the right labels, if there is one",
            visible=False,
            elem_id="label-column",
        )
        self._button = gr.Button("Score them", variant="primary", elem_id="score")
        self._refusal = gr.HTML(live.alert(), elem_id="refusal", padding=False)
        self._summary = gr.HTML(live.status(), elem_id="summary", padding=False)
        self._download = gr.Button("Download as CSV", elem_id="download")  # shown where the summary has counts

    def _connect(self) -> None:
        columns = [self._found, self._text_column, self._label_column, self._refusal]
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
            [self._upload, *pasted, self._text_column, self._label_column],
            results,
            api_visibility="private",
        )
        self._download.click(None, self._csv, None, js=download("scored.csv"))

    async def _look(self, file: object, pasted: object, kind: object) -> tuple[Any, ...]:
        """What was found, the choices of columns, and a refusal."""
        source = _Source.of(file, pasted, kind)
        hidden = gr.update(visible=False)
        if not source.is_table:
            return _lines_in_words(source.pasted), hidden, hidden, live.alert()
        try:
            return await self._in_thread(self._choices, source)
        except InputError as error:
            return live.status(), hidden, hidden, live.alert(str(error))

    async def _look_at_pasted(self, file: object, pasted: object) -> tuple[Any, ...]:
        is_table = isinstance(pasted, str) and await self._in_thread(text_lists.looks_like_table, pasted)
        kind = _TABLE if is_table else _LINES
        return kind, *await self._look(file, pasted, kind)

    async def _look_at_file(self, file: object) -> tuple[Any, ...]:
        pasted = gr.update(visible=not file)
        return gr.update(visible=bool(file)), pasted, pasted, *await self._look(file, "", _LINES)

    async def _without_file(self) -> tuple[Any, ...]:
        shown = gr.update(visible=True)
        return "", gr.update(visible=False), shown, shown

    def _choices(self, source: _Source) -> tuple[Any, ...]:
        """What was read, and the dropdowns of the columns with what they are likely for."""
        texts = source.read(self._limits.texts)
        text_column = text_lists.likely_text(texts)
        label_column = text_lists.likely_label(texts, self._labels, text_column)
        names = [(name, i) for i, name in enumerate(texts.columns)]
        return (
            _table_in_words(source, texts),
            gr.update(choices=names, value=text_column, visible=True),
            gr.update(
                choices=[(_NO_LABELS, _NONE), *names],
                value=_NONE if label_column is None else label_column,
                visible=True,
            ),
            live.alert(),
        )

    async def _score(
        self,
        file: object,
        pasted: object,
        kind: object,
        text_column: object,
        label_column: object,
        progress: Any = gr.Progress(),  # noqa: B008
    ) -> tuple[Any, ...]:
        source = _Source.of(file, pasted, kind)
        try:
            texts = await self._in_thread(source.read, self._limits.texts)
            column = text_column if isinstance(text_column, int) and source.is_table else text_lists.likely_text(texts)
            answers, milliseconds = await self._answers(texts.column(column), progress)
            labels = label_column if isinstance(label_column, int) and source.is_table else _NONE
            return await self._in_thread(self._shown, texts, answers, milliseconds, column, labels)
        except (InputError, RequestRefused, DataError) as error:
            return live.alert(str(error)), *_cleared()[1:]

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Reading takes a while, and some files take long: they keep each other waiting, and nobody else."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *args)

    async def _answers(self, texts: list[str], progress: Any) -> tuple[list[Prediction | None], float]:
        """The answer to each text, None for a blank one, and the milliseconds that they took."""
        self._service.check(texts)
        given = [text for text in texts if text.strip()]
        predictions: list[Prediction] = []
        milliseconds = 0.0
        for start in range(0, len(given), _AT_ONCE):
            progress((start, len(given)), desc="scoring", unit="texts")
            answers = await self._service.answer(given[start : start + _AT_ONCE])
            predictions += answers.predictions
            milliseconds += answers.milliseconds
        in_order = iter(predictions)
        return [next(in_order) if text.strip() else None for text in texts], milliseconds

    def _shown(
        self,
        texts: TextList,
        answers: list[Prediction | None],
        milliseconds: float,
        text_column: int,
        label_column: int,
    ) -> tuple[str, ...]:
        """Values of the results."""
        if not any(answers):
            return live.alert(), live.status("<p>There is no text to score.</p>"), "", "", ""
        added = answer_columns(self._labels, taken=texts.columns)
        comparison = ""
        if label_column != _NONE:
            pairs = [None if answer is None else (answer.label, answer.score) for answer in answers]
            marked = mark(texts.column(label_column), pairs, self._labels)
            comparison = scored.marked(texts, answers, marked, text_column)
        rows = [[*row, *_cells(answer, len(added))] for row, answer in zip(texts.rows, answers, strict=True)]
        return (
            live.alert(),
            live.status(scored.in_words(answers, milliseconds, self._labels)),
            comparison,
            scored.by_score(answers, self._labels) + scored.rows(texts, answers, text_column),
            safe_csv.to_csv([*texts.columns, *added], rows),
        )


def _cleared() -> list[str]:
    """Values of the results where there are none."""
    return [live.alert(), live.status(), "", "", ""]


def _cells(answer: Prediction | None, count: int) -> list[str]:
    if answer is None:
        return [""] * count
    return [answer.label, *(f"{p:.4f}" for p in (answer.score, *answer.probabilities.values()))]


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
