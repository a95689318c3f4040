"""How far a text is from those that a model was trained on: by its length, and by pieces that never occur in them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

_USUAL = 0.99  # of the training texts have such a length; of the test texts, such a share of new pieces
_FEWEST = 3  # pieces that are new; one or two of them are a name or a misspelling


@dataclass(frozen=True)
class Familiarity:
    """What is usual for the texts of a model.

    `shortest` and `longest`: tokens of a text, special ones among them; 99 % of the training texts are between. `new`:
    the share of a text's tokens that occur in no training text; 99 % of the test texts have no more. `seen` has a bit
    for each id of the vocabulary, the first one highest, in base64. `texts` were looked at.
    """

    shortest: int
    longest: int
    new: float
    seen: str
    texts: int

    def is_seen(self, ids: Iterable[int]) -> list[bool]:
        """Whether each piece occurs in the training texts; those beyond the vocabulary do not.

        Raises:
            ValueError: `seen` is not base64.
        """
        try:
            bits = np.unpackbits(np.frombuffer(base64.b64decode(self.seen, validate=True), dtype=np.uint8))
        except binascii.Error as error:
            raise ValueError(f"the bits of the vocabulary are not base64: {error}") from error
        return [0 <= i < len(bits) and bool(bits[i]) for i in ids]

    def is_new(self, seen: Sequence[bool]) -> bool:
        """Whether a text has more new pieces than is usual; `seen` says it of each."""
        new = len(seen) - sum(seen)
        return new >= _FEWEST and new > self.new * len(seen)


def measure(train: Sequence[Sequence[int]], test: Sequence[Sequence[int]], vocabulary: int) -> Familiarity | None:
    """Of the token ids of training and test texts; None without training texts.

    Args:
        train: ids of each text.
        test: the same.
        vocabulary: number of ids.
    """
    if not train:
        return None
    seen = np.zeros(vocabulary, dtype=bool)
    for ids in train:
        seen[list(ids)] = True
    lengths = np.array([len(ids) for ids in train])
    tail = (1 - _USUAL) / 2
    new = [1.0 - float(seen[list(ids)].mean()) for ids in test if len(ids)]
    return Familiarity(
        shortest=int(np.quantile(lengths, tail, method="lower")),
        longest=int(np.quantile(lengths, 1 - tail, method="higher")),
        new=float(np.quantile(new, _USUAL, method="higher")) if new else 0.0,
        seen=base64.b64encode(np.packbits(seen).tobytes()).decode("ascii"),
        texts=len(train),
    )
