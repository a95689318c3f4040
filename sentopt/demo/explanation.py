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
class Word:
    """The characters `start` to `end` (exclusive) of a text; `weight`, from -1 to 1, is its share in the probability.

    A positive weight supports the label: without the word its probability is lower by so much.
    """

    text: str
    start: int
    end: int
    weight: float


@dataclass(frozen=True)
class Explanation:
    """The answer to the whole text, the weights of its words, and how many texts were answered in how much time.

    The model reads the characters `start` to `end` (exclusive); words beyond have no weight and are not in `words`.
    `bundle` is the beginning of the hash of the bundle that answered.
    """

    prediction: Prediction
    words: tuple[Word, ...]
    texts: int
    milliseconds: float
    start: int
    end: int
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


def without_each(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """For each span, the text without it."""
    return [(text[:start].rstrip() + " " + text[end:].lstrip()).strip() for start, end in spans]


def weigh(text: str, spans: Sequence[tuple[int, int]], predictions: Sequence[Prediction]) -> tuple[Word, ...]:
    """The weights of the words at `spans`.

    Args:
        text: the whole text.
        spans: start and end of each word, of length n.
        predictions: of the text itself and then of `without_each`, of length n + 1.
    """
    whole, *others = predictions
    return tuple(
        Word(text[start:end], start, end, whole.score - other.probabilities[whole.label])
        for (start, end), other in zip(spans, others, strict=True)
    )
