"""Vocabulary trimming of a WordPiece or Unigram model: embedding rows that the training texts do not use are removed.

The trimmed vocabulary keeps special tokens, every token of the training texts, single characters (at the start of a
word and inside it), and the first pieces of the vocabulary. BERT's family and SentencePiece list pieces by descending
frequency in general text. A word that needs a removed piece is split into smaller pieces, at worst into characters.

WordPiece takes the longest matching piece, Unigram (XLM-R, ALBERT, DeBERTa-v3) the pieces of the largest total score. A
text whose pieces are all kept therefore has the same tokens and the same logits. That includes all training texts, so
their calibration is valid for the trimmed model. Unigram's score of what is unknown depends on the smallest score of a
piece, so that piece is kept, too.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from sentopt.data import pairs
from sentopt.errors import ExportError
from sentopt.graph.architecture import Architecture
from sentopt.results import VocabularySummary
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import IntArray

_WITHOUT_IDS = "special_tokens_map.json"
_PLACEHOLDER = re.compile(r"\[unused\d+\]")
_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_POST_PROCESSORS = (None, "TemplateProcessing", "BertProcessing")


def unsupported_reason(checkpoint: Path) -> str | None:
    """Why the vocabulary of a checkpoint cannot be trimmed, in words for the user; None if it can."""
    try:
        tokenizer = _read(checkpoint / "tokenizer.json")
        kind, post_processor = tokenizer["model"]["type"], (tokenizer["post_processor"] or {}).get("type")
    except (ExportError, KeyError, TypeError, AttributeError):
        return "it has no readable tokenizer.json with a model and a post-processor"
    if kind not in ("WordPiece", "Unigram"):
        return (
            f"its tokenizer is {kind}; expected WordPiece or Unigram, which can split a word into the remaining pieces"
        )
    if post_processor not in _POST_PROCESSORS:
        return f"its tokenizer has the post-processor {post_processor}, whose token ids cannot be renumbered"
    return None


def choose(checkpoint: Path, used: Iterable[int], *, common: int) -> IntArray:
    """The token ids to keep, ascending: new id i is the old id at position i.

    Args:
        checkpoint: folder of a model whose `unsupported_reason` is None.
        used: token ids of the training texts.
        common: how many of the vocabulary's first pieces are kept for general text, not counting single characters.

    Raises:
        ExportError: the tokenizer cannot be read.
    """
    tokenizer = _read(checkpoint / "tokenizer.json")
    vocabulary = _pieces(tokenizer["model"])
    prefix = tokenizer["model"].get("continuing_subword_prefix", "")
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    configured = set(_special_ids(_read(checkpoint / "config.json")).values()) & {*vocabulary.values(), *added.values()}
    kept = {*_needed_by(tokenizer["model"]), *added.values(), *_framing_ids(tokenizer), *configured, *used}
    for token, number in sorted(vocabulary.items(), key=lambda item: item[1]):
        if not _is_removable(token, prefix, vocabulary):
            kept.add(number)
        elif common > 0 and token not in added and not _PLACEHOLDER.fullmatch(token):
            kept.add(number)
            common -= 1
    return np.array(sorted(kept), dtype=np.int64)


def trim(architecture: Architecture, kept: IntArray) -> Architecture:
    """The model with only the embedding rows `kept`."""
    embeddings, rows = architecture.embeddings, architecture.embeddings.rows
    found = np.flatnonzero(kept == embeddings.padding_id)
    padding = int(found[0]) if len(found) else 0
    if embeddings.positions == "after_padding_id" and rows is not None:
        rows = np.ascontiguousarray(rows[embeddings.padding_id - padding :])  # they are counted from the new id
    words = np.ascontiguousarray(embeddings.words[kept])
    return replace(architecture, embeddings=replace(embeddings, words=words, rows=rows, padding_id=padding))


def write_files(checkpoint: Path, kept: IntArray, folder: Path) -> None:
    """Write the checkpoint's tokenizer files and `config.json` to `folder`, with the new ids.

    Raises:
        ExportError: a file of the checkpoint cannot be read.
    """
    new = {int(old): position for position, old in enumerate(kept)}
    for name, renumbered in (
        ("tokenizer.json", _renumbered_tokenizer),
        ("tokenizer_config.json", _renumbered_tokenizer_config),
        ("config.json", _renumbered_config),
    ):
        document = renumbered(_read(checkpoint / name), new)
        (folder / name).write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if (checkpoint / _WITHOUT_IDS).is_file():
        shutil.copyfile(checkpoint / _WITHOUT_IDS, folder / _WITHOUT_IDS)


def compare(checkpoint: Path, trimmed: Path, texts: Sequence[Text]) -> VocabularySummary:
    """Compare how the tokenizers of two folders split the words of `texts`, without truncation."""
    tokenizers = [Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (checkpoint, trimmed)]
    tokens, kept = (tokenizer.get_vocab_size() for tokenizer in tokenizers)
    before, after = (_words(tokenizer, texts) for tokenizer in tokenizers)
    unknown = _unknown(_read(checkpoint / "tokenizer.json")["model"])
    words = resplit = lost = changed_texts = 0
    for old, new in zip(before, after, strict=True):
        changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        words, resplit, changed_texts = words + len(old), resplit + len(changed), changed_texts + bool(changed)
        lost += sum(b == [unknown] for _, b in changed)
    return VocabularySummary(kept, tokens, len(texts), changed_texts, words, resplit, lost)


def _words(tokenizer: Tokenizer, texts: Sequence[Text]) -> Iterator[list[list[str]]]:
    """For each text, or both texts of a pair, the tokens of each of the words."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for text in texts:
        yield [word for part in pairs.parts(text) for word in _words_of(tokenizer, part)]


def _words_of(tokenizer: Tokenizer, text: str) -> list[list[str]]:
    # A lone surrogate is not valid text. Its replacement does not affect the comparison.
    encoding = tokenizer.encode(text.encode("utf-8", "replace").decode("utf-8"), add_special_tokens=False)
    words: dict[int | None, list[str]] = {}
    for word, token in zip(encoding.word_ids, encoding.tokens, strict=True):
        words.setdefault(word, []).append(token)
    return list(words.values())


def _pieces(model: Mapping[str, Any]) -> dict[str, int]:
    """The id of each piece. A Unigram vocabulary is a list of pieces with their scores."""
    if model["type"] == "WordPiece":
        return dict(model["vocab"])
    return {piece: number for number, (piece, _) in enumerate(model["vocab"])}


def _unknown(model: Mapping[str, Any]) -> str | None:
    """The token of what no piece matches."""
    if model["type"] == "WordPiece":
        return str(model["unk_token"])
    return None if model["unk_id"] is None else str(model["vocab"][model["unk_id"]][0])


def _needed_by(model: Mapping[str, Any]) -> set[int]:
    """Ids without which the tokenizer cannot work, or would split kept words in another way."""
    if model["type"] == "WordPiece":
        return {model["vocab"][model["unk_token"]]}
    scores = [score for _, score in model["vocab"]]
    bytes_ = {n for n, (piece, _) in enumerate(model["vocab"]) if model.get("byte_fallback") and _BYTE.fullmatch(piece)}
    return bytes_ | {scores.index(min(scores)), *({model["unk_id"]} - {None})}


def _is_removable(token: str, prefix: str, vocabulary: Mapping[str, int]) -> bool:
    """Whether a piece can be removed: it has several characters, and each of them is a piece at its position."""
    first, letters = (prefix, token.removeprefix(prefix)) if token.startswith(prefix) else ("", token)
    return (
        len(letters) > 1
        and first + letters[0] in vocabulary
        and all(prefix + letter in vocabulary for letter in letters[1:])
    )


def _framing_ids(tokenizer: Mapping[str, Any]) -> set[int]:
    """Ids of the special tokens that are added to every text."""
    last = tokenizer["post_processor"] or {}
    template = {number for special in last.get("special_tokens", {}).values() for number in special["ids"]}
    return template | {last[key][1] for key in {"sep", "cls"} & last.keys()}


def _special_ids(config: Mapping[str, Any]) -> dict[str, int]:
    """`pad_token_id`, `eos_token_id` and so on."""
    return {key: value for key, value in config.items() if key.endswith("_token_id") and isinstance(value, int)}


def _renumbered_tokenizer(document: dict[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    model = document["model"]
    if model["type"] == "WordPiece":
        model["vocab"] = {token: new[number] for token, number in model["vocab"].items() if number in new}
    else:
        model["vocab"] = [entry for number, entry in enumerate(model["vocab"]) if number in new]
        model["unk_id"] = None if model["unk_id"] is None else new[model["unk_id"]]
    for added in document["added_tokens"]:
        added["id"] = new[added["id"]]
    if document["padding"]:
        document["padding"]["pad_id"] = new[document["padding"]["pad_id"]]
    last = document["post_processor"] or {}
    for special in last.get("special_tokens", {}).values():
        special["ids"] = [new[number] for number in special["ids"]]
    for key in {"sep", "cls"} & last.keys():
        last[key] = [last[key][0], new[last[key][1]]]
    return document


def _renumbered_tokenizer_config(document: dict[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    added = document.get("added_tokens_decoder", {})
    return {**document, "added_tokens_decoder": {str(new[int(old)]): token for old, token in added.items()}}


def _renumbered_config(document: dict[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    renumbered = {key: new.get(value) for key, value in _special_ids(document).items()}
    return {**document, **renumbered, "vocab_size": len(new)}


def _read(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read {path}: {error}") from error
    return document
