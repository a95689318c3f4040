"""How much of the texts a tokenizer does not know, and when that is said."""

from pathlib import Path

import pytest

from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints, unknown_tokens

THAI = ["สวัสดี ครับ", "ขอบคุณ มาก"]


@pytest.fixture(scope="module")
def encoder(backbone: Path) -> TextEncoder:
    return TextEncoder.load(backbone, max_length=32)


def counted(encoder: TextEncoder, texts: list[str]) -> unknown_tokens.UnknownTokens:
    return unknown_tokens.count(encoder, texts, unknown=1, special=(0, 1, 2, 3, 4))


def test_a_script_that_the_tokenizer_does_not_know(encoder: TextEncoder) -> None:
    found = counted(encoder, THAI)
    assert found == unknown_tokens.UnknownTokens(share=1.0, texts=2, example="สวัสดี ครับ")
    assert unknown_tokens.notice(found, "minilm") == (
        "minilm does not know 100% of the tokens of the texts (2 sampled), such as those of 'สวัสดี ครับ': "
        "choose a backbone trained on this language with --model"
    )


def test_one_unknown_word_in_many_is_not_worth_a_notice(encoder: TextEncoder) -> None:
    found = counted(encoder, [*["great"] * 39, "great ไทย"])
    assert found == unknown_tokens.UnknownTokens(share=1 / 41, texts=40, example="great ไทย")
    assert unknown_tokens.notice(found, "minilm") == ""


def test_a_sample_of_many_texts_is_looked_at(encoder: TextEncoder) -> None:
    found = counted(encoder, ["great"] * 9_999 + ["ไทย"])
    assert (found.texts, found.share) == (2_000, 0.0)


def test_without_an_unknown_token_nothing_is_unknown(encoder: TextEncoder) -> None:
    assert unknown_tokens.count(encoder, THAI, unknown=None, special=()).share == 0.0
    assert counted(encoder, []).share == 0.0


def test_training_looks_with_the_tokenizer_of_the_backbone(backbone: Path) -> None:
    tokenizer = checkpoints.load_tokenizer(backbone, 32)
    found = unknown_tokens.count(
        checkpoints.encoder_of(tokenizer, 32), THAI, unknown=tokenizer.unk_token_id, special=tokenizer.all_special_ids
    )
    assert found.share == 1.0
