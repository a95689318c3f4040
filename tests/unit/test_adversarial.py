from typing import Any

import pytest
import tiny_models
import torch

from sentopt.training.adversarial import AdversarialEmbeddings

IDS = torch.tensor([[2, 9, 17, 30, 3], [2, 44, 3, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
LABELS = torch.tensor([0, 2])


class Steps:
    """Forward and backward passes of `model`, with the word embeddings, losses and gradients that they saw."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.losses: list[float] = []
        self.gradients: list[torch.Tensor] = []
        self.embedded: list[torch.Tensor] = []

    def __call__(self) -> torch.Tensor:
        watch = self.model.get_input_embeddings().register_forward_hook(
            lambda module, inputs, output: self.embedded.append(output.detach().clone())
        )
        logits = self.model(input_ids=IDS, attention_mask=MASK).logits
        watch.remove()
        loss = torch.nn.functional.cross_entropy(logits, LABELS)
        loss.backward()
        self.losses.append(loss.item())
        self.gradients.append(self.trained().grad.clone())
        return loss

    def trained(self) -> Any:
        return next(p for name, p in reversed(list(self.model.named_parameters())) if name.endswith("weight"))


@pytest.mark.filterwarnings("ignore:`torch.jit.script")  # of DeBERTa
@pytest.mark.parametrize("family", {**tiny_models.FAMILIES, **tiny_models.TRACED})
def test_each_text_is_shifted_by_the_length_and_its_loss_grows(family: str) -> None:
    steps = Steps(tiny_models.build(family))
    embeddings = steps.model.get_input_embeddings()
    loss = AdversarialEmbeddings(embeddings, 0.02).step_twice(steps)
    plain, shifted = steps.embedded
    typical = embeddings.weight.norm(dim=1).mean().item()
    assert (shifted - plain).flatten(1).norm(dim=1).tolist() == pytest.approx([0.02 * typical] * 2, rel=1e-3)
    assert loss.item() == steps.losses[0] < steps.losses[1]


def test_no_random_direction_of_that_length_is_worse() -> None:
    steps = Steps(tiny_models.build("bert"))
    embeddings = steps.model.get_input_embeddings()
    AdversarialEmbeddings(embeddings, 0.02).step_twice(steps)
    length = (steps.embedded[1] - steps.embedded[0]).flatten(1).norm(dim=1)
    torch.manual_seed(3)
    for _ in range(50):
        shift = torch.randn_like(steps.embedded[0])
        shift *= (length / shift.flatten(1).norm(dim=1))[:, None, None]
        hook = embeddings.register_forward_hook(lambda module, inputs, output, shift=shift: output + shift)
        steps()
        hook.remove()
    assert max(steps.losses[2:]) < steps.losses[1]


def test_the_gradients_of_both_add_up_and_nothing_stays_in_the_model() -> None:
    steps = Steps(tiny_models.build("bert"))
    AdversarialEmbeddings(steps.model.get_input_embeddings(), 0.5).step_twice(steps)
    first, both = steps.gradients
    assert not torch.allclose(both, 2 * first)
    steps.model.zero_grad()
    again = steps()
    assert again.item() == steps.losses[0]
    assert torch.equal(steps.gradients[-1], first)
    assert torch.equal(steps.embedded[-1], steps.embedded[0])


def test_frozen_embeddings_are_shifted_too_and_stay_as_they_are() -> None:
    steps = Steps(tiny_models.build("bert"))
    steps.model.base_model.embeddings.requires_grad_(False)
    embeddings = steps.model.get_input_embeddings()
    AdversarialEmbeddings(embeddings, 0.02).step_twice(steps)
    assert steps.losses[0] < steps.losses[1]
    assert embeddings.weight.grad is None


def test_a_text_without_a_gradient_is_not_shifted() -> None:
    steps = Steps(tiny_models.build("bert"))
    steps.model.classifier.weight.data.zero_()  # whatever is read, the logits are the biases
    AdversarialEmbeddings(steps.model.get_input_embeddings(), 0.5).step_twice(steps)
    assert torch.equal(*steps.embedded)
