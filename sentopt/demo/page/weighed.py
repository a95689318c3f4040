"""The words of a text, green where they support the answer and red where they speak against it."""

from __future__ import annotations

import html
from collections.abc import Sequence

from sentopt.data import pairs
from sentopt.demo.explanation import Explanation, Word
from sentopt.report.tables import counted
from sentopt.runtime.description import Text

_FAINT = 0.005  # a change of the probability by less than this is rounded away on the page
_DEEPEST = 0.5  # a change by so much has the full colour, in every text


def as_html(text: Text, explanation: Explanation, names: tuple[str, str] | None = None) -> str:
    """The text with its words coloured and their weights in percentage points, above the scale of the colours.

    The sign is not told by the colour alone: each weight has its sign, and words that speak against the answer are
    underlined. What the model does not read is struck out. Both texts of a pair stand below their `names`.
    """
    shown = [
        _paragraph(part, [word for word in explanation.words if word.of == i], *explanation.read[i])
        for i, part in enumerate(pairs.parts(text))
    ]
    headed = [f"<p class=of>{html.escape(name)}</p>{one}" for name, one in zip(names or (), shown, strict=False)]
    return f"<div class=weighed>{''.join(headed or shown)}{_SCALE}</div>"


def _paragraph(text: str, words: Sequence[Word], start: int, end: int) -> str:
    """One text, of which the characters `start` to `end` (exclusive) are read."""
    pieces = [_unread(text[:start])]
    done = start
    for word in words:
        pieces += [html.escape(text[done : word.start]), _word(word)]
        done = word.end
    pieces += [html.escape(text[done:end]), _unread(text[end:])]
    return f"<p class=words>{''.join(pieces)}</p>"


def in_words(explanation: Explanation, text: Text, *, by_phrase: bool = False) -> str:
    """What the colours mean, the strongest words, what was not read, and what the explanation cost, as HTML."""
    unit = "phrase" if by_phrase else "word"
    label = f"<b>{html.escape(explanation.label)}</b>"
    strongest = [w for w in sorted(explanation.words, key=lambda w: -abs(w.weight))[:3] if abs(w.weight) >= _FAINT]
    said = (
        f"<p>Numbers are percentage points: how much lower the probability of {label} is without the {unit}. "
        f"<b>Green</b> (+) supports the answer, <b>red</b> (\N{MINUS SIGN}, underlined) speaks against it.</p>"
        f"<p>Strongest: {', '.join(f'“{html.escape(w.text)}” {_points(w.weight)}' for w in strongest)}.</p>"
        if strongest
        else f"<p>No single {unit} changes the probability of {label} by half a percentage point.</p>"
    )
    unread = sum(
        len(part[:start].split()) + len(part[end:].split())
        for part, (start, end) in zip(pairs.parts(text), explanation.read, strict=True)
    )
    skipped = f"<p>{counted(unread, 'word')} beyond the limit of the model, struck out, had no part in it.</p>"
    of = " of both texts" if len(explanation.read) > 1 else ""
    cost = (
        f"<p>Each {unit}{of} was left out once: {counted(explanation.texts, 'text')} answered in "
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
