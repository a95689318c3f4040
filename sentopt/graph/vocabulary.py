"""A smaller vocabulary for a WordPiece model: the embedding rows that texts of this kind hardly need are left out.

What stays: special tokens, every token of the training texts, single characters (at the beginning of a word and inside
one), and the first pieces of the vocabulary, which BERT's family lists by falling frequency in general text. A word
whose piece is gone is spelled with those that are left, one character at a time if need be.

WordPiece takes the longest piece that fits. So a text all of whose pieces stay keeps its tokens, and with them its
logits: training texts do, and calibration on them holds for the trimmed model as well.
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

from sentopt.errors import ExportError
from sentopt.graph.architecture import Architecture
from sentopt.results import VocabularySummary
from sentopt.runtime.tokenization import IntArray

_WITHOUT_IDS = "special_tokens_map.json"
_PLACEHOLDER = re.compile(r"\[unused\d+\]")
_POST_PROCESSORS = (None, "TemplateProcessing", "BertProcessing")


def why_not(checkpoint: Path) -> str | None:
    """None where the vocabulary of a checkpoint can be trimmed, else the reason, to be shown to the user."""
    try:
        tokenizer = _read(checkpoint / "tokenizer.json")
        kind, post_processor = tokenizer["model"]["type"], (tokenizer["post_processor"] or {}).get("type")
    except (ExportError, KeyError, TypeError, AttributeError):
        return "it has no tokenizer.json that says how it works"
    if kind != "WordPiece":
        return f"its tokenizer is {kind}, and only words of WordPiece can be spelled with the pieces that are left"
    if post_processor not in _POST_PROCESSORS:
        return f"its tokenizer ends in {post_processor}, whose token ids are not known here"
    return None


def choose(checkpoint: Path, used: Iterable[int], *, common: int) -> IntArray:
    """The token ids that stay, ascending: the new id i is the old id at i.

    Args:
        checkpoint: folder of a model that `why_not` has nothing against.
        used: token ids of the training texts.
        common: how many of the vocabulary's first pieces stay for general text; single characters are not counted.

    Raises:
        ExportError: the tokenizer cannot be read.
    """
    tokenizer = _read(checkpoint / "tokenizer.json")
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    prefix = tokenizer["model"]["continuing_subword_prefix"]
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    named = set(_special_ids(_read(checkpoint / "config.json")).values()) & {*vocabulary.values(), *added.values()}
    kept = {vocabulary[tokenizer["model"]["unk_token"]], *added.values(), *_framing_ids(tokenizer), *named, *used}
    for token, number in sorted(vocabulary.items(), key=lambda item: item[1]):
        if not _can_be_spelled(token, prefix, vocabulary):
            kept.add(number)
        elif common > 0 and token not in added and not _PLACEHOLDER.fullmatch(token):
            kept.add(number)
            common -= 1
    return np.array(sorted(kept), dtype=np.int64)


def trim(architecture: Architecture, kept: IntArray) -> Architecture:
    """The same model with the embedding rows `kept` only."""
    embeddings = architecture.embeddings
    padding = np.flatnonzero(kept == embeddings.padding_id)
    words = np.ascontiguousarray(embeddings.words[kept])
    return replace(
        architecture,
        embeddings=replace(embeddings, words=words, padding_id=int(padding[0]) if len(padding) else 0),
    )


def write_files(checkpoint: Path, kept: IntArray, folder: Path) -> None:
    """Tokenizer and `config.json` of the checkpoint in `folder`, with the new ids.

    Raises:
        ExportError: one of them cannot be read.
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


def compare(checkpoint: Path, trimmed: Path, texts: Sequence[str]) -> VocabularySummary:
    """What the words of `texts` become in the tokenizers of two folders; nothing is cut."""
    tokenizers = [Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (checkpoint, trimmed)]
    tokens, kept = (tokenizer.get_vocab_size() for tokenizer in tokenizers)
    before, after = (_words(tokenizer, texts) for tokenizer in tokenizers)
    unknown = _read(checkpoint / "tokenizer.json")["model"]["unk_token"]
    words = respelled = lost = changed_texts = 0
    for old, new in zip(before, after, strict=True):
        changed = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        words, respelled, changed_texts = words + len(old), respelled + len(changed), changed_texts + bool(changed)
        lost += sum(b == [unknown] for _, b in changed)
    return VocabularySummary(kept, tokens, len(texts), changed_texts, words, respelled, lost)


def _words(tokenizer: Tokenizer, texts: Sequence[str]) -> Iterator[list[list[str]]]:
    """For each text, the tokens of each of its words."""
    tokenizer.no_padding()
    tokenizer.no_truncation()
    for text in texts:
        # Half a surrogate pair is no text; what it is read as does not matter to a comparison.
        encoding = tokenizer.encode(text.encode("utf-8", "replace").decode("utf-8"), add_special_tokens=False)
        words: dict[int | None, list[str]] = {}
        for word, token in zip(encoding.word_ids, encoding.tokens, strict=True):
            words.setdefault(word, []).append(token)
        yield list(words.values())


def _can_be_spelled(token: str, prefix: str, vocabulary: Mapping[str, int]) -> bool:
    """Whether a piece can be left out: it has several characters, and each is a piece where it stands."""
    first, letters = (prefix, token.removeprefix(prefix)) if token.startswith(prefix) else ("", token)
    return (
        len(letters) > 1
        and first + letters[0] in vocabulary
        and all(prefix + letter in vocabulary for letter in letters[1:])
    )


def _framing_ids(tokenizer: Mapping[str, Any]) -> set[int]:
    """Ids of the tokens that stand around every text."""
    last = tokenizer["post_processor"] or {}
    template = {number for special in last.get("special_tokens", {}).values() for number in special["ids"]}
    return template | {last[key][1] for key in {"sep", "cls"} & last.keys()}


def _special_ids(config: Mapping[str, Any]) -> dict[str, int]:
    """`pad_token_id` and its like."""
    return {key: value for key, value in config.items() if key.endswith("_token_id") and isinstance(value, int)}


def _renumbered_tokenizer(document: dict[str, Any], new: Mapping[int, int]) -> dict[str, Any]:
    model = document["model"]
    model["vocab"] = {token: new[number] for token, number in model["vocab"].items() if number in new}
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
