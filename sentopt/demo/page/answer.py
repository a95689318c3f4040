"""The answer to one text as HTML: its label and probabilities as bars, and what should be known of it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sentopt.data import pairs
from sentopt.demo.page import caution
from sentopt.demo.page.examples import Examples
from sentopt.demo.page.fragments import bar, named, quoted
from sentopt.measure.familiarity import Familiarity
from sentopt.report.tables import counted
from sentopt.results import ScoreBand
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import ReadPart, TextEncoder

_MOST = 10  # labels with a bar
_EDGE = 30  # characters that show where reading ended


def bars(prediction: Prediction | None, thresholds: Sequence[float] = ()) -> str:
    """The label in large letters, and the likeliest labels with their probabilities; nothing without an answer.

    Of a multi-label model with these thresholds: the labels that reach them, and all probabilities beside them.
    """
    if prediction is None:
        return '<div class="answer"><p class=label>&nbsp;</p></div>'
    limits = dict(zip(prediction.probabilities, thresholds, strict=False))
    likeliest = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    items = "".join(_bar(prediction, label, limits.get(label)) for label, _ in likeliest[:_MOST])
    more = len(likeliest) - _MOST
    rest = f"<p class=hint>{counted(more, 'less likely label')} not shown.</p>" if more > 0 else ""
    lead = _chips(prediction) if thresholds else f"<p class=label>{html.escape(prediction.label)}</p>"
    return f'<div class="answer">{lead}<ul class=bars>{items}</ul>{rest}</div>'


def _bar(prediction: Prediction, label: str, limit: float | None) -> str:
    probability = prediction.probabilities[label]
    if limit is None:
        return bar(label, f"{probability:.1%}", probability)
    reached = "\N{CHECK MARK} " if label in prediction.labels else ""
    return bar(label, f"{reached}{probability:.1%}, counts from {limit:.1%}", probability, limit)


def _chips(prediction: Prediction) -> str:
    """The labels of a text, however many."""
    if not prediction.labels:
        return f'<p class="label none">{named(())}</p>'
    each = "".join(f"<li>{html.escape(label)}</li>" for label in prediction.labels)
    return f"<ul class=chips>{each}</ul>"


@dataclass(frozen=True)
class Notes:
    """What can be said of an answer beside its label: what the page knows of the data and of the model's texts.

    `thresholds` are those of a multi-label model, `pair` the names of the texts of a model of text pairs.
    """

    encoder: TextEncoder
    examples: Examples
    bands: tuple[ScoreBand, ...]
    usual: Familiarity | None
    thresholds: tuple[float, ...] = ()
    pair: tuple[str, str] | None = None

    @classmethod
    def of(cls, classifier: Classifier, examples: Examples) -> Notes:
        """As far as the bundle says it."""
        description = classifier.description
        return cls(
            classifier.encoder,
            examples,
            caution.bands(description),
            caution.usual_texts(description),
            classifier.thresholds,
            description.pair if description else None,
        )

    def of_answer(self, text: Text, prediction: Prediction, milliseconds: float | None = None) -> str:
        """The answer in words, whether it is right if that is known, and every reason not to trust it, as HTML."""
        lead = self._lead(prediction)
        parts = [lead if milliseconds is None else f"{lead}, answered in {milliseconds:.1f} ms"]
        labels = self.examples.labels_of(text)
        if labels is not None:
            right = set(labels) == {*(prediction.labels if self.thresholds else (prediction.label,))}
            parts.append("as in the data" if right else f"<b>wrong: the data has {html.escape(named(labels))}</b>")
        doubts = "".join(f"<p class=doubt>{doubt}</p>" for doubt in self._doubts(text, prediction) if doubt)
        return f"<p>{' · '.join(parts)}</p>{doubts}"

    def _lead(self, prediction: Prediction) -> str:
        if not self.thresholds:
            return f"<b>{html.escape(prediction.label)}</b>, {prediction.score:.1%}"
        if not prediction.labels:
            likeliest = html.escape(prediction.label)
            return f"<b>{named(())}</b>; the most probable one is {likeliest}, {prediction.score:.1%}"
        probabilities = prediction.probabilities
        return "; ".join(f"<b>{html.escape(label)}</b>, {probabilities[label]:.1%}" for label in prediction.labels)

    def _doubts(self, text: Text, prediction: Prediction) -> list[str]:
        reads = self.encoder.read_parts(text)
        read = together(reads)
        return [
            self._unsure(prediction),
            _unknown(read),
            *caution.unlike(self.usual, read),
            self._cut(text, reads) if prediction.truncated else "",
        ]

    def _unsure(self, prediction: Prediction) -> str:
        """Whether such scores are often wrong; of a set, that of its most probable label."""
        if self.thresholds and not prediction.labels:
            return ""
        return caution.in_words(self.bands, prediction.score, sets=bool(self.thresholds))

    def _cut(self, text: Text, reads: Sequence[ReadPart]) -> str:
        """Which tokens were read, and where they end, so that it can be found in the text."""
        which, most = "last" if self.encoder.side == "left" else "first", self.encoder.max_length
        edges = [_edge(part, read, which) for part, read in zip(pairs.parts(text), reads, strict=True)]
        if self.pair is None:
            return f"<b>only the {which} {most} tokens were read</b>, {edges[0]}"
        told = "; ".join(
            f"{html.escape(name)} {edge if read.cut else 'as a whole'}"
            for name, edge, read in zip(self.pair, edges, reads, strict=True)
        )
        return f"<b>only {most} tokens of both texts were read</b>: {told}"


def together(reads: Sequence[ReadPart]) -> ReadPart:
    """What is read of a pair as if it were one text; where it begins and ends is that of the first one."""
    first, *others = reads
    for other in others:
        first = replace(
            first,
            pieces=first.pieces + other.pieces,
            ids=first.ids + other.ids,
            unknown=first.unknown + other.unknown,
            cut=first.cut or other.cut,
        )
    return first


def _unknown(read: ReadPart) -> str:
    """Which parts of a text the vocabulary has no piece for; nothing where it has one for each."""
    if not read.unknown:
        return ""
    shown = quoted(list(dict.fromkeys(read.unknown)))
    return f"<b>unknown to the model</b>: {shown}, {len(read.unknown)} of {counted(len(read.pieces), 'token')}"


def _edge(text: str, read: ReadPart, which: str) -> str:
    """Where reading ended, or began: the words that stand there."""
    start, end = (read.start, read.start + _EDGE) if which == "last" else (max(read.start, read.end - _EDGE), read.end)
    words = html.escape(" ".join(text[start:end].split()))
    return f"from “{words}” on" if which == "last" else f"up to “{words}”"
