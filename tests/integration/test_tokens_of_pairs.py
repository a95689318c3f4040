"""The runtime's tokens of pairs against those of transformers, for tokenizers of every kind."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from csv_files import SAMPLE, read_csv
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from sentopt.data import pairs
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints

COUNT = 5_000
SPECIAL = {
    "wordpiece": ("[PAD]", "[UNK]", "[CLS]", "[SEP]"),
    "bpe": ("<pad>", "<unk>", "<s>", "</s>"),
    "unigram": ("<pad>", "<unk>", "<s>", "</s>"),
}
PARTS = (
    "",
    " ",
    "\n\t ",
    "\U0001f600",
    "\U0001f44d\U0001f3fd",
    "caf\u00e9",
    "cafe\u0301",
    "\u65e5\u672c\u8a9e",
    "a\u0000b",
)
PARTS += ("\u0641\u064a\u0644\u0645", "\u200bzero", "[SEP]", "</s>", "ALL CAPS!!!", "x" * 300, "\ud83d")


def corpus() -> list[str]:
    return [row["text"] for row in read_csv(SAMPLE / "train.csv")[:2_000]]


def wordpiece() -> Tokenizer:
    """BERT: types 0 and 1, one separator between the texts."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = list(SPECIAL["wordpiece"])
    tokenizer.train_from_iterator(corpus(), trainers.WordPieceTrainer(vocab_size=900, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def bpe() -> Tokenizer:
    """RoBERTa: all types are 0, and two separators stand between the texts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet, special = pre_tokenizers.ByteLevel.alphabet(), list(SPECIAL["bpe"])
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 3), ("<s>", 2), add_prefix_space=False)
    return tokenizer


def unigram() -> Tokenizer:
    """XLM-R and DeBERTa-v3: SentencePiece."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = list(SPECIAL["unigram"])
    trainer = trainers.UnigramTrainer(vocab_size=900, special_tokens=special, unk_token="<unk>")
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    return tokenizer


MADE: dict[str, Callable[[], Tokenizer]] = {"wordpiece": wordpiece, "bpe": bpe, "unigram": unigram}


@pytest.fixture(scope="module", params=list(MADE))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with a tokenizer and no weights."""
    folder = tmp_path_factory.mktemp(request.param)
    padding, unknown, first, last = SPECIAL[request.param]
    made: Any = PreTrainedTokenizerFast(
        tokenizer_object=MADE[request.param](), pad_token=padding, unk_token=unknown, cls_token=first, sep_token=last
    )
    made.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "bert", "type_vocab_size": 2}')
    return folder


def pair_of(source: random.Random, words: list[str]) -> tuple[str, str]:
    """Texts of 0 to 40 words; some are long beside one of a few words.

    Both long would take gigabytes: tokenizers makes a record of every part that is cut off of the one with every part
    of the other.
    """
    counts = [source.choice((0, 1, 2, 3, 8, 20, 40)) for _ in range(2)]
    if source.random() < 0.05:
        counts = source.choice(([300, 3], [3, 300]))
    first, second = (
        " ".join(source.choice(PARTS) if source.random() < 0.1 else source.choice(words) for _ in range(count))
        for count in counts
    )
    return first, second


@pytest.mark.parametrize("side", ["right", "left"])
def test_tokens_of_pairs_are_those_of_transformers(folder: Path, side: str) -> None:
    source, words = random.Random(side), " ".join(corpus()).split()
    tokenizer: Any = checkpoints.load_tokenizer(folder, 512)
    tokenizer.truncation_side = side
    for max_length in (8, 9, 17, 32, 64):
        some = [pair_of(source, words) for _ in range(COUNT // 10)]
        encoder = checkpoints.encoder_of(tokenizer, max_length, pairs=True)
        readable = [tuple(part.encode("utf-8", "replace").decode() for part in pair) for pair in some]
        expected = tokenizer(*pairs.columns_of(readable), truncation=True, max_length=max_length)  # type: ignore[arg-type]
        found = encoder.encode(readable)  # type: ignore[arg-type]
        for i, tokens in enumerate(found):
            assert list(tokens.ids) == expected["input_ids"][i], (max_length, readable[i])
            assert list(tokens.type_ids) == expected["token_type_ids"][i], (max_length, readable[i])


def test_telling_pairs_have_the_same_tokens(folder: Path) -> None:
    """What training and the export compare before a bundle is made."""
    encoder = TextEncoder.load(folder, max_length=24, pairs=True)
    given = [(f"the room {i}", "the staff") for i in range(30)]
    telling = checkpoints.telling_texts(encoder, given)
    assert len(telling) > 100
    assert all(isinstance(pair, tuple) for pair in telling)
    assert checkpoints.differing_texts(encoder, folder, [*given, *telling]) == []


def test_a_reading_that_differs_is_found(folder: Path) -> None:
    encoder = TextEncoder.load(folder, max_length=24, pairs=True, side="left")
    pair = ("the first one is long " * 10, "the second one is long " * 10)
    assert checkpoints.differing_texts(encoder, folder, [("short", "pair"), pair]) == [pair]
