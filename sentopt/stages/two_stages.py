"""The graphs of a student and of its cascades, for the stage `quantize`: INT8, and the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from sentopt.backends.counted import counted
from sentopt.data import store
from sentopt.files import atomic
from sentopt.gate import Rules, deferral
from sentopt.graph import cascade, lean, student_file
from sentopt.graph.architecture import Architecture
from sentopt.graph.calibration import calibrate
from sentopt.graph.cascade import Student
from sentopt.graph.products import FloatProducts, Int8Products, Products, Site
from sentopt.progress import SILENT, Progress
from sentopt.recipe import TEST_AS_VALIDATION, Recipe
from sentopt.results import CascadeRule, MadeVariant
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text
from sentopt.runtime.session import FloatArray
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import TextEncoder, Tokens
from sentopt.stages import described
from sentopt.training import augmentation
from sentopt.variants import VariantSpec

_UNSEEN = 2_000  # changed copies that are evidence for a threshold


def make(
    recipe: Recipe,
    run_dir: RunDir,
    specs: Sequence[VariantSpec],
    full: Architecture,
    full_sites: Mapping[str, Site],
    encoder: TextEncoder,
    texts: Sequence[Text],
    progress: Progress = SILENT,
) -> tuple[list[MadeVariant], dict[str, CascadeRule]]:
    """Write a graph for each of `specs`.

    Args:
        recipe: of the run.
        run_dir: with a student.
        specs: variants with `stages`.
        full: the fine-tuned model.
        full_sites: its quantization.
        encoder: of both models.
        texts: the training split, for calibration.
        progress: where texts are counted.

    Returns:
        The variants, and the rule of each cascade by name.
    """
    if not specs:
        return [], {}
    architecture = student_file.read(run_dir.student / student_file.FILE, full)
    students = {"float32": Student.of(architecture, FloatProducts(), recipe.distill)}
    full_products: dict[str, Products] = {"float32": FloatProducts()}
    if any(spec.dtype == "int8" for spec in specs):
        read = cascade.reader(recipe.distill)
        sites = calibrate(architecture, encoder, texts, read=read, progress=progress).sites
        common = tuple(f"layer.{i}." for i in range(students["float32"].shared))
        sites |= {name: site for name, site in full_sites.items() if name.startswith(common)}
        standard = recipe.export.standard_operators
        students["int8"] = Student.of(architecture, Int8Products(sites, standard=standard), recipe.distill)
        full_products["int8"] = Int8Products(full_sites, standard=standard)
    made, rules = [], {}
    for spec in specs:
        student, products = students[spec.dtype], full_products[spec.dtype]
        if spec.stages == "cascade":
            rules[spec.name] = _rule(recipe, run_dir, student, full, products, encoder, progress)
            threshold = Threshold.of(rules[spec.name])
            graph = cascade.write(student, full, products, threshold, tiled=recipe.has_long_texts)
        else:
            graph = cascade.write_student(student, tiled=recipe.has_long_texts)
        described.graph(graph, recipe, run_dir)
        with atomic.replace_folder(run_dir.variant(spec.name)) as folder:
            onnx.save(graph, folder / "model.onnx")
            made.append(MadeVariant(spec.name, (folder / "model.onnx").stat().st_size))
    return made, rules


def _rule(
    recipe: Recipe,
    run_dir: RunDir,
    student: Student,
    full: Architecture,
    products: Products,
    encoder: TextEncoder,
    progress: Progress,
) -> CascadeRule:
    """The threshold of a cascade, by the answers of both stages to validation texts and to unseen changed copies."""
    test, rows = store.read_distinct(run_dir)
    examples = store.read_split(run_dir, "validation")
    if recipe.data.validation == TEST_AS_VALIDATION:
        rows = []  # the test split judges the cascade, and has no part in how it is made
    validation = encoder.encode(list(examples.texts.take(rows)))
    unseen = _unseen(recipe, run_dir, encoder) if rows else []

    def answers(graph: onnx.ModelProto, tokens: Sequence[Tokens], what: str) -> FloatArray:
        classifier = Classifier.open(graph.SerializeToString(), encoder, store.read_labels(run_dir))
        with progress.count(f"quantize: {what}", len(tokens), "texts") as advance, counted(classifier, advance):
            return classifier.logits_of(tokens)

    by_student = answers(cascade.write_student(student), [*validation, *unseen], "the student")
    by_full = answers(lean.write(full, products), [*validation, *unseen], "the full model")
    in_fp32 = answers(lean.write(full, FloatProducts()), [*validation, *unseen], "the full model in FP32")
    here, there = slice(0, len(rows)), slice(len(rows), None)
    lengths = np.array([len(t.ids) for t in [*validation, *unseen]], dtype=np.int64)
    nothing = np.zeros(0, dtype=np.int64)
    truth = np.array([examples[row].label for row in rows], dtype=np.int64)
    return deferral.choose(
        deferral.Answers(by_student[here], by_full[here], in_fp32[here], truth, lengths[here]),
        Rules.of(recipe),
        deferral.costs_by_layers(
            len(student.architecture.blocks),
            len(full.blocks),
            shared=student.shared,
            tokens=_share_read(recipe, validation),
        ),
        test_texts=len(test),
        unseen=deferral.Answers(by_student[there], by_full[there], in_fp32[there], nothing, lengths[there])
        if unseen
        else None,
    )


def _unseen(recipe: Recipe, run_dir: RunDir, encoder: TextEncoder) -> list[Tokens]:
    """Changed copies of training texts that the student has not learned from."""
    texts = store.read_split(run_dir, "train").texts
    sample = list(texts[:: max(1, -(-len(texts) // _UNSEEN))])
    return augmentation.changed_copies(encoder.encode(sample), encoder, copies=1, seed=recipe.run.seed + 1)


def _share_read(recipe: Recipe, tokens: Sequence[Tokens]) -> float:
    """The share of the tokens of these texts that the student reads."""
    seen = sum(len(t.ids) for t in map(cascade.reader(recipe.distill), tokens))
    return seen / max(1, sum(len(t.ids) for t in tokens))
