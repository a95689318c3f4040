"""The answer to one text as HTML: its label and probabilities as bars, and what should be known of it."""

from __future__ import annotations

import html
from dataclasses import dataclass

from sentopt.demo.page import caution
from sentopt.demo.page.examples import Examples
from sentopt.demo.page.fragments import bar, quoted
from sentopt.measure.familiarity import Familiarity
from sentopt.report.tables import counted
from sentopt.results import ScoreBand
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.tokenization import ReadPart, TextEncoder

_MOST = 10  # labels with a bar
_EDGE = 30  # characters that show where reading ended


def bars(prediction: Prediction | None) -> str:
    """The label in large letters, and the likeliest labels with their probabilities; nothing without an answer."""
    if prediction is None:
        return '<div class="answer"><p class=label>&nbsp;</p></div>'
    likeliest = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    items = "".join(bar(label, f"{probability:.1%}", probability) for label, probability in likeliest[:_MOST])
    more = len(likeliest) - _MOST
    rest = f"<p class=hint>{counted(more, 'less likely label')} not shown.</p>" if more > 0 else ""
    return (
        f'<div class="answer"><p class=label>{html.escape(prediction.label)}</p><ul class=bars>{items}</ul>{rest}</div>'
    )


@dataclass(frozen=True)
class Notes:
    """What can be said of an answer beside its label: what the page knows of the data and of the model's texts."""

    encoder: TextEncoder
    examples: Examples
    bands: tuple[ScoreBand, ...]
    usual: Familiarity | None

    @classmethod
    def of(cls, classifier: Classifier, examples: Examples) -> Notes:
        """As far as the bundle says it."""
        description = classifier.description
        return cls(classifier.encoder, examples, caution.bands(description), caution.usual_texts(description))

    def of_answer(self, text: str, prediction: Prediction, milliseconds: float | None = None) -> str:
        """The answer in words, whether it is right if that is known, and every reason not to trust it, as HTML."""
        lead = f"<b>{html.escape(prediction.label)}</b>, {prediction.score:.1%}"
        parts = [lead if milliseconds is None else f"{lead}, answered in {milliseconds:.1f} ms"]
        label = self.examples.label_of(text)
        if label is not None:
            right = label == prediction.label
            parts.append("as in the data" if right else f"<b>wrong: the data has {html.escape(label)}</b>")
        doubts = "".join(f"<p class=doubt>{doubt}</p>" for doubt in self._doubts(text, prediction) if doubt)
        return f"<p>{' · '.join(parts)}</p>{doubts}"

    def _doubts(self, text: str, prediction: Prediction) -> list[str]:
        read = self.encoder.read_part(text)
        return [
            caution.in_words(self.bands, prediction.score),
            _unknown(read),
            *caution.unlike(self.usual, read),
            _cut(text, read, self.encoder) if prediction.truncated else "",
        ]


def _unknown(read: ReadPart) -> str:
    """Which parts of a text the vocabulary has no piece for; nothing where it has one for each."""
    if not read.unknown:
        return ""
    shown = quoted(list(dict.fromkeys(read.unknown)))
    return f"<b>unknown to the model</b>: {shown}, {len(read.unknown)} of {counted(len(read.pieces), 'token')}"


def _cut(text: str, read: ReadPart, encoder: TextEncoder) -> str:
    """Which tokens were read, and where they end, so that it can be found in the text."""
    if encoder.side == "left":
        which, shown = "last", text[read.start : read.start + _EDGE]
    else:
        which, shown = "first", text[max(read.start, read.end - _EDGE) : read.end]
    words = html.escape(" ".join(shown.split()))
    edge = f"from “{words}” on" if which == "last" else f"up to “{words}”"
    return f"<b>only the {which} {encoder.max_length} tokens were read</b>, {edge}"
