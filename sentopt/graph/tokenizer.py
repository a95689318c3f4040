"""A graph with string input: the tokenizer as operators of onnxruntime-extensions, in front of a bundle's graph.

WordPiece tokenizers (BERT's family) are supported. The extensions' complete tokenizers are not used, because their ids
differ from the reference. BertTokenizer keeps the pieces before an unknown piece, does not recognize special tokens in
a text, and lowercases and decomposes fewer characters. HfJsonTokenizer does not support WordPiece. This graph uses
simple operators instead: all texts are joined into one string, each character is looked up in a table built from the
reference (`characters.py`), and WordpieceTokenizer does the greedy search for pieces.

* The extensions' operators end a text at NUL. onnxruntime's own Tokenizer therefore splits at NUL first.
* Characters that the reference drops are free for internal use. One starts a text, one marks characters to drop, and
  one represents each special token. If a text contains such a character, it is replaced by the drop mark.
* WordpieceTokenizer also returns the pieces before an unknown piece. If the last token of a word is unknown, the other
  tokens of that word are removed.
* The tokens of all texts form one flat list; the padded matrix is gathered from it.

Texts must be valid UTF-8: onnxruntime does not accept the lone surrogates that `TextEncoder` replaces.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper
from tokenizers import Tokenizer

from sentopt.errors import ExportError
from sentopt.graph import characters
from sentopt.graph.characters import CharacterTable
from sentopt.graph.nodes import GraphWriter
from sentopt.runtime.description import Side
from sentopt.runtime.tokenization import Frame, frame_of

EXTENSIONS = "ai.onnx.contrib"
INPUT = "texts"
OUTPUTS = ("label_ids", "probabilities")
_OPSETS = {EXTENSIONS: 1, "ai.onnx.ml": 3, "com.microsoft": 1}
_BODY = "body."


@dataclass(frozen=True)
class WordPieces:
    """The properties of a tokenizer that the graph needs.

    `prefix` and `suffix` are the special tokens of every text.
    """

    vocabulary: dict[str, int]
    unknown: str
    continuation: str
    longest_word: int
    special: dict[str, int]
    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    pad: int
    max_length: int
    table: CharacterTable
    side: Side = "right"

    @property
    def unknown_id(self) -> int:
        """The id of the unknown token."""
        return self.vocabulary[self.unknown]

    @property
    def room(self) -> int:
        """Maximum number of tokens between prefix and suffix."""
        return self.max_length - len(self.prefix) - len(self.suffix)


def read(path: Path, *, max_length: int, pad_token_id: int, side: Side = "right") -> WordPieces:
    """Read a `tokenizer.json`.

    Raises:
        ExportError: it is not a WordPiece tokenizer, or uses a feature that the graph cannot reproduce.
    """
    model = json.loads(path.read_text(encoding="utf-8"))["model"]
    if model.get("type") != "WordPiece":
        raise ExportError(
            f"this model cannot have a graph with string input: its tokenizer is {model.get('type')}, expected "
            "WordPiece (BERT's family). The operators of onnxruntime-extensions reproduce no other tokenizer exactly"
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    prefix, suffix = _prefix_and_suffix(tokenizer)
    return WordPieces(
        vocabulary=model["vocab"],
        unknown=model["unk_token"],
        continuation=model["continuing_subword_prefix"],
        longest_word=model["max_input_chars_per_word"],
        special=_special_tokens(tokenizer),
        prefix=prefix,
        suffix=suffix,
        pad=pad_token_id,
        max_length=max_length,
        table=characters.read(tokenizer),
        side=side,
    )


def tokenizer_graph(facts: WordPieces, names: Sequence[str], *, opset: int, ir_version: int) -> onnx.ModelProto:
    """A model from string `texts` (texts,) to the arrays `names` of a `Batch`, int64 (texts, tokens).

    Zero texts are treated as one empty text.

    Raises:
        ExportError: the tokenizer drops too few characters to serve as internal marks.
    """
    writer = _Writer(facts)
    outputs = writer.write()
    graph = helper.make_graph(
        writer.nodes,
        "tokenizer",
        [helper.make_tensor_value_info(INPUT, TensorProto.STRING, ["texts"])],
        [helper.make_tensor_value_info(outputs[name], TensorProto.INT64, ["texts", "tokens"]) for name in names],
        writer.constants,
        value_info=writer.known,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **_OPSETS}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="sentopt")


def join(tokenizer: onnx.ModelProto, body: onnx.ModelProto, *, logits: str) -> onnx.ModelProto:
    """One model from texts to `label_ids`, int64 (texts,), and `probabilities`, float32 (texts, labels)."""
    fed = [(node.name, _BODY + node.name) for node in body.graph.input]
    body = compose.add_prefix(body, prefix=_BODY)
    _name_what_branches_read(body.graph.node, {given for given, _ in fed})
    (width,) = [o.type.tensor_type.shape.dim[-1].dim_value for o in body.graph.output if o.name == _BODY + logits]
    joined = compose.merge_models(tokenizer, body, io_map=fed)
    first, count = _BODY + "first", _BODY + "count"
    labels, probabilities = OUTPUTS
    joined.graph.initializer.append(numpy_helper.from_array(np.array([0], dtype=np.int64), first))
    joined.graph.node.extend(
        (
            helper.make_node("Softmax", [_BODY + logits], [_BODY + probabilities], axis=-1),
            helper.make_node("ArgMax", [_BODY + probabilities], [_BODY + labels], axis=-1, keepdims=0),
            helper.make_node("Shape", [INPUT], [count]),
            # Zero texts give zero rows.
            *(helper.make_node("Slice", [_BODY + name, first, count], [name]) for name in OUTPUTS),
        )
    )
    del joined.graph.output[:]
    joined.graph.output.extend(
        (
            helper.make_tensor_value_info(labels, TensorProto.INT64, ["texts"]),
            helper.make_tensor_value_info(probabilities, TensorProto.FLOAT, ["texts", width or "labels"]),
        )
    )
    return joined


def _name_what_branches_read(nodes: Iterable[onnx.NodeProto], given: Collection[str]) -> None:
    """Give the branches of `nodes` the new names of what they read from around them, which `compose` leaves as it was.

    The inputs of the body become tensors of the tokenizer, which has the names `given`.
    """
    branches = [attribute.g for node in nodes for attribute in node.attribute if attribute.type == attribute.GRAPH]
    for branch in branches:
        for node in branch.node:
            for i, name in enumerate(node.input):
                if name and not name.startswith(_BODY) and name not in given:
                    node.input[i] = _BODY + name
        _name_what_branches_read(branch.node, given)


def _prefix_and_suffix(tokenizer: Any) -> Frame:
    """Ids that the tokenizer adds before and after every text."""
    whole, frame = tokenizer.encode("a"), frame_of(tokenizer)
    if frame is None or any(whole.type_ids):
        raise ExportError(
            "the tokenizer does more than add tokens before and after a text: its result for 'a' is "
            f"{whole.tokens} with type ids {whole.type_ids}"
        )
    return frame


def _special_tokens(tokenizer: Any) -> dict[str, int]:
    """Tokens that are matched in the raw text before normalization, such as "[SEP]"."""
    added = tokenizer.get_added_tokens_decoder()
    for token in added.values():
        if token.normalized or token.single_word:
            raise ExportError(
                f"the tokenizer matches its token {token.content!r} in normalized text or as a whole word; "
                "a graph with string input matches tokens in the raw text only"
            )
    return {token.content: number for number, token in added.items()}


class _Writer(GraphWriter):
    """Writes the tokenizer's nodes. Every method returns the name of its output tensor."""

    def __init__(self, facts: WordPieces) -> None:
        super().__init__()
        self.facts = facts
        self.known: list[onnx.ValueInfoProto] = []  # types that shape inference cannot find by itself
        needed = 2 + len(facts.special)
        reserved = set("".join(facts.vocabulary)) | set("\0\t\n")  # used by pieces, and as separators by operators
        free = [c for c, into in facts.table.changed.items() if not into and c not in reserved]
        if len(free) < needed:
            raise ExportError(f"the tokenizer drops {len(free)} characters; the graph needs {needed} of them as marks")
        self.begin, self.drop = free[:2]
        self.stand_ins = dict(zip(facts.special, free[2:needed], strict=True))
        self.ids = {**facts.vocabulary, **{self.stand_ins[token]: number for token, number in facts.special.items()}}
        self.begin_id = 1 + max(self.ids.values())  # no token has it; -1 means "not found" in WordpieceTokenizer
        self.ids[self.begin] = self.begin_id

    @property
    def nodes(self) -> list[onnx.NodeProto]:
        return self._nodes

    @property
    def constants(self) -> list[onnx.TensorProto]:
        return list(self._constants.values())

    def write(self) -> dict[str, str]:
        """Names of the tensors, by the names of a `Batch`'s arrays."""
        words = self._words(self._normalized(self._joined()))
        return self._padded(self._tokens(words))

    # Texts and characters

    def _joined(self) -> str:
        """All texts in one string, shape (1,), each after the begin character. NUL becomes the drop mark.

        Zero texts become one empty text: the bundle's graph may not support an empty batch.
        """
        none = self.add("Cast", self.add("Equal", self.add("Shape", INPUT), self.integers(0)), to=TensorProto.INT64)
        texts = self.add("Concat", INPUT, self.add("Slice", self._strings(""), self.integers(0), none), axis=0)
        parts = self.add("Tokenizer", texts, contrib=True, mark=0, pad_value="", mincharnum=1, separators=["\\x00"])
        texts = self._extension("StringJoin", parts, self._strings(self.drop), self.integers(1))
        internal = _character_class((ord(c), ord(c)) for c in (self.begin, *self.stand_ins.values()))
        texts = self._replace(texts, internal, self.drop)
        texts = self.add("Concat", self._strings(""), texts, axis=0)
        return self._extension("StringJoin", texts, self._strings(self.begin), self.integers(0))

    def _normalized(self, text: str) -> str:
        """The text as words separated by spaces."""
        table = self.facts.table
        for token, stand_in in self.stand_ins.items():
            text = self._replace(text, "".join(f"\\x{{{ord(c):X}}}" for c in token), stand_in)
        if table.dropped:
            text = self._replace(text, _character_class(table.dropped), "")
        if table.alone:
            text = self._replace(text, f"({_character_class(table.alone)})", r" \1 ")
        replacements = {**table.changed, **{c: f" {c} " for c in (self.begin, *self.stand_ins.values())}}
        for separator in "\t\n":  # they separate the entries of a StringMapping
            if separator in replacements:
                text = self._replace(text, f"\\x{{{ord(separator):X}}}", replacements.pop(separator) or self.drop)
        entries = "\n".join(f"{c}\t{into or self.drop}" for c, into in replacements.items())
        single = self.add("Tokenizer", text, contrib=True, mark=0, pad_value="", mincharnum=1, separators=[""])
        single = self._extension("StringMapping", single, map=entries)
        text = self._extension("StringJoin", single, self._strings(""), self.integers(1))
        return self._replace(text, _character_class([(ord(self.drop), ord(self.drop))]), "")

    def _words(self, text: str) -> str:
        flags = self.constant(np.array([True]))
        return self._extensions("StringSplit", text, self._strings(" "), flags, outputs=3)[1]

    # Tokens

    def _tokens(self, words: str) -> str:
        """Token ids of all texts in one flat list."""
        f = self.facts
        tokens, _, begins, ends = self._extensions(
            "WordpieceTokenizer",
            words,
            self.integers(),
            outputs=4,
            vocab=json.dumps(self.ids, ensure_ascii=False),
            suffix_indicator=f.continuation,
            unknown_token=f.unknown,
            max_input_chars_per_word=f.longest_word,
        )
        # onnx's shape inference of LabelEncoder crashes the process where the type of its input is not known.
        self.known.append(helper.make_tensor_value_info(tokens, TensorProto.STRING, ["pieces"]))
        ids = self._node(
            "ai.onnx.ml",
            "LabelEncoder",
            tokens,
            keys_strings=list(self.ids),
            values_int64s=list(self.ids.values()),
            default_int64=f.unknown_id,
        )[0]
        return self._without_partial_words(ids, begins, ends)

    def _without_partial_words(self, ids: str, begins: str, ends: str) -> str:
        """The ids, with every word that ends in an unknown token reduced to that token. Rows of `begins` are words."""
        ones = self.add("Expand", self.integers(1), self.add("Shape", begins))
        zeros = self.add("Mul", ids, self.integers(0))
        word = self.add("CumSum", self.add("ScatterElements", zeros, begins, ones, axis=0), self._axis())
        word = self.add("Sub", word, self.integers(1))
        last = self.add("Sub", ends, self.integers(1))
        unknown = self.add("Equal", self.add("Gather", ids, last), self.integers(self.facts.unknown_id))
        is_last = self.add("Equal", self.add("Gather", last, word), self._count_up(self.add("Shape", ids)))
        spelled = self.add("Not", self.add("Gather", unknown, word))
        return self.add("Compress", ids, self.add("Or", spelled, is_last), axis=0)

    # The padded batch

    def _padded(self, ids: str) -> dict[str, str]:
        """Truncation, special tokens and padding: one Gather from the ids followed by the special tokens."""
        before, after = len(self.facts.prefix), len(self.facts.suffix)
        begins, lengths = self._extents(ids)
        end = self.add("Add", lengths, self.integers(before))
        total = self.add("Max", self.add("Add", end, self.integers(after)), self.integers(1))
        columns = self._columns(total)
        count = self.add("Shape", ids)
        special = self.constant(np.array([*self.facts.prefix, *self.facts.suffix, self.facts.pad], dtype=np.int64))
        beyond = self.add("Sub", columns, end)  # negative up to the text's last token, then 0, 1, ...
        suffix = self.add("Add", beyond, self.add("Add", count, self.integers(before)))
        padding = self.add("Add", count, self.integers(before + after))
        at = self._where(self.add("Less", beyond, self.integers(after)), suffix, padding)
        inside = self.add("Add", self.add("Add", columns, begins), self.integers(1 - before))
        at = self._where(self.add("Less", beyond, self.integers(0)), inside, at)
        prefix = self.add("Add", columns, count)
        at = self._where(self.add("Less", columns, self.integers(before)), prefix, at)
        mask = self.add("Cast", self.add("Less", columns, total), to=TensorProto.INT64)
        rank = self.add("Sub", self.add("CumSum", mask, self.constant(np.array(1, dtype=np.int64))), self.integers(1))
        return {
            "input_ids": self.add("Gather", self.add("Concat", ids, special, axis=0), at, name="input_ids"),
            "attention_mask": self.add("Identity", mask, name="attention_mask"),
            "token_type_ids": self.add("Mul", mask, self.integers(0), name="token_type_ids"),
            "position_ids": self.add("Max", rank, self.integers(0), name="position_ids"),
        }

    def _extents(self, ids: str) -> tuple[str, str]:
        """Start of each text in the flat list, and number of its tokens that fit: both (texts, 1).

        With truncation on the left, the start moves by the number of tokens that do not fit.
        """
        marks = self.add("NonZero", self.add("Equal", ids, self.integers(self.begin_id)))
        begins = self.add("Reshape", marks, self.integers(-1))
        later = self.add("Slice", begins, self.integers(1), self.integers(np.iinfo(np.int64).max))
        ends = self.add("Concat", later, self.add("Shape", ids), axis=0)
        lengths = self.add("Sub", self.add("Sub", ends, begins), self.integers(1))
        kept = self.add("Min", lengths, self.integers(self.facts.room))
        if self.facts.side == "left":
            begins = self.add("Add", begins, self.add("Sub", lengths, kept))
        column = self.integers(1)
        return self.add("Unsqueeze", begins, column), self.add("Unsqueeze", kept, column)

    def _columns(self, total: str) -> str:
        """0, 1, ..., longest text - 1: (columns,)."""
        flat = self.add("Reshape", total, self.integers(-1))
        return self._count_up(self.add("ReduceMax", self.add("Concat", flat, self.integers(1), axis=0), keepdims=1))

    def _count_up(self, stop: str) -> str:
        zero, one = (self.constant(np.array(n, dtype=np.int64)) for n in (0, 1))
        return self.add("Range", zero, self.add("Squeeze", stop), one)

    # Small parts

    def _axis(self) -> str:
        return self.constant(np.array(0, dtype=np.int64))

    def _where(self, condition: str, yes: str, no: str) -> str:
        return self.add("Where", condition, yes, no)

    def _strings(self, *values: str) -> str:
        return self.constant(np.array(values, dtype=object))

    def _replace(self, texts: str, pattern: str, by: str) -> str:
        return self._extension("StringRegexReplace", texts, self._strings(pattern), self._strings(by))

    def _extension(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self._extensions(operator, *inputs, outputs=1, **attributes)[0]

    def _extensions(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        return self._node(EXTENSIONS, operator, *inputs, outputs=outputs, **attributes)

    def _node(self, domain: str, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> list[str]:
        label = f"{operator}_{len(self._nodes)}"
        names = [f"{label}.{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(operator, list(inputs), names, name=label, domain=domain, **attributes))
        return names


def _character_class(runs: Any) -> str:
    """An RE2 character class."""
    return "[" + "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in runs) + "]"
