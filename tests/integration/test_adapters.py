"""Folders of PEFT adapters as models: merged with their base in the cache, or refused in words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folder_state import state
from safetensors.torch import load_file, save_file

from sentopt import backbones, cli, model_files
from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints

pytest.importorskip("peft")
pytestmark = pytest.mark.versions
SETTINGS = ("export.variants=['torch','lean-fp32']", "verify.cpu_texts=0")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def base(finished_run: Path) -> Path:
    return finished_run / "checkpoint"


def adapted(base: Path, folder: Path, **settings: Any) -> Any:
    """Save an adapter that changes the answers of `base` a little, and return the model with it."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(base, attn_implementation="eager")
    wrapped = get_peft_model(model, LoraConfig(**{"task_type": "SEQ_CLS", "r": 4, **settings}))
    with torch.no_grad():
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name or "modules_to_save" in name:
                parameter += torch.randn(parameter.shape) * 0.03
    wrapped.save_pretrained(folder)
    return wrapped.eval()


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    adapted(base, tmp_path / "adapter")
    return tmp_path / "adapter"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def export(model: Path, data: Path, run_dir: Path, *extra: str) -> int:
    settings = [argument for value in SETTINGS for argument in ("--set", value)]
    given = ["export", "--model", str(model), "--data", str(data), "--run-dir", str(run_dir), *settings, *extra]
    return cli.main(given)


def logits_of(model: Any, base: Path, texts: list[str]) -> FloatArray:
    encoder = checkpoints.encoder_of(checkpoints.load_tokenizer(base, 48), 48)
    return Classifier(TorchEngine(model), encoder, ("a", "b", "c")).logits(texts)


def test_an_exported_adapter_gives_the_logits_of_peft(base: Path, reviews: Path, tmp_path: Path, cache: Path) -> None:
    model, folder = adapted(base, tmp_path / "adapter"), tmp_path / "adapter"
    before = state(folder)
    assert export(folder, reviews, tmp_path / "run", "--set", "model.max_length=48") == 0
    run_dir = RunDir(tmp_path / "run")
    texts = list(store.read_split(run_dir, "test").texts)
    expected = logits_of(model, base, texts)
    assert np.abs(np.load(run_dir.reference) - expected).max() < 1e-4
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=48)
    graph = Classifier.open(run_dir.model("lean-fp32"), encoder, store.read_labels(run_dir))
    assert np.abs(graph.logits(texts) - expected).max() < 1e-4
    assert np.abs(expected - logits_of(checkpoints_of(base), base, texts)).max() > 0.05  # the adapter matters
    assert store.read_labels(run_dir) == ("negative", "neutral", "positive")
    assert state(folder) == before
    assert len([path for path in (cache / "adapters").iterdir() if path.is_dir()]) == 1


def checkpoints_of(base: Path) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(base, attn_implementation="eager").eval()


def test_it_is_merged_once_and_again_if_it_or_its_base_changes(adapter: Path, cache: Path) -> None:
    first = backbones.resolve(str(adapter))
    written = (first / "model.safetensors").stat().st_mtime_ns
    assert backbones.at_hand(str(adapter)) == backbones.resolve(str(adapter)) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    tensors = load_file(adapter / "adapter_model.safetensors")
    save_file({name: value * 2 for name, value in tensors.items()}, adapter / "adapter_model.safetensors")
    before = backbones.identify(str(adapter))
    assert backbones.at_hand(str(adapter)) is None
    assert backbones.resolve(str(adapter)) != first
    edit(adapter, lora_alpha=99)
    assert backbones.identify(str(adapter)) != before


def test_merging_leaves_the_random_state_alone(adapter: Path) -> None:
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    backbones.resolve(str(adapter))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_base_beside_the_adapter_is_found(base: Path, tmp_path: Path) -> None:
    adapted(base, tmp_path / "adapter")
    shutil.copytree(base, tmp_path / "adapter" / "base")
    edit(tmp_path / "adapter", base_model_name_or_path="base")
    assert (backbones.resolve(str(tmp_path / "adapter")) / "tokenizer.json").is_file()


def test_labels_are_those_of_the_data_where_the_base_has_others(backbone: Path, tmp_path: Path) -> None:
    """The head has two outputs, the base model names three labels."""
    from transformers import AutoModelForSequenceClassification

    two = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=2, ignore_mismatched_sizes=True)
    two.save_pretrained(tmp_path / "two")
    adapted(tmp_path / "two", tmp_path / "adapter")
    edit(tmp_path / "adapter", base_model_name_or_path=str(backbone))
    merged = backbones.resolve(str(tmp_path / "adapter"))
    assert model_files.label_names(merged) == ["LABEL_0", "LABEL_1"]


def test_an_adapter_without_a_head_keeps_that_of_its_base(base: Path, tmp_path: Path) -> None:
    model = adapted(base, tmp_path / "adapter", task_type=None, target_modules=["query"])
    texts = ["good food", "bad service", "the door is red"]
    merged = checkpoints_of(backbones.resolve(str(tmp_path / "adapter")))
    assert np.abs(logits_of(merged, base, texts) - logits_of(model, base, texts)).max() < 1e-5


def without_head(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    kept = {name: value for name, value in tensors.items() if "classifier" not in name}
    save_file(kept, folder / "adapter_model.safetensors")


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "another kind": (lambda folder: edit(folder, peft_type="PROMPT_TUNING"), "of the kind 'PROMPT_TUNING'"),
    "another task": (lambda folder: edit(folder, task_type="CAUSAL_LM"), "adapter for CAUSAL_LM, not for the classif"),
    "a module to import": (lambda folder: edit(folder, megatron_config={"a": 1}), "sentopt runs no code"),
    "no base": (lambda folder: edit(folder, base_model_name_or_path=None), "names no base_model_name_or_path"),
    "an unpinned base": (
        lambda folder: edit(folder, base_model_name_or_path="owner/base", revision="main"),
        "its base model cannot be used: there is no folder owner/base and no known backbone of that name. A hub id "
        "must be pinned",
    ),
    "itself as its base": (lambda folder: edit(folder, base_model_name_or_path=str(folder)), "is an adapter itself"),
    "a pickle": (
        lambda folder: (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin"),
        "without adapter_model.safetensors; adapter_model.bin is a pickle",
    ),
    "damaged weights": (
        lambda folder: (folder / "adapter_model.safetensors").write_bytes(b"abc"),
        "is damaged or not a safetensors file",
    ),
    "other layers": (
        lambda folder: edit(folder, target_modules=["query"]),
        "its adapter_model.safetensors has the weight base_model.model.bert.encoder.layer.0.attention.self.value.lora",
    ),
    "another rank": (lambda folder: edit(folder, r=7), "size mismatch for "),
    "no such layers": (lambda folder: edit(folder, target_modules=["q_proj"]), "does not fit its base model"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_merged_is_refused_before_anything_is_read(
    case: str,
    adapter: Path,
    reviews: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    change, expected = REFUSED[case]
    change(adapter)
    before = state(adapter)
    assert export(adapter, reviews, tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert expected in error
    assert "Traceback" not in error
    assert state(adapter) == before


def test_a_head_is_needed_somewhere(
    base: Path, adapter: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModel

    AutoModel.from_pretrained(base).save_pretrained(tmp_path / "body")
    edit(adapter, base_model_name_or_path=str(tmp_path / "body"), task_type=None, modules_to_save=None)
    without_head(adapter)
    with pytest.raises(
        backbones.BackboneError, match=r"has no classification head, and its base model .* has none eith"
    ):
        backbones.resolve(str(adapter))


@pytest.mark.parametrize("is_whole", [False, True])
def test_an_adapter_that_is_its_own_base_ends_no_search(is_whole: bool, adapter: Path, base: Path) -> None:
    edit(adapter, base_model_name_or_path=str(adapter))
    if is_whole:
        shutil.copyfile(base / "config.json", adapter / "config.json")
    for look in (backbones.identify, backbones.at_hand, backbones.resolve):
        with pytest.raises(backbones.BackboneError, match="is an adapter itself"):
            look(str(adapter))


def test_layers_that_began_by_chance_and_were_not_saved_are_named(base: Path, adapter: Path, tmp_path: Path) -> None:
    """PEFT saves the last layer of a head, and not the others: their weights are lost with the training."""
    shutil.copytree(base, tmp_path / "body")
    tensors = load_file(base / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if "pooler" not in name and "classifier" not in name}
    save_file(kept, tmp_path / "body" / "model.safetensors", metadata={"format": "pt"})
    edit(adapter, base_model_name_or_path=str(tmp_path / "body"))
    with pytest.raises(backbones.BackboneError, match=r"has the weight bert\.pooler\.dense\.bias: it was initialized"):
        backbones.resolve(str(adapter))
    adapted(tmp_path / "body", tmp_path / "whole", modules_to_save=["pooler", "classifier"])
    assert (backbones.resolve(str(tmp_path / "whole")) / "model.safetensors").is_file()
