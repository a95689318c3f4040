"""The first tab: a text, its answer while it is typed, and the words that the answer rests on."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from sentopt.demo.explanation import Explanation
from sentopt.demo.page.refusals import shown
from sentopt.demo.service import Service
from sentopt.runtime.classifier import Prediction

_EXAMPLES = 6
_EXAMPLE_CHARACTERS = 160
Spans = list[tuple[str, float | None]]


def build(service: Service) -> None:
    """The components of the tab, and what happens when they are used."""
    samples = examples(service)
    first = service.classifier(samples[0])
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(
                samples[0],
                label="Text",
                info="The answer follows while you type.",
                lines=4,
                max_lines=12,
                max_length=service.limits.characters,
                autofocus=True,
                elem_id="text",
            )
            gr.Markdown("Examples from the test split:")
            for sample in samples:
                example = gr.Button(sample, size="sm", elem_classes="example")
                example.click(None, None, text, js=f"() => {json.dumps(sample)}")
        with gr.Column():
            label = gr.Label(
                first.probabilities,
                label="Probabilities",
                num_top_classes=min(10, len(first.probabilities)),
                elem_id="label",
            )
            note = gr.Markdown(_note(service, samples[0], first, None), elem_id="note")
            why = gr.Button("Why this answer?", variant="primary", elem_id="why")
            words = gr.HighlightedText(
                label="What the answer rests on",
                visible=False,
                show_legend=True,
                combine_adjacent=False,
                elem_id="words",
            )
            reasons = gr.Markdown(elem_id="reasons")

    @shown
    async def show_answer(text: str) -> tuple[Any, ...]:
        found = await service.answer([text])
        prediction = found.predictions[0]
        note = _note(service, text, prediction, found.milliseconds)
        return prediction.probabilities, note, gr.update(visible=False), ""

    @shown
    async def show_reasons(text: str) -> tuple[Any, str]:
        found = await service.explain(text)
        return gr.update(value=spans(text, found), visible=True), in_words(found)

    text.change(
        show_answer,
        text,
        [label, note, words, reasons],
        trigger_mode="always_last",
        show_progress="hidden",
        api_visibility="private",
    )
    why.click(show_reasons, text, [words, reasons], show_progress="minimal", api_visibility="private")


def examples(service: Service) -> list[str]:
    """Short golden texts of the bundle, which come from the test split, of every label in turn."""
    description = service.classifier.description
    golden = description.golden if description else ()
    by_label: dict[int, list[str]] = {}
    for g in golden:
        if len(g.text) <= _EXAMPLE_CHARACTERS:
            by_label.setdefault(max(range(len(g.probabilities)), key=g.probabilities.__getitem__), []).append(g.text)
    turns = [texts for _, texts in sorted(by_label.items())]
    found = [texts[turn] for turn in range(_EXAMPLES) for texts in turns if turn < len(texts)]
    return found[:_EXAMPLES] or ["What a lovely day!"]


def spans(text: str, found: Explanation) -> Spans:
    """The whole text in pieces; the weights of words are scaled so that the strongest is 1 or -1."""
    strongest = max((abs(word.weight) for word in found.words), default=0.0) or 1.0
    pieces: Spans = []
    end = 0
    for word in found.words:
        if word.start > end:
            pieces.append((text[end : word.start], None))
        pieces.append((word.text, round(word.weight / strongest, 3)))
        end = word.end
    if end < len(text):
        pieces.append((text[end:], None))
    return pieces


def in_words(found: Explanation) -> str:
    """The strongest words, and what it took to find them."""
    label = _code(found.prediction.label)
    ranked = sorted(found.words, key=lambda word: -abs(word.weight))[:3]
    strongest = ", ".join(f"{_code(word.text)} {word.weight:+.2f}" for word in ranked)
    return (
        f"Each word was left out once: the change of the probability of {label} is its weight, red where the word "
        f"raises it. Strongest: {strongest or 'there are no words'}. "
        f"Cost: {found.texts} texts in {found.milliseconds:.0f} ms."
    )


def _note(service: Service, text: str, prediction: Prediction, milliseconds: float | None) -> str:
    parts = [f"**{_code(prediction.label)}**, {prediction.score:.1%}"]
    if milliseconds is not None:
        parts.append(f"answered in {milliseconds:.1f} ms")
    if not text.strip():
        parts.append("the text is empty, so this is the model's answer to nothing")
    if prediction.truncated:
        encoder = service.classifier.encoder
        end = "last" if encoder.side == "left" else "first"
        parts.append(f"**only the {end} {encoder.max_length} tokens were read**, the rest was cut")
    return " · ".join(parts)


def _code(text: str) -> str:
    """Words of a text inside Markdown, where they mean nothing but themselves."""
    return "`` " + text.replace("`", "'").replace("\n", " ") + " ``"
