"""The model that training starts from, or the tuned one that is taken as it is, with its tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sentopt import atomic
from sentopt.errors import BackboneError
from sentopt.recipe import TrainSection
from sentopt.runtime.tokenization import TextEncoder


def load_tokenizer(folder: Path, max_length: int) -> Any:
    """The fast tokenizer of a backbone, with a padding token.

    Raises:
        BackboneError: no fast tokenizer can be made from the folder's files.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, model_max_length=max_length)
    except (OSError, ValueError) as error:
        raise BackboneError(f"{folder} holds no tokenizer that transformers can load: {error}") from error
    if not tokenizer.is_fast:
        raise BackboneError(
            f"{folder} has a Python tokenizer only; a tokenizer.json is needed to run without transformers"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"  # as the runtime pads; left padding would shift GPT-2's positions
    return tokenizer


def encoder_of(tokenizer: Any, max_length: int) -> TextEncoder:
    """The runtime's encoder of the same tokens."""
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # the encoder sets truncation on what it is given
    return TextEncoder(copy, max_length=max_length, pad_token_id=tokenizer.pad_token_id)


def load_untuned(folder: Path, labels: Sequence[str], tokenizer: Any, train: TrainSection) -> Any:
    """The backbone with a fresh classification head, drawn from PyTorch's random state.

    Attention is `eager`: on a CPU, `sdpa` falls back to a slower backward pass (measured: 1.1 to 1.4 times).
    """
    model = _load(folder, labels, tokenizer, ignore_mismatched_sizes=True)
    if not train.encoder_dropout:
        _switch_off_dropout(model.base_model)
    if train.freeze_embeddings:
        embeddings = getattr(model.base_model, "embeddings", None) or model.get_input_embeddings()
        embeddings.requires_grad_(False)
    return model


def load_tuned(folder: Path, labels: Sequence[str], tokenizer: Any) -> Any:
    """A classifier that was tuned elsewhere, with the given names in place of its own.

    Raises:
        BackboneError: the checkpoint has no classification head, or one of another size.
    """
    try:
        model, found = _load(folder, labels, tokenizer, output_loading_info=True)
    except (RuntimeError, OSError, ValueError) as error:
        raise BackboneError(f"{folder} is no classifier with the {len(labels)} labels of the data: {error}") from error
    if found["missing_keys"]:
        names = ", ".join(sorted(found["missing_keys"])[:3])
        raise BackboneError(
            f"{folder} is a backbone, not a tuned classifier: it has no weights {names}. Tune it with `sentopt train`"
        )
    return model


def save(model: Any, tokenizer: Any, target: Path) -> None:
    """Write a folder that the Auto classes load.

    Raises:
        BackboneError: the tokenizer cannot be saved in the format that the runtime reads.
    """
    with atomic.replace_folder(target) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        if not (folder / "tokenizer.json").is_file():
            raise BackboneError(
                "the tokenizer saves no tokenizer.json, which the runtime needs; "
                "choose a backbone with a fast tokenizer"
            )


def divide_logits(model: Any, temperature: float) -> None:
    """Divide the last linear layer by `temperature`, so that everything that reads the model gives such logits.

    Raises:
        BackboneError: the logits are not that layer's output.
    """
    heads = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == model.config.num_labels]
    example = torch.full((1, 4), min(5, model.config.vocab_size - 1))
    mask = torch.ones_like(example)
    with torch.inference_mode():
        before = model(input_ids=example, attention_mask=mask).logits
        if heads:
            for tensor in (heads[-1].weight, heads[-1].bias):
                if tensor is not None:
                    tensor.data.div_(temperature)
        after = model(input_ids=example, attention_mask=mask).logits
    if not torch.allclose(after, before / temperature, rtol=1e-3, atol=1e-5):
        raise BackboneError(
            f"the logits of {type(model).__name__} do not come from a last linear layer, so no temperature can be "
            "divided out of them; switch it off with --set train.calibrate=false"
        )


def _load(folder: Path, labels: Sequence[str], tokenizer: Any, **options: Any) -> Any:
    loaded = AutoModelForSequenceClassification.from_pretrained(
        folder,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation=None if torch.cuda.is_available() else "eager",
        **options,
    )
    model = loaded[0] if isinstance(loaded, tuple) else loaded
    _agree_on_padding(model, tokenizer)
    model.config.problem_type = "single_label_classification"
    return loaded


def _agree_on_padding(model: Any, tokenizer: Any) -> None:
    """A model that has no padding token gets the tokenizer's; otherwise its own counts, for it was trained with it."""
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    elif model.config.pad_token_id != tokenizer.pad_token_id:
        token = tokenizer.convert_ids_to_tokens(model.config.pad_token_id)
        if token is None:
            raise BackboneError(
                f"the model pads with id {model.config.pad_token_id}, which its tokenizer does not have; "
                "correct pad_token_id in config.json"
            )
        tokenizer.pad_token = token


def _switch_off_dropout(encoder: torch.nn.Module) -> None:
    """Set p = 0 in the modules, not in the config: the checkpoint keeps the backbone's values for later tuning."""
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
