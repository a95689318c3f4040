"""Adapter folders of PEFT: LoRA is merged with its base model once, into an ordinary model folder.

Only the JSON settings and safetensors of the adapter are read, and no code of it is run.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from sentopt import model_files
from sentopt._optional import needs_extra
from sentopt.errors import BackboneError

_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "*.model",
)
_IN_PEFT = "base_model.model."  # before the names of weights


def merge(adapter: Path, base: Path, target: Path) -> None:
    """Write the base model with the adapter merged into it, and a tokenizer, to the empty folder `target`.

    The tokenizer is the adapter's, or the base model's if the adapter has none. The names of the labels are the base
    model's if it has as many as the adapter's head has outputs.

    Raises:
        BackboneError: the adapter does not fit the base model, or there is no classification head.
        MissingExtraError: PEFT is not installed.
    """
    shapes = model_files.adapter_shapes(adapter)
    with needs_extra("peft"):
        from peft import PeftModel, get_peft_model_state_dict
    with _undisturbed():
        model = _base_model(base, shapes, adapter)
        try:
            adapted = PeftModel.from_pretrained(model, str(adapter), is_trainable=False)
            found = set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
            _check_all_used(adapter, base, shapes, found)
            merged = adapted.merge_and_unload()
        except BackboneError:
            raise
        except Exception as error:  # PEFT and PyTorch raise whatever they stumble over
            raise BackboneError(f"{adapter} does not fit its base model {base}: {_first_line(error)}") from error
        merged.save_pretrained(target, safe_serialization=True)
    source = adapter if any(_files(adapter, model_files.TOKENIZER_FILES)) else base
    for file in _files(source, _TOKENIZER):
        shutil.copyfile(file, target / file.name)


def _base_model(base: Path, shapes: Mapping[str, tuple[int, ...]], adapter: Path) -> Any:
    """The base model as a classifier with the adapter's number of outputs; without one, its own head must be there."""
    from transformers import AutoConfig, AutoModelForSequenceClassification

    outputs = model_files.head_outputs(shapes)
    config = AutoConfig.from_pretrained(base, trust_remote_code=False)
    if outputs is not None and config.num_labels != outputs:
        config.num_labels = outputs  # names them LABEL_0, LABEL_1, ...
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            base,
            config=config,
            trust_remote_code=False,
            use_safetensors=True,
            dtype="float32",
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # transformers raises whatever it stumbles over
        raise BackboneError(f"transformers cannot load {base}, the base of {adapter}: {_first_line(error)}") from error
    if outputs is None and found["missing_keys"]:
        raise BackboneError(
            f"{adapter} has no classification head, and its base model {base} has none either. Save the head with the "
            "adapter: LoraConfig(task_type='SEQ_CLS') does, or modules_to_save names it"
        )
    _check_saved(adapter, base, shapes, found)
    return model


def _check_saved(
    adapter: Path, base: Path, shapes: Mapping[str, tuple[int, ...]], found: Mapping[str, Collection[Any]]
) -> None:
    """Refuse a layer that neither of the two has: `found` is what transformers says of the base model's weights."""
    other_sizes = (one if isinstance(one, str) else one[0] for one in found["mismatched_keys"])  # 5.x, 4.x
    fresh = {*found["missing_keys"], *other_sizes}
    if lacking := sorted(name for name in fresh if f"{_IN_PEFT}{name}" not in shapes):
        raise BackboneError(
            f"neither {adapter} nor its base model {base} has the weight {lacking[0]}: it was initialized at random "
            "when the adapter was trained, and is not saved with it. Train it again with that layer in modules_to_save "
            f"of LoraConfig ({lacking[0].rpartition('.')[0]})"
        )


def _check_all_used(adapter: Path, base: Path, shapes: Mapping[str, object], found: set[str]) -> None:
    """PEFT only warns of weights that it did not expect or did not find."""
    if differing := sorted(found.symmetric_difference(shapes)):
        where = "has" if differing[0] in shapes else "lacks"
        raise BackboneError(
            f"{adapter} does not fit its base model {base}: its adapter_model.safetensors {where} the weight "
            f"{differing[0]}. Is base_model_name_or_path in its adapter_config.json right?"
        )


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Context that leaves PyTorch's random state and the log of transformers as they were."""
    import warnings

    import torch
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            yield
    finally:
        logging.set_verbosity(verbosity)


def _files(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return [file for pattern in patterns for file in sorted(folder.glob(pattern)) if file.is_file()]


def _first_line(error: BaseException) -> str:
    """What kind of error, and its first line, or its first two where the first is a heading, as PyTorch's is."""
    heading, *details = str(error).strip().splitlines() or [""]
    said = " ".join([heading, details[0].strip()]) if heading.endswith(":") and details else heading
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
