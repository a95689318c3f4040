"""Where a long text can be cut before it is tokenized, so that the tokens that are kept stay the same.

A model reads the first (or last) tokens of a text. Tokenizing ten million characters for the first 128 tokens takes
seconds and a gigabyte. A part of the text is enough if two things hold. Its tokens are the first (or last) tokens of
the whole text, and there are more of them than the model reads. The second is seen from the part's own tokens. The
first is a property of the tokenizer:

- The normalizer must be local: no character on one side of the cut changes what becomes of the other side.
- The pre-tokenizer must split at the cut whatever follows, because models see one piece at a time.
- No added token may reach across the cut. They are matched in the raw text, or in the normalized one.

`Cuts.of` knows the usual components. A tokenizer with another one is given whole texts.

Characters are judged by Unicode 3.2, on whose characters the tables of Python and of tokenizers agree.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from unicodedata import ucd_3_2_0

from tokenizers import Tokenizer

from sentopt.runtime.description import Side

_FARTHEST = 20_000  # characters that are searched for a cut
_LARGEST_STEP = 1 << 20
_SPACES = " \t\n\r"
_SENTENCE_ENDS = "。，、！？；：,.;:!?"
_LOCAL = {"NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Nmt", "Precompiled", "BertNormalizer"}

# Classes of characters for regular expressions. A test compares them with what the installed tokenizers does.
WORD = (
    "A-Za-z0-9\u00c0-\u02ff\u0388-\u0482\u048a-\u0559\u0560-\u0588\u05d0-\u05f2\u0620-\u064a\u0671-\u06d3\u0904-\u0939"
    "\u0985-\u09bb\u0a05-\u0a3b\u0a85-\u0abb\u0b05-\u0b3b\u0b83-\u0bbf\u0c05-\u0c3d\u0c85-\u0cbb\u0d05-\u0d40\u0d85-\u0dc9"
    "\u0e01-\u0e30\u0e81-\u0eb0\u1000-\u102c\u10a0-\u10fa\u10fc-\u135c\u1401-\u166c\u1780-\u17b3\u1e00-\u1fee\u2190-\u225f"
    "\u232b-\u2767\u3041-\u3094\u30a1-\u30fa\u30fc-\u33ff\ua000-\ua4fd\uac00-\ud7a3\uff21-\uff3a\uff41-\uff5a\uff66-\uff9d"
    "\U0001f000-\U0001faff"
)
"""Each is at least one character of a word to BERT: never removed, and never a word by itself."""
REMOVED = "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ue000-\uf8ff\ufeff\ufffd"
"""Control, format and private characters, which BERT's `clean_text` removes."""
MARKS = "\u0300-\u034e\u0360-\u0362\u064b-\u0652\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u3099\u309a\ufe00-\ufe0f"
"""Combining marks, which `strip_accents` removes."""
SPACES = _SPACES + "\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""Between words to BERT."""
CHINESE = "\u3400-\u4dbf\u4e00-\u9fff"
"""Words by themselves to BERT, if `handle_chinese_chars` is set."""
_LONE = re.compile("(?<=[\ud800-\udbff])[\ud800-\udbff]+(?=[\ud800-\udbff])|(?<=[\udc00-\udfff]{2})[\udc00-\udfff]+")

Check = Callable[[str, int], bool]


@dataclass(frozen=True)
class Part:
    """A part of a text. `complete`: it has exactly the tokens of the whole text, even if they are few."""

    text: str
    complete: bool


@dataclass(frozen=True)
class Cuts:
    """Safe cuts of one tokenizer. `is_cut` says whether a text may be cut before a position; None: nowhere."""

    side: Side
    is_cut: Check | None = None
    condense: Callable[[str], str] = field(default=lambda text: text)

    @classmethod
    def of(cls, tokenizer: Tokenizer, side: Side) -> Cuts:
        """The cuts of a tokenizer whose texts are truncated on `side`; none if a component is not known."""
        try:
            parts = _Components.of(tokenizer)
        except Exception:  # a component in Python cannot be described
            return cls(side)
        if not parts.are_known(side):
            return cls(side)
        if parts.are_of_bert():
            return cls(side, _Bert(parts).is_cut, _Bert(parts).condense)
        return cls(side, _Split(parts, side).is_cut)

    def parts(self, text: str, size: int) -> Iterator[Part]:
        """Growing parts of `text` from its kept end, the first of about `size` characters.

        The tokens of each part are the first (or last) tokens of the whole text. The last part is complete.
        """
        if self.is_cut is None:
            yield Part(text, True)
            return
        right, taken, kept, seen = self.side == "right", 0, "", 0
        while taken < len(text):
            step = min(size, len(text) - taken)
            more = text[taken : taken + step] if right else text[len(text) - taken - step : len(text) - taken]
            kept = self.condense(kept + more if right else more + kept)
            taken += step
            size = min(2 * size, _LARGEST_STEP)
            if taken < len(text) and len(kept) > 2 * seen and (cut := self._cut(kept)):
                seen = len(kept)
                yield Part(kept[:cut] if right else kept[cut:], False)
        yield Part(kept, True)

    def _cut(self, text: str) -> int:
        """The safe position that is nearest to the end that was cut off; 0 if there is none."""
        last = len(text) - 1
        near = min(last, _FARTHEST)
        positions = range(last, last - near, -1) if self.side == "right" else range(1, near + 1)
        return next((at for at in positions if self.is_cut is not None and self.is_cut(text, at)), 0)


@dataclass(frozen=True)
class _Components:
    """The steps of a tokenizer as they describe themselves, and its added tokens."""

    normalizers: list[dict[str, Any]]
    splitters: list[dict[str, Any]]
    model: Any
    added: list[Any]
    normalize: Callable[[str], str]

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> _Components:
        normalizer = tokenizer.normalizer
        return cls(
            _steps(normalizer, "normalizers"),
            _steps(tokenizer.pre_tokenizer, "pretokenizers"),
            tokenizer.model,
            list(tokenizer.get_added_tokens_decoder().values()),
            normalizer.normalize_str if normalizer is not None else str,
        )

    def are_known(self, side: Side) -> bool:
        """Whether the cuts of `_Split` hold; `is_cut` has conditions of its own."""
        kind = type(self.model).__name__
        if kind not in ("WordPiece", "WordLevel", "Unigram", "BPE") or (kind == "BPE" and self.model.dropout):
            return False
        return (
            all(_is_local(step, side) for step in self.normalizers)
            and self.splitter() is not None
            and all(self._stays_on_one_side(token, side) for token in self.added)
        )

    def splitter(self) -> dict[str, Any] | None:
        """The step that splits at spaces, if it comes before any that changes characters."""
        for step in self.splitters:
            if step["type"] in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit"):
                return step
            if step["type"] == "ByteLevel" and step.get("use_regex", True):
                return step
            if step["type"] == "Metaspace" and step.get("split", True):
                return step
            if step["type"] != "Digits" and not _isolates_punctuation(step):
                return None
        return None

    def are_of_bert(self) -> bool:
        """BERT's three components, and added tokens that are matched in the raw text wherever they stand."""
        return (
            [step["type"] for step in self.normalizers] == ["BertNormalizer"]
            and [step["type"] for step in self.splitters] == ["BertPreTokenizer"]
            and type(self.model).__name__ == "WordPiece"
            and not any(
                token.normalized
                or token.single_word
                or re.fullmatch(f"[{WORD}{MARKS}{REMOVED}]*", token.content)
                or re.search(f"[{SPACES}]", token.content)
                for token in self.added
            )
        )

    def _stays_on_one_side(self, token: Any, side: Side) -> bool:
        """Whether an added token reaches across no space that follows a character."""
        for content in (token.content, self.normalize(token.content)):
            if re.search(r"\S\s", content) or (token.single_word and re.search(r"\s", content)):
                return False
        return not (side == "left" and token.rstrip)  # it takes the space that the rest would begin with


class _Split:
    """Cuts before a single space between two characters, where the pre-tokenizer splits; also at ends of clauses."""

    def __init__(self, parts: _Components, side: Side) -> None:
        self._normalize = parts.normalize
        splitter = parts.splitter() or {}
        bytes_of_words = splitter.get("type") == "ByteLevel"
        prefixed = side == "left" and bool(splitter.get("add_prefix_space")) and bytes_of_words
        keeps_others = splitter.get("type") != "Metaspace" and not prefixed
        self._spaces = {space for space in _SPACES if self._is_split(space, keeps_others)}
        self._ends = set()
        if bytes_of_words and not prefixed and all(step["type"] == "NFC" for step in parts.normalizers):
            self._ends = set(_SENTENCE_ENDS) - {character for token in parts.added for character in token.content}

    def is_cut(self, text: str, at: int) -> bool:
        """Whether the tokens of `text` are those of its two sides."""
        if text[at] in self._ends:
            return _is_word(text[at - 1])
        return (
            text[at] in self._spaces
            and at + 1 < len(text)
            and self._is_solid(text[at - 1])
            and self._is_solid(text[at + 1])
        )

    def _is_split(self, space: str, keeps_others: bool) -> bool:
        normal = self._normalize(f"x{space}y")
        return normal.endswith("x y") or (keeps_others and normal.endswith(f"x{space}y"))

    def _is_solid(self, character: str) -> bool:
        """Whether no normalizer removes the character or makes a space of it."""
        if not _is_word(character) and character not in string.punctuation:
            return False
        normal = self._normalize(character)
        return bool(normal) and not normal[0].isspace() and not normal[-1].isspace()


class _Bert:
    """Cuts before spaces, punctuation and Chinese characters, for BERT; long words and gaps are condensed."""

    def __init__(self, parts: _Components) -> None:
        (normalizer,) = parts.normalizers
        strips = normalizer["strip_accents"]
        strips = normalizer["lowercase"] if strips is None else strips
        self._cleans = bool(normalizer["clean_text"])
        removed = (REMOVED if self._cleans else "") + (MARKS if strips else "")
        chinese = CHINESE if normalizer["handle_chinese_chars"] else ""
        self._cut = re.compile(f"[{SPACES}{re.escape(string.punctuation)}{chinese}]")
        self._gap = re.compile(f"[{SPACES}{removed}]{{2,}}")
        self._space = re.compile(f"[{SPACES}]")
        self._added = [token.content for token in parts.added]
        self._reach = max(map(len, self._added), default=0)
        self._most = parts.model.max_input_chars_per_word + 1 + self._reach
        letter = f"[{WORD}][{MARKS}{REMOVED}]*+"  # what follows is removed, or belongs to the word
        self._word = self._long_word(f"[{WORD}{MARKS}{REMOVED}]", f"(?:{letter})")
        # Small classes are ten times as fast.
        self._ascii_gap = re.compile(f"[{_SPACES}]{{2,}}")
        self._ascii_word = self._long_word("[A-Za-z0-9]", "[A-Za-z0-9]")

    def _long_word(self, before: str, letter: str) -> re.Pattern[str]:
        return re.compile(f"(?<!{before})({letter}{{{self._most}}}){letter}{{{self._reach + 1},}}+")

    def is_cut(self, text: str, at: int) -> bool:
        """Whether the tokens of `text` are those of its two sides."""
        if not self._cut.match(text, at):
            return False
        return not any(token in text[max(0, at - len(token) + 1) : at + len(token) - 1] for token in self._added)

    def condense(self, text: str) -> str:
        """A text with the same tokens: gaps are one character, and a word too long for the model is just too long.

        Such a word is one unknown token. An added token may begin or end in it, so its ends are kept.
        """
        if self._cleans:  # lone surrogates are removed in the end; of a row of them two are enough, as one may pair
            text = _LONE.sub("", text)
        text = self._ascii_word.sub(self._shortened, self._ascii_gap.sub(" ", text))
        if text.isascii() and text.isprintable():
            return text
        text = self._gap.sub(self._one_of, text)
        return self._word.sub(self._shortened, text)

    def _one_of(self, gap: re.Match[str]) -> str:
        return " " if self._space.search(gap[0]) else gap[0][0]

    def _shortened(self, word: re.Match[str]) -> str:
        return word[1] + word[0][max(len(word[1]), len(word[0]) - self._reach) :]


def _steps(component: Any, of_sequence: str) -> list[dict[str, Any]]:
    """What a component says of itself; the members of a sequence one by one."""
    if component is None:
        return []
    return _flat(json.loads(component.__getstate__()), of_sequence)


def _flat(step: dict[str, Any], of_sequence: str) -> list[dict[str, Any]]:
    if step["type"] != "Sequence":
        return [step]
    return [one for member in step[of_sequence] for one in _flat(member, of_sequence)]


def _is_local(step: dict[str, Any], side: Side) -> bool:
    """Whether a normalizer treats the two sides of a space alike, with and without the other side."""
    kind = step["type"]
    if kind == "Strip":
        return side == "right" or not step["strip_left"]
    if kind == "Prepend":
        return side == "right"
    if kind == "Replace":
        pattern = step["pattern"]
        if "Regex" in pattern:
            return bool(pattern["Regex"] == " {2,}")  # a single space is left alone
        return not re.search(r"\s|^$", pattern["String"]) and not re.search(r"\s|▁|^$", step["content"])
    return kind in _LOCAL


def _isolates_punctuation(step: dict[str, Any]) -> bool:
    return step["type"] == "Punctuation" and step["behavior"] in ("Isolated", "Contiguous", "Removed")


def _is_word(character: str) -> bool:
    return ucd_3_2_0.category(character)[0] == "L" or ucd_3_2_0.category(character) == "Nd"
