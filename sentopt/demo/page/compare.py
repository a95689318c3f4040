"""The second tab: the same text through every variant of the run, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import gradio as gr

from sentopt.demo.comparison import Comparison, VariantAnswer, disagreement
from sentopt.demo.page.examples import Examples
from sentopt.demo.page.refusals import shown_steps
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service
from sentopt.report.tables import Table, as_html

_HEADINGS = ("variant", "label", "score", "ms", "what it is")


def build(service: Service, facts: RunFacts | None, examples: Examples) -> None:
    """The components of the tab, and what happens when they are used."""
    comparison = Comparison(service.classifier, facts)
    gr.Markdown(
        "Every variant of the run answers the same text on the server of this page. PyTorch is the reference. "
        "The time is the median of five answers. The first comparison loads all variants and takes some seconds."
    )
    text = gr.Textbox(
        examples.texts[0], label="Text", lines=2, max_length=service.limits.characters, elem_id="compare-text"
    )
    button = gr.Button("Compare", variant="primary", elem_id="compare")
    table = gr.HTML(elem_id="variants", elem_classes="evidence")
    verdict = gr.Markdown(elem_id="agreement")

    @shown_steps
    async def compare(text: str) -> AsyncIterator[tuple[str, str]]:
        service.check([text])
        answers: list[VariantAnswer] = []
        asking = comparison.answers(text)
        while (answer := await asyncio.to_thread(next, asking, None)) is not None:
            answers.append(answer)
            yield _table(answers), "Asking the next variant …"
        yield _table(answers), f"{disagreement(answers)} {comparison.missing}"

    gr.on(
        [button.click, text.submit],
        compare,
        text,
        [table, verdict],
        concurrency_limit=1,
        api_visibility="private",
    )


def _table(answers: Sequence[VariantAnswer]) -> str:
    rows = [
        (a.variant, a.prediction.label, f"{a.prediction.score:.4f}", f"{a.milliseconds:.2f}", a.summary)
        for a in answers
    ]
    return as_html(Table(_HEADINGS, tuple(rows), mark=0))
