"""What a model reads of a text, for people who want to see it."""

from pathlib import Path

import pytest

from sentopt.errors import InputError
from sentopt.runtime.tokenization import TextEncoder


@pytest.fixture(scope="module")
def encoder(backbone: Path) -> TextEncoder:
    return TextEncoder.load(backbone, max_length=8)


def test_all_of_a_short_text_is_read(encoder: TextEncoder) -> None:
    read = encoder.read_part("great day")
    assert (read.start, read.end) == (0, 9)
    assert not read.unknown
    assert "".join(read.pieces).replace("##", "") == "greatday"


@pytest.mark.parametrize("words", [8, 40, 5_000])
@pytest.mark.parametrize("side", ["left", "right"])
def test_the_end_that_is_read_has_the_tokens_of_the_model(backbone: Path, side: str, words: int) -> None:
    encoder = TextEncoder.load(backbone, max_length=8, side=side)  # type: ignore[arg-type]
    text = " ".join(["great", "day"] * (words // 2))
    read = encoder.read_part(text)
    inner = encoder.encode([text])[0].ids[1:-1]
    assert tuple(encoder.id_of(piece) for piece in read.pieces) == inner
    seen = text[read.start : read.end]
    assert encoder.encode([seen])[0].ids[1:-1] == inner
    assert text.startswith(seen) if side == "right" else text.endswith(seen)


def test_what_the_vocabulary_does_not_know_is_named(encoder: TextEncoder) -> None:
    read = encoder.read_part("great \U0001f600 day")
    assert read.unknown == ("\U0001f600",)


def test_only_texts_are_read(encoder: TextEncoder) -> None:
    with pytest.raises(InputError, match="expected str"):
        encoder.read_part(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("first", "second"), [(2, 2), (40, 2), (2, 40), (30, 40), (40, 5_000), (0, 40)])
def test_of_a_pair_the_tokens_of_the_model_are_read(backbone: Path, side: str, first: int, second: int) -> None:
    encoder = TextEncoder.load(backbone, max_length=12, side=side, pairs=True)  # type: ignore[arg-type]
    pair = " ".join(["great", "day"] * (first // 2)), " ".join(["terrible", "day"] * (second // 2))
    reads = encoder.read_parts(pair)
    (tokens,) = encoder.encode([pair])
    own = [i for i, number in enumerate(tokens.ids) if encoder.id_of("[CLS]") != number != encoder.id_of("[SEP]")]
    assert [number for read in reads for number in read.ids] == [tokens.ids[i] for i in own]
    assert {read.tokens for read in reads} == {len(tokens.ids)}
    assert any(read.cut for read in reads) == tokens.truncated
    for text, read in zip(pair, reads, strict=True):
        seen = text[read.start : read.end]
        assert read.cut == (seen != text)
        assert text.startswith(seen) if side == "right" else text.endswith(seen)
        assert len(seen.split()) == len(read.pieces) or not read.cut


def test_one_text_alone_is_read_as_before(encoder: TextEncoder) -> None:
    assert encoder.read_parts("great \U0001f600 day") == (encoder.read_part("great \U0001f600 day"),)
    with pytest.raises(InputError, match="expected str"):
        encoder.read_parts(("great", "day"))
