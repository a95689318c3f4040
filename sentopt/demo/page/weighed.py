"""The words of a text, green where they support the answer and red where they speak against it."""

from __future__ import annotations

import html

from sentopt.demo.explanation import Explanation, Word

_FAINT = 0.005  # a change of the probability by less than this is rounded away on the page


def as_html(text: str, explanation: Explanation) -> str:
    """The text with its words coloured, above a scale; colours are relative to the strongest word.

    The sign is not told by the colour alone: words that speak against the answer are underlined, too.
    """
    strongest = max((abs(word.weight) for word in explanation.words), default=0.0)
    pieces, end = [], 0
    for word in explanation.words:
        pieces += [html.escape(text[end : word.start]), _word(word, strongest)]
        end = word.end
    pieces.append(html.escape(text[end:]))
    return f"<div class=weighed><p class=words>{''.join(pieces)}</p>{_scale(strongest)}</div>"


def in_words(explanation: Explanation, label: str) -> str:
    """What the colours mean, the strongest words, and how many texts were answered for them.

    Args:
        explanation: of the answer.
        label: the answer, as Markdown.
    """
    cost = f"Each word was left out once: {explanation.texts} texts in {explanation.milliseconds:.0f} ms."
    strongest = [w for w in sorted(explanation.words, key=lambda w: -abs(w.weight))[:3] if abs(w.weight) >= _FAINT]
    if not strongest:
        return f"The answer does not depend on any single word. {cost}"
    listed = ", ".join(f"{as_code(word.text)} {_points(word.weight)}" for word in strongest)
    return (
        f"**Green** words support {label}: without them its probability would be lower. **Red** (underlined) words "
        "speak against it: without them it would be higher. The deeper the colour, the larger the change.\n\n"
        f"Strongest words, in percentage points: {listed}. {cost}"
    )


def as_code(text: str) -> str:
    """A text inside Markdown, where nothing in it is markup."""
    return "`` " + text.replace("`", "'").replace("\n", " ") + " ``"


def _word(word: Word, strongest: float) -> str:
    if abs(word.weight) < _FAINT:
        return f'<span title="{_points(word.weight)}">{html.escape(word.text)}</span>'
    side = "for" if word.weight > 0 else "against"
    depth = abs(word.weight) / strongest
    attributes = f'class={side} style="--depth: {depth:.3f}" title="{_points(word.weight)}"'
    return f"<mark {attributes}>{html.escape(word.text)}</mark>"


def _scale(strongest: float) -> str:
    if strongest < _FAINT:
        return "<p class=scale>No single word changes the answer by half a percentage point.</p>"
    return (
        f"<p class=scale><span>against {_points(-strongest)} points</span><i aria-hidden=true></i>"
        f"<span>for {_points(strongest)} points</span></p>"
    )


def _points(weight: float) -> str:
    """A change of a probability in percentage points, with a true minus sign."""
    return f"{round(weight * 100, 1) + 0.0:+.1f}".replace("-", "\N{MINUS SIGN}")
