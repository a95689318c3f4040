"""Changed copies of training texts, for a student to learn more of its teacher's answers from.

A teacher answers any text, so a copy needs no label, and it need not be good prose. Four changes need no resource of a
language: tokens masked, tokens left out, a part of a text, parts of two texts (Tang et al. 2019; Jiao et al. 2020 for
the idea to distil on changed copies). They are made on token ids, between the special tokens; or on words, where
teacher and student have different tokenizers, and then nothing is masked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from sentopt.data import pairs
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import TextEncoder, Tokens

_MASKED, _LEFT_OUT = 0.15, 0.2  # of the tokens of a copy
_PART = (0.3, 0.8)
_MASKS = ("[MASK]", "<mask>")
# A word with the blanks before it. Scripts without blanks between words (kana, Han, Thai, Lao, Khmer, Burmese) give
# one character each, with the marks that belong to it.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"\s*(?:[{_UNSPACED}][\u0300-\u036f\u0e31\u0e34-\u0e3a\u0e47-\u0e4e]*|[^\s{_UNSPACED}]+)")
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Frame:
    """The special tokens around every text, and how long a text between them may be."""

    before: tuple[int, ...]
    after: tuple[int, ...]
    longest: int

    def inner(self, tokens: Tokens) -> tuple[int, ...]:
        """The ids between the special tokens."""
        if len(tokens.ids) <= len(self.before) + len(self.after):
            return ()  # also the padding token that stands for an empty text
        return tokens.ids[len(self.before) : len(tokens.ids) - len(self.after)]

    def around(self, ids: Sequence[int]) -> Tokens:
        """The ids with special tokens around them."""
        whole = (*self.before, *ids[: self.longest], *self.after)
        return Tokens(whole, (0,) * len(whole), len(ids) > self.longest)


def changed_copies(tokens: Sequence[Tokens], encoder: TextEncoder, *, copies: int, seed: int) -> list[Tokens]:
    """`copies` changed copies of each of `tokens`, those of the first pass over all texts first.

    None where the tokenizer does more than add tokens before and after a text.

    Args:
        tokens: one or more texts.
        encoder: with which they were made.
        copies: of each text.
        seed: of what is changed.
    """
    around = encoder.frame()
    if around is None:
        return []
    frame = _Frame(*around, encoder.max_length - sum(map(len, around)))
    inner = [frame.inner(t) for t in tokens]
    mask_id = next((i for i in map(encoder.id_of, _MASKS) if i is not None), None)
    random = np.random.default_rng(seed)
    made = []
    for _ in range(copies):
        for whole, ids in zip(tokens, inner, strict=True):
            other = inner[int(random.integers(len(inner)))]
            made.append(frame.around(_changed(ids, other, mask_id, random)) if ids else whole)
    return made


def changed_texts(texts: Sequence[Text], *, copies: int, seed: int) -> list[Text]:
    """`copies` changed copies of each of `texts`, on words, those of the first pass over all texts first.

    Of a pair the longer text is changed, and the other one kept: an aspect or a question that is changed is another.

    Args:
        texts: one or more.
        copies: of each text.
        seed: of what is changed.
    """
    longer = [max(pairs.parts(text), key=len) for text in texts]
    words = [_WORD.findall(text) for text in longer]
    random = np.random.default_rng(seed)
    made: list[Text] = []
    for _ in range(copies):
        for text, replaced, own in zip(texts, longer, words, strict=True):
            other = words[int(random.integers(len(words)))]
            other = [other[0] if other[0][:1].isspace() else f" {other[0]}", *other[1:]] if other else other
            changed = "".join(_changed(own, other, None, random)).strip() if own else replaced
            made.append(_with(text, replaced, changed))
    return made


def _with(text: Text, replaced: str, changed: str) -> Text:
    """A text with `changed` in place of what was `replaced` in it, which is all of it or one text of a pair."""
    if isinstance(text, str):
        return changed
    return (changed, text[1]) if text[0] == replaced else (text[0], changed)


def _changed(ids: Sequence[_T], other: Sequence[_T], mask_id: _T | None, random: np.random.Generator) -> Sequence[_T]:
    """One copy of tokens or words; those of a text that is too short to be changed."""
    if len(ids) < 3:
        return ids
    how = int(random.integers(0 if mask_id is not None else 1, 4))
    if how == 0:
        assert mask_id is not None
        return [mask_id if masked else i for i, masked in zip(ids, random.random(len(ids)) < _MASKED, strict=True)]
    if how == 1:
        return [i for i, kept in zip(ids, random.random(len(ids)) >= _LEFT_OUT, strict=True) if kept] or ids
    if how == 2:
        return _part(ids, random)
    return [*_part(ids, random), *_part(other, random)] if len(other) > 2 else _part(ids, random)


def _part(ids: Sequence[_T], random: np.random.Generator) -> Sequence[_T]:
    size = max(1, round(len(ids) * random.uniform(*_PART)))
    begin = int(random.integers(len(ids) - size + 1))
    return ids[begin : begin + size]
