"""The model that training starts from, or the tuned one that is taken as it is, with its tokenizer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sentopt import model_files
from sentopt.backends.torch import TorchEngine
from sentopt.data import pairs
from sentopt.errors import BackboneError
from sentopt.files import atomic
from sentopt.measure import confidence, label_sets, thresholds
from sentopt.measure.decision import SINGLE, Decision
from sentopt.measure.label_sets import MULTI_LABEL, SINGLE_LABEL
from sentopt.recipe import TrainSection
from sentopt.run_dir import THRESHOLDS_FILE
from sentopt.runtime.classifier import sigmoid
from sentopt.runtime.description import Text, truncation_side
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder, Tokens
from sentopt.training import lora

_PADDING_TOLERANCE = 1e-3
_MOST_ADDED_TOKENS = 50
_PAIRS_AT_ONCE = 8
_TYPES = "token_type_ids"
_SCRIPTS = (
    "",
    " ",
    "\n\t",
    "na\u00efve caf\u00e9 cafe\u0301 \U0001f600\U0001f44d\U0001f3fd \u2014 \u201cquotes\u201d",
    "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \uff76\uff9e \uff21\uff22",
    "a\u0000b",
    "ALL CAPS!!! sooo goooood :-) Don't WE'LL",
    "\u202emirrored \u200bzero width \u00a0 \u3000",
    "\ufb01ne \u2460 \u00bd \u2126 \u1e9e stra\u00dfe \u0130stanbul \u03a3\u0391\u03a3",
    "\ucd5c\uace0\uc758 \uc601\ud654 \u1112\u1161\u11ab",
    "\u0641\u064a\u0644\u0645 \u0631\u064e\u0627\u0626\u0650\u0639 \u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u1218\u120d\u12ab\u121d",
    "\u041e\u0442\u043b\u0438\u0447\u043d\u044b\u0439 \u0444\u0438\u043b\u044c\u043c \u0439 \u03ba\u03b1\u03bb\u03cc",
    "  two  spaces   at the ends  ",
)


def load_tokenizer(folder: Path, max_length: int, *, pairs: bool = False) -> Any:
    """The fast tokenizer of a backbone, with a padding token. It cuts where its files say: on the right or the left.

    Of `pairs`, it gives the types of tokens to a model that takes them.

    Raises:
        BackboneError: no fast tokenizer can be made from the folder's files, or it has no token to pad with.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            folder, use_fast=True, model_max_length=max_length, trust_remote_code=False
        )
    except Exception as error:  # transformers raises whatever it stumbles over
        raise BackboneError(
            f"{folder} holds no tokenizer that transformers can load: {_first_line(error)}. Save it in its fast form: "
            "tokenizer.save_pretrained(folder) writes the tokenizer.json that the runtime needs"
        ) from error
    if not getattr(tokenizer, "is_fast", False):
        raise BackboneError(
            f"{folder} has a Python tokenizer only ({type(tokenizer).__name__}); "
            "a tokenizer.json is needed to run without transformers"
        )
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise BackboneError(
                f"{folder} has a tokenizer without a padding token and without an end token; name one of its tokens "
                "as pad_token in tokenizer_config.json"
            )
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"  # as the runtime pads; left padding would shift GPT-2's positions
    if pairs:
        give_types(tokenizer, folder)
    return tokenizer


def give_types(tokenizer: Any, folder: Path) -> None:
    """Let a tokenizer of pairs give the types of tokens to a model that takes them, and check that it knows these.

    Raises:
        BackboneError: it does not.
    """
    if not takes_types(folder):
        return
    if _TYPES not in tokenizer.model_input_names:
        tokenizer.model_input_names = [*tokenizer.model_input_names, _TYPES]
    largest, types = max(tokenizer(["a"], ["a"])[_TYPES][0]), model_files.read_config(folder)["type_vocab_size"]
    if largest >= types:
        raise BackboneError(
            f"the tokenizer of {folder} gives tokens of a pair the type {largest} (post_processor in its "
            f"tokenizer.json), and the model knows types up to {types - 1} (type_vocab_size in its config.json)"
        )


def encoder_of(tokenizer: Any, max_length: int, *, pairs: bool = False) -> TextEncoder:
    """The runtime's encoder of the same tokens, of texts or of pairs."""
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # the encoder sets truncation on what it is given
    return TextEncoder(
        copy,
        max_length=max_length,
        pad_token_id=tokenizer.pad_token_id,
        side=truncation_side(tokenizer.truncation_side),
        pairs=pairs,
    )


def load_untuned(
    folder: Path, labels: Sequence[str], tokenizer: Any, train: TrainSection, *, multi_label: bool = False
) -> Any:
    """The backbone with a fresh classification head, drawn from PyTorch's random state.

    A head in the folder is kept only where it tells the same labels in the same order (`model_files.keeps_head`).
    Attention is `eager`: on a CPU, `sdpa` falls back to a slower backward pass (measured: 1.1 to 1.4 times).

    With `train.peft`, the encoder is frozen and has LoRA beside its weights, see `lora.add`.

    Raises:
        BackboneError: transformers cannot load it, or it does not go with its tokenizer.
        RecipeError: see `lora.add`.
    """
    model, found = _load(folder, labels, tokenizer, multi_label=multi_label)
    _check_body(folder, model, found)
    if not model_files.keeps_head(folder, labels, multi_label=multi_label):
        _redraw_head(model, found)
    if not train.encoder_dropout:
        _switch_off_dropout(model.base_model)
    if train.freeze_embeddings:
        embeddings = getattr(model.base_model, "embeddings", None) or model.get_input_embeddings()
        embeddings.requires_grad_(False)
    if train.peft == "lora":
        lora.add(model, train)
    return model


def load_tuned(folder: Path, labels: Sequence[str], tokenizer: Any, *, multi_label: bool = False) -> Any:
    """A classifier that was tuned elsewhere, with the given names in place of its own.

    Raises:
        BackboneError: the checkpoint has no classification head, or one of another size.
    """
    model, found = _load(folder, labels, tokenizer, multi_label=multi_label)
    _check_sizes(folder, model, _mismatched(found))
    if found["missing_keys"]:
        names = ", ".join(sorted(found["missing_keys"])[:3])
        raise BackboneError(
            f"{folder} is a backbone, not a tuned classifier: it has no weights {names}. Tune it with `sentopt train`"
        )
    return model


def differing_texts(encoder: TextEncoder, folder: Path, texts: Sequence[Text]) -> list[Text]:
    """The texts whose tokens the runtime makes otherwise than transformers does with the files of a folder.

    Types of tokens count where the model takes them.
    """
    compared = takes_types(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    asked = {"return_token_type_ids": True} if compared and encoder.pairs else {}
    expected = tokens_of(tokenizer, texts, truncation=True, padding=False, max_length=encoder.max_length, **asked)
    types = expected.get(_TYPES) or [[0] * len(ids) for ids in expected["input_ids"]]
    return [
        text
        for text, tokens, ids, kinds in zip(texts, encoder.encode(texts), expected["input_ids"], types, strict=True)
        if ids and (tuple(ids) != tokens.ids or (compared and tuple(kinds) != tokens.type_ids))
    ]


def tokens_of(tokenizer: Any, texts: Sequence[Text], **options: Any) -> dict[str, list[Any]]:
    """What a tokenizer of transformers makes of texts: each input as a list with a value for each text.

    Pairs are tokenized a few at a time: tokenizers keeps every part that is cut off of one text with every part of the
    other.
    """
    size = len(texts) if not texts or isinstance(texts[0], str) else _PAIRS_AT_ONCE
    made: dict[str, list[Any]] = {}
    for start in range(0, len(texts), max(1, size)):
        for name, values in tokenizer(*pairs.columns_of(texts[start : start + size]), **options).items():
            made.setdefault(name, []).extend(values)
    return made


def takes_types(folder: Path) -> bool:
    """Whether the model adds something for the type of each token."""
    types = model_files.read_config(folder).get("type_vocab_size")
    return isinstance(types, int) and types > 1


def telling_texts(encoder: TextEncoder, texts: Sequence[Text]) -> list[Text]:
    """Texts that two readings of a tokenizer's files are likely to tokenize differently.

    Many scripts, texts longer than the maximum whose ends differ, and those that hold the tokens that were added to the
    vocabulary: alone, between blanks, inside a word, repeated, and in another case. Where texts are pairs, each of them
    comes with another one, before and after it, and with none.
    """
    found = _telling(encoder, [part for text in texts for part in pairs.parts(text)])
    if not encoder.pairs:
        return [*found]
    return [pair for text, other in zip(found, found[1:] + found[:1], strict=True) for pair in _with(text, other)]


def _with(text: str, other: str) -> list[tuple[str, str]]:
    return [(text, other), (other, text), (text, ""), ("", text)]


def _telling(encoder: TextEncoder, texts: Sequence[str]) -> list[str]:
    words = " ".join(texts).split() or ["word"]
    longest = encoder.max_length
    lines = [words[start : start + 2 * longest] for start in range(0, min(len(words), 8 * longest), 2 * longest)]
    numbered = " ".join(f"{words[i % len(words)]} {i}" for i in range(2 * longest))
    found = [*_SCRIPTS, numbered, "word " * (longest + 50), *(" ".join(line) for line in lines)]
    added = encoder.added_tokens  # a user's own come last
    for token in dict.fromkeys([*added[:_MOST_ADDED_TOKENS], *added[-_MOST_ADDED_TOKENS:]]):
        bare = token.strip()
        found += [token, f"a{token}b", f"a {token} b", f"a  {token}  b ", token * 2, f" {bare}"]
        found += [bare.upper(), bare.lower(), bare[:-1], f"{bare}s, ({bare}) {bare}."]
    return found


def save(model: Any, tokenizer: Any, target: Path, thresholds: Sequence[float] = ()) -> None:
    """Write a folder that the Auto classes load, and the thresholds of its labels where a text may have any number.

    Raises:
        BackboneError: the tokenizer cannot be saved in the format that the runtime reads.
    """
    with atomic.replace_folder(target) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        _state_truncation(folder / model_files.TOKENIZER_CONFIG, tokenizer.truncation_side)
        if thresholds:
            (folder / THRESHOLDS_FILE).write_text(json.dumps(list(thresholds)) + "\n", encoding="utf-8")
        if not (folder / "tokenizer.json").is_file():
            raise BackboneError(
                "the tokenizer saves no tokenizer.json, which the runtime needs; "
                "choose a backbone with a fast tokenizer"
            )


@dataclass(frozen=True)
class Calibrated:
    """What was fitted to the validation split: the temperatures of the logits, one for all or one for each label, and
    how answers follow from the logits that are divided by them."""

    temperatures: tuple[float, ...]
    decision: Decision

    def divided(self, logits: FloatArray) -> FloatArray:
        """The logits as the saved model gives them."""
        return np.asarray(logits / np.array(self.temperatures, dtype=np.float32), dtype=np.float32)

    def undivided(self, logits: FloatArray) -> FloatArray:
        """The inverse."""
        return np.asarray(logits * np.array(self.temperatures, dtype=np.float32), dtype=np.float32)


def save_calibrated(
    model: Any,
    tokenizer: Any,
    target: Path,
    *,
    logits: FloatArray,
    truth: np.ndarray,
    calibrate: bool,
    multi_label: bool = False,
) -> Calibrated:
    """Save the model, its logits divided by the temperature that suits `truth` best.

    Where a text may have any number of labels, each label has a temperature, and a threshold that suits `truth` best.

    Args:
        model: what gave the logits; its last linear layer is divided in place.
        tokenizer: goes into the same folder.
        target: the folder, which the Auto classes load.
        logits: those of the validation split, float32 of shape (texts, labels).
        truth: the positions of their labels, of shape (texts,), or their codes (`measure.label_sets`).
        calibrate: without it, the model is saved as it is; it has thresholds all the same.
        multi_label: whether `truth` are codes.

    Returns:
        The temperatures, each 1.0 without `calibrate` and where none helps by more than chance, and the thresholds.

    Raises:
        BackboneError: see `divide_logits` and `save`.
    """
    fitted = Calibrated((1.0,), SINGLE)
    if multi_label:
        fitted = _fitted_to_sets(logits, truth, calibrate=calibrate)
    elif calibrate:
        fitted = Calibrated((confidence.temperature_that_helps(logits, truth),), SINGLE)
    if calibrate:
        divide_logits(model, *fitted.temperatures)
    save(model, tokenizer, target, fitted.decision.thresholds)
    return fitted


def _fitted_to_sets(logits: FloatArray, truth: np.ndarray, *, calibrate: bool) -> Calibrated:
    has = label_sets.matrix(truth, logits.shape[1])
    temperatures = thresholds.temperatures(logits, has) if calibrate else (1.0,) * logits.shape[1]
    divided = Calibrated(temperatures, SINGLE).divided(logits)
    return Calibrated(temperatures, Decision(thresholds.best(sigmoid(divided), has)))


def divide_logits(model: Any, *temperatures: float) -> None:
    """Divide the last linear layer by one temperature, or each of its rows by one, so that all that reads the model
    gives such logits.

    Raises:
        BackboneError: the logits are not that layer's output.
    """
    heads = [m for m in model.modules() if isinstance(m, torch.nn.Linear) and m.out_features == model.config.num_labels]
    example = torch.full((1, 4), min(5, model.config.vocab_size - 1))
    mask = torch.ones_like(example)
    divisor = torch.tensor(temperatures, dtype=torch.float32)
    with torch.inference_mode():
        before = model(input_ids=example, attention_mask=mask).logits
        if heads:
            for tensor in (heads[-1].weight, heads[-1].bias):
                if tensor is not None:
                    tensor.data.div_(divisor if tensor.ndim == 1 else divisor[:, None])
        after = model(input_ids=example, attention_mask=mask).logits
    if not torch.allclose(after, before / divisor, rtol=1e-3, atol=1e-5):
        raise BackboneError(
            f"the logits of {type(model).__name__} do not come from a last linear layer, so no temperature can be "
            "divided out of them; switch it off with --set train.calibrate=false"
        )


def _load(folder: Path, labels: Sequence[str], tokenizer: Any, *, multi_label: bool) -> tuple[Any, dict[str, Any]]:
    """The model, and what transformers says of the weights that it found."""
    _agree_on_padding(folder, tokenizer)
    try:
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={label: i for i, label in enumerate(labels)},
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            attn_implementation=None if torch.cuda.is_available() else "eager",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # what does not fit is told to the caller, instead of a traceback
        )
    except Exception as error:  # transformers and PyTorch raise whatever they stumble over
        raise BackboneError(
            f"{folder} is no classifier with the {len(labels)} labels of the data that transformers can load: "
            f"{_first_line(error)}"
        ) from error
    if getattr(model.config, "pad_token_id", None) is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    _check_embeddings(folder, model, tokenizer)
    model.config.problem_type = MULTI_LABEL if multi_label else SINGLE_LABEL
    _check_padding(folder, model, tokenizer)
    return model, found


def _check_body(folder: Path, model: Any, found: dict[str, Any]) -> None:
    """Refuse a backbone that would start with random weights; a pooler is the exception, for many come without one."""
    body = f"{model.base_model_prefix}."
    _check_sizes(folder, model, [name for name in _mismatched(found) if name.startswith(body)])
    names = [name for name in model.state_dict() if name.startswith(body)]
    missing = sorted(name for name in names if name in set(found["missing_keys"]) and ".pooler." not in name)
    if missing:
        raise BackboneError(
            f"{folder} lacks {len(missing)} of {len(names)} weights of {type(model).__name__}, for example "
            f"{missing[0]}: they would be random. Is model_type in its config.json right, and the folder complete?"
        )


def _mismatched(found: dict[str, Any]) -> list[str]:
    """Names of the weights of another size than the config's; versions of transformers put them differently."""
    return sorted(entry if isinstance(entry, str) else str(entry[0]) for entry in found["mismatched_keys"])


def _check_sizes(folder: Path, model: Any, mismatched: Sequence[str]) -> None:
    if not mismatched:
        return
    name = mismatched[0]
    there = model_files.tensor_shapes(folder).get(name, "another shape")
    raise BackboneError(
        f"{folder}: its weights do not fit its config.json: {name} has shape {there}, "
        f"expected {tuple(model.state_dict()[name].shape)}"
    )


def _redraw_head(model: Any, found: dict[str, Any]) -> None:
    """Draw the head anew if the folder had weights for it: they answer something else."""
    body = f"{model.base_model_prefix}."
    drawn = {str(key) for key in found["missing_keys"]} | set(_mismatched(found))
    head = {name for name in model.state_dict() if not name.startswith(body)}
    if head <= drawn:
        return
    fresh = AutoModelForSequenceClassification.from_config(model.config).state_dict()
    model.load_state_dict({name: fresh[name] for name in head}, strict=False)


def _check_embeddings(folder: Path, model: Any, tokenizer: Any) -> None:
    """Refuse tokens that the model has no row for: looking one up would end in an IndexError."""
    rows = int(model.get_input_embeddings().weight.shape[0])
    vocabulary = tokenizer.get_vocab()
    token, last = max(vocabulary.items(), key=lambda item: item[1])
    if last < rows:
        return
    raise BackboneError(
        f"{folder}: the tokenizer has {last + 1} tokens (the last is {token!r}), the model's embedding {rows} rows: a "
        "text with a token beyond them cannot be answered. If the tokens were added before tuning, resize the "
        "embedding and tune again; otherwise use the tokenizer without them. To resize:\n"
        "  from transformers import AutoModelForSequenceClassification as Model, AutoTokenizer as Tokenizer\n"
        f"  tokenizer, model = Tokenizer.from_pretrained({str(folder)!r}), Model.from_pretrained({str(folder)!r})\n"
        "  model.resize_token_embeddings(len(tokenizer))\n"
        "  model.save_pretrained('resized'); tokenizer.save_pretrained('resized')"
    )


def _check_padding(folder: Path, model: Any, tokenizer: Any) -> None:
    """Refuse a model that answers a text otherwise beside a longer one: padding must not matter."""
    engine, encoder = TorchEngine(model), encoder_of(tokenizer, max_length=8)
    rows = min(encoder.vocabulary_size, int(model.get_input_embeddings().weight.shape[0]))
    ids = [i for i in range(rows) if i != tokenizer.pad_token_id][-6:]
    short, long = (Tokens(tuple(row), (0,) * len(row), False) for row in (ids[:3], ids))
    try:
        alone, beside = engine.run(encoder.pad([short])), engine.run(encoder.pad([short, long]))
    except Exception as error:  # a forward method raises whatever it stumbles over
        raise BackboneError(
            f"{folder} ({type(model).__name__}) cannot answer a text of token ids: {_first_line(error)}"
        ) from error
    difference = float(abs(alone[0] - beside[0]).max())
    if difference > _PADDING_TOLERANCE * max(1.0, float(abs(alone).max())):
        raise BackboneError(
            f"{folder} ({type(model).__name__}) answers a text otherwise when it is padded to the length of another "
            f"one: a logit differs by {difference:.2g}. Texts are answered in batches, so such a model is not supported"
        )


def _state_truncation(path: Path, side: str) -> None:
    """Say in `tokenizer_config.json` where texts are cut; not every version of transformers writes it down."""
    settings = json.loads(path.read_text(encoding="utf-8"))
    if settings.get("truncation_side", "right") != side:
        path.write_text(json.dumps({**settings, "truncation_side": side}, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _agree_on_padding(folder: Path, tokenizer: Any) -> None:
    """The padding token of a model counts, for it was trained with it; where it has none, the tokenizer's stays."""
    number = model_files.read_config(folder).get("pad_token_id")
    if number is None or number == tokenizer.pad_token_id:
        return
    token = tokenizer.convert_ids_to_tokens(number) if isinstance(number, int) and number >= 0 else None
    if token is None:
        raise BackboneError(
            f"the model pads with id {number}, which its tokenizer does not have; correct pad_token_id in "
            f"{folder / model_files.CONFIG}"
        )
    tokenizer.pad_token = token


def _switch_off_dropout(encoder: torch.nn.Module) -> None:
    """Set p = 0 in the modules, not in the config: the checkpoint keeps the backbone's values for later tuning."""
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
