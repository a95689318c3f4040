"""LoRA: what it trains, that the merged checkpoint is the adapted model, and that a training continues where it was."""

from __future__ import annotations

import importlib.util
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import load_file

from sentopt import cli, manifest
from sentopt.errors import RecipeError
from sentopt.recipe import TrainSection
from sentopt.results import TrainResult
from sentopt.training import hints, lora
from sentopt.training.callbacks import StepClock

pytest.importorskip("peft")
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script"),  # of DeBERTa, and of what ModernBERT imports
    pytest.mark.versions,
]
LORA = ["train.peft=lora", "train.lora_rank=4", "train.lora_alpha=8"]


def train(options: list[str], root: Path, *settings: str) -> TrainResult:
    extra = [argument for setting in (*LORA, *settings) for argument in ("--set", setting)]
    assert cli.main(["train", *options, "--run-dir", str(root), *extra]) == 0
    return manifest.read(root / "run.json").result("train", TrainResult)


def logits_of(model: Any) -> torch.Tensor:
    ids = torch.tensor(tiny_models.texts([9, 9], seed=3))
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    return logits


def shaken(model: Any) -> Any:
    """The model after a training: LoRA's second matrices are no longer zero."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += torch.randn(parameter.shape) * 0.1
    return model


@pytest.mark.parametrize("family", ["bert", "roberta", "albert", "deberta-v2", "modernbert", "gpt2", "megatron-bert"])
def test_it_changes_nothing_at_first_and_merging_keeps_what_was_learnt(family: str) -> None:
    plain, model = tiny_models.build(family), tiny_models.build(family)
    names = list(plain.state_dict())
    lora.add(model, TrainSection(peft="lora", lora_rank=4))
    assert torch.allclose(logits_of(model), logits_of(plain), atol=1e-5)
    learnt = logits_of(shaken(model).eval())
    assert not torch.allclose(learnt, logits_of(plain), atol=1e-2)
    assert lora.is_in(model)
    lora.merge(model)
    assert not lora.is_in(model)
    assert list(model.state_dict()) == names
    assert torch.allclose(logits_of(model), learnt, atol=1e-4)


def test_the_head_and_the_matrices_are_trained_and_nothing_else() -> None:
    model = tiny_models.build("bert")
    lora.add(model, TrainSection(peft="lora"))
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    head = {name for name in trained if "lora_" not in name}
    assert head == {"classifier.weight", "classifier.bias", "bert.pooler.dense.weight", "bert.pooler.dense.bias"}
    assert len(trained - head) == 2 * 6 * 2  # two matrices beside each of six layers in each of two blocks
    assert set(lora.trained_state(model, model.state_dict())) == trained


def test_layers_are_chosen_by_the_ends_of_their_names() -> None:
    model = tiny_models.build("bert")
    lora.add(model, TrainSection(peft="lora", lora_target_modules=("query", "layer.1.attention.self.value")))
    found = {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if "lora_A" in name}
    layer = "bert.encoder.layer.{}.attention.self.{}"
    assert found == {layer.format(0, "query"), layer.format(1, "query"), layer.format(1, "value")}


def test_a_layer_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(
        RecipeError, match="BertForSequenceClassification has no linear layer q_proj in its encoder; it "
    ):
        lora.add(tiny_models.build("bert"), TrainSection(peft="lora", lora_target_modules=("query", "q_proj")))


def test_a_low_learning_rate_is_mentioned() -> None:
    assert "train.learning_rate=5e-4" in hints.low_rate(TrainSection(peft="lora", learning_rate=5e-5))
    assert not hints.low_rate(TrainSection(peft="lora", learning_rate=5e-4))
    assert not hints.low_rate(TrainSection(learning_rate=5e-5))


def test_its_settings_without_it_are_mentioned(
    tiny_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", *tiny_options, "--run-dir", str(tmp_path / "run"), "--set", "train.lora_rank=4", "--dry-run"]
    assert cli.main(command) == 0
    assert "note: train.lora_rank is not used: it needs train.peft = 'lora'" in capsys.readouterr().err


def test_without_peft_the_extra_is_named_before_anything_is_prepared(
    tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *of: None if name == "peft" else find(name, *of))
    given = ["train", *tiny_options, "--run-dir", str(tmp_path / "run"), "--set", "train.peft=lora"]
    assert cli.main(given) == 1
    assert 'pip install "sentopt[peft]"' in capsys.readouterr().err
    assert not (tmp_path / "run" / "data").exists()


def test_a_training_ends_in_an_ordinary_checkpoint(tiny_options: list[str], backbone: Path, tmp_path: Path) -> None:
    """Products of the encoder and the head have changed; embeddings, normalizations and biases have not."""
    result = train(tiny_options, tmp_path / "run")
    before, after = (load_file(folder / "model.safetensors") for folder in (backbone, tmp_path / "run" / "checkpoint"))
    shared = before.keys() & after.keys()
    changed = {name for name in shared if not torch.equal(before[name], after[name])}
    assert {"bert.encoder.layer.0.attention.self.query.weight", "bert.encoder.layer.1.output.dense.weight"} <= changed
    assert all("pooler" in name or "classifier" in name or name.endswith("weight") for name in changed)
    assert not any("embeddings" in name or "LayerNorm" in name for name in changed)
    assert not any("lora" in name or "base_layer" in name for name in after)
    assert result.parameters < sum(value.numel() for value in after.values()) / 2
    assert result.test.accuracy > 0.6


@pytest.mark.parametrize("settings", [("train.ema_decay=0",), ("train.adversarial=0.5",)], ids=["plain", "adversarial"])
def test_an_interrupted_training_continues_to_the_same_weights(
    settings: tuple[str, ...], tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second case has an EMA as well. Checkpoints have the trained weights only."""
    steps = ("train.max_steps=20", "train.eval_strategy=steps", "train.eval_steps=6", *settings)
    train(tiny_options, tmp_path / "whole", *steps)
    begin = StepClock.on_step_begin

    def interrupting(self: StepClock, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 9:
            signal.raise_signal(signal.SIGINT)
        begin(self, args, state, control, **kwargs)

    root = tmp_path / "interrupted"
    extra = [argument for setting in (*LORA, *steps) for argument in ("--set", setting)]
    with monkeypatch.context() as patch:
        patch.setattr(StepClock, "on_step_begin", interrupting)
        assert cli.main(["train", *tiny_options, "--run-dir", str(root), *extra]) == 130
    stored = load_file(root / "trainer" / "checkpoint-10" / "model.safetensors")
    assert all("lora_" in name or "classifier" in name or "pooler" in name for name in stored)
    assert train(tiny_options, root, *steps).resumed_from_step == 10
    one, other = (np.load(tmp_path / name / "reference.npy") for name in ("whole", "interrupted"))
    assert np.array_equal(one, other)
