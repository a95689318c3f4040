"""A bundle that is made in milliseconds, for tests of what a bundle may be: its model adds a row for each token."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import BertWordPieceTokenizer

LABELS = ("negative", "neutral", "positive")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "terrible", "the", "great")
MODEL = "onnx/model.onnx"
TEXTS = {"terrible terrible": "negative", "the the": "neutral", "great the great": "positive"}


def write(folder: Path) -> Path:
    """A bundle with three labels and eight words, verified on three texts."""
    (folder / "onnx").mkdir(parents=True)
    BertWordPieceTokenizer(vocab={word: i for i, word in enumerate(WORDS)}).save(str(folder / "tokenizer.json"))
    settings = {"pad_token": "[PAD]", "model_max_length": 64, "truncation_side": "right"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    onnx.save_model(model(), folder / MODEL)
    (folder / "sentopt.json").write_text(json.dumps(description()))
    return rehash(folder)


def model(table: onnx.TensorProto | None = None) -> onnx.ModelProto:
    """Logits: the sum of a row of `table` for each token that the mask keeps, and of a bias that a subgraph chooses."""
    rows = np.zeros((len(WORDS), len(LABELS)), dtype=np.float32)
    rows[5:] = 2 * np.eye(3)
    branch = [
        helper.make_graph(
            [helper.make_node("Constant", [], ["chosen"], value=numpy_helper.from_array(np.full(3, bias, np.float32)))],
            f"branch-{bias}",
            [],
            [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, [3])],
        )
        for bias in (0.0, 1.0)
    ]
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["weights"]),
        helper.make_node("Mul", ["rows", "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "middle"], ["sums"], keepdims=0),
        helper.make_node("If", ["plain"], ["bias"], then_branch=branch[0], else_branch=branch[1]),
        helper.make_node("Add", ["sums", "bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info(n, TensorProto.INT64, ["b", "t"]) for n in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", len(LABELS)])],
        [
            table or numpy_helper.from_array(rows, "table"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "middle"),
            numpy_helper.from_array(np.array(True), "plain"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def description() -> dict[str, Any]:
    """The document without the files."""
    texts = ([4.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.0, 2.0, 4.0])
    expected = [np.exp(row) / np.exp(row).sum() for row in texts]
    return {
        "schema_version": 1,
        "name": "small",
        "engine": "onnxruntime",
        "labels": list(LABELS),
        "max_length": 16,
        "pad_token_id": 0,
        "variant": "lean-fp32",
        "model_file": MODEL,
        "output": "logits",
        "files": {},
        "golden_tolerance": 0.01,
        "golden": [{"text": t, "probabilities": p.tolist()} for t, p in zip(TEXTS, expected, strict=True)],
        "verified": {
            "test_texts": 3,
            "accuracy": 1.0,
            "macro_f1": 1.0,
            "agreement_with_pytorch": 1.0,
            "reason": "as good as PyTorch",
        },
        "measured": {
            "hardware": {"cpu": "a processor", "cores": 2, "isa": ["avx2"]},
            "threads": 1,
            "onnxruntime": "1.24.1",
            "row": {"latency": {"p50": 1.0, "p99": 2.0}, "texts_per_second": 1000.0},
        },
        "made_from": {
            "dataset": "sample",
            "files": "train: train.csv",
            "texts": {"train": 3},
            "backbone": "small",
            "backbone_revision": "",
            "backbone_license": "",
            "tuned_elsewhere": False,
        },
    }


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the document of a bundle."""
    path = folder / "sentopt.json"
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))
    return folder


def rehash(folder: Path) -> Path:
    """List the files that are in the folder now, with their hashes: as somebody does who makes a bad bundle."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "sentopt.json"]
    entries = {path.relative_to(folder).as_posix(): entry(path) for path in paths}
    return edit(folder, lambda facts: facts.update(files=entries))


def relist(folder: Path, name: str) -> Path:
    """`rehash` for one file."""
    return edit(folder, lambda facts: facts["files"].update({name: entry(folder / name)}))


def entry(path: Path) -> dict[str, object]:
    """Size and hash of a file."""
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
