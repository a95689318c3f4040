"""The first tab: a text, its answer while it is typed, and the words that it depends on."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from sentopt.demo.page import caution, weighed
from sentopt.demo.page.examples import Examples
from sentopt.demo.page.refusals import shown
from sentopt.demo.page.weighed import as_code
from sentopt.demo.service import Service
from sentopt.results import ScoreBand
from sentopt.runtime.classifier import Prediction

_BUTTON_CHARACTERS = 200
_EMPTY = "There is no text to answer."


def build(service: Service, examples: Examples) -> None:
    """The components of the tab, and what happens when they are used."""
    start = examples.texts[0]
    first = service.classifier(start)
    bands = caution.bands(service.classifier.description)
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(
                start,
                label="Text",
                info="The answer changes while you type.",
                lines=4,
                max_lines=12,
                max_length=service.limits.characters,
                autofocus=True,
                elem_id="text",
            )
            gr.Markdown(caution.scope(service.classifier.description), elem_id="scope")
            gr.Markdown(examples.heading, elem_id="examples")
            for example in examples.texts:
                button = gr.Button(_named(example, examples), size="sm", elem_classes="example")
                button.click(None, None, text, js=f"() => {json.dumps(example)}")
        with gr.Column():
            label = gr.Label(
                first.probabilities,
                label="Probabilities",
                num_top_classes=min(10, len(first.probabilities)),
                elem_id="label",
            )
            note = gr.Markdown(_note(service, start, first, None, examples, bands), elem_id="note")
            why = gr.Button("Why this answer?", variant="primary", elem_id="why")
            words = gr.HTML(elem_id="words", padding=False)
            reasons = gr.Markdown(elem_id="reasons")

    @shown
    async def show_answer(text: str) -> tuple[Any, ...]:
        if not text.strip():
            return {}, _EMPTY, "", ""
        answers = await service.answer([text])
        prediction = answers.predictions[0]
        note = _note(service, text, prediction, answers.milliseconds, examples, bands)
        return prediction.probabilities, note, "", ""

    @shown
    async def show_reasons(text: str) -> tuple[str, str]:
        if not text.strip():
            return "", _EMPTY
        explanation = await service.explain(text)
        label = as_code(explanation.prediction.label)
        return weighed.as_html(text, explanation), weighed.in_words(explanation, label)

    text.change(
        show_answer,
        text,
        [label, note, words, reasons],
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )
    why.click(show_reasons, text, [words, reasons], show_progress="minimal", api_visibility="private")


def _shortened(text: str) -> str:
    return text if len(text) <= _BUTTON_CHARACTERS else f"{text[:_BUTTON_CHARACTERS].rstrip()} …"


def _named(example: str, examples: Examples) -> str:
    """What a button says: the text, after its label in the data."""
    label = examples.label_of(example)
    return f"{label} · {_shortened(example)}" if label else _shortened(example)


def _note(
    service: Service,
    text: str,
    prediction: Prediction,
    milliseconds: float | None,
    examples: Examples,
    bands: tuple[ScoreBand, ...],
) -> str:
    parts = [f"**{as_code(prediction.label)}**, {prediction.score:.1%}"]
    if milliseconds is not None:
        parts.append(f"answered in {milliseconds:.1f} ms")
    label = examples.label_of(text)
    if label is not None:
        parts.append("as in the data" if label == prediction.label else f"**wrong: the data has {as_code(label)}**")
    if doubt := caution.in_words(bands, prediction.score):
        parts.append(doubt)
    if prediction.truncated:
        encoder = service.classifier.encoder
        end = "last" if encoder.side == "left" else "first"
        parts.append(f"**only the {end} {encoder.max_length} tokens were read**, the rest was cut")
    return " · ".join(parts)
