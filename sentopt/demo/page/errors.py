"""The tab of the test texts: what a variant of the run gets wrong, loses and gains, and which labels are in doubt."""

from __future__ import annotations

import asyncio
import html
from typing import Any

import gradio as gr

from sentopt.data import answered
from sentopt.data.answered import SURE
from sentopt.demo import selection
from sentopt.demo.access import Readers
from sentopt.demo.page import answered_table, live
from sentopt.demo.page.events import download
from sentopt.demo.proxies import FORWARDING, OF_PROXIES
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.selection import KINDS, Filters, SplitAnswers
from sentopt.demo.service import Service
from sentopt.demo.stored_answers import StoredAnswers
from sentopt.errors import InputError, RequestRefused, RunDirError

_ANY = -1  # in the place of a position
_BANDS = 4
_SUREST, _LEAST_SURE = "surest first", "least sure first"
# What proxies send besides; none of them sends HTTP/1.0 by itself, but nginx does.
_MOST_CHARACTERS = 4_000_000  # of a download, which the page holds
# One at a time: the first visitor's reading would keep as many threads waiting as there are others.
_EVENT: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": 1, "concurrency_id": "errors"}
_QUIET: dict[str, Any] = {**_EVENT, "show_progress": "hidden"}
_ALONE = (
    "This bundle was loaded without its run. The test texts and the stored answers are in the directory of the run: "
    "start the demo with `--run-dir DIRECTORY`."
)
_LEAD = (
    "What the variants of the run answered to the test texts when they were verified. A question mark stands after a "
    f"label that is likely wrong: the variant and PyTorch both give the same other one, and score {SURE:g} or more. "
    "Rows count in `data/test.jsonl`."
)
_LEAD_OF_SETS = (
    " A text has any number of labels: an answer is right if all of them are, and its score is the probability of the "
    "label whose presence or absence is the least probable."
)


class ErrorsTab:
    """The components of the tab, and what happens when they are used. The files are read when it is first opened."""

    def __init__(self, tab: gr.Tab, service: Service, facts: RunFacts | None, readers: Readers) -> None:
        """
        Args:
            tab: the tab that holds the components.
            service: has the classifier of the bundle.
            facts: the run that the bundle comes from.
            readers: who may read the test texts.
        """
        if facts is None:
            gr.Markdown(_ALONE, elem_id="errors-missing")
            return
        self._stored = StoredAnswers(facts, service.classifier)
        self._readers = readers
        self._names = service.pair or ("text",)
        gr.Markdown(_LEAD + (_LEAD_OF_SETS if service.classifier.thresholds else ""))
        filters = self._make_filters(service.classifier.labels)
        self._confusion = gr.HTML(elem_id="errors-confusion", elem_classes="evidence", padding=False)
        self._status = gr.HTML(live.status(), elem_id="errors-status", padding=False)
        self._table = gr.HTML(elem_id="errors-table", elem_classes="evidence", padding=False)
        self._number = gr.State(0)
        with gr.Row():
            self._previous = gr.Button("Previous", interactive=False, elem_id="errors-previous")
            self._next = gr.Button("Next", interactive=False, elem_id="errors-next")
            self._download = gr.Button("Download as CSV", interactive=False, elem_id="errors-download")
        self._refusal = gr.HTML(live.alert(), elem_id="errors-refusal", padding=False)
        self._csv = gr.Textbox(visible="hidden", elem_id="errors-csv")
        self._connect(tab, filters)

    def _make_filters(self, labels: tuple[str, ...]) -> list[Any]:
        self._variants = self._stored.variants()
        variants = [(selection.display_name(name), name) for name in self._variants]
        named = [(selection.short_label(label), i) for i, label in enumerate(labels)]
        bands = [("any", _ANY), *((f"quarter {i + 1}", i) for i in range(_BANDS))]
        wide: dict[str, Any] = {"min_width": 240}
        with gr.Row():
            variant = gr.Dropdown(variants, label="Variant", value=variants[0][1], elem_id="errors-variant", **wide)
            kind = gr.Dropdown(list(KINDS), label="What to show", value="wrong", elem_id="errors-kind", **wide)
            order = gr.Dropdown([_SUREST, _LEAST_SURE], label="Order", value=_SUREST, elem_id="errors-order", **wide)
        with gr.Row():
            truth = gr.Dropdown([("any", _ANY), *named], label="Label in the data", value=_ANY, elem_id="errors-truth")
            answer = gr.Dropdown([("any", _ANY), *named], label="Answer", value=_ANY, elem_id="errors-answer")
            self._band = gr.Dropdown(bands, label="Tokens", value=_ANY, elem_id="errors-band")
            least = gr.Slider(0, 1, 0, step=0.05, label="Least score", elem_id="errors-least")
        return [variant, kind, order, truth, answer, self._band, least]

    def _connect(self, tab: gr.Tab, filters: list[Any]) -> None:
        inputs = [*filters, self._number]
        outputs = [
            *(self._confusion, self._status, self._table, self._number),
            *(self._previous, self._next, self._download, self._refusal),
        ]
        tab.select(self._open, inputs, [self._band, *outputs], show_progress="minimal", **_EVENT)
        changed = [(f.change if isinstance(f, gr.Slider) else f.input) for f in filters]
        gr.on(changed, self._first_page, filters, outputs, trigger_mode="always_last", **_QUIET)
        self._previous.click(self._page_before, inputs, outputs, **_QUIET)
        self._next.click(self._page_after, inputs, outputs, **_QUIET)
        written = self._download.click(self._write_csv, filters, [self._csv, self._refusal], **_EVENT)
        written.success(
            None, self._csv, self._csv, js=f"(csv) => {{ ({download('test-texts.csv')})(csv); return ''; }}"
        )

    async def _open(self, request: gr.Request, *chosen: Any) -> tuple[Any, ...]:
        """The page that was open, and the bands of lengths, which are known once the texts are read."""
        results = await self._results(request, chosen[:-1], chosen[-1])
        try:
            self._check(request)
            bands = answered.length_bands((await asyncio.to_thread(self._stored.of, chosen[0])).tokens)
        except (RunDirError, RequestRefused):
            return gr.update(), *results
        choices = [("any", _ANY), *((f"{least:,} to {most:,}", i) for i, (least, most) in enumerate(bands))]
        return gr.update(choices=choices), *results

    async def _first_page(self, request: gr.Request, *chosen: Any) -> tuple[Any, ...]:
        return await self._results(request, chosen, 0)

    async def _page_before(self, request: gr.Request, *chosen: Any) -> tuple[Any, ...]:
        return await self._results(request, chosen[:-1], chosen[-1] - 1)

    async def _page_after(self, request: gr.Request, *chosen: Any) -> tuple[Any, ...]:
        return await self._results(request, chosen[:-1], chosen[-1] + 1)

    async def _write_csv(self, request: gr.Request, *chosen: Any) -> tuple[str, str]:
        """The file, and why there is none."""
        try:
            self._check(request)
            return await asyncio.to_thread(self._csv_of, chosen), live.alert()
        except (RunDirError, RequestRefused, InputError) as error:
            return "", live.alert(f"Nothing was downloaded: {error}")

    async def _results(self, request: gr.Request, chosen: tuple[Any, ...], number: int) -> tuple[Any, ...]:
        """Values of the components below the filters."""
        try:
            self._check(request)
            return await asyncio.to_thread(self._page_of, chosen, number)
        except (RunDirError, RequestRefused) as error:
            off = gr.update(interactive=False)
            return "", live.status(f"<p>{_as_html(str(error))}</p>"), "", 0, off, off, off, live.alert()

    def _page_of(self, chosen: tuple[Any, ...], number: int) -> tuple[Any, ...]:
        answers, filters = self._chosen(chosen)
        listed = selection.page(selection.select(answers, filters), number)
        contents = self._stored.texts(answers.rows[listed.texts].tolist())
        confusion = ""
        if not answers.sets:  # an answer of several labels confuses no two of them
            counts, of = selection.confusion(answers, filters)
            what = selection.counted_in_words(answers, filters)
            confusion = answered_table.confusion_html(answers.labels, counts, of, what)
        return (
            confusion,
            live.status(f"<p>{html.escape(selection.in_words(answers, filters, listed))}</p>"),
            answered_table.rows_html(answers, listed.texts, contents, self._names),
            listed.number,
            gr.update(interactive=not listed.is_first),
            gr.update(interactive=not listed.is_last),
            gr.update(interactive=bool(listed.total)),
            live.alert(),
        )

    def _csv_of(self, chosen: tuple[Any, ...]) -> str:
        """All texts that pass the filters.

        Raises:
            InputError: they are more than a page should hold.
        """
        answers, filters = self._chosen(chosen)
        texts = selection.select(answers, filters)
        contents = self._stored.texts(answers.rows[texts].tolist(), most=_MOST_CHARACTERS)
        return answered_table.as_csv(answers, texts, contents)

    def _chosen(self, chosen: tuple[Any, ...]) -> tuple[SplitAnswers, Filters]:
        """What the values of the filters stand for."""
        variant, kind, order, truth, answer, band, least = chosen
        if variant not in self._variants or kind not in [value for _, value in KINDS]:
            raise RequestRefused(422, "There is no such variant, or no such list.")
        if not isinstance(band, int) or not isinstance(least, int | float):
            raise RequestRefused(422, "Tokens and least score are numbers.")
        answers = self._stored.of(variant)
        bands = answered.length_bands(answers.tokens)
        return answers, Filters(
            kind=kind,
            truth=None if truth == _ANY else truth,
            answer=None if answer == _ANY else answer,
            tokens=bands[band] if 0 <= band < len(bands) else None,
            least_score=least or 0.0,
            surest_first=order == _SUREST,
        )

    def _check(self, request: gr.Request) -> None:
        """Refuse what a proxy forwards to a server that should be reached from its own machine alone.

        Raises:
            RequestRefused: the request comes through one.
        """
        told = request.request is not None and request.request.scope.get("http_version", "1.1") < "1.1"
        named = any(name.decode() in request.headers for name in (*FORWARDING, *OF_PROXIES))
        if self._readers == "this machine" and (told or named):
            raise RequestRefused(
                403, "The test texts are listed on the server's own machine alone, and a proxy forwarded this request."
            )


def _as_html(message: str) -> str:
    """A message in which names stand between backticks."""
    parts = html.escape(message).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
