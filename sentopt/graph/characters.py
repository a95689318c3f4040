"""What a tokenizer does to single characters before it looks up pieces, found out by asking it about every one of them.

Nothing is known here about accents, case or scripts. What the table cannot express, rules that look at more than one
character, is what a comparison of whole texts must find.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sentopt.errors import ExportError

_BLOCK = 256  # characters that are asked about together; most of Unicode is blocks of nothing special
_LONG_RUN = 256  # shorter runs are cheaper as entries of a table than as ranges of a regular expression
_CODES = (range(0xD800), range(0xE000, 0x110000))  # surrogates are not characters

Run = tuple[int, int]
"""First and last code point."""


@dataclass(frozen=True)
class CharacterTable:
    """Long `dropped` runs, long runs of characters that are words by themselves (`alone`), and all else that changes.

    `changed` gives what a character becomes: an empty text where it is dropped, otherwise characters of words, with
    spaces wherever a word ends. Characters in neither stay what they are, inside a word.
    """

    dropped: tuple[Run, ...]
    alone: tuple[Run, ...]
    changed: dict[str, str]


def read(tokenizer: Any) -> CharacterTable:
    """The table of a `tokenizers.Tokenizer`.

    Raises:
        ExportError: it has no pre-tokenizer, or one that does something else than dropping or separating characters.
    """
    normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
    if tokenizer.pre_tokenizer is None:
        raise ExportError("the tokenizer has no pre-tokenizer: it does not cut texts into words")
    words = _Words(tokenizer.pre_tokenizer.pre_tokenize_str)
    dropped: list[int] = []
    alone: list[int] = []
    changed: dict[str, str] = {}
    for character in _touched(normalize, words):
        becomes = "".join(words.spaced(c) for c in normalize(character))
        if not becomes:
            dropped.append(ord(character))
        elif becomes == f" {character} ":
            alone.append(ord(character))
        elif becomes != character:
            changed[character] = becomes
    long_dropped, few_dropped = _runs(dropped)
    long_alone, few_alone = _runs(alone)
    changed |= dict.fromkeys(map(chr, few_dropped), "")
    changed |= {chr(code): f" {chr(code)} " for code in few_alone}
    return CharacterTable(long_dropped, long_alone, changed)


class _Words:
    """How the pre-tokenizer treats one character between two letters; each is asked about once."""

    def __init__(self, pre_tokenize: Callable[[str], list[tuple[str, Any]]]) -> None:
        self._pre_tokenize = pre_tokenize
        self._known: dict[str, str] = {}

    def of(self, text: str) -> list[str]:
        return [word for word, _ in self._pre_tokenize(text)]

    def spaced(self, character: str) -> str:
        """The character, a space in its place, or the character between spaces."""
        if character not in self._known:
            self._known[character] = self._ask(character)
        return self._known[character]

    def _ask(self, character: str) -> str:
        found = self.of(f"a{character}a")
        for words, spaced in ((["a", "a"], " "), (["a", character, "a"], f" {character} ")):
            if found == words:
                return spaced
        if found != [f"a{character}a"]:
            raise ExportError(f"the tokenizer cuts {'a' + character + 'a'!r} into {found!r}, which is not understood")
        return character


def _touched(normalize: Callable[[str], str], words: _Words) -> Iterator[str]:
    """Every character but those in blocks where none changes anything."""
    for codes in _CODES:
        for start in range(codes.start, codes.stop, _BLOCK):
            block = [chr(code) for code in range(start, min(start + _BLOCK, codes.stop))]
            text = f"a{'a'.join(block)}a"
            if normalize(text) != text or words.of(text) != [text]:
                yield from block


def _runs(codes: list[int]) -> tuple[tuple[Run, ...], list[int]]:
    """Ascending code points as long runs, and those that are in none."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    long = tuple((first, last) for first, last in runs if last - first + 1 >= _LONG_RUN)
    few = [code for first, last in runs if last - first + 1 < _LONG_RUN for code in range(first, last + 1)]
    return long, few
