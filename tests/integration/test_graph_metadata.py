"""What every graph of a run says of itself, and that the same model has the same bytes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from sentopt import Classifier, __version__, cli
from sentopt.data import store
from sentopt.graph import metadata
from sentopt.run_dir import RunDir

VARIANTS = ("onnx-fp32", "onnx-int8", "lean-fp32", "lean-int8")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_graph_names_labels_length_and_version(finished_run: Path, variant: str) -> None:
    run_dir = RunDir(finished_run)
    labels = store.read_labels(run_dir)
    found = onnxruntime.InferenceSession(run_dir.model(variant), providers=["CPUExecutionProvider"]).get_modelmeta()
    said = found.custom_metadata_map
    assert [said[f"sentopt.label.{i}"] for i in range(3)] == list(labels)
    assert "sentopt.label.3" not in said
    assert (said["sentopt.max_length"], said["sentopt.version"]) == ("48", __version__)
    assert f"made by sentopt {__version__}" in found.description
    assert ", ".join(labels) in found.description


@pytest.mark.parametrize("variant", VARIANTS)
def test_tools_of_onnx_read_a_graph(finished_run: Path, variant: str) -> None:
    program = (
        "import onnx, sys; m = onnx.load(sys.argv[1]); onnx.checker.check_model(m, full_check=True); "
        "onnx.shape_inference.infer_shapes(m, strict_mode=True); print('read')"
    )
    command = [sys.executable, "-c", program, str(RunDir(finished_run).model(variant))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


def test_the_same_model_has_the_same_bytes(finished_run: Path, tmp_path: Path) -> None:
    source, copy = RunDir(finished_run).model("lean-int8"), tmp_path / "model.onnx"
    copy.write_bytes(source.read_bytes())
    metadata.describe_file(copy, store.read_labels(RunDir(finished_run)), 48)
    assert copy.read_bytes() == source.read_bytes()
    metadata.describe_file(copy, ("one", "two"), 12)
    said = {entry.key: entry.value for entry in onnx.load(copy).metadata_props}
    assert said == {
        "sentopt.version": __version__, "sentopt.max_length": "12", "sentopt.label.0": "one", "sentopt.label.1": "two"
    }  # fmt: skip


def test_metadata_of_others_stays() -> None:
    model = onnx.ModelProto()
    model.metadata_props.add(key="author", value="somebody")
    model.metadata_props.add(key="sentopt.label.7", value="of before")
    metadata.describe(model, ("a",), 8)
    assert {entry.key for entry in model.metadata_props} == {
        "author", "sentopt.label.0", "sentopt.max_length", "sentopt.version"
    }  # fmt: skip


def test_a_bundle_without_metadata_is_loaded_as_before(bundle: Path, tmp_path: Path) -> None:
    """Metadata changes no answer; a graph that has none is as good."""
    described = Classifier.load(bundle)
    plain = onnx.load(bundle / "onnx" / "model.onnx")
    del plain.metadata_props[:]
    plain.doc_string = ""
    onnx.save(plain, tmp_path / "plain.onnx")
    bare = Classifier.open(tmp_path / "plain.onnx", described.encoder, described.labels)
    texts = ["great great", "terrible terrible", ""]
    assert np.array_equal(bare.logits(texts), described.logits(texts))


def test_operators_of_the_standard_alone_remake_only_int8(run_copy: Path) -> None:
    run_dir = RunDir(run_copy)
    before = {name: run_dir.model(name).stat().st_mtime_ns for name in VARIANTS}
    assert "com.microsoft" in {node.domain for node in onnx.load(run_dir.model("lean-int8")).graph.node}
    assert cli.main(["export", "--run-dir", str(run_copy), "--set", "export.standard_operators=true"]) == 0
    assert {node.domain for node in onnx.load(run_dir.model("lean-int8")).graph.node} == {""}
    after = {name: run_dir.model(name).stat().st_mtime_ns for name in VARIANTS}
    assert [name for name in VARIANTS if after[name] == before[name]] == ["onnx-fp32", "lean-fp32"]
