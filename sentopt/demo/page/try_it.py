"""The first tab: a text, or a pair of them, its answer while it is typed, and the words that it depends on."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr

from sentopt.data import pairs
from sentopt.demo.page import answer, caution, given, live, weighed
from sentopt.demo.page.events import QUIET
from sentopt.demo.page.examples import Examples
from sentopt.demo.page.fragments import named
from sentopt.demo.service import Service
from sentopt.errors import InputError, RequestRefused
from sentopt.report.tables import counted
from sentopt.runtime.description import Text

_BUTTON_CHARACTERS = 200
_WORDS, _PHRASES = "words", "phrases"
_LINES = 3  # from so many lines on, a text may be a list of texts
_LIKELIEST = "the most probable"


class TryIt:
    """The components of the tab; `texts` are its field or the two of a pair.

    `split` is the button that moves the lines of a text to the list; pairs have none.
    """

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
                parts = list(pairs.parts(example))
                button.click(None, None, self.texts, js=f"() => {json.dumps(parts if len(parts) > 1 else parts[0])}")
        self._connect()

    def _make_text(self) -> None:
        self.texts = given.boxes(
            self._service,
            self._examples.texts[0],
            names=("text", "pair"),
            lines=4,
            info="The answer changes while you type.",
            autofocus=True,
        )
        self.split = gr.Button("Score the lines separately", size="sm", visible=False, elem_id="split")

    def _make_answer(self) -> None:
        start, classifier = self._examples.texts[0], self._service.classifier
        first = classifier(start)
        self._bars = gr.HTML(answer.bars(first, classifier.thresholds), elem_id="label", padding=False)
        self._note = gr.HTML(live.status(self._notes.of_answer(start, first)), elem_id="note", padding=False)
        self._refusal = gr.HTML(live.alert(), elem_id="try-refusal", padding=False)
        self._unit = gr.Radio([_WORDS, _PHRASES], value=_WORDS, label="Explain by", elem_id="unit")
        self._label = gr.Dropdown(
            [_LIKELIEST, *classifier.labels],
            value=_LIKELIEST,
            label="Explain the label",
            visible=bool(classifier.thresholds),
            elem_id="explained",
        )
        self._why = gr.Button("Why this answer?", variant="primary", elem_id="why")
        self._words = gr.HTML(elem_id="words", padding=False)
        self._reasons = gr.HTML(live.status(), elem_id="reasons", padding=False)

    def _connect(self) -> None:
        explained = [self._words, self._reasons, self._refusal]
        changes = [box.change for box in self.texts]
        # At once and in the browser: an answer that comes late would take the reasons away that came before it.
        gr.on(changes, None, None, explained, js=f"() => {json.dumps(['', live.status(), live.alert()])}")
        answered = [self._bars, self._note, self._refusal, self.split]
        gr.on(changes, self._answer, self.texts, answered, trigger_mode="always_last", **QUIET)
        self._why.click(
            self._explain,
            [self._unit, self._label, *self.texts],
            explained,
            show_progress="minimal",
            api_visibility="private",
        )

    async def _answer(self, *values: object) -> tuple[Any, ...]:
        text = given.text_of(values)
        if given.is_blank(text):
            note = live.status("<p>There is no text to answer.</p>")
            return answer.bars(None), note, live.alert(), gr.update(visible=False)
        lines = sum(bool(line.strip()) for line in text.splitlines()) if isinstance(text, str) else 0
        split = gr.update(value=f"{counted(lines, 'line')}: score them separately", visible=lines >= _LINES)
        try:
            answers = await self._service.answer([text])
        except (InputError, RequestRefused) as error:
            return answer.bars(None), live.status(), live.alert(str(error)), split
        prediction = answers.predictions[0]
        note = self._notes.of_answer(text, prediction, answers.milliseconds)
        return answer.bars(prediction, self._notes.thresholds), live.status(note), live.alert(), split

    async def _explain(self, unit: object, label: object, *values: object) -> tuple[str, str, str]:
        text = given.text_of(values)
        if given.is_blank(text):
            return "", live.status("<p>There is no text to explain.</p>"), live.alert()
        by_phrase, wanted = unit == _PHRASES, label if isinstance(label, str) and label != _LIKELIEST else None
        try:
            explanation = await self._service.explain(text, by_phrase=by_phrase, label=wanted)
        except (InputError, RequestRefused) as error:
            return "", live.status(), live.alert(str(error))
        said = weighed.in_words(explanation, text, by_phrase=by_phrase)
        return weighed.as_html(text, explanation, self._service.pair), live.status(said), live.alert()

    def _named(self, example: Text) -> str:
        """What a button says: the text, after its label in the data."""
        whole = pairs.in_words(example)
        shown = f"{whole[:_BUTTON_CHARACTERS].rstrip()} …" if len(whole) > _BUTTON_CHARACTERS else whole
        labels = self._examples.labels_of(example)
        return shown if labels is None else f"{named(labels)} · {shown}"
