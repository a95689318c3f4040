"""How much of the texts a tokenizer does not know: a backbone cannot learn from a script that it has no tokens for."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sentopt.runtime.tokenization import TextEncoder

_LOOKED_AT = 2000
_MUCH = 0.05
_SHOWN = 60


@dataclass(frozen=True)
class UnknownTokens:
    """The share of unknown tokens among those of some texts, and the text with the largest share of its own."""

    share: float
    texts: int
    example: str


def count(
    encoder: TextEncoder, texts: Sequence[str], *, unknown: int | None, special: Collection[int]
) -> UnknownTokens:
    """Look at up to 2,000 of `texts`, evenly spaced. `special` tokens are not counted, but for `unknown`."""
    step = max(1, -(-len(texts) // _LOOKED_AT))
    sample = texts[::step]
    if unknown is None or not sample:
        return UnknownTokens(0.0, len(sample), "")
    left_out = set(special) - {unknown}
    known = [[token for token in tokens.ids if token not in left_out] for tokens in encoder.encode(sample)]
    shares = [ids.count(unknown) / len(ids) if ids else 0.0 for ids in known]
    worst = max(range(len(sample)), key=lambda i: shares[i])
    total = sum(map(len, known))
    share = sum(ids.count(unknown) for ids in known) / total if total else 0.0
    return UnknownTokens(share, len(sample), sample[worst])


def notice(found: UnknownTokens, backbone: str) -> str:
    """What to say where a backbone does not know much of the texts, else nothing."""
    if found.share <= _MUCH:
        return ""
    return (
        f"{backbone} does not know {found.share:.0%} of the tokens of the texts ({found.texts:,} looked at), such as "
        f"those of {found.example[:_SHOWN]!r}: name a backbone that was trained on this language with --model"
    )
