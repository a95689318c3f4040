"""What an ONNX file refers to besides itself, read from its structure before an engine opens it.

An ONNX file can make an engine read other files: a tensor may keep its values elsewhere ("external data"), an operator
may name a compiled model, metadata may hold options of the session. The hashes cover what a bundle lists, so all that a
model refers to must be listed.

The file is a protocol buffer (protobuf.dev, "Encoding"; its messages are those of onnx.proto). The reader goes from
field to field and skips weights by their length. It copies nothing, needs no `onnx`, and stops at limits, so that its
work is bounded however the file was made.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path, PurePosixPath

from sentopt.errors import BundleError
from sentopt.runtime.names import fault_of_path
from sentopt.runtime.strict_json import shown

Content = bytes | mmap.mmap

READ: Mapping[str, Mapping[int, str]] = {
    "ModelProto": {
        7: "GraphProto",
        14: "entry",  # of metadata_props
        20: "TrainingInfoProto",
        25: "FunctionProto",
    },
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {4: "op_type", 5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "TensorProto": {13: "entry"},  # of external_data
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
}
"""The fields of onnx.proto that are read: the number of each, and the message, the entry or the text that it holds."""

_MOST_FIELDS = 2_000_000  # a graph with a vocabulary of 250,000 words has 500,000; one second in Python
_MOST_MESSAGES = 200_000  # nodes, attributes and tensors
_DEEPEST = 100  # messages in messages, as in protobuf's own parsers
_VARINT, _LENGTH = 0, 2
_WIDTHS = {1: 8, 5: 4}  # bytes of the kinds with a fixed width
_LONGEST_VARINT = 10
_LOWEST_TAG, _HIGHEST_TAG = 8, 2**32 - 1  # parsers in C++ drop what is above, and would find another field
_LONGEST_ENTRY = 4096


def check_references(model: Path | bytes, name: str, listed: Mapping[str, int]) -> None:
    """Refuse a model that refers to files which are not listed.

    Args:
        model: path of an ONNX file, or its content.
        name: its name in the bundle; what it refers to is named relative to the folder of that.
        listed: size in bytes of each file that it may refer to. They must be hash-verified before this call.

    Raises:
        BundleError: it refers to another file, or is no ONNX file.
    """
    if not name.endswith(".onnx"):
        raise BundleError(f"the model file {shown(name)} is no .onnx file; engines choose their reader by that ending")
    try:
        if isinstance(model, bytes):
            _check(model, name, listed)
            return
        with model.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            _check(content, name, listed)
    except (ValueError, IndexError) as error:
        reason = "it ends inside a field" if isinstance(error, IndexError) else error
        raise BundleError(f"{model if isinstance(model, Path) else name} is no ONNX file: {reason}") from error


def _check(content: Content, name: str, listed: Mapping[str, int]) -> None:
    if content[4:8] == b"ORTM":  # onnxruntime takes content with this mark for its own format, which is not read here
        raise BundleError(f"{name} is in onnxruntime's own format, not ONNX; export it again")
    for message, found in _findings(content):
        if message == "TensorProto":
            _check_external(found, name, listed)
        elif message == "ModelProto" and "ort_config" in found:
            raise BundleError(f"{name} holds options for the session of onnxruntime (ort_config in its metadata)")
        elif found.get("op_type") == "EPContext":
            raise BundleError(f"{name} holds a model that was compiled for a device (EPContext); export it as ONNX")


def _check_external(entries: Mapping[str, str], name: str, listed: Mapping[str, int]) -> None:
    location = entries.get("location", "")
    path = (PurePosixPath(name).parent / location).as_posix()
    if fault_of_path(location) or path not in listed:
        raise BundleError(
            f"{name} keeps weights in another file, {shown(location)}, which is not among the hash-verified files of "
            "the bundle. Save the model as one file: onnx.save_model(..., save_as_external_data=False)"
        )
    offset, length = (entries.get(key, "0") for key in ("offset", "length"))
    if not (_is_size(offset) and _is_size(length) and int(offset) + int(length) <= listed[path]):
        raise BundleError(
            f"{name} refers to {shown(length)} bytes from position {shown(offset)} of {path}, which has {listed[path]}"
        )


def _is_size(digits: str) -> bool:
    return digits.isascii() and digits.isdigit() and len(digits) <= 18


def _findings(content: Content) -> Iterator[tuple[str, dict[str, str]]]:
    """The texts that are read in each message: the metadata, the operator of a node, where a tensor keeps its values.

    Raises:
        ValueError: a field is longer than its message, or a limit is exceeded.
        IndexError: the content ends inside a field.
    """
    steps = count(1)
    messages = 0
    waiting = [("ModelProto", 0, len(content), 0)]
    while waiting:
        message, start, end, depth = waiting.pop()
        inner = READ[message]
        texts: list[tuple[str, str]] = []
        for (number, first, last), step in zip(_fields(content, start, end), steps, strict=False):
            if step > _MOST_FIELDS:
                raise ValueError(f"it has more than {_MOST_FIELDS:,} fields")
            child = inner.get(number)
            if child is None:
                continue
            if child in READ:
                waiting.append((child, first, last, depth + 1))
            elif child == "entry":
                texts.append(_entry(content, first, last))
            else:
                texts.append((child, _text(content, first, last)))
        messages += 1
        if messages + len(waiting) > _MOST_MESSAGES or depth > _DEEPEST:
            raise ValueError(f"it has more than {_MOST_MESSAGES:,} messages, or more than {_DEEPEST} in each other")
        if message == "TensorProto" and len(dict(texts)) < len(texts):
            raise ValueError("it says twice where the values of a tensor are")
        if texts:
            yield message, dict(texts)


def _entry(content: Content, start: int, end: int) -> tuple[str, str]:
    texts = {1: "", 2: ""}
    for number, first, last in _fields(content, start, end):
        if number in texts:
            texts[number] = _text(content, first, last)
    return texts[1], texts[2]


def _text(content: Content, start: int, end: int) -> str:
    return content[start : min(end, start + _LONGEST_ENTRY)].decode("utf-8", "replace")


def _fields(content: Content, position: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The number of each field in a message, and where its value begins and ends."""
    while position < end:
        tag, position = _varint(content, position)
        kind = tag & 7
        if kind == _LENGTH:
            length, first = _varint(content, position)
            position = first + length
        elif kind == _VARINT:
            first = position
            _, position = _varint(content, position)
        elif kind in _WIDTHS:
            first, position = position, position + _WIDTHS[kind]
        else:
            raise ValueError(f"it holds a field of the unknown kind {kind}")
        if position > end or not _LOWEST_TAG <= tag <= _HIGHEST_TAG:
            raise ValueError("a field is longer than the message that holds it, or has no valid number")
        yield tag >> 3, first, position


def _varint(content: Content, position: int) -> tuple[int, int]:
    """The number at `position`, seven bits a byte with the lowest first, and where the next field begins."""
    byte = content[position]
    if byte < 0x80:
        return byte, position + 1
    number = byte & 0x7F
    for i in range(1, _LONGEST_VARINT):
        byte = content[position + i]
        number |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return number, position + i + 1
    raise ValueError("a number is longer than ten bytes")
