"""A model that another program holds in memory, written as a folder that the Auto classes load. It is only read."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch.nn import DataParallel
from torch.nn.parallel import DistributedDataParallel

from sentopt import manifest, model_files
from sentopt.data import store
from sentopt.errors import BackboneError
from sentopt.files import atomic
from sentopt.measure import label_sets
from sentopt.measure.label_sets import MULTI_LABEL, SINGLE_LABEL
from sentopt.run_dir import RunDir

_SECRET = ("token", "key", "password", "secret")


@dataclass(frozen=True)
class LiveModel:
    """A classifier in memory with its tokenizer, and the Trainer that tuned it, if there is one."""

    model: Any
    tokenizer: Any
    trainer: Any = None

    @cached_property
    def digest(self) -> str:
        """SHA-256 of weights, config and tokenizer."""
        return _digest(self.state, self.config, self.bare_tokenizer)

    @cached_property
    def state(self) -> dict[str, torch.Tensor]:
        """The weights, on the CPU."""
        return {name: tensor.detach().to("cpu").contiguous() for name, tensor in self.model.state_dict().items()}

    @cached_property
    def config(self) -> dict[str, Any]:
        """The config as `save_pretrained` would write it, from a copy."""
        config = copy.deepcopy(self.model.config)
        config.architectures = [type(self.model).__name__]
        return dict(json.loads(config.to_json_string(use_diff=True)))

    @cached_property
    def bare_tokenizer(self) -> Any:
        """A copy of the tokenizer without the padding and truncation that its last call left in it."""
        bare = copy.deepcopy(self.tokenizer)
        backend = getattr(bare, "backend_tokenizer", None)
        if backend is not None:
            backend.no_padding()
            backend.no_truncation()
        return bare


def of(given: object, tokenizer: object = None) -> LiveModel:
    """The model and the tokenizer of a `transformers.Trainer`, of a pair of both, or of a model beside a tokenizer.

    Raises:
        BackboneError: there is no tokenizer, or no model that the Auto classes could load.
    """
    trainer = given if hasattr(given, "train_dataset") and hasattr(given, "model") else None
    if trainer is not None:
        model = trainer.accelerator.unwrap_model(trainer.model) if hasattr(trainer, "accelerator") else trainer.model
        tokenizer = tokenizer or getattr(trainer, "processing_class", None) or getattr(trainer, "tokenizer", None)
        tokenizer = tokenizer or getattr(getattr(trainer, "data_collator", None), "tokenizer", None)
    elif isinstance(given, tuple) and len(given) == 2:
        model, tokenizer = given
    else:
        model = given
    model = _unwrapped(model)
    if not hasattr(model, "state_dict") or not hasattr(model, "config"):
        raise BackboneError(
            f"{type(model).__name__} is no transformers model; expected a Trainer, (model, tokenizer), the folder of a "
            "tuned model, or a hub id"
        )
    if _has_adapters(model):
        raise BackboneError(
            "the model has adapters beside its weights; merge them first: (model.merge_and_unload(), tokenizer)"
        )
    problem = getattr(model.config, "problem_type", None)
    if model.config.num_labels < 2 or problem not in (None, SINGLE_LABEL, MULTI_LABEL):
        raise BackboneError(
            f"the model has {model.config.num_labels} output(s) and the problem type {problem!r}; "
            "expected a classifier that gives each text one of two or more labels, or any number of them"
        )
    if not hasattr(tokenizer, "save_pretrained"):
        raise BackboneError("the model comes without a tokenizer: give it with tokenizer=, or as (model, tokenizer)")
    return LiveModel(model, tokenizer, trainer)


def save(live: LiveModel, run_dir: RunDir) -> Path:
    """The folder below `run_dir` that holds the model; its name is made of the content, so none replaces another.

    Nothing of `live` is changed: `save_pretrained` would write into the config of the model.

    Raises:
        BackboneError: the tokenizer cannot be saved.
    """
    folder = run_dir.live(live.digest[:12])
    if not folder.is_dir():
        manifest.claim(run_dir)
        with atomic.replace_folder(folder) as target:
            weights = {name: tensor.clone() for name, tensor in live.state.items()}  # none may share its memory
            save_file(weights, target / model_files.WEIGHTS, {"format": "pt"})
            (target / model_files.CONFIG).write_text(json.dumps(live.config, indent=1, default=str) + "\n", "utf-8")
            live.bare_tokenizer.save_pretrained(target)
    return folder


def _unwrapped(model: Any) -> Any:
    """The module inside those of torch.compile and of PyTorch's data parallelism, whichever is around the other."""
    while True:
        inner = getattr(model, "_orig_mod", model)
        inner = inner.module if isinstance(inner, (DataParallel, DistributedDataParallel)) else inner
        if inner is model:
            return model
        model = inner


def _has_adapters(model: Any) -> bool:
    """Whether modules of PEFT are left. The attribute `peft_config` is no sign: PEFT may leave it behind on merging."""
    return any(type(module).__module__.partition(".")[0] == "peft" for module in model.modules())


def label_names(live: LiveModel) -> tuple[str, ...]:
    """Names of the model's outputs, in their order; their numbers where they have none (`LABEL_0`)."""
    names = tuple(str(name) for _, name in sorted((int(i), name) for i, name in live.model.config.id2label.items()))
    return tuple(model_files.names_or_numbers(names))


def arguments(live: LiveModel) -> dict[str, Any]:
    """The arguments of the Trainer as plain values, secrets left out; empty without a Trainer."""
    if live.trainer is None:
        return {}
    given = live.trainer.args.to_dict()
    return {key: _plain(value) for key, value in given.items() if not any(word in key for word in _SECRET)}


def history(live: LiveModel) -> list[dict[str, Any]]:
    """The Trainer's log."""
    state = getattr(live.trainer, "state", None)
    return [{key: _plain(value) for key, value in entry.items()} for entry in getattr(state, "log_history", [])]


def own_metrics(live: LiveModel, run_dir: RunDir) -> dict[str, float]:
    """What the Trainer's `compute_metrics` says of PyTorch's answers on the test split; empty where it has none.

    Its `preprocess_logits_for_metrics` is applied before. Values that are not one number are left out.
    """
    compute = getattr(live.trainer, "compute_metrics", None)
    if compute is None:
        return {}
    from transformers import EvalPrediction

    logits = np.load(run_dir.reference, allow_pickle=False)
    truth = store.read_split(run_dir, "test").labels
    if store.is_multi_label(run_dir):  # as a Trainer of such a model has them
        truth = label_sets.matrix(truth, logits.shape[1]).astype(np.float32)
    preprocess = getattr(live.trainer, "preprocess_logits_for_metrics", None)
    if preprocess is not None:
        logits = preprocess(torch.from_numpy(logits), torch.from_numpy(truth)).numpy()
    whole = {"compute_result": True} if getattr(live.trainer.args, "batch_eval_metrics", False) else {}
    computed = compute(EvalPrediction(predictions=logits, label_ids=truth), **whole) or {}
    return {str(key): value for key, item in computed.items() if isinstance(value := _plain(item), int | float)}


def record(live: LiveModel, run_dir: RunDir) -> None:
    """Keep arguments, log and own metrics of the Trainer, where there is one, in the run directory.

    What the caller's `compute_metrics` raises is recorded, too: it says nothing about the model.
    """
    if live.trainer is None:
        return
    document: dict[str, Any] = {"arguments": arguments(live), "metrics": {}, "log": history(live)}
    try:
        document["metrics"] = own_metrics(live, run_dir)
    except Exception as error:
        document["problem"] = f"compute_metrics could not be applied: {type(error).__name__}: {error}"
    atomic.write_text(run_dir.trainer_record, json.dumps(document, indent=1, default=str) + "\n")


def _digest(state: Mapping[str, torch.Tensor], config: Mapping[str, Any], tokenizer: Any) -> str:
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].reshape(-1).view(torch.uint8).numpy().data)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    digest.update((backend.to_str() if backend is not None else repr(tokenizer)).encode())
    digest.update(repr((tokenizer.model_max_length, getattr(tokenizer, "truncation_side", ""))).encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item() if getattr(value, "size", 1) == 1 else value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no such numbers
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value)
