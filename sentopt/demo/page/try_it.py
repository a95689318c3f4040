"""The first tab: a text, its answer while it is typed, and the words that it depends on."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from sentopt.demo.page import answer, caution, live, weighed
from sentopt.demo.page.events import QUIET
from sentopt.demo.page.examples import Examples
from sentopt.demo.service import Service
from sentopt.errors import InputError, RequestRefused
from sentopt.report.tables import counted

_BUTTON_CHARACTERS = 200
_WORDS, _PHRASES = "words", "phrases"
_LINES = 3  # from so many lines on, a text may be a list of texts


class TryIt:
    """The components of the tab; `text` is its field, and `split` the button that moves its lines to the list."""

    def __init__(self, service: Service, examples: Examples) -> None:
        """Make the components, and say what happens when they are used."""
        self._service = service
        self._examples = examples
        self._notes = answer.Notes.of(service.classifier, examples)
        with gr.Row():
            with gr.Column():
                self._make_text()
            with gr.Column():
                self._make_answer()
        scope = caution.scope(service.classifier.description)
        gr.HTML(f"<p class=hint>{scope}</p>" if scope else "", elem_id="scope", padding=False)
        gr.Markdown(examples.heading, elem_id="examples")
        with gr.Row(elem_classes="examples"):
            for example in examples.texts:
                button = gr.Button(self._named(example), size="sm", elem_classes="example")
                button.click(None, None, self.text, js=f"() => {json.dumps(example)}")
        self._connect()

    def _make_text(self) -> None:
        self.text = gr.Textbox(
            self._examples.texts[0],
            label="Text",
            info="The answer changes while you type.",
            lines=4,
            max_lines=12,
            max_length=self._service.limits.characters,
            autofocus=True,
            elem_id="text",
        )
        self.split = gr.Button("Score the lines separately", size="sm", visible=False, elem_id="split")

    def _make_answer(self) -> None:
        start = self._examples.texts[0]
        first = self._service.classifier(start)
        self._bars = gr.HTML(answer.bars(first), elem_id="label", padding=False)
        self._note = gr.HTML(live.status(self._notes.of_answer(start, first)), elem_id="note", padding=False)
        self._refusal = gr.HTML(live.alert(), elem_id="try-refusal", padding=False)
        self._unit = gr.Radio([_WORDS, _PHRASES], value=_WORDS, label="Explain by", elem_id="unit")
        self._why = gr.Button("Why this answer?", variant="primary", elem_id="why")
        self._words = gr.HTML(elem_id="words", padding=False)
        self._reasons = gr.HTML(live.status(), elem_id="reasons", padding=False)

    def _connect(self) -> None:
        explained = [self._words, self._reasons, self._refusal]
        # At once and in the browser: an answer that comes late would take the reasons away that came before it.
        self.text.change(None, None, explained, js=f"() => {json.dumps(['', live.status(), live.alert()])}")
        answered = [self._bars, self._note, self._refusal, self.split]
        self.text.change(self._answer, self.text, answered, trigger_mode="always_last", **QUIET)
        self._why.click(
            self._explain, [self.text, self._unit], explained, show_progress="minimal", api_visibility="private"
        )

    async def _answer(self, text: str | None) -> tuple[Any, ...]:
        if not text or not text.strip():
            note = live.status("<p>There is no text to answer.</p>")
            return answer.bars(None), note, live.alert(), gr.update(visible=False)
        lines = sum(bool(line.strip()) for line in text.splitlines())
        split = gr.update(value=f"{counted(lines, 'line')}: score them separately", visible=lines >= _LINES)
        try:
            answers = await self._service.answer([text])
        except (InputError, RequestRefused) as error:
            return answer.bars(None), live.status(), live.alert(str(error)), split
        prediction = answers.predictions[0]
        note = self._notes.of_answer(text, prediction, answers.milliseconds)
        return answer.bars(prediction), live.status(note), live.alert(), split

    async def _explain(self, text: str | None, unit: str | None) -> tuple[str, str, str]:
        if not text or not text.strip():
            return "", live.status("<p>There is no text to explain.</p>"), live.alert()
        by_phrase = unit == _PHRASES
        try:
            explanation = await self._service.explain(text, by_phrase=by_phrase)
        except (InputError, RequestRefused) as error:
            return "", live.status(), live.alert(str(error))
        said = weighed.in_words(explanation, text, by_phrase=by_phrase)
        return weighed.as_html(text, explanation), live.status(said), live.alert()

    def _named(self, example: str) -> str:
        """What a button says: the text, after its label in the data."""
        cut = len(example) > _BUTTON_CHARACTERS
        shown = f"{example[:_BUTTON_CHARACTERS].rstrip()} …" if cut else example
        label = self._examples.label_of(example)
        return f"{label} · {shown}" if label else shown
