"""Tokenization with the `tokenizers` library alone.

The tokenizer is the `tokenizer.json` saved by training. The bundle stage checks that its ids equal those of
transformers. Padding is done in numpy: the tokenizer object is never changed after loading, so threads can share it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from sentopt.errors import BundleError, InputError
from sentopt.runtime import arguments, pairs
from sentopt.runtime.description import (
    VOCABULARY_FILE,
    Side,
    Source,
    Text,
    display_path,
    read_file,
    read_settings,
    truncation_side,
)
from sentopt.runtime.names import printable
from sentopt.runtime.strict_json import shown
from sentopt.runtime.surrogates import repaired

if TYPE_CHECKING:
    from sentopt.runtime.cuts import Cuts

IntArray = npt.NDArray[np.int64]
Frame = tuple[tuple[int, ...], tuple[int, ...]]
_LONGEST_VOCABULARY = 256 * 2**20  # bytes
_TOKEN_CHARACTERS = 8  # more than a token has in most texts; of a longer text a part is tokenized first
_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")


@dataclass(frozen=True)
class Batch:
    """A padded batch, the input of a graph: each array is int64 of shape (texts, length of the longest text)."""

    input_ids: IntArray
    attention_mask: IntArray
    token_type_ids: IntArray

    @property
    def position_ids(self) -> IntArray:
        """Positions counted from the first real token, so that left padding does not shift them."""
        return np.asarray(np.maximum(self.attention_mask.cumsum(axis=1) - 1, 0), dtype=np.int64)


def check_inputs(names: Iterable[str]) -> None:
    """Refuse a graph with inputs that a `Batch` does not have.

    Raises:
        BundleError: unknown inputs; the message names all of them.
    """
    unknown = set(names) - set(_INPUTS)
    if unknown:
        raise BundleError(
            f"the model has inputs that no tokenizer provides: {', '.join(sorted(unknown))}; "
            f"expected some of {', '.join(_INPUTS)}"
        )


@dataclass(frozen=True)
class Tokens:
    """The token ids of one text, with special tokens, and whether the text was truncated."""

    ids: tuple[int, ...]
    type_ids: tuple[int, ...]
    truncated: bool


@dataclass(frozen=True)
class ReadPart:
    """What a model reads of a text: the characters `start` to `end` (exclusive), as `pieces` with `ids`.

    `unknown` are the parts of the text, in order, that the vocabulary has no piece for. `tokens` counts those of the
    model's input, special ones among them; `cut` says that there are more.
    """

    start: int
    end: int
    pieces: tuple[str, ...]
    ids: tuple[int, ...]
    unknown: tuple[str, ...]
    tokens: int
    cut: bool


class TextEncoder:
    """Encodes texts with truncation at `max_length` tokens; thread-safe.

    With `side="right"` a long text keeps its beginning, with "left" its end. With `pairs` it takes pairs of texts
    instead of texts; the longer of the two is truncated first, as "longest_first" of transformers does it.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, max_length: int, pad_token_id: int, side: Side = "right", pairs: bool = False
    ) -> None:
        max_length = arguments.whole_number("max_length", max_length)
        pad_token_id = arguments.whole_number("pad_token_id", pad_token_id, least=0)
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length, direction=side)
        self.max_length = max_length
        self.pad_token_id = pad_token_id
        self.side: Side = side
        self.pairs = pairs
        self._long = 2 * _TOKEN_CHARACTERS * max_length
        self._cuts: Cuts | None = None
        self._whole: Tokenizer | None = None
        self._unknown: int | None = None

    @classmethod
    def load(
        cls,
        source: Source,
        *,
        max_length: int,
        pad_token_id: int | None = None,
        side: Side | None = None,
        pairs: bool = False,
    ) -> TextEncoder:
        """Read `tokenizer.json`; `tokenizer_config.json` supplies the padding token and the side unless both are given.

        Raises:
            BundleError: a file is missing or cannot be parsed, the padding token is none of the vocabulary, or a text
                has no room beside the special tokens.
            InputError: `max_length` or `pad_token_id` is no such number.
        """
        max_length = arguments.whole_number("max_length", max_length)
        if pad_token_id is not None:
            pad_token_id = arguments.whole_number("pad_token_id", pad_token_id, least=0)
        path = display_path(source, VOCABULARY_FILE)
        with _in_words(f"cannot read the tokenizer {path}"):
            tokenizer = Tokenizer.from_buffer(read_file(source, VOCABULARY_FILE, longest=_LONGEST_VOCABULARY))
        if pad_token_id is None or side is None:
            settings = read_settings(source, "tokenizer_config.json")
            if pad_token_id is None:
                pad_token_id = _pad_token_id(source, settings, tokenizer)
            if side is None:
                side = truncation_side(settings.get("truncation_side", "right"))
        if tokenizer.id_to_token(pad_token_id) is None:
            raise BundleError(f"{path} has no token {pad_token_id}, which pads texts")
        special = tokenizer.num_special_tokens_to_add(is_pair=pairs)
        if special >= max_length:
            what = "pair" if pairs else "text"
            raise BundleError(f"{path} adds {special} special tokens to a {what}, and max_length is {max_length}")
        return cls(tokenizer, max_length=max_length, pad_token_id=pad_token_id, side=side, pairs=pairs)

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, with added tokens."""
        return int(self._tokenizer.get_vocab_size())

    @property
    def added_tokens(self) -> tuple[str, ...]:
        """Tokens that are matched in the raw text before normalization, such as "[SEP]", in the order of their ids."""
        return tuple(token.content for _, token in sorted(self._tokenizer.get_added_tokens_decoder().items()))

    def frame(self) -> Frame | None:
        """Ids that the tokenizer adds before and after every text; None if it does more than that."""
        return frame_of(self._tokenizer)

    def id_of(self, token: str) -> int | None:
        """The id of a token of the vocabulary; None if it has no such token."""
        number: int | None = self._tokenizer.token_to_id(token)
        return number

    def encode(self, texts: Sequence[Text], *, first: int = 0) -> list[Tokens]:
        """One `Tokens` per text, in order. A text without tokens is encoded as one padding token.

        Texts are encoded one by one. The batch call of tokenizers is no faster on few cores, and uses threads of its
        own: a forked process, which does not have them, would wait for them for ever.

        Args:
            texts: strings, or pairs of strings.
            first: number of the first text in errors.

        Raises:
            InputError: an element is not a `str`, or no pair of them where pairs are expected.
            BundleError: the tokenizer cannot encode a text.
        """
        if self.pairs:
            return [self._encode_pair(_checked_pair(text, first + i)) for i, text in enumerate(texts)]
        return [self._encode(_checked(text, first + i)) for i, text in enumerate(texts)]

    def read_parts(self, text: Text) -> tuple[ReadPart, ...]:
        """`read_part` of a text alone, or of both texts of a pair. `tokens` counts those of the pair in both.

        Raises:
            InputError: it is neither, or not what the model is given.
            BundleError: the tokenizer cannot encode it.
        """
        if not self.pairs:
            return (self.read_part(_checked(text, 0)),)
        pair = tuple(map(repaired, _checked_pair(text, 0)))
        parts = self.shortened((pair[0], pair[1]))
        with _in_words("the tokenizer failed"):
            encoding = self._tokenizer.encode(*parts)
        own = [[i for i, part in enumerate(encoding.sequence_ids) if part == number] for number in (0, 1)]
        cut = [bool(encoding.overflowing) and self._count(parts[i]) > len(own[i]) for i in (0, 1)]
        return tuple(self._read(pair[i], parts[i], encoding, own[i], cut=cut[i]) for i in (0, 1))

    def read_part(self, text: str) -> ReadPart:
        """What of a text is read, for people who want to see it; `encode` is what the model needs.

        Raises:
            InputError: it is not a `str`.
            BundleError: the tokenizer cannot encode it.
        """
        text = repaired(_checked(text, 0))
        part, encoding = next(
            (part, encoding)
            for part, complete in self._parts(text)
            if (encoding := self._encoding(part)).overflowing or complete
        )
        own = [i for i, special in enumerate(encoding.special_tokens_mask) if not special]
        return self._read(text, part, encoding, own, cut=bool(encoding.overflowing))

    def _read(self, text: str, part: str, encoding: Encoding, own: Sequence[int], *, cut: bool) -> ReadPart:
        """What is read of `text`: `own` are the positions of its tokens in the encoding of `part`, one end of it."""
        before = len(text) - len(part) if self.side == "left" else 0
        spans = [(before + encoding.offsets[i][0], before + encoding.offsets[i][1]) for i in own]
        unknown = self._unknown_id()
        if cut and not spans:
            start = end = len(text) if self.side == "left" else 0
        else:
            start = spans[0][0] if cut and self.side == "left" else 0
            end = spans[-1][1] if cut and self.side == "right" else len(text)
        return ReadPart(
            start=start,
            end=end,
            pieces=tuple(encoding.tokens[i] for i in own),
            ids=tuple(encoding.ids[i] for i in own),
            tokens=len(encoding.ids),
            cut=cut,
            unknown=tuple(text[a:b] for i, (a, b) in zip(own, spans, strict=True) if encoding.ids[i] == unknown),
        )

    def _encode(self, text: str) -> Tokens:
        for part, complete in self._parts(text):
            tokens = self._tokens(self._encoding(repaired(part)))
            if tokens.truncated or complete:
                return tokens
        raise AssertionError("the last part is complete")

    def shortened(self, pair: tuple[str, str]) -> tuple[str, str]:
        """The pair itself, or parts of long texts that are truncated to the same tokens."""
        if max(map(len, pair)) <= self._long:
            return pair
        room = self.max_length - int(self._tokenizer.num_special_tokens_to_add(is_pair=True))
        return pairs.shortened(pair, self._parts, self._count, room)

    def _encode_pair(self, pair: tuple[str, str]) -> Tokens:
        pair = self.shortened(pair)
        with _in_words("the tokenizer failed"):
            encoding = self._tokenizer.encode(repaired(pair[0]), repaired(pair[1]))
        return self._tokens(encoding)

    def _count(self, text: str) -> int:
        """Tokens of a text, without special ones."""
        if self._whole is None:  # one that does not truncate: thousands of parts of a long text would be kept
            whole = Tokenizer.from_str(self._tokenizer.to_str())
            whole.no_truncation()
            self._whole = whole
        with _in_words("the tokenizer failed"):
            return len(self._whole.encode(repaired(text), add_special_tokens=False).ids)

    def _parts(self, text: str) -> Iterator[tuple[str, bool]]:
        """The text; of a long one, growing parts from the end that is read, and whether each has all of its tokens."""
        if len(text) <= self._long:
            yield text, True
            return
        if self._cuts is None:
            from sentopt.runtime.cuts import Cuts  # few applications have such texts

            self._cuts = Cuts.of(self._tokenizer, self.side)
        for part in self._cuts.parts(text, self._long // 2):
            yield part.text, part.complete

    def _tokens(self, encoding: Encoding) -> Tokens:
        if not encoding.ids:
            return Tokens((self.pad_token_id,), (0,), False)
        return Tokens(tuple(encoding.ids), tuple(encoding.type_ids), bool(encoding.overflowing))

    def _unknown_id(self) -> int | None:
        """The id of what the vocabulary has no piece for; None where it has a piece for everything."""
        token = getattr(self._tokenizer.model, "unk_token", None)
        if token:
            return self.id_of(token)
        if self._unknown is None:  # Unigram's has no attribute for it, and its file is large
            self._unknown = json.loads(self._tokenizer.to_str())["model"].get("unk_id", -1)
        return self._unknown

    def _encoding(self, text: str) -> Encoding:
        with _in_words("the tokenizer failed"):
            return self._tokenizer.encode(text)

    def pad(self, tokens: Sequence[Tokens]) -> Batch:
        """Right-padded arrays, as wide as the longest of `tokens`."""
        return padded(tokens, self.pad_token_id)


def padded(tokens: Sequence[Tokens], pad_token_id: int) -> Batch:
    """Right-padded arrays, as wide as the longest of `tokens`."""
    if len(tokens) == 1:
        input_ids = np.array([tokens[0].ids], dtype=np.int64)
        return Batch(input_ids, np.ones_like(input_ids), np.array([tokens[0].type_ids], dtype=np.int64))
    shape = (len(tokens), max(len(t.ids) for t in tokens))
    input_ids = np.full(shape, pad_token_id, dtype=np.int64)
    attention_mask = np.zeros(shape, dtype=np.int64)
    token_type_ids = np.zeros(shape, dtype=np.int64)
    for row, t in enumerate(tokens):
        width = len(t.ids)
        input_ids[row, :width] = t.ids
        attention_mask[row, :width] = 1
        token_type_ids[row, :width] = t.type_ids
    return Batch(input_ids, attention_mask, token_type_ids)


def frame_of(tokenizer: Tokenizer) -> Frame | None:
    """Ids that the tokenizer adds before and after every text; None if it does more than that."""
    whole = tuple(tokenizer.encode("a").ids)
    text = tuple(tokenizer.encode("a", add_special_tokens=False).ids)
    starts = [i for i in range(len(whole)) if text and whole[i : i + len(text)] == text]
    return (whole[: starts[0]], whole[starts[0] + len(text) :]) if starts else None


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Failures of tokenizers as BundleError: bare Exceptions, and Rust's panics, which are no Exceptions."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise BundleError(f"{what}: {printable(error)}") from error


def _checked(text: Any, position: int) -> str:
    if not isinstance(text, str):
        raise InputError(f"text {position} is {type(text).__name__}, expected str: {text!r:.80}")
    return text


def _checked_pair(pair: Any, position: int) -> tuple[str, str]:
    if isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(text, str) for text in pair):
        return pair[0], pair[1]
    kind = f"{len(pair)} values" if isinstance(pair, tuple | list) else type(pair).__name__
    if isinstance(pair, tuple | list) and len(pair) == 2:
        kind = "a pair of " + " and ".join(type(text).__name__ for text in pair)
    raise InputError(f"text {position} is {kind}, expected a pair of texts, (str, str): {pair!r:.80}")


def _pad_token_id(source: Source, settings: dict[str, Any], tokenizer: Tokenizer) -> int:
    token = settings.get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    token_id = tokenizer.token_to_id(token) if isinstance(token, str) else None
    if token_id is None:
        path = display_path(source, "tokenizer_config.json")
        raise BundleError(f"{path}: expected pad_token to be a token of the vocabulary, found {shown(token)}")
    return int(token_id)
