"""Counting the texts that a classifier answers while it answers them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from sentopt.progress import Advance
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.tokenization import Batch, TextEncoder, Tokens


@contextlib.contextmanager
def counted(classifier: Classifier, advance: Advance) -> Iterator[None]:
    """In this context, `advance` is called with the size of each batch that `classifier` begins to answer.

    The batches, and with them the answers, are the same as without it.
    """
    encoder = classifier.encoder
    classifier.encoder = _CountingEncoder(encoder, advance)
    try:
        yield
    finally:
        classifier.encoder = encoder


class _CountingEncoder(TextEncoder):
    """The encoder itself, whose `pad` is called once for every batch."""

    def __init__(self, encoder: TextEncoder, advance: Advance) -> None:
        vars(self).update(vars(encoder))
        self._advance = advance

    def pad(self, tokens: Sequence[Tokens]) -> Batch:
        """As the encoder does it."""
        batch = super().pad(tokens)
        self._advance(len(tokens))
        return batch
