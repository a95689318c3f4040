"""How a backbone reads the texts: the share of tokens that it does not know, and of texts that it would cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sentopt import model_files
from sentopt._optional import needs_extra
from sentopt.runtime.description import Text
from sentopt.training import hints, lengths, unknown_tokens
from sentopt.training.lengths import FITTING, NOTABLE_CUT, TokenLengths
from sentopt.training.unknown_tokens import UnknownTokens


@dataclass(frozen=True)
class BackboneFit:
    """Of up to 2,000 texts: tokens that the backbone does not know, texts that are cut, and the length that fits 99 %.

    `cut` is the share of texts with more than `max_length` tokens, `cut_at_fitting` of those with more than `fitting`,
    which is no more than the backbone reads.
    """

    backbone: str
    unknown: UnknownTokens
    max_length: int
    cut: float
    fitting: int
    cut_at_fitting: float

    @property
    def notices(self) -> list[str]:
        """What should be done about it; empty if nothing."""
        told = [notice] if (notice := unknown_tokens.notice(self.unknown, self.backbone)) else []
        if self.cut > NOTABLE_CUT:
            longer = self.fitting > self.max_length
            told.append(
                f"{self.cut:.0%} of the texts have more than {self.max_length} tokens (model.max_length), and are cut: "
                + (
                    hints.reads_whole(self.fitting, self.cut_at_fitting)
                    if longer
                    else "the backbone reads no more; shorten the texts, or choose another with --model"
                )
            )
        return told


def measure(folder: Path, backbone: str, texts: Sequence[Text], *, max_length: int) -> BackboneFit:
    """What the backbone in `folder` makes of the texts.

    Raises:
        BackboneError: the tokenizer cannot be read.
        MissingExtraError: the packages of `sentopt[train]` are not installed.
    """
    with needs_extra("train"):
        from sentopt.training import checkpoints
    tokenizer = checkpoints.load_tokenizer(folder, max_length)
    are_pairs = bool(texts) and not isinstance(texts[0], str)
    limit = model_files.length_limit(folder) or lengths.LONGEST
    encoder = checkpoints.encoder_of(tokenizer, limit, pairs=are_pairs)
    unknown = unknown_tokens.count(encoder, texts, unknown=tokenizer.unk_token_id, special=tokenizer.all_special_ids)
    measured: TokenLengths = lengths.measure(encoder, texts)
    fitting = measured.fitting(FITTING)
    cut, still_cut = (measured.share_cut_at(length) for length in (max_length, fitting))
    return BackboneFit(backbone, unknown, max_length, cut, fitting, still_cut)
