"""What an ONNX file refers to is found wherever it stands, and refused before an engine opens the file."""

from __future__ import annotations

import os
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import small_bundles
from google.protobuf.descriptor import Descriptor
from onnx import TensorProto, helper

from sentopt import Classifier
from sentopt.bundles import pack
from sentopt.errors import BundleError
from sentopt.runtime import onnx_file
from sentopt.runtime.onnx_file import check_references


def external(name: str, location: str, **more: object) -> TensorProto:
    """A tensor whose values are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    tensor.dims.extend([len(small_bundles.WORDS), len(small_bundles.LABELS)])
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def graph_with(tensor: TensorProto) -> onnx.GraphProto:
    return helper.make_graph([], "inner", [], [], [tensor])


def model_with(**fields: list[object]) -> onnx.ModelProto:
    made = onnx.ModelProto(ir_version=8)
    for name, values in fields.items():
        target = made if name in ("functions", "training_info") else made.graph
        getattr(target, name).extend(values)
    return made


def holder(attribute: str) -> Callable[[TensorProto], onnx.ModelProto]:
    """A model whose only node holds a tensor in this field of an attribute."""

    def build(tensor: TensorProto) -> onnx.ModelProto:
        sparse = onnx.SparseTensorProto(values=tensor)
        values = {
            "t": onnx.AttributeProto(name="a", t=tensor),
            "tensors": onnx.AttributeProto(name="a", tensors=[tensor]),
            "g": onnx.AttributeProto(name="a", g=graph_with(tensor)),
            "graphs": onnx.AttributeProto(name="a", graphs=[graph_with(tensor)]),
            "sparse_tensor": onnx.AttributeProto(name="a", sparse_tensor=sparse),
            "sparse_tensors": onnx.AttributeProto(name="a", sparse_tensors=[sparse]),
        }
        return model_with(node=[onnx.NodeProto(op_type="If", attribute=[values[attribute]])])

    return build


PLACES: dict[str, Callable[[TensorProto], onnx.ModelProto]] = {
    "initializer": lambda tensor: model_with(initializer=[tensor]),
    "values of a sparse initializer": lambda t: model_with(sparse_initializer=[onnx.SparseTensorProto(values=t)]),
    "indices of a sparse initializer": lambda t: model_with(sparse_initializer=[onnx.SparseTensorProto(indices=t)]),
    **{
        f"attribute {name}": holder(name) for name in ("t", "tensors", "g", "graphs", "sparse_tensor", "sparse_tensors")
    },
    "node of a function": lambda t: model_with(functions=[onnx.FunctionProto(node=holder("t")(t).graph.node)]),
    "default of a function": lambda t: model_with(
        functions=[onnx.FunctionProto(attribute_proto=[onnx.AttributeProto(name="a", t=t)])]
    ),
    "start of training": lambda t: model_with(training_info=[onnx.TrainingInfoProto(initialization=graph_with(t))]),
    "training": lambda t: model_with(training_info=[onnx.TrainingInfoProto(algorithm=graph_with(t))]),
}


@pytest.mark.parametrize("place", PLACES)
def test_external_data_is_found_wherever_a_tensor_may_stand(place: str) -> None:
    content = PLACES[place](external("w", "weights.bin", length=64)).SerializeToString()
    with pytest.raises(BundleError, match=r"another file, 'weights\.bin', which is not among the hash-verified files"):
        check_references(content, "onnx/model.onnx", {"onnx/model.onnx": len(content)})
    check_references(content, "onnx/model.onnx", {"onnx/weights.bin": 64})


def messages(descriptor: Descriptor, seen: dict[str, Descriptor]) -> dict[str, Descriptor]:
    if descriptor.name not in seen:
        seen[descriptor.name] = descriptor
        for field in descriptor.fields:
            if field.message_type:
                messages(field.message_type, seen)
    return seen


def test_every_field_of_onnx_that_can_lead_to_a_tensor_is_read() -> None:
    """The installed onnx says which: a later version with another place for tensors fails here."""
    known = messages(onnx.ModelProto.DESCRIPTOR, {})
    leading = {"TensorProto"}
    while (
        more := {
            name
            for name, message in known.items()
            if any(field.message_type and field.message_type.name in leading for field in message.fields)
        }
        - leading
    ):
        leading |= more
    for name in leading:
        to_tensors = {
            field.number: field.message_type.name
            for field in known[name].fields
            if field.message_type and field.message_type.name in leading
        }
        read = {number: child for number, child in onnx_file.READ[name].items() if child in leading}
        assert read == to_tensors, name
    for message, field in (("TensorProto", "external_data"), ("ModelProto", "metadata_props")):
        assert onnx_file.READ[message][known[message].fields_by_name[field].number] == "entry"


LOCATIONS = [
    "/etc/passwd",
    "../outside.bin",
    "../../outside.bin",
    "deeper/../../../outside.bin",
    "unlisted.bin",
    "./listed.bin",
    "",
    "\\listed.bin",
    "C:/listed.bin",
    "*/_ORT_MEM_ADDR_/*",
    "listed.bin\0",
    "LISTED.BIN",
]


@pytest.mark.parametrize("location", LOCATIONS)
def test_only_listed_files_may_hold_weights(tmp_path: Path, location: str) -> None:
    folder = small_bundles.write(tmp_path / "bundle")
    weights = np.zeros((8, 3), dtype=np.float32).tobytes()
    (folder / "onnx" / "listed.bin").write_bytes(weights)
    (tmp_path / "outside.bin").write_bytes(weights)
    (folder / small_bundles.MODEL).write_bytes(
        small_bundles.model(external("table", location, length=len(weights))).SerializeToString()
    )
    small_bundles.rehash(folder)
    (folder / "onnx" / "unlisted.bin").write_bytes(weights)
    for use in (Classifier.load, lambda bundle: pack.archive(bundle, tmp_path / "packed.tar.gz")):
        with pytest.raises(BundleError, match="keeps weights in another file"):
            use(folder)
    assert not (tmp_path / "packed.tar.gz").exists()


def with_listed_weights(folder: Path) -> Path:
    small_bundles.write(folder)
    rows = 2 * np.eye(8, 3, -5, dtype=np.float32)
    (folder / "onnx" / "weights.bin").write_bytes(rows.tobytes())
    made = small_bundles.model(external("table", "weights.bin", offset=0, length=rows.nbytes))
    (folder / small_bundles.MODEL).write_bytes(made.SerializeToString())
    return small_bundles.rehash(folder)


def test_weights_in_a_listed_file_are_verified_used_and_packed(tmp_path: Path) -> None:
    folder = with_listed_weights(tmp_path / "bundle")
    assert Classifier.load(folder, check=True)("great great").label == "positive"
    with tarfile.open(pack.archive(folder, tmp_path / "packed.tar.gz")) as tar:
        assert "small/onnx/weights.bin" in tar.getnames()
    (folder / "onnx" / "weights.bin").write_bytes(bytes(96))
    with pytest.raises(BundleError, match=r"weights\.bin: content differs"):
        Classifier.load(folder)


def test_weights_beside_a_model_in_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine would look for them in the current folder."""
    folder = with_listed_weights(tmp_path / "bundle")
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    monkeypatch.chdir(folder / "onnx")
    with pytest.raises(BundleError, match="keeps weights in another file"):
        Classifier.load(files)


@pytest.mark.parametrize(("offset", "length"), [("0", "97"), ("96", "1"), ("-1", "4"), ("x", "4"), ("0", "9" * 30)])
def test_weights_beyond_the_end_of_a_listed_file_are_refused(offset: str, length: str) -> None:
    content = model_with(initializer=[external("w", "weights.bin", offset=offset, length=length)]).SerializeToString()
    with pytest.raises(BundleError, match=r"which has 96"):
        check_references(content, "onnx/model.onnx", {"onnx/weights.bin": 96})


def test_a_location_that_is_given_twice_is_refused() -> None:
    tensor = external("w", "weights.bin")
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(BundleError, match="says twice"):
        check_references(model_with(initializer=[tensor]).SerializeToString(), "m.onnx", {"weights.bin": 96})


def test_bundles_of_symbolic_links_load_as_the_caches_of_the_hub_keep_them(tmp_path: Path) -> None:
    plain = small_bundles.write(tmp_path / "plain")
    linked = tmp_path / "snapshots" / "1"
    for i, path in enumerate(sorted(p for p in plain.rglob("*") if p.is_file())):
        target, link = tmp_path / "blobs" / str(i), linked / path.relative_to(plain)
        target.parent.mkdir(exist_ok=True)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        link.symlink_to(os.path.relpath(target, link.parent))
    assert Classifier.load(linked, check=True)("great great").label == "positive"


def compiled(made: onnx.ModelProto) -> None:
    made.graph.node.add(op_type="EPContext", domain="com.microsoft").attribute.append(
        helper.make_attribute("ep_cache_context", "../../elsewhere.bin")
    )


def session_options(made: onnx.ModelProto) -> None:
    made.metadata_props.add(key="ort_config", value='{"session_options": {"enable_profiling": 1}}')


@pytest.mark.parametrize(
    ("change", "message"),
    [(compiled, r"compiled for a device \(EPContext\)"), (session_options, "options for the session of onnxruntime")],
)
def test_what_else_makes_onnxruntime_open_files_is_refused(
    tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    folder = small_bundles.write(tmp_path / "bundle")
    made = small_bundles.model()
    change(made)
    (folder / small_bundles.MODEL).write_bytes(made.SerializeToString())
    with pytest.raises(BundleError, match=message):
        Classifier.load(small_bundles.rehash(folder))


@pytest.mark.parametrize("name", ["model.ort", "model.xml", "model", "model.ONNX"])
def test_formats_that_engines_choose_by_their_ending_are_refused(tmp_path: Path, name: str) -> None:
    folder = small_bundles.write(tmp_path / "bundle")
    (folder / small_bundles.MODEL).rename(folder / name)
    small_bundles.edit(small_bundles.rehash(folder), lambda facts: facts.update(model_file=name))
    with pytest.raises(BundleError, match=r"is no \.onnx file"):
        Classifier.load(folder)


def test_content_that_onnxruntime_takes_for_its_own_format_is_refused() -> None:
    with pytest.raises(BundleError, match="onnxruntime's own format"):
        check_references(b"\x08\x08\x12\x04ORTM" + small_bundles.model().SerializeToString(), "m.onnx", {})


def varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*digits, number])


def nested(depth: int) -> bytes:
    """A model of graphs in attributes of nodes of graphs."""
    graph = b""
    for _ in range(depth):
        attribute = b"\x32" + varint(len(graph)) + graph
        node = b"\x2a" + varint(len(attribute)) + attribute
        graph = b"\x0a" + varint(len(node)) + node
    return b"\x3a" + varint(len(graph)) + graph


HIDDEN = PLACES["initializer"](external("w", "/etc/passwd")).graph.SerializeToString()
MALFORMED = {
    "nothing but a length": b"\x3a\xff\xff\xff\xff\x0f",
    "a field that is longer than the file": b"\x3a\x7f\x00",
    "a message that is longer than the one around it": b"\x3a\x02\x0a\x7f" + bytes(200),
    "a number without an end": b"\x08" + b"\xff" * 12,
    "a cut number": b"\x08\xff",
    "a group": b"\x0b\x0c",
    "a field number beyond 32 bits": varint((1 << 35) | 0x3A) + varint(len(HIDDEN)) + HIDDEN,
    "the field number 0": b"\x02\x00",
    "too many graphs in graphs": nested(60),
    "too many messages": b"\x3a" + varint(2 * 300_000) + b"\x0a\x00" * 300_000,
    "too many fields": b"\x08\x00" * 2_100_000,
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_model_is_refused_in_bounded_time(kind: str) -> None:
    start = time.perf_counter()
    with pytest.raises(BundleError, match=r"m\.onnx is no ONNX file: "):
        check_references(MALFORMED[kind], "m.onnx", {})
    assert time.perf_counter() - start < 30


def test_an_empty_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is no ONNX file: cannot mmap an empty file"):
        check_references(tmp_path / "m.onnx", "m.onnx", {})


def sizes() -> Iterator[int]:
    yield from (1, 10_000_000)


def test_weights_are_skipped_by_their_length(tmp_path: Path) -> None:
    """The time does not grow with the weights: 40 MB of them take as long as four bytes."""
    seconds = []
    for count in sizes():
        path = tmp_path / f"{count}.onnx"
        weights = onnx.TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[count], raw_data=bytes(4 * count))
        path.write_bytes(model_with(initializer=[weights]).SerializeToString())
        start = time.perf_counter()
        check_references(path, "m.onnx", {})
        seconds.append(time.perf_counter() - start)
    assert seconds[1] < seconds[0] + 0.05
