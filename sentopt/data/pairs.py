"""Texts that are pairs: two texts that a model reads together, such as a text and an aspect, or premise and hypothesis.

Where `data.pair_column` is set, every text of a run is a tuple of two strings, and otherwise a string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sentopt.data import fields
from sentopt.errors import InputError
from sentopt.recipe import DataSection
from sentopt.runtime.description import Text

SEPARATOR = " | "
"""Between the two texts of a pair in messages."""


def parts(text: Text) -> tuple[str, ...]:
    """The text alone, or both texts of a pair."""
    return (text,) if isinstance(text, str) else text


def characters(text: Text) -> int:
    """Of the text, or of both texts of a pair."""
    return sum(map(len, parts(text)))


def columns_of(texts: Iterable[Text]) -> tuple[list[str], ...]:
    """The texts as what a tokenizer of transformers takes: one list, or two of pairs."""
    listed = list(texts)
    firsts = [text if isinstance(text, str) else text[0] for text in listed]
    seconds = [text[1] for text in listed if not isinstance(text, str)]
    return (firsts, seconds) if seconds else (firsts,)


def in_words(text: Text) -> str:
    """A text as messages show it."""
    return SEPARATOR.join(parts(text))


def read(value: Any) -> Text:
    """What JSON has made a list of as the pair that it was."""
    return value if isinstance(value, str) else (value[0], value[1])


def as_fields(text: Text) -> dict[str, str]:
    """The keys of a text in stored JSON: `text`, and `pair` for the second one of a pair."""
    return {"text": text} if isinstance(text, str) else {"text": text[0], "pair": text[1]}


def of_fields(document: dict[str, Any]) -> Text:
    """The inverse of `as_fields`."""
    return (document["text"], document["pair"]) if "pair" in document else document["text"]


def given(texts: Sequence[str], seconds: Sequence[str], names: tuple[str, str] | None) -> list[Text]:
    """Texts of a command line with the second ones of pairs, as a bundle takes them.

    Args:
        texts: the texts, or the first ones of pairs.
        seconds: the second ones.
        names: of the two texts that the bundle is given; None: it is given one.

    Raises:
        InputError: there are as many of the one as of the other only where pairs are expected.
    """
    if seconds and names is None:
        raise InputError("this bundle answers single texts: leave --pair out")
    if names is not None and len(texts) != len(seconds):
        raise InputError(
            f"this bundle answers pairs of texts ({' and '.join(map(repr, names))}): found {len(texts)} of the first "
            f"and {len(seconds)} of the second. Give the second one of each with --pair TEXT"
        )
    return list(zip(texts, seconds, strict=True)) if names else list(texts)


def columns(data: DataSection) -> tuple[str, ...]:
    """The column of the texts, or those of both texts of pairs."""
    return (data.text_column, data.pair_column) if data.pair_column else (data.text_column,)


def getter(names: Sequence[str]) -> Callable[[Any], Any]:
    """What reads the text of a row from its column, or both texts of a pair from theirs."""
    first, *rest = names
    if not rest:
        return lambda row: fields.get(row, first)
    second = rest[0]
    return lambda row: (fields.get(row, first), fields.get(row, second))
