"""The effect of a tokenizer's normalizer and pre-tokenizer on every Unicode character, measured by running them.

No rule about accents, case or scripts is written here. The table cannot express rules that depend on several
characters; the comparison of whole texts with the reference tokenizer detects those.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sentopt.errors import ExportError

_BLOCK = 256  # characters tested together; most blocks of Unicode are unaffected
_LONG_RUN = 256  # shorter runs are faster as table entries than as ranges of a regular expression
_CODES = (range(0xD800), range(0xE000, 0x110000))  # surrogates are not characters

Run = tuple[int, int]
"""First and last code point."""


@dataclass(frozen=True)
class CharacterTable:
    """Long runs of `dropped` characters, long runs of characters that are words of their own (`alone`), and the rest.

    `changed` maps any other affected character to its replacement: an empty text if it is dropped, otherwise characters
    with spaces at word boundaries. All other characters are unchanged and part of a word.
    """

    dropped: tuple[Run, ...]
    alone: tuple[Run, ...]
    changed: dict[str, str]


def read(tokenizer: Any) -> CharacterTable:
    """The table of a `tokenizers.Tokenizer`.

    Raises:
        ExportError: there is no pre-tokenizer, or it does anything but drop or separate characters.
    """
    normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
    if tokenizer.pre_tokenizer is None:
        raise ExportError("the tokenizer has no pre-tokenizer: it does not split texts into words")
    words = _Words(tokenizer.pre_tokenizer.pre_tokenize_str)
    dropped: list[int] = []
    alone: list[int] = []
    changed: dict[str, str] = {}
    for character in _affected(normalize, words):
        replacement = "".join(words.spaced(c) for c in normalize(character))
        if not replacement:
            dropped.append(ord(character))
        elif replacement == f" {character} ":
            alone.append(ord(character))
        elif replacement != character:
            changed[character] = replacement
    dropped_runs, other_dropped = _runs(dropped)
    alone_runs, other_alone = _runs(alone)
    changed |= dict.fromkeys(map(chr, other_dropped), "")
    changed |= {chr(code): f" {chr(code)} " for code in other_alone}
    return CharacterTable(dropped_runs, alone_runs, changed)


class _Words:
    """The pre-tokenizer's treatment of one character between two letters, cached."""

    def __init__(self, pre_tokenize: Callable[[str], list[tuple[str, Any]]]) -> None:
        self._pre_tokenize = pre_tokenize
        self._cache: dict[str, str] = {}

    def of(self, text: str) -> list[str]:
        return [word for word, _ in self._pre_tokenize(text)]

    def spaced(self, character: str) -> str:
        """The character, a space in its place, or the character between spaces."""
        if character not in self._cache:
            self._cache[character] = self._split(character)
        return self._cache[character]

    def _split(self, character: str) -> str:
        text = f"a{character}a"
        words = self.of(text)
        for expected, spaced in ((["a", "a"], " "), (["a", character, "a"], f" {character} ")):
            if words == expected:
                return spaced
        if words != [text]:
            raise ExportError(
                f"the tokenizer splits {text!r} into {words!r}; expected one word, or a split at {character!r}"
            )
        return character


def _affected(normalize: Callable[[str], str], words: _Words) -> Iterator[str]:
    """The characters of all blocks in which any character is changed, dropped or separated."""
    for codes in _CODES:
        for start in range(codes.start, codes.stop, _BLOCK):
            block = [chr(code) for code in range(start, min(start + _BLOCK, codes.stop))]
            text = f"a{'a'.join(block)}a"
            if normalize(text) != text or words.of(text) != [text]:
                yield from block


def _runs(codes: list[int]) -> tuple[tuple[Run, ...], list[int]]:
    """Ascending code points, split into long runs and the remaining code points."""
    runs: list[list[int]] = []
    for code in codes:
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    long = tuple((first, last) for first, last in runs if last - first + 1 >= _LONG_RUN)
    rest = [code for first, last in runs if last - first + 1 < _LONG_RUN for code in range(first, last + 1)]
    return long, rest
