"""Word weights by occlusion: each word is left out once, and the change of the probability is its weight.

Li, Monroe and Jurafsky, "Understanding Neural Networks through Representation Erasure" (arXiv:1612.08220). The weights
need nothing but answers of the served model: one text for each word.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from sentopt.runtime.classifier import Prediction
from sentopt.runtime.description import Text

# Han and Kana are written without spaces: there each character is a unit. Emoji and punctuation stay together.
_SPACELESS = r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]"
_VARIATION_SELECTORS = range(0xFE00, 0xFE10)  # they belong to emoji
_MARKS = "".join(  # accents and vowels that are characters of their own, which Python does not count as parts of words
    chr(code)
    for code in range(0x300, 0x20000)
    if unicodedata.category(chr(code)) in ("Mn", "Mc") and code not in _VARIATION_SELECTORS
)
_LETTERS = rf"(?:(?!{_SPACELESS})\w[{_MARKS}]*)+"
_PHRASE = 3  # words
_UNIT = re.compile(rf"{_SPACELESS}|{_LETTERS}(?:['’-]{_LETTERS})*|[^\w\s]+")


@dataclass(frozen=True)
class Span:
    """The characters `start` to `end` (exclusive) of a text, or of text `of` of a pair, counted from 0."""

    start: int
    end: int
    of: int = 0


@dataclass(frozen=True)
class Word:
    """The characters `start` to `end` (exclusive) of a text; `weight`, from -1 to 1, is its share in the probability.

    A positive weight supports the label: without the word its probability is lower by so much. `of` is 1 for a word of
    the second text of a pair.
    """

    text: str
    start: int
    end: int
    weight: float
    of: int = 0


@dataclass(frozen=True)
class Explanation:
    """The answer to the whole text, the weights of its words, and how many texts were answered in how much time.

    The weights are shares in the probability of `label`. `read` are the first character that the model reads and the
    one behind the last, of the text, or of both texts of a pair; words beyond have no weight and are not in `words`.
    `bundle` is the beginning of the hash of the bundle that answered.
    """

    prediction: Prediction
    label: str
    words: tuple[Word, ...]
    texts: int
    milliseconds: float
    read: tuple[tuple[int, int], ...]
    bundle: str = ""


def parts(text: str, most: int) -> list[tuple[int, int]]:
    """Start and end of each word; of more than `most` words, of `most` groups of neighbours of nearly equal size."""
    return grouped([match.span() for match in _UNIT.finditer(text)], most)


def phrases(text: str, most: int) -> list[tuple[int, int]]:
    """Start and end of each run of up to three words between punctuation; of more than `most`, of `most` groups.

    Words support or weaken each other: "not bad" is more than "not" and "bad".
    """
    found: list[tuple[int, int]] = []
    words = 0
    for start, end in (match.span() for match in _UNIT.finditer(text)):
        is_mark = not re.search(r"\w", text[start:end])
        if is_mark or not words or words == _PHRASE:
            found.append((start, end))
            words = 0 if is_mark else 1
        else:
            found[-1] = (found[-1][0], end)
            words += 1
    return grouped(found, most)


def grouped(spans: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int]]:
    """The spans; of more than `most`, `most` groups of neighbours of nearly equal size."""
    if len(spans) <= most:
        return list(spans)
    edges = [round(i * len(spans) / most) for i in range(most + 1)]
    return [(spans[a][0], spans[b - 1][1]) for a, b in itertools.pairwise(edges)]


def spans_of(texts: Sequence[str], most: int, *, by_phrase: bool = False) -> list[Span]:
    """`parts` or `phrases` of a text alone, or of both texts of a pair: `most` are shared by their numbers of words."""
    cut = phrases if by_phrase else parts
    whole = [len(cut(text, len(text))) for text in texts]
    room = whole
    if sum(whole) > most:
        first = most * whole[0] // sum(whole)
        if len(whole) > 1:  # a text with words has a part at least
            first = min(max(first, min(1, whole[0])), most - min(1, whole[1]))
        room = [first, most - first]
    return [Span(a, b, i) for i, text in enumerate(texts) for a, b in cut(text, room[i])]


def without_each(texts: Sequence[str], spans: Sequence[Span]) -> list[Text]:
    """For each span, the text without it; of a pair both, of which one lacks it."""
    found: list[Text] = []
    for span in spans:
        whole = texts[span.of]
        left = (whole[: span.start].rstrip() + " " + whole[span.end :].lstrip()).strip()
        if len(texts) == 1:
            found.append(left)
        else:
            found.append((texts[0], left) if span.of else (left, texts[1]))
    return found


def weigh(
    texts: Sequence[str], spans: Sequence[Span], predictions: Sequence[Prediction], *, label: str | None = None
) -> tuple[Word, ...]:
    """The weights of the words at `spans`.

    Args:
        texts: the whole text, or both texts of a pair.
        spans: of the words, of length n.
        predictions: of the text itself and then of `without_each`, of length n + 1.
        label: the one whose probability is explained; None: the most probable one.
    """
    whole, *others = predictions
    label = label or whole.label
    return tuple(
        Word(
            texts[span.of][span.start : span.end],
            span.start,
            span.end,
            whole.probabilities[label] - other.probabilities[label],
            span.of,
        )
        for span, other in zip(spans, others, strict=True)
    )
