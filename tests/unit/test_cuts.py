"""A long text is cut before it is tokenized, and only where its tokens stay the same; work and memory are bounded."""

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from tokenizers import (
    AddedToken,
    BertWordPieceTokenizer,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from sentopt.runtime import cuts
from sentopt.runtime.cuts import Cuts
from sentopt.runtime.description import Side
from sentopt.runtime.tokenization import TextEncoder, Tokens

LONGEST = 8
CORPUS = [
    "the quick brown fox jumps over the lazy dog , and it's all's well \u00e9t\u00e9 na\u00efve",
    "\u0434\u043e\u0431\u0440\u044b\u0439 \u0434\u0435\u043d\u044c \u043c\u0438\u0440",
    "\u4f60\u597d \u4e16\u754c\u3002 \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 12 345 6",
    "A B C ``quoted'' (x) <y>",
] * 20
SIGNS = [
    *"abc de,.!?'\"`<>[]()@_- \n\t\r  ",
    *"\u0301\u0338\u0308\u200b\u0000\u0007\ufeff\u00a0\u3000\u2028\x85\x1c\u4e2d\u6587\u3002\uff0c\u0e2a\u0e31\u0e33\u0431",
    *"\ud55c\uac00\u1112\u1161\U0001f600\ufb01\u00a8\u2581\u0130\u03a3\ud800\udc00\ufffd\u0600\u0d4e\ue000",
]
WORDS = [
    "[SEP]",
    "[UNK]",
    "<mask>",
    "<s>",
    "<URL>",
    "abc]",
    "@user",
    "|IP|",
    "'s",
    "``",
    "''",
    "[P",
    "AD]",
    "the",
    "quick",
    "fox",
    "été",
    "345",
]
WORDS += ["  ", "   ", "\n\n"]


def bert(**settings: bool) -> Tokenizer:
    pieces = [*"abcdefghxyz", "the", "fox", "qu", "\u4e2d", "\u0431", "[", "]", ",", ".", "!", "<", ">", "@"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *pieces, *(f"##{c}" for c in "abcdefghxyziock")]
    tokenizer: Tokenizer = BertWordPieceTokenizer({piece: i for i, piece in enumerate(pieces)})._tokenizer
    tokenizer.normalizer = normalizers.BertNormalizer(**settings)
    return tokenizer


def with_added_tokens(*added: AddedToken) -> Tokenizer:
    tokenizer = bert()
    tokenizer.add_tokens(list(added))
    return tokenizer


def trained(model: str, normalizer: object, pre_tokenizer: object, *added: str) -> Tokenizer:
    """A byte-level BPE or a Unigram model with the special tokens of RoBERTa."""
    tokenizer = Tokenizer(models.BPE() if model == "bpe" else models.Unigram())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = {
        "bpe": lambda: trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False),
        "unigram": lambda: trainers.UnigramTrainer(
            vocab_size=200, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
        ),
    }[model]()
    tokenizer.train_from_iterator(CORPUS, trainer)
    special = ("<s>", "</s>", "<mask>")
    tokenizer.add_special_tokens([AddedToken(one, normalized=False, lstrip=one == "<mask>") for one in special])
    tokenizer.add_tokens([AddedToken(one) for one in added])
    ends = [(one, tokenizer.token_to_id(one)) for one in special[:2]]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    return tokenizer


def sequence(*steps: object) -> object:
    return normalizers.Sequence(list(steps))


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "bert": bert,
    "bert, cased": lambda: bert(lowercase=False, strip_accents=False),
    "bert, not cleaned": lambda: bert(clean_text=False),
    "bert, Chinese as words": lambda: bert(handle_chinese_chars=False),
    "bert with added tokens": lambda: with_added_tokens(
        AddedToken("<URL>", normalized=False), AddedToken("abc]", normalized=False)
    ),
    "bert with tokens that take spaces": lambda: with_added_tokens(
        AddedToken("@user", normalized=False, rstrip=True), AddedToken("[P", normalized=False, lstrip=True)
    ),
    "bert with normalized tokens": lambda: with_added_tokens(AddedToken("fox"), AddedToken("THE", single_word=True)),
    "gpt2": lambda: trained("bpe", None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "roberta": lambda: trained("bpe", None, pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "modernbert": lambda: trained(
        "bpe", normalizers.NFC(), pre_tokenizers.ByteLevel(add_prefix_space=False), "  ", "   ", "|IP|"
    ),
    "starcoder": lambda: trained(
        "bpe", None, pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.ByteLevel()])
    ),
    "xlm-roberta": lambda: trained(
        "unigram",
        sequence(
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Strip(left=False, right=True),
            normalizers.Replace(Regex(" {2,}"), "\u2581"),
        ),
        pre_tokenizers.Metaspace(),
    ),
    "albert": lambda: trained(
        "unigram",
        sequence(
            normalizers.Replace("``", '"'),
            normalizers.Replace("''", '"'),
            normalizers.NFKD(),
            normalizers.StripAccents(),
            normalizers.Lowercase(),
        ),
        pre_tokenizers.Metaspace(prepend_scheme="always"),
    ),
    "words, then pieces": lambda: trained(
        "unigram",
        normalizers.NFKC(),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(prepend_scheme="first")]),
    ),
    "llama": lambda: trained(
        "unigram", sequence(normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")), None
    ),
}


@cache
def family(name: str) -> Tokenizer:
    return FAMILIES[name]()


def random_text(draw: random.Random) -> str:
    """Up to six stretches: noise, words and added tokens, one sign many times, one long word, Chinese and Thai."""
    parts = []
    for _ in range(draw.randint(1, 6)):
        size = draw.choice((3, 50, 400, 2000))
        kind = draw.randrange(5)
        if kind == 0:
            parts.append("".join(draw.choices(SIGNS, k=size)))
        elif kind == 1:
            parts.append(" ".join(draw.choices([*WORDS, "".join(draw.choices(SIGNS, k=4))], k=size)))
        elif kind == 2:
            parts.append(draw.choice(SIGNS) * size)
        elif kind == 3:
            parts.append("".join(draw.choices("abcdefgh", k=size)))
        else:
            parts.append("".join(draw.choices("\u4e2d\u6587\u3002\u0e2a\u0e27a, ", k=size)))
        parts.append(draw.choice(("", " ", "[", "]", "abc]")))
    return "".join(parts)


def whole(tokenizer: Tokenizer, text: str) -> Tokens:
    """What tokenizers makes of the whole text."""
    encoding = tokenizer.encode(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    if not encoding.ids:
        return Tokens((0,), (0,), False)
    return Tokens(tuple(encoding.ids), tuple(encoding.type_ids), bool(encoding.overflowing))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_tokens_are_those_of_the_whole_text(name: str, side: Side) -> None:
    tokenizer, draw = family(name), random.Random(f"{name} {side}")
    encoder = TextEncoder(tokenizer, max_length=LONGEST, pad_token_id=0, side=side)
    texts = [random_text(draw) for _ in range(60)]
    for text, tokens in zip(texts, encoder.encode(texts), strict=True):
        assert tokens == whole(tokenizer, text), ascii(text)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in ("llama", "bert with normalized tokens")])
def test_a_long_text_of_words_is_cut_to_a_few_characters(name: str, side: Side) -> None:
    if side == "left" and "take spaces" in name:
        pytest.skip("a token that takes the space after it makes no cut safe there")
    part = next(iter(Cuts.of(family(name), side).parts("the quick fox " * 100_000, 128)))
    assert not part.complete
    assert 64 < len(part.text) <= 128


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(
    "tokenizer",
    [
        lambda: family("llama"),  # a space becomes a part of words, and words are not split
        lambda: trained("bpe", None, pre_tokenizers.ByteLevel(use_regex=False)),
        lambda: trained("bpe", normalizers.Replace(Regex("o x"), ""), pre_tokenizers.ByteLevel()),
        lambda: trained("bpe", None, pre_tokenizers.Split(Regex("x"), "isolated")),
        lambda: trained("bpe", None, pre_tokenizers.ByteLevel(), "quick fox"),
        lambda: trained("unigram", None, pre_tokenizers.Metaspace(split=False)),
    ],
)
def test_nothing_is_cut_where_nothing_is_known(tokenizer: Callable[[], Tokenizer], side: Side) -> None:
    text = "the quick fox " * 1000
    assert [part.text for part in Cuts.of(tokenizer(), side).parts(text, 128)] == [text]


def test_classes_of_characters_are_what_tokenizers_makes_of_them() -> None:
    usual, kept = normalizers.BertNormalizer(), normalizers.BertNormalizer(clean_text=False, strip_accents=False)
    split = pre_tokenizers.BertPreTokenizer().pre_tokenize_str
    every = [chr(code) for code in range(0x20000) if not 0xD800 <= code < 0xE000]
    for character in re.findall(f"[{cuts.WORD}]", "".join(every)):
        for normalizer in (usual, kept):
            word = normalizer.normalize_str(f"a{character}a")
            assert len(split(word)) == 1, hex(ord(character))
            assert len(word) >= 3, hex(ord(character))
    for character in re.findall(f"[{cuts.REMOVED}{cuts.MARKS}]", "".join(every)):
        assert usual.normalize_str(f"a{character}a") == "aa", hex(ord(character))
        assert len(split(kept.normalize_str(f"a{character}a"))) == 1, hex(ord(character))
    for character in re.findall(f"[{cuts.SPACES}]", "".join(every)):
        for normalizer in (usual, kept):
            assert len(split(normalizer.normalize_str(f"a{character}a"))) == 2, hex(ord(character))
    for character in re.findall(f"[{cuts.CHINESE}]", "".join(every)):
        assert len(split(usual.normalize_str(f"a{character}a"))) == 3, hex(ord(character))


HOSTILE = {
    "one word": "a",
    "spaces": " ",
    "lines": "\n",
    "zeros": "\0",
    "Chinese": "\u4e2d\u6587",
    "Cyrillic": "\u044f",
    "Thai": "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "accents": "e\u0301",
    "emoji": "\U0001f600",
    "full stops": ".",
    "no-break spaces": "\xa0",
    "private": "\ue000",
    "lone surrogates": "\ud800",
    "words": "the quick fox ",
}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", HOSTILE)
def test_of_any_long_text_bert_tokenizes_little(name: str, side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    repaired = Tokenizer.encode

    class Counting:
        """The tokenizer, and how many characters it was given."""

        def __init__(self, tokenizer: Tokenizer) -> None:
            self.tokenizer = tokenizer

        def __getattr__(self, attribute: str) -> object:
            return getattr(self.tokenizer, attribute)

        def encode(self, text: str) -> object:
            given.append(len(text))
            return repaired(self.tokenizer, text)

    text = HOSTILE[name] * (1_000_000 // len(HOSTILE[name]))
    tokenizer = bert()
    encoder = TextEncoder(Counting(tokenizer), max_length=LONGEST, pad_token_id=0, side=side)  # type: ignore[arg-type]
    (tokens,) = encoder.encode([text])
    assert sum(given) < 5_000
    assert tokens == whole(tokenizer, HOSTILE[name] * (20_000 // len(HOSTILE[name])))


MEMORY = """
import json, sys
from sentopt.runtime.tokenization import TextEncoder
source = {"tokenizer.json": open(sys.argv[1], "rb").read()}
encoder = TextEncoder.load(source, max_length=128, pad_token_id=0, side="right")
text = sys.argv[2] * (10_000_000 // len(sys.argv[2]))
encoder.encode(["a short one"])
def peak():
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here
before = peak()
(tokens,) = encoder.encode([text])
print(json.dumps([peak() - before, len(tokens.ids)]))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize(("text", "count"), [("the quick fox. ", 128), ("a", 3), (" \n", 2), ("\u044f\u0301", 3)])
def test_ten_megabytes_need_no_memory(tmp_path: Path, text: str, count: int) -> None:
    bert().save(str(tmp_path / "tokenizer.json"))
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "tokenizer.json"), text]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    more, found = json.loads(done.stdout)
    assert found == count
    assert more < 30
