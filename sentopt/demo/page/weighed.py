"""The words of a text, green where they support the answer and red where they speak against it."""

from __future__ import annotations

import html

from sentopt.demo.explanation import Explanation, Word
from sentopt.report.tables import counted

_FAINT = 0.005  # a change of the probability by less than this is rounded away on the page
_DEEPEST = 0.5  # a change by so much has the full colour, in every text


def as_html(text: str, explanation: Explanation) -> str:
    """The text with its words coloured and their weights in percentage points, above the scale of the colours.

    The sign is not told by the colour alone: each weight has its sign, and words that speak against the answer are
    underlined. What the model does not read is struck out.
    """
    pieces = [_unread(text[: explanation.start])]
    end = explanation.start
    for word in explanation.words:
        pieces += [html.escape(text[end : word.start]), _word(word)]
        end = word.end
    pieces += [html.escape(text[end : explanation.end]), _unread(text[explanation.end :])]
    return f"<div class=weighed><p class=words>{''.join(pieces)}</p>{_SCALE}</div>"


def in_words(explanation: Explanation, text: str, *, by_phrase: bool = False) -> str:
    """What the colours mean, the strongest words, what was not read, and what the explanation cost, as HTML."""
    unit = "phrase" if by_phrase else "word"
    label = f"<b>{html.escape(explanation.prediction.label)}</b>"
    strongest = [w for w in sorted(explanation.words, key=lambda w: -abs(w.weight))[:3] if abs(w.weight) >= _FAINT]
    said = (
        f"<p>Numbers are percentage points: how much lower the probability of {label} is without the {unit}. "
        f"<b>Green</b> (+) supports the answer, <b>red</b> (\N{MINUS SIGN}, underlined) speaks against it.</p>"
        f"<p>Strongest: {', '.join(f'“{html.escape(w.text)}” {_points(w.weight)}' for w in strongest)}.</p>"
        if strongest
        else f"<p>No single {unit} changes the probability of {label} by half a percentage point.</p>"
    )
    unread = len(text[: explanation.start].split()) + len(text[explanation.end :].split())
    skipped = f"<p>{counted(unread, 'word')} beyond the limit of the model, struck out, had no part in it.</p>"
    cost = (
        f"<p>Each {unit} was left out once: {counted(explanation.texts, 'text')} answered in "
        f"{explanation.milliseconds:.0f} ms.</p>"
    )
    return f"{said}{skipped if unread else ''}{cost}"


def _word(word: Word) -> str:
    if abs(word.weight) < _FAINT:
        return f"<span>{html.escape(word.text)}</span>"
    side = "for" if word.weight > 0 else "against"
    depth = min(1.0, abs(word.weight) / _DEEPEST)
    return (
        f'<mark class={side} style="--depth: {depth:.3f}"><span>{html.escape(word.text)}</span>'
        f"<sub>{_points(word.weight)}</sub></mark>"
    )


def _unread(text: str) -> str:
    return f'<s title="not read by the model">{html.escape(text)}</s>' if text.strip() else html.escape(text)


def _points(weight: float) -> str:
    """A change of a probability in percentage points, with a true minus sign."""
    return f"{round(weight * 100, 1) + 0.0:+.1f}".replace("-", "\N{MINUS SIGN}")


_SCALE = (
    f"<p class=scale><span>against {_points(-_DEEPEST)} points</span><i aria-hidden=true></i>"
    f"<span>for {_points(_DEEPEST)} points</span></p>"
)
