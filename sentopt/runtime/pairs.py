"""Pairs of long texts, of which parts are enough to be tokenized.

Truncation by "longest first" (transformers, tokenizers) gives both texts half of the room if both need more, and one
that needs less gives the rest to the other. Where the room is odd, the longer text has the one token more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain


def shortened(
    pair: tuple[str, str], parts: Callable[[str], Iterator[tuple[str, bool]]], count: Callable[[str], int], room: int
) -> tuple[str, str]:
    """Parts of two texts that are truncated to the same tokens as the whole ones.

    Args:
        pair: the texts.
        parts: growing parts of a text from the end that is kept, and whether each has all of its tokens.
        count: tokens of a text, without special ones.
        room: tokens of both texts that the model reads, without special ones.
    """
    growing = [_counted(parts(text), count) for text in pair]
    found = [next(part for part in one if part.complete or part.tokens > room) for one in growing]
    if all(part.complete for part in found) or room % 2 == 0 or min(part.tokens for part in found) <= room // 2:
        return found[0].text, found[1].text
    whole = [part.tokens if part.complete else count(text) for part, text in zip(found, pair, strict=True)]
    first, second = found
    if whole[0] > whole[1]:
        first = next(part for part in chain([first], growing[0]) if part.complete or part.tokens > second.tokens)
    else:
        second = next(part for part in chain([second], growing[1]) if part.complete or part.tokens >= first.tokens)
    return first.text, second.text


class _Part:
    """A part of a text with its number of tokens."""

    __slots__ = ("complete", "text", "tokens")

    def __init__(self, text: str, complete: bool, tokens: int) -> None:
        self.text, self.complete, self.tokens = text, complete, tokens


def _counted(parts: Iterator[tuple[str, bool]], count: Callable[[str], int]) -> Iterator[_Part]:
    for text, complete in parts:
        yield _Part(text, complete, count(text))
