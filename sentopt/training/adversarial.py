"""Adversarial training: every batch is learnt a second time, with its word embeddings shifted against the model.

The shift goes along the gradient of the loss and has one length for every text: Miyato, Dai and Goodfellow,
"Adversarial training methods for semi-supervised text classification", ICLR 2017, equation 5. There the embeddings are
normalized, so that lengths mean the same in every model; here the length is told in that of a typical embedding, since
the model that is shipped must stay as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch


class AdversarialEmbeddings:
    """Shifts all the word embeddings of a text by a vector whose norm is `length` times that of a single one."""

    def __init__(self, embeddings: torch.nn.Embedding, length: float) -> None:
        self._embeddings = embeddings
        self._norm = length * embeddings.weight.detach().norm(dim=1).mean().item()

    def step_twice(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Call `step`, a forward and a backward pass, on the texts as they are and then on the shifted ones.

        The gradients of both add up in the parameters; the loss of the first is returned.
        """
        given: list[torch.Tensor] = []
        with self._replacing(lambda output: _recorded(output, given)):
            loss = step()
        shift = self._shift(given)
        with self._replacing(lambda output: output + shift):
            step()
        return loss

    def _shift(self, given: list[torch.Tensor]) -> torch.Tensor:
        (output,) = given
        assert output.grad is not None
        gradient = output.grad.float()
        norm = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        return (self._norm * gradient / norm[:, None, None]).to(output.dtype)

    @contextlib.contextmanager
    def _replacing(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
        hook = self._embeddings.register_forward_hook(lambda module, inputs, output: change(output))
        try:
            yield
        finally:
            hook.remove()


def _recorded(output: torch.Tensor, into: list[torch.Tensor]) -> torch.Tensor:
    """`output`, whose gradient is kept by the backward pass, also where the embeddings are frozen."""
    if not output.requires_grad:
        output = output.detach().requires_grad_()
    output.retain_grad()
    into.append(output)
    return output
