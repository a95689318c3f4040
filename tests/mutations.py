"""Mutations of a bundle's files, drawn by hypothesis: of bytes, of JSON values and of the messages of an ONNX file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import small_bundles
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]

DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
ODD_VALUES: tuple[object, ...] = (
    None,
    True,
    False,
    0,
    -1,
    -5,
    1,
    2**31,
    2**63,
    10**30,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "x" * 5000,
    "a\nRequires-Dist: evil",
    "\x1b[2J",
    "\u202e",
    "\ud800",
    "/etc/passwd",
    "../../outside",
    "../outside.bin",
    "=HYPERLINK(1)",
    [],
    {},
    [[]],
    DEEP,
)
ODD_INTEGERS = (0, 1, -1, 2, 3, 7, 16, 127, 2**15, 2**31 - 1, 2**31, -(2**31), 2**40, 2**63 - 1, -(2**63))
ODD_TEXTS = (
    "",
    "logits",
    "table",
    "input_ids",
    "nowhere",
    "/etc/passwd",
    "../outside.bin",
    "outside.bin",
    "a\x1b[2J\n",
)
LOCATIONS = (
    "/etc/passwd",
    "../outside.bin",
    "../../outside.bin",
    "outside.bin",
    "*/_ORT_MEM_ADDR_/*",
    "model.onnx",
    "",
)
OPERATORS = ("Identity", "Gather", "Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "EPContext", "Nothing")


@dataclass(frozen=True)
class Mutation:
    """A changed file of a bundle, in words; `listed` says whether the hashes were made to fit."""

    file: str
    words: str
    content: bytes
    listed: bool = True

    def apply(self, bundle: Path, target: Path) -> Path:
        """A copy of `bundle` with this file; large files that are not changed are linked, not copied."""
        shutil.copytree(bundle, target, copy_function=lambda source, to: Path(to).hardlink_to(source))
        (target / self.file).unlink()
        (target / self.file).write_bytes(self.content)
        if self.file == "sentopt.json" or not self.listed:
            return target
        document = target / "sentopt.json"
        facts = document.read_bytes()
        document.unlink()
        document.write_bytes(facts)
        return small_bundles.relist(target, self.file)


def files(bundle: Path) -> tuple[str, str, str]:
    """The files that are changed: the description, the tokenizer and the model."""
    return "sentopt.json", "tokenizer.json", str(json.loads((bundle / "sentopt.json").read_bytes())["model_file"])


@st.composite
def mutations(draw: Draw, bundle: Path, file: str) -> Mutation:
    """One change of one file: a quarter of them bytes, the rest structure; a tenth leave the hashes as they were."""
    content = _content(bundle / file)
    structured = _in_messages if file.endswith(".onnx") else _in_json
    change = draw(st.sampled_from((structured, structured, structured, _in_bytes)))
    changed, words = change(draw, content)
    listed = file == "sentopt.json" or draw(st.sampled_from((*[True] * 9, False)))
    return Mutation(file, words, changed, listed)


@cache
def _content(path: Path) -> bytes:
    return path.read_bytes()


def _in_bytes(draw: Draw, content: bytes) -> tuple[bytes, str]:
    position = draw(st.integers(0, max(0, len(content) - 1)))
    if draw(st.booleans()):  # weights are most of a model: change its structure as often
        position = min(position, draw(st.integers(0, 4096)))
    kind = draw(st.sampled_from(("flip", "cut", "drop", "repeat", "insert", "zero")))
    length = draw(st.integers(1, 64))
    before, some, after = content[:position], content[position : position + length], content[position + length :]
    changed = {
        "flip": before + bytes(byte ^ draw(st.integers(1, 255)) for byte in some[:3]) + some[3:] + after,
        "cut": before,
        "drop": before + after,
        "repeat": before + some + some + after,
        "insert": before + draw(st.binary(min_size=1, max_size=16)) + some + after,
        "zero": before + bytes(len(some)) + after,
    }[kind]
    return changed, f"{kind} {length} bytes at {position}"


def _in_json(draw: Draw, content: bytes) -> tuple[bytes, str]:
    document = json.loads(content)
    words = []
    for _ in range(draw(st.integers(1, 3))):
        holder, key = _place(draw, document)
        if holder is not None:
            words.append(_change_value(draw, holder, key))
    text = json.dumps(document)
    if draw(st.integers(0, 9)) == 0:
        key = json.dumps(draw(st.sampled_from(sorted(document))))
        text, words = text.replace(f"{key}: ", f"{key}: null, {key}: ", 1), [*words, f"{key} twice"]
    return text.encode(), "; ".join(words)


def _place(draw: Draw, document: object) -> tuple[Any, Any]:
    """A random position in a document: what holds it, and its key or index there."""
    holder: Any = None
    key: Any = None
    here: Any = document
    while isinstance(here, dict | list) and here and (holder is None or draw(st.integers(0, 4)) > 0):
        keys = list(here) if isinstance(here, dict) else range(len(here))
        holder, key = here, keys[draw(st.integers(0, len(keys) - 1))]
        here = here[key]
    return holder, key


def _change_value(draw: Draw, holder: Any, key: Any) -> str:
    value = holder[key]
    kind = draw(st.sampled_from(("replace", "replace", "remove", "repeat", "number", "text")))
    if kind == "remove":
        del holder[key]
    elif kind == "repeat" and isinstance(holder, list):
        holder.insert(key, value)
    elif kind == "number" and isinstance(value, int | float):
        holder[key] = draw(st.sampled_from((value + 1, value - 1, -value, value * 1000, float(value), str(value))))
    elif kind == "text" and isinstance(value, str):
        other = draw(st.sampled_from(("\n", "\x1b[2J", "\0", "x" * 5000, "\ud800", "", "/../..", '"', "`", "|")))
        holder[key] = draw(st.sampled_from((value + other, other + value, other)))
    else:
        holder[key] = deepcopy(draw(st.sampled_from(ODD_VALUES)))  # a later change may reach into it
    return f"{kind} {str(key)[:40]!r}"


def _in_messages(draw: Draw, content: bytes) -> tuple[bytes, str]:
    model = onnx.ModelProto.FromString(content)
    words = [_change_message(draw, model) for _ in range(draw(st.integers(1, 3)))]
    return model.SerializeToString(), "; ".join(words)


def _change_message(draw: Draw, model: onnx.ModelProto) -> str:
    kinds = ["field", "field", "field", "metadata"]
    kinds += ["operator", "loop"] if model.graph.node else []
    kinds += ["external"] if model.graph.initializer else []
    kind = draw(st.sampled_from(kinds))
    if kind == "external":
        return _make_external(draw, model)
    if kind == "operator":
        node = model.graph.node[draw(st.integers(0, len(model.graph.node) - 1))]
        node.op_type = draw(st.sampled_from(OPERATORS))
        return f"operator {node.op_type}"
    if kind == "metadata":
        model.metadata_props.add(key=draw(st.sampled_from(("ort_config", "a\x1b[2J"))), value="{}")
        return "metadata"
    if kind == "loop":
        nodes = model.graph.node
        first, second = (draw(st.integers(0, len(nodes) - 1)) for _ in range(2))
        if nodes[first].input and nodes[second].output:
            nodes[first].input[0] = nodes[second].output[0]
        return f"node {first} takes what {second} gives"
    return _change_field(draw, model)


def _make_external(draw: Draw, model: onnx.ModelProto) -> str:
    tensors = model.graph.initializer
    tensor = tensors[draw(st.integers(0, len(tensors) - 1))]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    location = draw(st.sampled_from(LOCATIONS))
    tensor.external_data.add(key="location", value=location)
    if draw(st.booleans()):
        tensor.external_data.add(key="offset", value=str(draw(st.sampled_from(ODD_INTEGERS))))
    if draw(st.booleans()):
        tensor.ClearField("raw_data")
    return f"values in {location!r}"


def _change_field(draw: Draw, message: Message) -> str:
    """Walk from message to message, and change a field of the last."""
    path = ""
    while True:
        fields = message.ListFields()
        if not fields:
            return f"{path}: nothing to change"
        field, value = fields[draw(st.integers(0, len(fields) - 1))]
        path += f".{field.name}"
        if field.message_type is None or draw(st.integers(0, 5)) == 0:
            break
        message = value[draw(st.integers(0, len(value) - 1))] if field.is_repeated else value
    if field.is_repeated and draw(st.booleans()):
        return path + _change_list(draw, message, field, value)
    if field.message_type is not None:
        message.ClearField(field.name)
        return f"{path} cleared"
    changed = _other(draw, field, value[0] if field.is_repeated else value)
    if field.is_repeated:
        value[draw(st.integers(0, len(value) - 1))] = changed
    else:
        setattr(message, field.name, changed)
    return f"{path} = {changed!r:.30}"


def _change_list(draw: Draw, message: Message, field: FieldDescriptor, values: Any) -> str:
    position = draw(st.integers(0, len(values) - 1))
    kind = draw(st.sampled_from(("remove", "repeat", "clear")))
    if kind == "remove":
        del values[position]
    elif kind == "clear":
        message.ClearField(field.name)
    elif field.message_type is not None:
        values.add().CopyFrom(values[position])
    else:
        values.append(values[position])
    return f" {kind} {position}"


def _other(draw: Draw, field: FieldDescriptor, value: Any) -> Any:
    if field.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return draw(st.sampled_from((0.0, -1.0, 1e30, float("nan"), float("inf"), -value)))
    if field.type == FieldDescriptor.TYPE_STRING:
        return draw(st.sampled_from((*ODD_TEXTS, value + "x", value[:-1])))
    if field.type == FieldDescriptor.TYPE_BYTES:
        kept = value[: draw(st.integers(0, len(value)))]
        return draw(st.sampled_from((kept, value + kept[:64], b"", b"/etc/passwd")))
    if field.type == FieldDescriptor.TYPE_ENUM:
        return draw(st.sampled_from([value.number for value in field.enum_type.values]))
    if field.type == FieldDescriptor.TYPE_INT32:
        return draw(st.sampled_from([number for number in ODD_INTEGERS if abs(number) < 2**31]))
    if field.type == FieldDescriptor.TYPE_UINT64:
        return abs(draw(st.sampled_from(ODD_INTEGERS)))
    return draw(st.sampled_from((*ODD_INTEGERS, value + 1, value - 1))) if abs(value) < 2**62 else 0
