"""The second tab: the same text, or pair of texts, through every variant of the run, side by side."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncIterator, Sequence

import gradio as gr

from sentopt.demo.comparison import Comparison, VariantAnswer, disagreement
from sentopt.demo.page import given, live
from sentopt.demo.page.examples import Examples
from sentopt.demo.page.fragments import named
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service
from sentopt.errors import InputError, RequestRefused
from sentopt.report.tables import Table, as_html

_HEADINGS = ("variant", "label", "score", "ms", "what it is")
_OF_SETS = ("variant", "labels", "highest probability", "ms", "what it is")


def build(service: Service, facts: RunFacts | None, examples: Examples) -> None:
    """The components of the tab, and what happens when they are used."""
    comparison = Comparison(service.classifier, facts)
    gr.Markdown(
        "Every variant of the run answers the same text on the server of this page. PyTorch is the reference. "
        "The time is the median of five answers. The first comparison loads all variants and takes some seconds."
    )
    boxes = given.boxes(service, examples.texts[0], names=("compare-text", "compare-pair"), lines=2)
    sets = bool(service.classifier.thresholds)
    button = gr.Button("Compare", variant="primary", elem_id="compare")
    refusal = gr.HTML(live.alert(), elem_id="compare-refusal", padding=False)
    table = gr.HTML(elem_id="variants", elem_classes="evidence")
    verdict = gr.HTML(live.status(), elem_id="agreement", padding=False)

    async def compare(*values: object) -> AsyncIterator[tuple[str, str, str]]:
        text = given.text_of(values)
        try:
            if given.is_blank(text):
                raise InputError("There is no text to answer.")
            service.check([text])
        except (InputError, RequestRefused) as error:
            yield "", live.status(), live.alert(str(error))
            return
        answers: list[VariantAnswer] = []
        asking = comparison.answers(text)
        while (answer := await asyncio.to_thread(next, asking, None)) is not None:
            answers.append(answer)
            yield _table(answers, sets), live.status("<p>Asking the next variant …</p>"), live.alert()
        yield _table(answers, sets), live.status(_said(answers, comparison, sets)), live.alert()

    gr.on(
        [button.click, *(box.submit for box in boxes)],
        compare,
        boxes,
        [table, verdict, refusal],
        concurrency_limit=1,
        api_visibility="private",
    )


def _said(answers: list[VariantAnswer], comparison: Comparison, sets: bool) -> str:
    """Whether the variants agree, and which of them could not be asked."""
    return f"<p>{html.escape(f'{disagreement(answers, sets=sets)} {comparison.missing}'.strip())}</p>"


def _table(answers: Sequence[VariantAnswer], sets: bool) -> str:
    """The answers; `sets`: of a model that gives any number of labels."""
    rows = [
        (
            a.variant,
            named(a.prediction.labels) if sets else a.prediction.label,
            f"{a.prediction.score:.4f}",
            f"{a.milliseconds:.2f}",
            a.summary,
        )
        for a in answers
    ]
    return as_html(Table(_OF_SETS if sets else _HEADINGS, tuple(rows), mark=0))
