"""Adversarial training: each batch has a second pass with perturbed word embeddings.

The perturbation follows the gradient of the loss and has the same norm for every text (Miyato, Dai and Goodfellow,
"Adversarial training methods for semi-supervised text classification", ICLR 2017, equation 5). The paper normalizes the
embeddings to make norms comparable between models. Here the norm is relative to the mean norm of an embedding, because
the embeddings of the shipped model must not change.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch


class AdversarialEmbeddings:
    """Perturbs the word embeddings of a text; its norm is `length` times the mean embedding norm."""

    def __init__(self, embeddings: torch.nn.Embedding, length: float) -> None:
        self._embeddings = embeddings
        self._norm = length * embeddings.weight.detach().norm(dim=1).mean().item()

    def step_twice(self, step: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Call `step` (a forward and a backward pass) on the original, then on the perturbed embeddings.

        The gradients of both passes accumulate. Returns the loss of the first pass.
        """
        recorded: list[torch.Tensor] = []
        with self._hooked(lambda output: _record(output, recorded)):
            loss = step()
        perturbation = self._perturbation(recorded)
        with self._hooked(lambda output: output + perturbation):
            step()
        return loss

    def _perturbation(self, recorded: list[torch.Tensor]) -> torch.Tensor:
        (output,) = recorded
        assert output.grad is not None
        gradient = output.grad.float()
        norm = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
        return (self._norm * gradient / norm[:, None, None]).to(output.dtype)

    @contextlib.contextmanager
    def _hooked(self, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
        hook = self._embeddings.register_forward_hook(lambda module, inputs, output: change(output))
        try:
            yield
        finally:
            hook.remove()


def _record(output: torch.Tensor, into: list[torch.Tensor]) -> torch.Tensor:
    """`output`, changed to keep its gradient in the backward pass, even if the embeddings are frozen."""
    if not output.requires_grad:
        output = output.detach().requires_grad_()
    output.retain_grad()
    into.append(output)
    return output
