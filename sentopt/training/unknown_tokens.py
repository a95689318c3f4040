"""The share of unknown tokens in the texts. A backbone cannot learn a script that its tokenizer has no tokens for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sentopt.data import pairs
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import TextEncoder

_SAMPLE = 2000
_NOTABLE_SHARE = 0.05
_SHOWN = 60


@dataclass(frozen=True)
class UnknownTokens:
    """The share of unknown tokens in a sample of texts, and the text with the largest share."""

    share: float
    texts: int
    example: str


def count(
    encoder: TextEncoder, texts: Sequence[Text], *, unknown: int | None, special: Collection[int]
) -> UnknownTokens:
    """Count unknown tokens in up to 2,000 evenly spaced `texts`. `special` tokens other than `unknown` are ignored."""
    step = max(1, -(-len(texts) // _SAMPLE))
    sample = list(texts[::step])
    if unknown is None or not sample:
        return UnknownTokens(0.0, len(sample), "")
    ignored = set(special) - {unknown}
    counted = [[token for token in tokens.ids if token not in ignored] for tokens in encoder.encode(sample)]
    shares = [ids.count(unknown) / len(ids) if ids else 0.0 for ids in counted]
    worst = max(range(len(sample)), key=lambda i: shares[i])
    total = sum(map(len, counted))
    share = sum(ids.count(unknown) for ids in counted) / total if total else 0.0
    return UnknownTokens(share, len(sample), pairs.in_words(sample[worst]))


def notice(unknown: UnknownTokens, backbone: str) -> str:
    """A notice if the share of unknown tokens is large, else an empty text."""
    if unknown.share <= _NOTABLE_SHARE:
        return ""
    return (
        f"{backbone} does not know {unknown.share:.0%} of the tokens of the texts ({unknown.texts:,} sampled), such as "
        f"those of {unknown.example[:_SHOWN]!r}: choose a backbone trained on this language with --model"
    )
