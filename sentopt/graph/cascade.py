"""A cascade as one graph: a student answers, and the texts that it is not sure of go through the full model.

The full model stands in a branch of an `If`, which runs only where a text is deferred, on the deferred rows alone. What
both models store, such as the table of words, is in the file once. Leading layers that both have in common are computed
once, and the full model goes on from there. A text gets the logits that the student or the full model gives it alone.

Cascades of classifiers: Viola and Jones 2001; of language models, with the highest probability as confidence: Varshney
and Baral 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import onnx
from onnx import TensorProto

from sentopt.graph import lean
from sentopt.graph.architecture import Architecture
from sentopt.graph.nodes import GraphWriter
from sentopt.graph.products import Products
from sentopt.recipe import DistillSection
from sentopt.runtime.deferral import DEFERRED
from sentopt.runtime.description import Reads
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import Tokens
from sentopt.variants import LONG

_ABOVE_ANY = 2.0  # probability


@dataclass(frozen=True)
class Student:
    """The first stage.

    Attributes:
        architecture: its weights.
        products: how its products are computed.
        max_length: tokens that it reads of a text at most; 0 reads all.
        reads: which ones.
        shared: how many of its leading layers are the full model's own; 0 where `max_length` is set.
    """

    architecture: Architecture
    products: Products
    max_length: int = 0
    reads: Reads = "head"
    shared: int = 0

    @classmethod
    def of(cls, architecture: Architecture, products: Products, settings: DistillSection) -> Student:
        """A student that was made by these settings."""
        shared = settings.shared_by(len(architecture.blocks))
        return cls(architecture, products, settings.max_length, settings.reads, shared)


def reader(settings: DistillSection) -> Callable[[Tokens], Tokens]:
    """How a student that is made by these settings reads a text."""
    return partial(shortened, max_length=settings.max_length, reads=settings.reads)


def shortened(tokens: Tokens, max_length: int, reads: Reads) -> Tokens:
    """The tokens of a text that a student reads, as the graph picks them."""
    if not max_length or len(tokens.ids) <= max_length:
        return tokens
    head = max_length if reads == "head" else max_length // 2
    beyond = len(tokens.ids) - max_length
    return Tokens(
        tokens.ids[:head] + tokens.ids[head + beyond :], tokens.type_ids[:head] + tokens.type_ids[head + beyond :], True
    )


def write_student(student: Student, *, tiled: bool = False) -> onnx.ModelProto:
    """The student alone, with the inputs and the output of a lean graph; `tiled` as in `lean.write`."""
    if not student.max_length:
        return lean.write(student.architecture, student.products, tiled=tiled)
    g = GraphWriter()
    logits = _answer(g, student)
    g.add("Identity", logits, name=lean.OUTPUT)
    return g.model(inputs=lean.INPUTS, outputs=[(lean.OUTPUT, ["batch_size", student.architecture.labels])])


def write(
    student: Student, full: Architecture, products: Products, threshold: Threshold, *, tiled: bool = False
) -> onnx.ModelProto:
    """The cascade: inputs as a lean graph, outputs `logits` (batch, labels) and `deferred` (batch,).

    Args:
        student: the first stage.
        full: the model that answers what the student defers.
        products: how the products of `full` are computed.
        threshold: when a text is deferred.
        tiled: as in `lean.write`, in both stages.
    """
    g = GraphWriter()
    shared = ""
    if student.shared:
        shared = lean.add_layers(g, student.architecture, student.products, student.shared, tiled=tiled)
    logits = _answer(g, student, shared, tiled=tiled)
    flags = _deferred(g, logits, threshold)
    rows = g.add("Squeeze", g.add("NonZero", flags), g.integers(0))
    any_deferred = g.add("ReduceMax", g.add("Cast", flags, to=TensorProto.INT64), keepdims=0)
    any_deferred = g.add("Cast", any_deferred, to=TensorProto.BOOL)
    answered = GraphWriter(prefix="student.")
    answered.add("Identity", logits, name="answers")
    g.add(
        "If",
        any_deferred,
        name=lean.OUTPUT,
        then_branch=_full(g, logits, rows, full, products, (shared, student.shared), tiled=tiled),
        else_branch=answered.branch("student", "student.answers"),
    )
    return g.model(
        inputs=lean.INPUTS,
        outputs=[(lean.OUTPUT, ["batch_size", full.labels])],
        flags=[(DEFERRED, ["batch_size"])],
    )


def _answer(g: GraphWriter, student: Student, shared: str = "", *, tiled: bool = False) -> str:
    """The student's logits; `shared` is what its shared layers give out, where they are in the graph already."""
    inner = g.named("student.")
    ids, mask = lean.INPUTS
    if student.max_length:
        ids, mask = _shortened(inner, student)
        tiled = tiled and student.max_length >= LONG
    begun = (shared, student.shared) if shared else None
    return lean.add(inner, student.architecture, student.products, ids=ids, mask=mask, begun=begun, tiled=tiled)


def _deferred(g: GraphWriter, logits: str, threshold: Threshold) -> str:
    """Which texts are deferred, as `Threshold.defers` computes it: (batch,)."""
    highest = g.add("ReduceMax", g.add("Softmax", logits, axis=-1), axes=[1], keepdims=0)
    if threshold.defers_all:
        return g.add("Less", highest, g.scalar(_ABOVE_ANY), name=DEFERRED)
    tokens = g.add("Cast", g.add("ReduceSum", lean.INPUTS[1], g.integers(1), keepdims=0), to=TensorProto.FLOAT)
    limit = g.add("Add", g.add("Mul", tokens, g.constant(threshold.odds_per_token)), g.scalar(1.0))
    return g.add("Less", g.add("Mul", highest, limit), g.scalar(1.0), name=DEFERRED)


def _full(
    g: GraphWriter,
    logits: str,
    rows: str,
    full: Architecture,
    products: Products,
    shared: tuple[str, int],
    *,
    tiled: bool,
) -> onnx.GraphProto:
    """The branch in which the full model answers `rows`, and its logits replace the student's."""
    inner = GraphWriter(prefix="full.", outer=g)
    ids, mask = (inner.add("Gather", name, rows, axis=0) for name in lean.INPUTS)
    x, layers = shared
    begun = (inner.add("Gather", x, rows, axis=0), layers) if layers else None
    answers = lean.add(inner, full, products, ids=ids, mask=mask, begun=begun, tiled=tiled)
    places = inner.add("Unsqueeze", rows, inner.integers(1))
    return inner.branch("full", inner.add("ScatterND", logits, places, answers, name="answers"))


def _shortened(g: GraphWriter, student: Student) -> tuple[str, str]:
    """Ids and mask of at most `max_length` tokens of each text; texts are padded on the right."""
    ids, mask = lean.INPUTS
    longest = g.integers(student.max_length)
    if student.reads == "head":
        ids, mask = (g.add("Slice", name, g.integers(0), longest, g.integers(1)) for name in (ids, mask))
        return ids, mask
    head = student.max_length // 2
    tokens = g.add("ReduceSum", mask, g.integers(1), keepdims=1)
    beyond = g.add("Max", g.add("Sub", tokens, longest), g.integers(0))
    ones = g.add("Slice", g.add("Expand", g.integers(1), g.add("Shape", ids)), g.integers(0), longest, g.integers(1))
    columns = g.add("Sub", g.add("CumSum", ones, g.integers(1)), g.integers(1))
    in_tail = g.add("Cast", g.add("GreaterOrEqual", columns, g.integers(head)), to=TensorProto.INT64)
    places = g.add("Add", columns, g.add("Mul", in_tail, beyond))
    ids, mask = (g.add("GatherElements", name, places, axis=1) for name in (ids, mask))
    return ids, mask
