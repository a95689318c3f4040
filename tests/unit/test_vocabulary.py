"""Trimming the vocabulary of a WordPiece or Unigram model: what stays, under which ids, and what that changes."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from sentopt.backends.opening import capabilities
from sentopt.graph import families, lean, vocabulary
from sentopt.graph.products import FloatProducts
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.tokenization import IntArray, TextEncoder
from sentopt.variants import runnable

TRAINING = ["the food was great", "terrible service, the soup was cold!"]


@dataclass(frozen=True)
class Trimmed:
    checkpoint: Path
    folder: Path
    kept: IntArray

    def encoder(self, folder: Path) -> TextEncoder:
        return TextEncoder.load(folder, max_length=48)

    def logits(self, text: str, *, trimmed: bool) -> FloatArray:
        folder = self.folder if trimmed else self.checkpoint
        architecture = families.read(self.checkpoint)
        graph = lean.write(vocabulary.trim(architecture, self.kept) if trimmed else architecture, FloatProducts())
        encoder = self.encoder(folder)
        return OnnxSession(graph.SerializeToString()).run(encoder.pad(encoder.encode([text])))


def words(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    return found


def trim(checkpoint: Path, folder: Path, *, common: int = 0) -> Trimmed:
    folder.mkdir()
    encoder = TextEncoder.load(checkpoint, max_length=48)
    used = {number for tokens in encoder.encode(TRAINING) for number in tokens.ids}
    kept = vocabulary.choose(checkpoint, used, common=common)
    vocabulary.write_files(checkpoint, kept, folder)
    return Trimmed(checkpoint, folder, kept)


@pytest.fixture(scope="module")
def trimmed(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Trimmed:
    return trim(backbone, tmp_path_factory.mktemp("trimmed") / "folder")


def gone(trimmed: Trimmed) -> list[str]:
    return sorted(words(trimmed.checkpoint).keys() - words(trimmed.folder).keys())


def test_special_tokens_characters_and_training_tokens_stay_under_consecutive_ids(trimmed: Trimmed) -> None:
    before, after = words(trimmed.checkpoint), words(trimmed.folder)
    assert sorted(after.values()) == list(range(len(trimmed.kept)))
    assert all(trimmed.kept[number] == before[token] for token, number in after.items())
    characters = {token for token in before if len(token.removeprefix("##")) == 1}
    assert {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "food", "great", "terrible", *characters} <= after.keys()
    assert len(gone(trimmed)) > 100


def test_the_first_pieces_of_the_vocabulary_stay_as_asked_for(trimmed: Trimmed, tmp_path: Path) -> None:
    order = sorted(gone(trimmed), key=words(trimmed.checkpoint).__getitem__)
    several = [token for token in words(trimmed.checkpoint) if len(token) > 1 and token[0] not in "[#"]
    more = trim(trimmed.checkpoint, tmp_path / "more", common=several.index(order[9]) + 1)
    assert set(order[:10]) <= words(more.folder).keys()
    assert words(more.folder).keys().isdisjoint(order[10:])
    everything = trim(trimmed.checkpoint, tmp_path / "everything", common=10_000)
    assert words(everything.folder) == words(trimmed.checkpoint)


def test_a_text_of_kept_tokens_has_the_same_tokens_and_the_same_logits(trimmed: Trimmed) -> None:
    text = "the soup was great! [MASK] xyz"
    before, after = (Tokenizer.from_file(str(f / "tokenizer.json")) for f in (trimmed.checkpoint, trimmed.folder))
    assert before.encode(text).tokens == after.encode(text).tokens
    assert before.encode(text).ids != after.encode(text).ids
    assert np.array_equal(trimmed.logits(text, trimmed=False), trimmed.logits(text, trimmed=True))


def test_a_removed_word_is_spelled_and_nothing_else_changes(trimmed: Trimmed) -> None:
    word = gone(trimmed)[0]
    after = Tokenizer.from_file(str(trimmed.folder / "tokenizer.json"))
    tokens = after.encode(f"the {word} was cold").tokens
    assert tokens[:2] == ["[CLS]", "the"]
    assert tokens[-3:] == ["was", "cold", "[SEP]"]
    spelled = tokens[2:-3]
    assert spelled != [word]
    assert "".join(piece.removeprefix("##") for piece in spelled) == word
    texts = [f"the {word} was cold", "great food", f"{word} {word}", "日本 \ud800"]
    changes = vocabulary.compare(trimmed.checkpoint, trimmed.folder, texts)
    assert (changes.texts, changes.changed_texts, changes.respelled, changes.lost) == (4, 2, 3, 0)
    assert changes.words == 4 + 2 + 2 + 3


def test_a_piece_whose_characters_are_no_pieces_stays(backbone: Path, tmp_path: Path) -> None:
    checkpoint = shutil.copytree(backbone, tmp_path / "checkpoint")
    document = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    document["model"]["vocab"]["über"] = len(document["model"]["vocab"])
    (checkpoint / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    assert "über" in words(trim(checkpoint, tmp_path / "folder").folder)


def test_transformers_reads_the_trimmed_files(trimmed: Trimmed) -> None:
    from transformers import AutoConfig, AutoTokenizer

    tokenizer, config = AutoTokenizer.from_pretrained(trimmed.folder), AutoConfig.from_pretrained(trimmed.folder)
    assert config.vocab_size == len(tokenizer) == len(trimmed.kept)
    encoder = trimmed.encoder(trimmed.folder)
    assert (tokenizer.pad_token_id, config.pad_token_id) == (encoder.pad_token_id, encoder.pad_token_id)
    texts = ["the soup was great", gone(trimmed)[0], "[MASK] it", ""]
    assert tokenizer(texts)["input_ids"] == [list(t.ids) for t in encoder.encode(texts)]


@pytest.mark.parametrize("post_processor", ["bert", "template"])
def test_tokens_around_a_text_are_renumbered_and_never_left_out(
    backbone: Path, tmp_path: Path, post_processor: str
) -> None:
    checkpoint = shutil.copytree(backbone, tmp_path / "checkpoint")
    document = json.loads((checkpoint / "tokenizer.json").read_text(encoding="utf-8"))
    # Both kinds, and ids behind tokens that will be gone; none is an added token, which would stay anyway.
    last = len(document["model"]["vocab"]) - 1
    (old,) = [token for token, number in document["model"]["vocab"].items() if number == last]
    document["post_processor"] = (
        {"type": "BertProcessing", "sep": [old, last], "cls": ["[CLS]", 2]}
        if post_processor == "bert"
        else {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": old, "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {old: {"id": old, "ids": [last], "tokens": [old]}},
        }
    )
    document["padding"] = {
        "strategy": "BatchLongest",
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "[PAD]",
    }
    (checkpoint / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    small = trim(checkpoint, tmp_path / "folder")
    encoding = Tokenizer.from_file(str(small.folder / "tokenizer.json")).encode("great food")
    assert encoding.ids[-1] == words(small.folder)[old] < last
    assert encoding.tokens[-1] == old


def unigram_checkpoint(folder: Path, *, byte_fallback: bool = False, pad_first: bool = True) -> Path:
    """A tiny XLM-R with a Unigram tokenizer as published: fairseq's special tokens first, `<mask>` last."""
    import tiny_models
    from csv_files import read_csv
    from tokenizers import models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    from sentopt.data.sources import SAMPLE_FOLDER

    first = ["<s>", "<pad>", "</s>", "<unk>"] if pad_first else ["<s>", "</s>", "<extra>", "<pad>", "<unk>"]
    trained = Tokenizer(models.Unigram())
    trained.normalizer = normalizers.NFKC()
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    rows = [row["text"].lower() for row in read_csv(SAMPLE_FOLDER / "validation.csv")]
    trainer = trainers.UnigramTrainer(vocab_size=500, special_tokens=first, unk_token="<unk>", show_progress=False)
    trained.train_from_iterator(rows, trainer)
    document = json.loads(trained.to_str())
    vocabulary = [*document["model"]["vocab"], ["<mask>", 0.0]]
    vocabulary += [[f"<0x{byte:02X}>", -50.0] for byte in range(256)] if byte_fallback else []
    tokenizer = Tokenizer(models.Unigram([(p, s) for p, s in vocabulary], first.index("<unk>"), byte_fallback))
    tokenizer.normalizer, tokenizer.pre_tokenizer = trained.normalizer, trained.pre_tokenizer
    pieces = [piece for piece, _ in vocabulary]
    ends = [("<s>", pieces.index("<s>")), ("</s>", pieces.index("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    named = {f"{name}_token": f"<{name}>" for name in ("pad", "unk", "mask")}
    padding = {"pad_token_id": pieces.index("<pad>")}
    tiny_models.save("xlm-roberta", folder, vocab_size=len(vocabulary), **padding)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named, bos_token="<s>", eos_token="</s>")
    wrapped.model_max_length = 64
    wrapped.save_pretrained(folder)
    return folder


def unigram_pieces(folder: Path) -> list[str]:
    document = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return [piece for piece, _ in document["model"]["vocab"]]


@pytest.mark.parametrize("byte_fallback", [False, True])
def test_a_unigram_vocabulary_is_trimmed_and_kept_texts_stay_the_same(tmp_path: Path, byte_fallback: bool) -> None:
    checkpoint = unigram_checkpoint(tmp_path / "checkpoint", byte_fallback=byte_fallback)
    assert vocabulary.unsupported_reason(checkpoint) is None
    small = trim(checkpoint, tmp_path / "small")
    before, after = unigram_pieces(checkpoint), unigram_pieces(small.folder)
    removed = set(before) - set(after)
    assert [before[number] for number in small.kept] == after
    assert len(removed) > 100
    assert min(len(piece) for piece in removed) > 1
    assert all(f"<0x{byte:02X}>" in after for byte in range(256)) or not byte_fallback
    old, new = (Tokenizer.from_file(str(folder / "tokenizer.json")) for folder in (checkpoint, small.folder))
    for text in (*TRAINING, "the soup was 日本 great ☕", "<mask> the soup"):
        assert old.encode(text).tokens == new.encode(text).tokens
        assert np.array_equal(small.logits(text, trimmed=False), small.logits(text, trimmed=True))
    word = max(removed, key=len)
    spelled = new.encode(word.removeprefix("▁")).tokens[1:-1]
    assert "".join(spelled).removeprefix("▁") == word.removeprefix("▁")
    changes = vocabulary.compare(checkpoint, small.folder, [word.removeprefix("▁"), *TRAINING])
    assert (changes.respelled, changes.changed_texts, changes.lost) == (1, 1, 0)


def test_what_is_unknown_costs_as_much_as_before(tmp_path: Path) -> None:
    """Its score is that of the least likely piece less ten: without that piece, some words would be split otherwise."""
    checkpoint = unigram_checkpoint(tmp_path / "checkpoint")
    small = trim(checkpoint, tmp_path / "small")
    lowest = [
        min(score for _, score in json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
        for folder in (checkpoint, small.folder)
    ]
    assert lowest[0] == lowest[1]


def test_positions_are_counted_from_the_new_id_of_padding(tmp_path: Path) -> None:
    checkpoint = unigram_checkpoint(tmp_path / "checkpoint", pad_first=False)
    small = trim(checkpoint, tmp_path / "small")
    assert families.read(checkpoint).embeddings.padding_id == 3
    kept = np.array([number for number in small.kept if number != 2])
    moved = vocabulary.trim(families.read(checkpoint), kept).embeddings
    whole = families.read(checkpoint).embeddings
    assert moved.padding_id == 2
    assert moved.rows is not None
    assert whole.rows is not None
    assert np.array_equal(moved.rows[moved.padding_id + 1], whole.rows[whole.padding_id + 1])


def test_byte_level_bpe_is_refused_with_words(tmp_path: Path) -> None:
    import tiny_models
    from tokenizers import ByteLevelBPETokenizer

    tiny_models.save("bert", tmp_path)
    ByteLevelBPETokenizer().save(str(tmp_path / "tokenizer.json"))
    assert "its tokenizer is BPE" in str(vocabulary.unsupported_reason(tmp_path))
    have = capabilities(tmp_path)
    assert "lean" in have
    assert [spec.name for spec in runnable(have, ("lean-int8-trimmed",))] == ["torch", "lean-fp32"]


def test_the_export_says_why_a_variant_that_was_asked_for_is_not_made(backbone: Path, tmp_path: Path) -> None:
    import tiny_models
    from tokenizers import ByteLevelBPETokenizer

    from sentopt import recipe
    from sentopt.stages import export

    tiny_models.save("bert", tmp_path)
    ByteLevelBPETokenizer().save(str(tmp_path / "tokenizer.json"))
    asked = recipe.load("quickstart", {"export.variants": ["lean-int8-trimmed"]})
    (notice,) = export.unsupported_notices(asked, tmp_path, "torch")
    assert notice.startswith("no lean-int8-trimmed for this model: its tokenizer is BPE")
    assert export.unsupported_notices(asked, backbone, "torch") == ()
    assert export.unsupported_notices(recipe.load("quickstart"), tmp_path, "torch") == ()


def test_what_cannot_be_read_is_refused_with_words(backbone: Path, tmp_path: Path) -> None:
    assert "no readable tokenizer.json" in str(vocabulary.unsupported_reason(tmp_path))
    (tmp_path / "tokenizer.json").write_text("[]")
    assert "no readable tokenizer.json" in str(vocabulary.unsupported_reason(tmp_path))
    document = json.loads((backbone / "tokenizer.json").read_text(encoding="utf-8"))
    (tmp_path / "tokenizer.json").write_text(json.dumps({**document, "post_processor": {"type": "Sequence"}}))
    assert "post-processor Sequence" in str(vocabulary.unsupported_reason(tmp_path))
    assert vocabulary.unsupported_reason(backbone) is None
