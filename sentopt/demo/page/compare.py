"""The second tab: the same text through every variant of the run, side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from sentopt.demo.comparison import Comparison, disagreement
from sentopt.demo.page.refusals import shown
from sentopt.demo.page.try_it import examples
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service

_HEADINGS = ("variant", "label", "score", "milliseconds", "what it is")


def build(service: Service, facts: RunFacts | None) -> None:
    """The components of the tab, and what happens when they are used."""
    comparison = Comparison(service.classifier, facts)
    gr.Markdown(
        "PyTorch is what the others must equal. Each variant answers the text six times on the processor that serves "
        "this page; the median of five is shown. The first comparison opens them all and takes some seconds."
    )
    with gr.Row(equal_height=True):
        text = gr.Textbox(
            examples(service)[0],
            label="Text",
            lines=2,
            max_length=service.limits.characters,
            scale=4,
            elem_id="compare-text",
        )
        button = gr.Button("Compare", variant="primary", scale=1, elem_id="compare")
    table = gr.Dataframe(
        headers=list(_HEADINGS), interactive=False, wrap=True, label="Answers of the variants", elem_id="variants"
    )
    verdict = gr.Markdown(elem_id="agreement")

    @shown
    async def compare(text: str) -> tuple[Any, str]:
        service.check([text])
        answers = await asyncio.to_thread(comparison.answer, text)
        rows = [
            [a.variant, a.prediction.label, f"{a.prediction.score:.4f}", f"{a.milliseconds:.2f}", a.summary]
            for a in answers
        ]
        return rows, f"{disagreement(answers)} {comparison.missing}"

    gr.on(
        [button.click, text.submit],
        compare,
        text,
        [table, verdict],
        concurrency_limit=1,
        api_visibility="private",
    )
