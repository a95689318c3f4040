"""Changed copies of training texts: inside of the special tokens, deterministic, never longer than a text may be."""

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from sentopt.runtime.tokenization import TextEncoder
from sentopt.training.augmentation import changed_copies, changed_texts

TEXTS = ["the food was good and the staff was kind to all of us", "a", "", "no one said a word about it all night"] * 20


@pytest.fixture(scope="module")
def encoder(backbone: Path) -> TextEncoder:
    return TextEncoder.load(backbone, max_length=16)


def test_copies_keep_special_tokens_and_length(encoder: TextEncoder) -> None:
    tokens = encoder.encode(TEXTS)
    copies = changed_copies(tokens, encoder, copies=3, seed=1)
    begin, end = encoder.encode([""])[0].ids
    assert len(copies) == 3 * len(TEXTS)
    for copy in copies:
        assert (copy.ids[0], copy.ids[-1]) == (begin, end)
        assert not {begin, end} & set(copy.ids[1:-1])
        assert len(copy.ids) == len(copy.type_ids) <= encoder.max_length


def test_most_copies_differ_from_their_text_and_from_each_other(encoder: TextEncoder) -> None:
    tokens = encoder.encode(TEXTS)
    copies = changed_copies(tokens, encoder, copies=1, seed=1)
    long = [i for i, t in enumerate(tokens) if len(t.ids) > 6]
    assert sum(copies[i].ids != tokens[i].ids for i in long) > 0.8 * len(long)
    assert len({copies[i].ids for i in long}) > 0.6 * len(long)
    assert any(encoder.id_of("[MASK]") in copy.ids for copy in copies)


def test_the_seed_decides(encoder: TextEncoder) -> None:
    tokens = encoder.encode(TEXTS)
    assert changed_copies(tokens, encoder, copies=1, seed=1) == changed_copies(tokens, encoder, copies=1, seed=1)
    assert changed_copies(tokens, encoder, copies=1, seed=1) != changed_copies(tokens, encoder, copies=1, seed=2)


def test_texts_too_short_to_change_stay(encoder: TextEncoder) -> None:
    tokens = encoder.encode(["a", ""])
    assert [c.ids for c in changed_copies(tokens, encoder, copies=1, seed=1)] == [t.ids for t in tokens]


def byte_level(*, special: bool) -> TextEncoder:
    """The tokenizer of RoBERTa's family, or of GPT-2's, which adds no special tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<mask>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=special)
    if special:
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return TextEncoder(tokenizer, max_length=20, pad_token_id=1)


def test_special_tokens_of_every_family_stay_where_they_are() -> None:
    encoder = byte_level(special=True)
    assert encoder.frame() == ((0,), (2,))
    for copy in changed_copies(encoder.encode(TEXTS), encoder, copies=2, seed=1):
        assert (copy.ids[0], copy.ids[-1]) == (0, 2)
        assert not {0, 1, 2} & set(copy.ids[1:-1])
        assert len(copy.ids) <= 20


def test_a_tokenizer_without_special_tokens_gets_none() -> None:
    encoder = byte_level(special=False)
    assert encoder.frame() == ((), ())
    copies = changed_copies(encoder.encode(TEXTS), encoder, copies=1, seed=1)
    assert len(copies) == len(TEXTS)
    for copy, text in zip(copies, TEXTS, strict=True):
        assert copy.ids
        assert text == "" or 1 not in copy.ids


def test_words_are_changed_where_tokenizers_differ() -> None:
    copies = changed_texts(TEXTS, copies=2, seed=1)
    assert len(copies) == 2 * len(TEXTS)
    assert copies == changed_texts(TEXTS, copies=2, seed=1) != changed_texts(TEXTS, copies=2, seed=2)
    words = {word for text in TEXTS for word in text.split()}
    assert {word for copy in copies for word in copy.split()} <= words
    long = [i for i, text in enumerate(TEXTS) if len(text) > 1]
    assert sum(copies[i] != TEXTS[i] for i in long) > 0.8 * len(long)
    assert [copies[i] for i in (1, 2)] == ["a", ""]


def test_scripts_without_blanks_are_changed_by_characters() -> None:
    (text,) = texts = [
        "\u98df\u3079\u7269\u304c\u304a\u3044\u3057\u304f\u3066\u5e97\u54e1\u3082\u89aa\u5207\u3067\u3057\u305f"
    ]
    made = {changed_texts(texts, copies=1, seed=seed)[0] for seed in range(20)}
    assert len(made) > 10
    assert all(set(copy) <= {*text, " "} and len(copy) > 0 for copy in made)
