"""How long texts are in tokens, and what it costs to read more of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import TextEncoder, Tokens

LONGEST = 8192  # tokens, where a model sets no limit: what `model.max_length` may be
NOTABLE_CUT = 0.05
"""Share of texts that are cut, from which more tokens are recommended: as many as `FITTING` of the texts need."""
FITTING = 0.99
_LOOKED_AT = 2000
_AT_ONCE = 4096
_STEP = 16  # tokens: lengths are suggested in multiples of it


@dataclass(frozen=True)
class TokenLengths:
    """Tokens of each text of a sample, special tokens included. The sample stands for `texts` texts.

    A text that is longer than `longest`, what the model reads at most, counts as one token more than that.
    """

    tokens: tuple[int, ...]
    texts: int
    longest: int

    def share_cut_at(self, max_length: int) -> float:
        """The share of texts with more than `max_length` tokens."""
        return sum(length > max_length for length in self.tokens) / max(1, len(self.tokens))

    def fitting(self, share: float) -> int:
        """The smallest multiple of 16 that `share` of the texts are no longer than; at most what the model reads."""
        longest_of_them = float(np.quantile(self.tokens, share, method="higher")) if self.tokens else 1.0
        return min(self.longest, _STEP * math.ceil(longest_of_them / _STEP))

    def padded(self, max_length: int, *, batch_size: int, group: bool) -> float:
        """Mean number of tokens to which a text is padded in a batch; with `group`, of texts of similar length."""
        cut = np.minimum(np.asarray(self.tokens, dtype=np.int64), max_length)
        cut = np.sort(cut) if group else np.random.default_rng(0).permutation(cut)
        batches = [cut[start : start + batch_size] for start in range(0, len(cut), batch_size)]
        return sum(int(batch.max()) * len(batch) for batch in batches) / max(1, len(cut))


def count_truncated(encoder: TextEncoder, texts: Sequence[Text]) -> int:
    """How many of the texts have more tokens than the encoder reads."""
    return sum(tokens.truncated for window in _encoded(encoder, texts) for tokens in window)


def measure(encoder: TextEncoder, texts: Sequence[Text]) -> TokenLengths:
    """Lengths of up to 2,000 of `texts`, evenly spaced; `encoder` cuts at what the model reads at most."""
    sample = list(texts[:: max(1, -(-len(texts) // _LOOKED_AT))])
    return TokenLengths(tuple(of_each(encoder, sample).tolist()), len(texts), encoder.max_length)


def of_each(
    encoder: TextEncoder, texts: Sequence[Text], *, advance: Callable[[int], None] = lambda _: None
) -> npt.NDArray[np.int64]:
    """Tokens of each text, special ones included, shape (texts,): one more than `encoder` reads, for a longer text.

    `advance` is told numbers of texts.
    """
    found = [np.zeros(0, dtype=np.int64)]
    for window in _encoded(encoder, texts):
        found.append(np.asarray([len(tokens.ids) + tokens.truncated for tokens in window], dtype=np.int64))
        advance(len(window))
    return np.concatenate(found)


def _encoded(encoder: TextEncoder, texts: Sequence[Text]) -> Iterator[Sequence[Tokens]]:
    """The tokens of all texts, in windows."""
    for start in range(0, len(texts), _AT_ONCE):
        yield encoder.encode(list(texts[start : start + _AT_ONCE]))
