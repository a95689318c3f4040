"""Tokenized training texts in a file: the same as in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
import transformers
from transformers import DataCollatorWithPadding

from sentopt.data.examples import Example
from sentopt.data.rows import Examples
from sentopt.training import tokenized
from sentopt.training.soft_labels import SoftLabels
from sentopt.training.tokenized import NO_LABEL, SOFT_LABELS, Tokenized

TEXTS = ["good day", "", "bad " * 30, "so so", "fine"]


@pytest.fixture
def tokenizer() -> Any:
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "so", "day"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        model_max_length=12,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],  # transformers 5 has no types by default
    )


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenized, "BATCH", 2)


def test_a_file_gives_the_batches_that_memory_gives(tokenizer: Any, tmp_path: Path) -> None:
    examples = Examples.of(Example(text, i % 2) for i, text in enumerate(TEXTS))
    counted: list[int] = []
    tokenized.write(tmp_path / "tokens", tokenizer, examples, advance=counted.append)
    stored, memory = Tokenized.open(tmp_path / "tokens"), Tokenized.of(tokenized.encode(tokenizer, examples))
    assert sum(counted) == len(stored.texts) == 5
    assert stored.lengths.tolist() == memory.lengths.tolist() == [4, 2, 12, 4, 3]
    assert stored.labels.tolist() == memory.labels.tolist()
    collate = DataCollatorWithPadding(tokenizer)
    for rows in ([0, 1, 2], [4, 3], [2]):
        one, other = collate(stored.texts.__getitems__(rows)), collate([memory.texts[i] for i in rows])
        assert set(one) == set(other)
        for name in other:
            assert one[name].dtype == other[name].dtype
            assert np.array_equal(one[name], other[name])


def test_texts_of_a_teacher_have_no_label_and_its_logits(tokenizer: Any, tmp_path: Path) -> None:
    logits = np.random.default_rng(1).normal(size=(5, 2)).astype(np.float32)
    soft = SoftLabels(TEXTS[3:], logits)
    tokenized.write(tmp_path / "tokens", tokenizer, Examples.of(Example(t, 1) for t in TEXTS[:3]), soft)
    stored = Tokenized.open(tmp_path / "tokens")
    assert stored.labels.tolist() == [1, 1, 1, NO_LABEL, NO_LABEL]
    assert np.array_equal(np.array(stored.texts[SOFT_LABELS], dtype=np.float32), logits)
    assert stored.texts[3]["input_ids"] == tokenizer(TEXTS[3])["input_ids"]


def test_other_columns_may_hold_any_number(tokenizer: Any, tmp_path: Path) -> None:
    def with_positions(texts: list[str], **options: Any) -> dict[str, Any]:
        columns = dict(tokenizer(texts, **options))
        return {**columns, "position_ids": [[1000 + i for i in range(len(ids))] for ids in columns["input_ids"]]}

    tokenized.write(tmp_path / "tokens", with_positions, Examples.of([Example("good day", 0)]))
    assert Tokenized.open(tmp_path / "tokens").texts[0]["position_ids"] == [1000, 1001, 1002, 1003]


def test_what_is_there_is_not_made_again(tokenizer: Any, tmp_path: Path) -> None:
    examples = Examples.of([Example("good", 0)])
    tokenized.write(tmp_path / "tokens", tokenizer, examples)
    tokenized.write(tmp_path / "tokens", tokenizer, examples, advance=lambda texts: pytest.fail("tokenized again"))


def test_pairs_have_the_tokens_and_types_of_both_texts(tokenizer: Any, tmp_path: Path) -> None:
    pairs = [("good day", "bad"), ("", "so so"), ("good " * 9, "bad " * 9), ("fine", "")]
    examples = Examples.of(Example(pair, i % 2) for i, pair in enumerate(pairs))
    tokenized.write(tmp_path / "tokens", tokenizer, examples)
    stored = Tokenized.open(tmp_path / "tokens")
    assert stored.lengths.tolist() == [6, 5, 12, 4]
    assert stored.texts[0]["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    for i, (first, second) in enumerate(pairs):
        expected = tokenizer([first], [second], truncation=True)  # an empty text outside of a list would count as none
        assert stored.texts[i]["input_ids"] == expected["input_ids"][0]
        assert stored.texts[i]["token_type_ids"] == expected["token_type_ids"][0]
    assert tokenized.encode(tokenizer, examples)[2]["token_type_ids"] == stored.texts[2]["token_type_ids"]


def test_two_long_texts_take_little_time_and_memory(tokenizer: Any) -> None:
    """tokenizers keeps each part that is cut off of one text with each of the other: it would be 10 ** 8 of them."""
    examples = Examples.of([Example(("good day " * 50_000, "bad so " * 50_000), 0)])
    (encoded,) = tokenized.encode(tokenizer, examples)
    assert encoded["input_ids"] == tokenizer("good day " * 9, "bad so " * 9, truncation=True)["input_ids"]
