import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from sentopt.errors import ExportError
from sentopt.graph import characters


def tokenizer(normalizer: object, pre_tokenizer: object) -> Tokenizer:
    made = Tokenizer(models.WordPiece({"[UNK]": 0}, unk_token="[UNK]"))
    if normalizer:
        made.normalizer = normalizer
    if pre_tokenizer:
        made.pre_tokenizer = pre_tokenizer
    return made


def test_what_bert_does_to_characters() -> None:
    table = characters.read(tokenizer(normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()))
    known = {
        "É": "e",
        "İ": "i",
        "!": " ! ",
        "\u037e": " ; ",
        "\u0301": "",
        "\0": "",
        "\u00a0": " ",
        "각": "\u1100\u1161\u11a8",
    }
    assert {c: table.changed[c] for c in known} == known
    assert not {"e", "ß", "7", "中", "\ue000"} & table.changed.keys()
    assert any(first <= ord("中") <= last for first, last in table.alone)
    assert any(first <= 0xE000 <= last for first, last in table.dropped)


def test_a_cased_tokenizer_keeps_case_and_accents() -> None:
    cased = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    table = characters.read(tokenizer(cased, pre_tokenizers.BertPreTokenizer()))
    assert not {"É", "E", "\u0301"} & table.changed.keys()


def test_no_normalizer_drops_nothing() -> None:
    table = characters.read(tokenizer(None, pre_tokenizers.BertPreTokenizer()))
    assert not table.dropped
    assert "" not in table.changed.values()


@pytest.mark.parametrize(
    ("pre_tokenizer", "message"),
    [(None, "no pre-tokenizer"), (pre_tokenizers.Metaspace(), "expected one word")],
)
def test_other_ways_to_find_words_are_refused(pre_tokenizer: object, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        characters.read(tokenizer(None, pre_tokenizer))
