"""The second tab: the same text through every variant of the run, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from sentopt.demo.comparison import Comparison, VariantAnswer, disagreement
from sentopt.demo.page.refusals import shown_steps
from sentopt.demo.page.try_it import examples
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service

_HEADINGS = ("variant", "label", "score", "ms", "what it is")


def build(service: Service, facts: RunFacts | None) -> None:
    """The components of the tab, and what happens when they are used."""
    comparison = Comparison(service.classifier, facts)
    gr.Markdown(
        "PyTorch is what the others must equal. Each variant answers the text six times on the processor that serves "
        "this page; the median of five is shown. The first comparison opens them all and takes some seconds."
    )
    text = gr.Textbox(
        examples(service)[0], label="Text", lines=2, max_length=service.limits.characters, elem_id="compare-text"
    )
    button = gr.Button("Compare", variant="primary", elem_id="compare")
    table = gr.Dataframe(
        headers=list(_HEADINGS),
        interactive=False,
        wrap=True,
        column_widths=["18%", "14%", "10%", "10%", "48%"],
        label="Answers of the variants",
        elem_id="variants",
    )
    verdict = gr.Markdown(elem_id="agreement")

    @shown_steps
    async def compare(text: str) -> AsyncIterator[tuple[Any, str]]:
        service.check([text])
        answers: list[VariantAnswer] = []
        asking = comparison.answers(text)
        while (answer := await asyncio.to_thread(next, asking, None)) is not None:
            answers.append(answer)
            yield [_row(a) for a in answers], "Asking the next variant …"
        yield [_row(a) for a in answers], f"{disagreement(answers)} {comparison.missing}"

    gr.on(
        [button.click, text.submit],
        compare,
        text,
        [table, verdict],
        concurrency_limit=1,
        api_visibility="private",
    )


def _row(answer: VariantAnswer) -> list[str]:
    prediction = answer.prediction
    return [answer.variant, prediction.label, f"{prediction.score:.4f}", f"{answer.milliseconds:.2f}", answer.summary]
