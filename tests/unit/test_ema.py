from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from sentopt.training.ema import EmaWeights


def stepped(model: torch.nn.Module, averaged: EmaWeights, steps: int, start: int = 0) -> list[float]:
    """The weight after each step of a straight walk."""
    seen = []
    for step in range(start + 1, start + steps + 1):
        model.weight.data += 1.0  # type: ignore[operator]
        averaged.on_step_end(None, SimpleNamespace(global_step=step), None)
        seen.append(model.weight.item())
    return seen


@pytest.fixture
def model() -> torch.nn.Module:
    return torch.nn.Linear(1, 1, bias=False)


def test_the_average_is_exponential_with_a_rising_decay(model: torch.nn.Module) -> None:
    averaged = EmaWeights(model, 0.5)
    seen = stepped(model, averaged, 20)
    expected = seen[0]
    for step, weight in enumerate(seen, 1):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    assert float(averaged.averages["weight"]) == pytest.approx(expected)
    assert seen[-1] - expected == pytest.approx(1.0, abs=0.05)  # decay / (1 - decay) steps behind


def test_it_is_applied_for_a_while_only(model: torch.nn.Module) -> None:
    averaged = EmaWeights(model, 0.9)
    last = stepped(model, averaged, 5)[-1]
    with averaged.applied():
        assert model.weight.item() == float(averaged.averages["weight"]) != last  # type: ignore[arg-type]
    assert model.weight.item() == last


def test_what_is_frozen_is_left_alone() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    model[0].requires_grad_(False)
    assert set(EmaWeights(model, 0.9).parameters) == {"1.weight", "1.bias"}


def test_a_resumed_walk_ends_where_a_whole_one_does(model: torch.nn.Module, tmp_path: Path) -> None:
    whole = EmaWeights(model, 0.9)
    stepped(model, whole, 6)
    whole.save_last(tmp_path)
    other = torch.nn.Linear(1, 1, bias=False)
    with whole.applied():
        other.load_state_dict(model.state_dict())  # what the Trainer loads of a checkpoint: the averages
    resumed = EmaWeights(other, 0.9)
    resumed.resume(tmp_path)
    assert stepped(other, resumed, 4, start=6) == stepped(model, whole, 4, start=6)
    assert torch.equal(resumed.averages["weight"], whole.averages["weight"])
