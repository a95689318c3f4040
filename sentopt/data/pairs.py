"""Texts that are pairs: two texts that a model reads together, such as a text and an aspect, or premise and hypothesis.

Where `data.pair_column` is set, every text of a run is a tuple of two strings, and otherwise a string.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sentopt.data import fields
from sentopt.errors import DataError

if TYPE_CHECKING:
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


def as_fields(text: Text) -> dict[str, str]:
    """The keys of a text in stored JSON: `text`, and `pair` for the second one of a pair."""
    return {"text": text} if isinstance(text, str) else {"text": text[0], "pair": text[1]}


def of_fields(document: dict[str, Any]) -> Text:
    """The inverse of `as_fields`."""
    return (document["text"], document["pair"]) if "pair" in document else document["text"]


def columns(data: DataSection) -> tuple[str, ...]:
    """The column of the texts, or those of both texts of pairs."""
    return (data.text_column, data.pair_column) if data.pair_column else (data.text_column,)


def of_bundle(pair: tuple[str, str] | None, text_column: str, pair_column: str) -> tuple[str, ...]:
    """The columns of the texts that a bundle answers.

    Args:
        pair: what the bundle calls the two texts of a pair; None where it answers single texts.
        text_column: what the user names; empty for `text`, or what the bundle calls it.
        pair_column: the same of the second texts.

    Raises:
        DataError: a second column is named for a bundle of single texts, or one column for both.
    """
    if pair is None:
        if pair_column:
            raise DataError(
                f"--pair-column names {pair_column!r}, and the model answers texts that stand alone: leave it out"
            )
        return (text_column or "text",)
    columns = text_column or pair[0], pair_column or pair[1]
    if columns[0] == columns[1]:
        raise DataError(
            f"--text-column and --pair-column both name {columns[0]!r}; expected the columns of the two texts, which "
            f"the bundle calls {pair[0]!r} and {pair[1]!r}"
        )
    return columns


def getter(names: Sequence[str]) -> Callable[[Any], Any]:
    """What reads the text of a row from its column, or both texts of a pair from theirs."""
    first, *rest = names
    if not rest:
        return lambda row: fields.get(row, first)
    second = rest[0]
    return lambda row: (fields.get(row, first), fields.get(row, second))
