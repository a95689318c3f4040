"""Which end of a long text is read: said by tokenizer_config.json and sentopt.json, and by default the beginning."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import BertWordPieceTokenizer

from sentopt.errors import BundleError, BundleVersionError
from sentopt.runtime import description
from sentopt.runtime.tokenization import TextEncoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{i}" for i in range(10)), *"0123456789"]
TEXT = " ".join(f"word{i}" for i in range(10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tokenizer of ten words, whose own file says to cut at 4 tokens and to pad to 9, both on the left."""
    made = BertWordPieceTokenizer(vocab={word: i for i, word in enumerate(WORDS)})._tokenizer
    made.enable_truncation(4, direction="left")
    made.enable_padding(direction="left", length=9)
    made.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]"}))
    return tmp_path


def words(encoder: TextEncoder, text: str) -> list[str]:
    (tokens,) = encoder.encode([text])
    return [WORDS[i] for i in tokens.ids]


def test_the_beginning_is_read_by_default(folder: Path) -> None:
    encoder = TextEncoder.load(folder, max_length=5)
    assert encoder.side == "right"
    assert words(encoder, TEXT) == ["[CLS]", "word0", "word1", "word2", "[SEP]"]
    assert words(encoder, "word3") == ["[CLS]", "word3", "[SEP]"]


def test_the_end_is_read_where_the_settings_say_so(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]", "truncation_side": "left"}))
    encoder = TextEncoder.load(folder, max_length=5)
    assert encoder.side == "left"
    assert words(encoder, TEXT) == ["[CLS]", "word7", "word8", "word9", "[SEP]"]
    long, short = encoder.encode([TEXT, "word3"])
    assert (long.truncated, short.truncated) == (True, False)
    assert words(TextEncoder.load(folder, max_length=5, side="right"), TEXT)[1] == "word0"


def test_another_side_is_refused_in_words(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]", "truncation_side": "middle"}))
    with pytest.raises(BundleError, match="a truncation_side must be 'right' or 'left', found 'middle'"):
        TextEncoder.load(folder, max_length=5)


def test_added_tokens_are_listed(folder: Path) -> None:
    assert TextEncoder.load(folder, max_length=5).added_tokens == ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


FACTS: dict[str, Any] = {
    "schema_version": 1,
    "name": "toy",
    "variant": "lean-fp32",
    "labels": ["no", "yes"],
    "max_length": 5,
    "pad_token_id": 0,
    "model_file": "model.onnx",
    "output": "logits",
    "files": {name: {"bytes": 1, "sha256": "0" * 64} for name in ("model.onnx", "tokenizer.json")},
    "golden": [],
    "golden_tolerance": 0.1,
}


def described(**changes: Any) -> description.BundleDescription:
    return description.read_description({"sentopt.json": json.dumps({**FACTS, **changes}).encode()})


def test_bundles_from_before_read_the_beginning() -> None:
    assert described().truncation_side == "right"
    assert described(schema_version=2, truncation_side="left").truncation_side == "left"
    with pytest.raises(BundleError, match="a truncation_side must be 'right' or 'left', found 3"):
        described(truncation_side=3)


def test_an_older_runtime_refuses_what_it_would_misread(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (description.schema_of("right"), description.schema_of("left")) == (1, 2)
    monkeypatch.setattr(description, "SCHEMA_VERSION", 1)
    with pytest.raises(BundleVersionError, match=r"schema 2, this sentopt reads up to 1. Upgrade"):
        described(schema_version=description.schema_of("left"), truncation_side="left")
