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
* The tokens of all texts form one flat list; the padded matrix is gathered from it. The second texts of pairs follow
  all of the first ones in that list.

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
from sentopt.runtime.tokenization import frame_of

EXTENSIONS = "ai.onnx.contrib"
INPUT = "texts"
"""The input of a graph of single texts; a graph of pairs has two, with the names of the two texts."""
OUTPUTS = ("label_ids", "probabilities")
LABEL_SETS = "label_sets"
"""One output more of a multi-label graph."""
_OPSETS = {EXTENSIONS: 1, "ai.onnx.ml": 3, "com.microsoft": 1}
_BODY = "body."


@dataclass(frozen=True)
class Fixed:
    """Special tokens of every text, all of one type."""

    ids: tuple[int, ...]
    type_id: int = 0


@dataclass(frozen=True)
class Slot:
    """Where the tokens of a text stand among the special ones; `number` 1 is the second text of a pair."""

    number: int
    type_id: int = 0


Layout = tuple[Fixed | Slot, ...]
"""What a tokenizer makes of a text or of a pair, in order."""


@dataclass(frozen=True)
class WordPieces:
    """The properties of a tokenizer that the graph needs."""

    vocabulary: dict[str, int]
    unknown: str
    continuation: str
    longest_word: int
    special: dict[str, int]
    layout: Layout
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
        """Maximum number of tokens beside the special ones of every text."""
        return self.max_length - sum(len(part.ids) for part in self.layout if isinstance(part, Fixed))

    @property
    def pairs(self) -> bool:
        """Whether two texts are one input."""
        return sum(isinstance(part, Slot) for part in self.layout) == 2


def read(path: Path, *, max_length: int, pad_token_id: int, side: Side = "right", pairs: bool = False) -> WordPieces:
    """Read a `tokenizer.json`; with `pairs`, of a model that is given two texts.

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
    return WordPieces(
        vocabulary=model["vocab"],
        unknown=model["unk_token"],
        continuation=model["continuing_subword_prefix"],
        longest_word=model["max_input_chars_per_word"],
        special=_special_tokens(tokenizer),
        layout=_layout_of_pairs(tokenizer) if pairs else _layout(tokenizer),
        pad=pad_token_id,
        max_length=max_length,
        table=characters.read(tokenizer),
        side=side,
    )


def tokenizer_graph(
    facts: WordPieces, names: Sequence[str], *, opset: int, ir_version: int, inputs: Sequence[str] = (INPUT,)
) -> onnx.ModelProto:
    """A model from strings to the arrays `names` of a `Batch`, int64 (texts, tokens).

    Its `inputs` are `texts` (texts,), or two of that shape for pairs: what is at the same place of both is a pair. Zero
    texts are treated as one empty text.

    Raises:
        ExportError: the tokenizer drops too few characters to serve as internal marks, or an input has the name of a
            tensor of the graph.
    """
    writer = _Writer(facts, inputs)
    outputs = writer.write()
    _refuse_taken(inputs, writer)
    graph = helper.make_graph(
        writer.nodes,
        "tokenizer",
        [helper.make_tensor_value_info(name, TensorProto.STRING, ["texts"]) for name in inputs],
        [helper.make_tensor_value_info(outputs[name], TensorProto.INT64, ["texts", "tokens"]) for name in names],
        writer.constants,
        value_info=writer.known,
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **_OPSETS}.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="sentopt")


def _refuse_taken(inputs: Sequence[str], writer: _Writer) -> None:
    own = {name for node in writer.nodes for name in node.output} | {tensor.name for tensor in writer.constants}
    for name in inputs:
        if name in own or name in (*OUTPUTS, LABEL_SETS) or name.startswith(_BODY):
            raise ExportError(
                f"a graph with string input has a tensor {name!r} of its own, so neither text of a pair can have that "
                "name: give its column another one"
            )


def join(
    tokenizer: onnx.ModelProto, body: onnx.ModelProto, *, logits: str, thresholds: Sequence[float] = ()
) -> onnx.ModelProto:
    """One model from texts to `label_ids`, int64 (texts,), and `probabilities`, float32 (texts, labels).

    With the `thresholds` of a multi-label model, also to `label_sets`, boolean (texts, labels): which labels each text
    has. Its `label_ids` are the most probable labels.
    """
    fed = [(node.name, _BODY + node.name) for node in body.graph.input]
    texts = tokenizer.graph.input[0].name
    body = compose.add_prefix(body, prefix=_BODY)
    _name_what_branches_read(body.graph.node, {given for given, _ in fed})
    (width,) = [o.type.tensor_type.shape.dim[-1].dim_value for o in body.graph.output if o.name == _BODY + logits]
    joined = compose.merge_models(tokenizer, body, io_map=fed)
    first, count, limits = _BODY + "first", _BODY + "count", _BODY + "thresholds"
    labels, probabilities = (_BODY + name for name in OUTPUTS)
    if thresholds:
        found = [helper.make_node("Sigmoid", [_BODY + logits], [probabilities])]
        found.append(helper.make_node("GreaterOrEqual", [probabilities, limits], [_BODY + LABEL_SETS]))
        joined.graph.initializer.append(numpy_helper.from_array(np.array(thresholds, dtype=np.float32), limits))
    else:
        found = [helper.make_node("Softmax", [_BODY + logits], [probabilities], axis=-1)]
    names = (*OUTPUTS, LABEL_SETS) if thresholds else OUTPUTS
    joined.graph.initializer.append(numpy_helper.from_array(np.array([0], dtype=np.int64), first))
    joined.graph.node.extend(
        (
            *found,
            helper.make_node("ArgMax", [probabilities], [labels], axis=-1, keepdims=0),
            helper.make_node("Shape", [texts], [count]),
            # Zero texts give zero rows.
            *(helper.make_node("Slice", [_BODY + name, first, count], [name]) for name in names),
        )
    )
    rows = ["texts", width or "labels"]
    shapes = {OUTPUTS[0]: (TensorProto.INT64, rows[:1]), OUTPUTS[1]: (TensorProto.FLOAT, rows)}
    shapes[LABEL_SETS] = (TensorProto.BOOL, rows)
    del joined.graph.output[:]
    joined.graph.output.extend(helper.make_tensor_value_info(name, *shapes[name]) for name in names)
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


def _layout(tokenizer: Any) -> Layout:
    """The special tokens before and after every text."""
    whole, frame = tokenizer.encode("a"), frame_of(tokenizer)
    if frame is None or any(whole.type_ids):
        raise ExportError(
            "the tokenizer does more than add tokens before and after a text: its result for 'a' is "
            f"{whole.tokens} with type ids {whole.type_ids}"
        )
    return tuple(part for part in (Fixed(frame[0]), Slot(0), Fixed(frame[1])) if part != Fixed(()))


def _layout_of_pairs(tokenizer: Any) -> Layout:
    """The special tokens before, between and after the texts of every pair, and the types of all tokens."""
    whole = tokenizer.encode("a", "b")
    parts: list[Fixed | Slot] = []
    for number, token, kind in zip(whole.sequence_ids, whole.ids, whole.type_ids, strict=True):
        last = parts[-1] if parts else None
        if number is None and isinstance(last, Fixed) and last.type_id == kind:
            parts[-1] = Fixed((*last.ids, token), kind)
        elif number is None:
            parts.append(Fixed((token,), kind))
        elif last != Slot(number, kind):
            parts.append(Slot(number, kind))
    if [part.number for part in parts if isinstance(part, Slot)] != [0, 1]:
        raise ExportError(
            "the tokenizer does more with a pair of texts than add tokens around them: its result for 'a' and 'b' is "
            f"{whole.tokens} with type ids {whole.type_ids}"
        )
    return tuple(parts)


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

    def __init__(self, facts: WordPieces, inputs: Sequence[str]) -> None:
        super().__init__()
        self.facts = facts
        self.inputs = inputs
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
        """All texts in one string, shape (1,), each after the begin character. NUL becomes the drop mark."""
        texts = self._texts()
        parts = self.add("Tokenizer", texts, contrib=True, mark=0, pad_value="", mincharnum=1, separators=["\\x00"])
        texts = self._extension("StringJoin", parts, self._strings(self.drop), self.integers(1))
        internal = _character_class((ord(c), ord(c)) for c in (self.begin, *self.stand_ins.values()))
        texts = self._replace(texts, internal, self.drop)
        texts = self.add("Concat", self._strings(""), texts, axis=0)
        return self._extension("StringJoin", texts, self._strings(self.begin), self.integers(0))

    def _texts(self) -> str:
        """The texts, the first ones of pairs before the second ones.

        Zero texts become one empty text: the bundle's graph may not support an empty batch.
        """
        shape = self.add("Shape", self.inputs[0])
        none = self.add("Cast", self.add("Equal", shape, self.integers(0)), to=TensorProto.INT64)
        filler = self.add("Slice", self._strings(""), self.integers(0), none)
        # Texts without their partners must be an error; elsewhere one text would be taken as the partner of all.
        others = [self.add("Reshape", name, shape, allowzero=1) for name in self.inputs[1:]]
        return self.add("Concat", *(part for name in (self.inputs[0], *others) for part in (name, filler)), axis=0)

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
        slots = self._extents(ids)
        ends = self._ends(slots)
        total = self.add("Max", ends[-1], self.integers(1))  # a text without any token is one pad
        columns = self._columns(total)
        count = self.add("Shape", ids)
        special = [token for part in self.facts.layout if isinstance(part, Fixed) for token in part.ids]
        tokens = self.constant(np.array([*special, self.facts.pad], dtype=np.int64))
        mask = self.add("Cast", self.add("Less", columns, total), to=TensorProto.INT64)
        rank = self.add("Sub", self.add("CumSum", mask, self.constant(np.array(1, dtype=np.int64))), self.integers(1))
        at = self._places(columns, ends, slots, count, self.add("Add", count, self.integers(len(special))))
        return {
            "input_ids": self.add("Gather", self.add("Concat", ids, tokens, axis=0), at, name="input_ids"),
            "attention_mask": self.add("Identity", mask, name="attention_mask"),
            "token_type_ids": self._types(columns, ends, mask),
            "position_ids": self.add("Max", rank, self.integers(0), name="position_ids"),
        }

    def _ends(self, slots: Sequence[tuple[str, str]]) -> list[str]:
        """The column behind each part of the layout: (texts, 1), or (1,) before the first text."""
        ends: list[str] = []
        for part in self.facts.layout:
            width = self.integers(len(part.ids)) if isinstance(part, Fixed) else slots[part.number][1]
            ends.append(self.add("Add", ends[-1], width) if ends else width)
        return ends

    def _places(
        self, columns: str, ends: Sequence[str], slots: Sequence[tuple[str, str]], count: str, padding: str
    ) -> str:
        """Where each column of each text is gathered from: (texts, columns)."""
        at, done = padding, sum(len(part.ids) for part in self.facts.layout if isinstance(part, Fixed))
        for i, part in reversed(list(enumerate(self.facts.layout))):
            if isinstance(part, Fixed):
                done -= len(part.ids)
                start = self.add("Add", count, self.integers(done))
            else:
                start = slots[part.number][0]
            inside = self.add("Sub", columns, ends[i - 1]) if i else columns
            at = self._where(self.add("Less", columns, ends[i]), self.add("Add", inside, start), at)
        return at

    def _types(self, columns: str, ends: Sequence[str], mask: str) -> str:
        """The type of each token; that of padding is 0."""
        layout = self.facts.layout
        types = self.integers(layout[-1].type_id)
        for i in reversed(range(len(layout) - 1)):
            if layout[i].type_id != layout[i + 1].type_id:
                types = self._where(self.add("Less", columns, ends[i]), self.integers(layout[i].type_id), types)
        return self.add("Mul", mask, types, name="token_type_ids")

    def _extents(self, ids: str) -> list[tuple[str, str]]:
        """Of the texts, or the first and the second ones: where each starts in the flat list, and how many of its
        tokens fit, both (texts, 1).

        With truncation on the left, the start moves by the number of tokens that do not fit.
        """
        marks = self.add("NonZero", self.add("Equal", ids, self.integers(self.begin_id)))
        marks = self.add("Reshape", marks, self.integers(-1))
        later = self.add("Slice", marks, self.integers(1), self.integers(np.iinfo(np.int64).max))
        ends = self.add("Concat", later, self.add("Shape", ids), axis=0)
        begins = self.add("Add", marks, self.integers(1))
        lengths = self.add("Sub", ends, begins)
        if self.facts.pairs:
            halves = self.integers(2, -1)
            begins, lengths = (self.add("Reshape", each, halves) for each in (begins, lengths))
            kept = self._longest_first(lengths)
        else:
            kept = self.add("Min", lengths, self.integers(self.facts.room))
        if self.facts.side == "left":
            begins = self.add("Add", begins, self.add("Sub", lengths, kept))
        column = self.integers(-1, 1)
        if not self.facts.pairs:
            return [(self.add("Reshape", begins, column), self.add("Reshape", kept, column))]
        first, second = (
            [self.add("Reshape", self.add("Gather", each, self.integers(i)), column) for each in (begins, kept)]
            for i in (0, 1)
        )
        return [(first[0], first[1]), (second[0], second[1])]

    def _longest_first(self, lengths: str) -> str:
        """How many tokens of each text of pairs are kept, both of shape (2, pairs); see `sentopt.runtime.pairs`."""
        shorter = self.add(
            "Min", self.add("ReduceMin", lengths, axes=[0], keepdims=1), self.integers(self.facts.room // 2)
        )
        room = self.add("Sub", self.integers(self.facts.room), shorter)
        first, second = self.add_many("Split", lengths, self.integers(1, 1), outputs=2, axis=0)
        first_is_longer = self.add("Greater", first, second)
        longer = self.add("Concat", first_is_longer, self.add("Not", first_is_longer), axis=0)
        return self.add("Min", lengths, self._where(longer, room, shorter))

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
