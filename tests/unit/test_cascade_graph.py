"""Graphs of two stages: each text gets what the student or the full model gives it alone."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import tiny_models

from sentopt.graph import cascade, families, lean
from sentopt.graph.architecture import Architecture
from sentopt.graph.cascade import Student
from sentopt.graph.products import FloatProducts
from sentopt.runtime.classifier import softmax
from sentopt.runtime.description import Reads
from sentopt.runtime.session import BoolArray, FloatArray, OnnxSession
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import Batch, Tokens

LENGTHS = [1, 17, 3, 23, 2, 16, 9, 5, 11, 30]
EVERYTHING, NOTHING = Threshold(1.0, 1), Threshold(1e-9, 1)


@pytest.fixture(scope="module", params=list(tiny_models.FAMILIES))
def full(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Architecture:
    folder = tmp_path_factory.mktemp("full")
    tiny_models.save(request.param, folder)
    return families.read(folder)


def student_of(full: Architecture, *, shared: int = 0, max_length: int = 0, reads: Reads = "head") -> Student:
    """The full model's first layers, with the weights of the last one changed."""
    last = full.blocks[1]
    changed = replace(last, up=replace(last.up, weight=last.up.weight * np.float32(1.5)))
    return Student(replace(full, blocks=(full.blocks[0], changed)), FloatProducts(), max_length, reads, shared)


def pad(texts: list[list[int]], extra: int = 0) -> Batch:
    width = max(map(len, texts)) + extra
    ids, mask = np.zeros((len(texts), width), dtype=np.int64), np.zeros((len(texts), width), dtype=np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    return Batch(ids, mask, np.zeros_like(ids))


def session(model: onnx.ModelProto) -> OnnxSession:
    return OnnxSession(model.SerializeToString())


def one_by_one(model: onnx.ModelProto, texts: list[list[int]]) -> FloatArray:
    opened = session(model)
    return np.concatenate([opened.run(pad([text])) for text in texts])


def routed(model: onnx.ModelProto, texts: list[list[int]], size: int) -> tuple[FloatArray, BoolArray]:
    opened = session(model)
    parts = [opened.run_routed(pad(texts[i : i + size], extra=2)) for i in range(0, len(texts), size)]
    return np.concatenate([logits for logits, _ in parts]), np.concatenate([flags for _, flags in parts])


def splitting(logits: FloatArray, tokens: npt.NDArray[np.int64]) -> Threshold:
    """A threshold that about half of the texts are below, and none is near."""
    sure = softmax(logits).max(axis=1)
    odds = np.sort((1.0 - sure) / sure / tokens)
    widest = 3 + int(np.argmax(np.diff(odds[3:8])))
    return Threshold(float(1.0 / (1.0 + 20 * odds[widest : widest + 2].mean())), 20)


@pytest.mark.parametrize("size", [1, 3, 10])
@pytest.mark.parametrize("shared", [0, 1])
def test_a_text_gets_the_logits_of_the_stage_that_answers_it(full: Architecture, shared: int, size: int) -> None:
    texts, student = tiny_models.texts(LENGTHS), student_of(full, shared=shared)
    by_student = one_by_one(cascade.write_student(student), texts)
    by_full = one_by_one(lean.write(full, FloatProducts()), texts)
    tokens = np.array([len(text) for text in texts])
    threshold = splitting(by_student, tokens)
    model = cascade.write(student, full, FloatProducts(), threshold)
    logits, deferred = routed(model, texts, size)
    assert 0 < deferred.sum() < len(texts)
    assert (deferred == threshold.defers(softmax(by_student).max(axis=1), tokens)).all()
    assert np.allclose(logits, np.where(deferred[:, None], by_full, by_student), atol=2e-5)


def test_everything_or_nothing_can_be_deferred(full: Architecture) -> None:
    texts, student = tiny_models.texts(LENGTHS), student_of(full, shared=1)
    for threshold, model in (
        (EVERYTHING, lean.write(full, FloatProducts())),
        (NOTHING, cascade.write_student(student)),
    ):
        logits, deferred = routed(cascade.write(student, full, FloatProducts(), threshold), texts, 4)
        assert (deferred == threshold.defers_all).all()
        assert np.allclose(logits, one_by_one(model, texts), atol=2e-5)


@pytest.mark.parametrize("reads", ["head", "head_and_tail"])
def test_a_student_can_read_a_part_of_a_text(full: Architecture, reads: Reads) -> None:
    texts, student = tiny_models.texts(LENGTHS), student_of(full, max_length=8, reads=reads)
    parts = [cascade.shortened(Tokens(tuple(t), (0,) * len(t), False), 8, reads) for t in texts]
    assert [len(part.ids) for part in parts] == [min(len(t), 8) for t in texts]
    expected = one_by_one(cascade.write_student(replace(student, max_length=0)), [list(p.ids) for p in parts])
    assert np.allclose(one_by_one(cascade.write_student(student), texts), expected, atol=2e-5)
    model = cascade.write(student, full, FloatProducts(), NOTHING)
    assert np.allclose(routed(model, texts, 5)[0], expected, atol=2e-5)


def test_head_and_tail_are_the_ends_of_a_text() -> None:
    tokens = Tokens(tuple(range(10)), (0,) * 10, False)
    assert cascade.shortened(tokens, 5, "head").ids == (0, 1, 2, 3, 4)
    assert cascade.shortened(tokens, 5, "head_and_tail").ids == (0, 1, 7, 8, 9)
    assert cascade.shortened(tokens, 10, "head") is tokens


def test_what_both_stages_store_is_in_the_file_once(full: Architecture) -> None:
    sizes = {
        shared: len(
            cascade.write(
                student_of(full, shared=shared), full, FloatProducts(), Threshold(0.5, 10)
            ).SerializeToString()
        )
        for shared in (0, 1)
    }
    table = full.embeddings.words.nbytes
    alone = len(lean.write(full, FloatProducts()).SerializeToString())
    student = len(cascade.write_student(student_of(full)).SerializeToString())
    assert sizes[0] < alone + student - table + 20_000
    assert sizes[1] < sizes[0]


def test_weights_are_outside_of_the_branch(full: Architecture) -> None:
    """onnxruntime keeps those of a branch twice in memory."""
    model = cascade.write(student_of(full), full, FloatProducts(), Threshold(0.5, 10))
    branches = [a.g for node in model.graph.node for a in node.attribute if a.type == onnx.AttributeProto.GRAPH]
    assert len(branches) == 2
    assert max(len(tensor.raw_data) for branch in branches for tensor in branch.initializer) < 1_024
    names = [tensor.name for graph in (model.graph, *branches) for tensor in graph.initializer]
    assert len(set(names)) == len(names)


def test_lean_graphs_keep_their_bytes(tmp_path: Path) -> None:
    """A graph of one stage is the same as before there were two."""
    tiny_models.save("bert", tmp_path)
    model = lean.write(families.read(tmp_path), FloatProducts())
    names = [(node.op_type, node.name, list(node.input), list(node.output)) for node in model.graph.node]
    shapes = [(tensor.name, list(tensor.dims)) for tensor in model.graph.initializer]
    assert hashlib.sha256(repr((names, shapes)).encode()).hexdigest()[:16] == "65c2d7c9dc89bec3"
