"""Inspect the folder of a pretrained model, and explain why it cannot be used.

Only JSON and the headers of safetensors files are read: neither PyTorch nor the version of transformers matters.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PureWindowsPath  # the latter reads names that any system wrote
from typing import Any

from sentopt import records
from sentopt.errors import BackboneError
from sentopt.runtime.description import MULTI_LABEL
from sentopt.runtime.file_names import refusal

CONFIG, TOKENIZER_CONFIG = "config.json", "tokenizer_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_SINGLE_LABEL = "single_label_classification"
_EMBEDDING = re.compile(r"embed|\bw[tp]e\b")
_UNNAMED = re.compile(r"LABEL_\d+")
_ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_CLASSIFIER = "ForSequenceClassification"
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken")
_LONGEST_INPUT = 8192
_LONGEST_HEADER = 100_000_000  # bytes, as in the safetensors library
_SHOWN = 5
# Model types whose positions start at padding id + 1, so the first rows of the position table are unused.
_POSITIONS_AFTER_PADDING = (
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "lilt",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)
_HEADS = (
    "classifier.out_proj.weight",
    "classifier.weight",
    "score.weight",
    "logits_proj.weight",
    "classification_head.out_proj.weight",
)
_OTHER_TASKS = {
    "ForCausalLM": "a language model that writes text",
    "LMHeadModel": "a language model that writes text",
    "ForMaskedLM": "a masked language model, not a fine-tuned classifier",
    "ForPreTraining": "a pretrained backbone, not a fine-tuned classifier",
    "ForTokenClassification": "a token classifier, which labels words and not texts",
    "ForQuestionAnswering": "a model for question answering",
    "ForMultipleChoice": "a model for multiple choice",
    "ForNextSentencePrediction": "a model for next sentence prediction",
    "ForConditionalGeneration": "a model that writes text",
    "Model": "a backbone, not a fine-tuned classifier",
}
_NO_TEXTS = "not a classifier of texts"
_OTHER_WEIGHTS = (
    (
        ("pytorch_model*.bin", "pytorch_model.bin.index.json"),
        "PyTorch's pickle format, which can run code when it is read,",
    ),
    (("tf_model*.h5", "*.h5"), "TensorFlow's format"),
    (("flax_model*.msgpack", "*.msgpack"), "Flax's format"),
    (("*.gguf",), "GGUF, the format of llama.cpp,"),
    (("*.onnx", "onnx/*.onnx"), "ONNX, which leaves no PyTorch model to verify against,"),
)
_LOADERS = {"TensorFlow's format": ", from_tf=True", "Flax's format": ", from_flax=True"}


def explain(path: Path) -> str:
    """Why a local path is not the folder of a model, and what to use instead; empty if the path does not exist."""
    if path.is_file():
        folder = path.parent
        instead = f"give its folder: --model {folder}" if (folder / CONFIG).is_file() else "give the folder of a model"
        return f"{path} is a file; {instead}. A model is a folder with {CONFIG}, {WEIGHTS} and a tokenizer"
    if not path.is_dir():
        return ""
    if (path / _ADAPTER).is_file():
        return _adapter(path)
    if (path / "sentopt.json").is_file():
        return f"{path} is already a bundle of sentopt; give the model that it was made from"
    if (path / "run.json").is_file() and (path / "checkpoint" / CONFIG).is_file():
        return f"{path} is a run directory of sentopt; its model: --model {path / 'checkpoint'}"
    if below := _models_below(path):
        return _several(path, below)
    files = sorted(file.name for file in path.iterdir() if file.is_file())
    if "model_head.pkl" in files:
        return f"{path} is a SetFit model, whose head is a pickle; tune a classifier with `sentopt train`"
    if not files:
        return f"{path} holds no {CONFIG}: it has no files at all"
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return (
        f"{path} holds no {CONFIG}, only {', '.join(files[:_SHOWN])}{more}. Save the model with "
        f"model.save_pretrained(folder) and tokenizer.save_pretrained(folder), and give that folder"
    )


def check(folder: Path, *, tuned: bool) -> None:
    """Check that a model can be fine-tuned or, with `tuned`, that it is a single-label classifier.

    Raises:
        BackboneError: the model is not supported; the message says what it is and what to do.
    """
    if (folder / _ADAPTER).is_file():
        raise BackboneError(_adapter(folder))
    config = read_config(folder)
    _check_code(folder, config)
    if tuned:
        _check_task(folder, config)
    _check_architecture(folder, config)
    shapes = tensor_shapes(folder)
    _check_names_of_weights(folder, shapes)
    if tuned:
        _check_head(folder, config, head_outputs(shapes))
        label_names(folder)
    if not any(file for pattern in TOKENIZER_FILES for file in folder.glob(pattern)):
        raise BackboneError(
            f"{folder} holds no tokenizer (tokenizer.json or a vocabulary). Save it there: "
            f"AutoTokenizer.from_pretrained(NAME).save_pretrained({str(folder)!r})"
        )


def read_config(folder: Path) -> dict[str, Any]:
    """The model's `config.json`.

    Raises:
        BackboneError: the file cannot be read, or is not a JSON object.
    """
    return _read_object(folder / CONFIG)


def multiplied_weights(folder: Path) -> int:
    """The number of weights of a model that are multiplied with; embeddings are looked up.

    Of GPT-2 they are called wte and wpe, in other models something with "embed".

    Raises:
        BackboneError: the weights are not there.
    """
    shapes = tensor_shapes(folder)
    return sum(math.prod(shape) for name, shape in shapes.items() if len(shape) == 2 and not _EMBEDDING.search(name))


def label_names(folder: Path) -> list[str]:
    """The names of a classifier's outputs, in their order; LABEL_0, LABEL_1 and so on if it has no names.

    Raises:
        BackboneError: the names have gaps or duplicates, or their number is not that of the outputs.
    """
    config = read_config(folder)
    outputs = head_outputs(tensor_shapes(folder))
    names = _named(folder, config)
    if names is None:
        count = config.get("num_labels", outputs or 2)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise BackboneError(f"{folder / CONFIG}: num_labels is {count!r}, expected the number of labels")
        names = [f"LABEL_{i}" for i in range(count)]
    if outputs is not None and outputs != len(names):
        raise BackboneError(
            f"{folder / CONFIG} names {len(names)} labels ({_listed(names)}), but the classification head has "
            f"{outputs} outputs. Give id2label one name for each output, in their order"
        )
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise BackboneError(
            f"{folder / CONFIG}: id2label has the name {repeated[0]!r} {names.count(repeated[0])} times "
            f"({_listed(names)}). Give each output a name of its own"
        )
    return names


def has_unnamed_labels(folder: Path) -> bool:
    """Whether the outputs of a classifier have no names, or the names LABEL_0, LABEL_1, ..."""
    return are_unnamed(label_names(folder))


def are_unnamed(names: Iterable[str]) -> bool:
    """Whether these are the names LABEL_0, LABEL_1, ... that transformers gives where nobody named the outputs."""
    return all(_UNNAMED.fullmatch(name) for name in names)


def output_of(label: str, names: Sequence[str]) -> int | None:
    """The output of a model that a label of the data means: by its name, else by the name whatever the case."""
    if label in names:
        return names.index(label)
    folded = label.strip().casefold()
    close = [i for i, name in enumerate(names) if name.strip().casefold() == folded]
    return close[0] if len(close) == 1 else None


def is_classifier(folder: Path) -> bool:
    """Whether a model is saved with a classification head.

    Raises:
        BackboneError: its `config.json` cannot be read.
    """
    return any(str(name).endswith(_CLASSIFIER) for name in _architectures(read_config(folder)))


def names_or_numbers(names: Sequence[str]) -> list[str]:
    """The names of outputs; their numbers where they have none."""
    return [str(i) for i in range(len(names))] if are_unnamed(names) else list(names)


def keeps_head(folder: Path, labels: Sequence[str], *, multi_label: bool = False) -> bool:
    """Whether training can start from the classification head of a model: it has the same labels in the same order.

    A head for another task, for regression or for other labels is replaced, and so is one of a multi-label model where
    texts have one label, and the reverse.
    """
    if not is_classifier(folder):
        return False
    accepted = (MULTI_LABEL,) if multi_label else (None, _SINGLE_LABEL)
    if read_config(folder).get("problem_type") not in accepted:
        return False
    try:
        names = label_names(folder)
    except BackboneError:
        return False
    if len(names) != len(labels):
        return False
    return are_unnamed(names) or [name.casefold() for name in names] == [label.casefold() for label in labels]


def length_limit(folder: Path) -> int | None:
    """The maximum number of tokens of a model, with special tokens: the smaller limit of its positions and tokenizer.

    None if its files state no limit below 8,192.
    """
    config, tokenizer = _read_leniently(folder / CONFIG), _read_leniently(folder / TOKENIZER_CONFIG)
    positions = next((n for key in ("max_position_embeddings", "n_positions") if (n := _length(config, key))), None)
    if positions is not None and config.get("model_type") in _POSITIONS_AFTER_PADDING:
        padding = config.get("pad_token_id", 1)
        fixed = config.get("model_type") == "mpnet" or not isinstance(padding, int) or padding < 0
        positions -= 2 if fixed else padding + 1
    known = [positions, _length(tokenizer, "model_max_length")]
    return min((value for value in known if value is not None), default=None)


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a model's weights, from the headers of its safetensors files.

    Raises:
        BackboneError: there are no safetensors files, or one is damaged; the message says what the folder holds.
    """
    if (folder / WEIGHTS).is_file():
        return _shapes(folder / WEIGHTS)
    if (folder / INDEX).is_file():
        shapes: dict[str, tuple[int, ...]] = {}
        for path in index_files(folder):
            shapes |= _shapes(path)
        return shapes
    raise BackboneError(_without_safetensors(folder))


def index_files(folder: Path) -> list[Path]:
    """The weight files that the index of a sharded model lists.

    Raises:
        BackboneError: the index cannot be read, or names files that are missing or outside the folder.
    """
    names = _read_object(folder / INDEX).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise BackboneError(f"{folder / INDEX} has no weight_map, expected an object from weight names to files")
    files = sorted(set(names.values()))
    for name in files:
        if reason := refusal(name):
            raise BackboneError(f"{folder / INDEX} names a file that cannot be read: {name!r} {reason}")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise BackboneError(
            f"{folder} is incomplete: {INDEX} names {len(files)} files, and {', '.join(missing[:_SHOWN])} "
            f"{'is' if len(missing) == 1 else 'are'} missing. Copy the folder again"
        )
    return [folder / name for name in files]


def check_code(folder: Path) -> None:
    """Check that a model needs no code of its own, and is not quantized.

    Raises:
        BackboneError: it does, or is; or its `config.json` cannot be read.
    """
    _check_code(folder, read_config(folder))


def _check_code(folder: Path, config: Mapping[str, Any]) -> None:
    settings = {CONFIG: config, TOKENIZER_CONFIG: _read_leniently(folder / TOKENIZER_CONFIG)}
    for name, document in settings.items():
        if document.get("auto_map"):
            raise BackboneError(
                f"{folder} needs Python code that comes with it (auto_map in {name}), and sentopt runs no code of a "
                "model. Use a model of an architecture that transformers has itself"
            )
    if quantized := config.get("quantization_config"):
        method = quantized.get("quant_method", "unknown method") if isinstance(quantized, dict) else quantized
        raise BackboneError(
            f"{folder} is quantized already ({method}, quantization_config in {CONFIG}). Give the model from before "
            "quantization, in 32 or 16 bits: sentopt makes and verifies an INT8 of its own"
        )


def check_problem(folder: Path, *, multi_label: bool) -> None:
    """That a tuned model does what the data has: one label for each text, or any number of them.

    Raises:
        BackboneError: it does not.
    """
    problem = read_config(folder).get("problem_type")
    if (problem == MULTI_LABEL) == multi_label:
        return
    if multi_label:
        said = f"says problem_type {problem!r}" if problem else "has no problem_type"
        raise BackboneError(
            f"{folder} gives each text one label ({CONFIG} {said}), and the texts of the data have any number of "
            f'labels. If the model was tuned to give any number of them, write "problem_type": "{MULTI_LABEL}" there'
        )
    raise BackboneError(
        f"{folder} is a multi-label classifier ({CONFIG} says problem_type {problem!r}): it gives a text any number of "
        "labels, and each text of the data has one. Name columns of 0 and 1 with data.label_columns, a column of lists "
        "with data.label_column, or what stands between the labels of a text with data.label_separator"
    )


def _check_task(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse a model that is no classifier."""
    problem = config.get("problem_type")
    if problem == "regression":
        raise BackboneError(
            f"{folder} is a regression model ({CONFIG} says problem_type {problem!r}): it returns a number, not a "
            "label. sentopt supports classifiers only"
        )
    if problem not in (None, _SINGLE_LABEL, MULTI_LABEL):
        raise BackboneError(f"{folder / CONFIG}: problem_type {problem!r} is unknown to sentopt")
    function, own = config.get("function_to_apply"), "sigmoid" if problem == MULTI_LABEL else "softmax"
    if function not in (None, own, "default"):
        raise BackboneError(
            f"{folder} does not use {own} ({CONFIG} says function_to_apply {function!r}), which goes with its "
            f"problem_type {problem!r}"
        )


def _check_architecture(folder: Path, config: Mapping[str, Any]) -> None:
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise BackboneError(
            f"{folder / CONFIG} has no model_type, which names the architecture; "
            "save the model with save_pretrained(folder)"
        )
    if config.get("is_encoder_decoder") or kind in ("t5", "mt5", "bart", "mbart", "pegasus", "umt5", "led"):
        raise BackboneError(
            f"{folder} is an encoder-decoder ({kind}): sentopt supports encoders such as BERT, RoBERTa and ModernBERT, "
            "and decoders such as GPT-2"
        )


def _check_head(folder: Path, config: Mapping[str, Any], outputs: int | None) -> None:
    """Refuse a model for another task, or with a single output."""
    architectures = _architectures(config)
    if architectures and not any(name.endswith(_CLASSIFIER) for name in architectures):
        if (folder / "modules.json").is_file():
            what = "a sentence-transformers model, which gives embeddings: a backbone, not a fine-tuned classifier"
        else:
            endings = (what for ending, what in _OTHER_TASKS.items() if architectures[0].endswith(ending))
            what = next(endings, _NO_TEXTS)
        tune = "" if what == _NO_TEXTS else f"Tune it with `sentopt train --model {folder}`, or give"
        raise BackboneError(
            f"{folder} is {what} ({architectures[0]}). {tune or 'Give'} the folder of a model that was saved as "
            "...ForSequenceClassification"
        )
    names = config.get("id2label")
    if 1 in (outputs, config.get("num_labels"), len(names) if isinstance(names, dict) else None):
        raise BackboneError(
            f"{folder} has a single output: it is a regression model or scores texts, not a classifier. "
            "sentopt supports classifiers with at least two labels"
        )


def _check_names_of_weights(folder: Path, shapes: Iterable[str]) -> None:
    names = list(shapes)
    for prefix, what, cure in (
        ("base_model.model.", "weights of PEFT that are not merged", "call model.merge_and_unload() before saving"),
        ("module.", "weights of a DataParallel wrapper", "save model.module instead of model"),
        ("_orig_mod.", "weights of a compiled model", "save model._orig_mod instead of model"),
    ):
        if names and all(name.startswith(prefix) for name in names):
            raise BackboneError(f"{folder} holds {what} (their names begin with {prefix!r}): {cure}")


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter of PEFT and not a whole model."""
    return (folder / _ADAPTER).is_file() and not ((folder / WEIGHTS).is_file() or (folder / INDEX).is_file())


def adapter_base(folder: Path) -> tuple[str, str]:
    """The base model of an adapter, as its settings name it, and its revision if that is a commit hash, else "".

    Raises:
        BackboneError: it is no LoRA of a classifier, needs a module that it names, or its weights are not safetensors.
    """
    settings = _read_object(folder / _ADAPTER)
    kind, task = settings.get("peft_type"), settings.get("task_type")
    base, revision = settings.get("base_model_name_or_path"), settings.get("revision")
    if kind != "LORA":
        raise BackboneError(f"{folder} is a PEFT adapter of the kind {kind!r}; sentopt merges LORA only")
    if task not in (None, "SEQ_CLS"):
        raise BackboneError(f"{folder} is a PEFT adapter for {task}, not for the classification of texts (SEQ_CLS)")
    if settings.get("megatron_config"):
        raise BackboneError(f"{folder} names a module that PEFT would import (megatron_core), and sentopt runs no code")
    if not isinstance(base, str) or not base:
        raise BackboneError(f"{folder / _ADAPTER} names no base_model_name_or_path, so there is nothing to merge with")
    if not (folder / ADAPTER_WEIGHTS).is_file():
        pickle = (folder / "adapter_model.bin").is_file()
        raise BackboneError(
            f"{folder} is a PEFT adapter of {base} without {ADAPTER_WEIGHTS}"
            + ("; adapter_model.bin is a pickle, which can run code when it is read. " if pickle else ". ")
            + "Save it with model.save_pretrained(folder)"
        )
    return base, revision if isinstance(revision, str) and _COMMIT.fullmatch(revision) else ""


def adapter_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of an adapter.

    Raises:
        BackboneError: the file cannot be read or is damaged.
    """
    return _shapes(folder / ADAPTER_WEIGHTS)


def _adapter(folder: Path) -> str:
    base = _read_leniently(folder / _ADAPTER).get("base_model_name_or_path") or "the base model"
    return (
        f"{folder} is a PEFT adapter of {base}, not a whole model. Merge it first, with the number of labels it has:\n"
        "  from peft import AutoPeftModelForSequenceClassification as Adapter; from transformers import AutoTokenizer\n"
        f"  Adapter.from_pretrained({str(folder)!r}, num_labels=N).merge_and_unload().save_pretrained('merged')\n"
        f"  AutoTokenizer.from_pretrained({str(base)!r}).save_pretrained('merged')"
    )


def _models_below(folder: Path) -> list[Path]:
    folders = [path.parent for depth in ("*", "*/*") for path in sorted(folder.glob(f"{depth}/{CONFIG}"))]
    return [path for path in folders if (path / WEIGHTS).is_file() or (path / INDEX).is_file() or _is_model(path)]


def _is_model(folder: Path) -> bool:
    return "model_type" in _read_leniently(folder / CONFIG)


def _several(folder: Path, below: Sequence[Path]) -> str:
    steps = {path: int(m[1]) for path in below if (m := re.fullmatch(r"checkpoint-(\d+)", path.name))}
    if steps:
        last = max(steps, key=steps.__getitem__)
        best = _read_leniently(last / "trainer_state.json").get("best_model_checkpoint")
        named = next((path for path in steps if best and path.name == PureWindowsPath(str(best)).name), None)
        chosen, which = (named, "the best one") if named else (last, "the last one")
        return (
            f"{folder} is the output folder of a Trainer: it holds no model itself, but "
            f"{len(steps)} checkpoint{'s' if len(steps) > 1 else ''}. Give {which}: --model {chosen}"
        )
    what = "is a sentence-transformers folder that" if (folder / "modules.json").is_file() else ""
    listed = ", ".join(str(path) for path in below[:_SHOWN])
    return f"{folder} {what}{' ' if what else ''}holds no {CONFIG} itself. Give a folder below it: {listed}"


def _without_safetensors(folder: Path) -> str:
    for patterns, what in _OTHER_WEIGHTS:
        files = sorted(file.relative_to(folder).as_posix() for pattern in patterns for file in folder.glob(pattern))
        if not files:
            continue
        if "GGUF" in what or "ONNX" in what:
            return (
                f"{folder} holds its weights as {what} only: {files[0]}. "
                "Give the model in safetensors, before conversion"
            )
        loading = _LOADERS.get(what, "")
        old = " (with transformers 4)" if loading else ""
        kinds = _architectures(_read_leniently(folder / CONFIG))
        kind = f"AutoModel{_CLASSIFIER}" if not kinds or kinds[0].endswith(_CLASSIFIER) else "AutoModel"
        return (
            f"{folder} holds its weights in {what} only: {files[0]}. Convert them to safetensors{old}, if you "
            "trust the file:\n"
            f"  from transformers import {kind} as Model, AutoTokenizer as Tokenizer\n"
            f"  Model.from_pretrained({str(folder)!r}{loading}).save_pretrained('converted', safe_serialization=True)\n"
            f"  Tokenizer.from_pretrained({str(folder)!r}).save_pretrained('converted')"
        )
    others = sorted(file.name for file in folder.glob("*.safetensors"))
    if others:
        return f"{folder} holds no {WEIGHTS}, only {', '.join(others[:_SHOWN])}; the file must have that name"
    return f"{folder} has a {CONFIG} but no weights: {WEIGHTS} is missing. Save the model with save_pretrained(folder)"


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights in one file, whose size must match its header."""
    size = path.stat().st_size
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
            if start == b"version ":
                raise BackboneError(
                    f"{path} is a pointer of Git LFS and not the weights themselves: fetch them with `git lfs pull`"
                )
            length = int.from_bytes(start, "little")
            if len(start) < 8 or length > min(size - 8, _LONGEST_HEADER):
                raise ValueError("its header is cut off")
            header = json.loads(stream.read(length))
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
        if size != 8 + length + end:
            raise ValueError(f"it has {size} bytes, expected {8 + length + end} by its header")
        return {name: tuple(int(n) for n in entry["shape"]) for name, entry in tensors.items()}
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise BackboneError(
            f"{path} is damaged or not a safetensors file ({error}). Copy or download it again"
        ) from error
    except OSError as error:
        raise BackboneError(f"cannot read {path}: {error}") from error


def head_outputs(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Number of outputs of the classification head; None if its last layer has an unusual name."""
    for ending in _HEADS:
        for name, shape in shapes.items():
            if (name == ending or name.endswith(f".{ending}")) and len(shape) == 2:
                return shape[0]
    return None


def _architectures(config: Mapping[str, Any]) -> list[str]:
    names = config.get("architectures")
    return [str(name) for name in names] if isinstance(names, list) else []


def _named(folder: Path, config: Mapping[str, Any]) -> list[str] | None:
    """The names in `id2label`, or else in `label2id`; None if there are none."""
    names, numbers = config.get("id2label"), config.get("label2id")
    if names is None and isinstance(numbers, dict) and numbers:
        names = {str(number): name for name, number in numbers.items()}
        if len(names) != len(numbers):
            raise BackboneError(f"{folder / CONFIG}: label2id gives two labels the same number")
    if names is None or names == {}:
        return None
    if not isinstance(names, dict):
        raise BackboneError(
            f'{folder / CONFIG}: id2label is {names!r:.60}, expected an object such as {{"0": "negative", ...}}'
        )
    try:
        by_number = {int(key): str(value).strip() for key, value in names.items()}
    except ValueError:
        raise BackboneError(
            f"{folder / CONFIG}: the keys of id2label are {_listed(list(names))}, expected the numbers 0, 1, ..."
        ) from None
    if sorted(by_number) != list(range(len(names))):
        raise BackboneError(
            f"{folder / CONFIG}: the keys of id2label are {_listed([str(key) for key in sorted(by_number)])}, expected "
            f"0 to {len(names) - 1} without gaps"
        )
    empty = next((i for i, name in by_number.items() if not name), None)
    if empty is not None:
        raise BackboneError(f"{folder / CONFIG}: id2label has no name for {empty}")
    return [by_number[i] for i in range(len(by_number))]


def _listed(names: Sequence[str]) -> str:
    more = f", ... ({len(names)})" if len(names) > 2 * _SHOWN else ""
    return ", ".join(names[: 2 * _SHOWN]) + more


def _length(settings: Mapping[str, Any], key: str) -> int | None:
    """A stated length; None for the 10**30 of tokenizers without a limit."""
    value = settings.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LONGEST_INPUT else None


def _read_object(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise BackboneError(f"{path} cannot be read as JSON ({error}). Copy or download the model again") from error
    if not isinstance(document, dict):
        raise BackboneError(f"{path} holds {type(document).__name__}, expected a JSON object of settings")
    return document


def _read_leniently(path: Path) -> dict[str, Any]:
    try:
        return _read_object(path)
    except BackboneError:
        return {}


def unknown_labels(unknown: Sequence[str], names: Sequence[str]) -> str:
    """Labels of the data that the model lacks, each with the most similar label of the model."""
    return ", ".join(f"{label!r}{records.nearest(label, names)}" for label in unknown[: 2 * _SHOWN])
