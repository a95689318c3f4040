"""Stage `quantize`: the INT8 graphs.

Traced graphs get dynamic INT8 by onnxruntime's quantizer, which Optimum calls where it traced them: weights are rounded
here, activations at run time. They also get INT8 with activations calibrated on training texts, as lean graphs do,
which are written from the checkpoint. A trimmed graph also gets a tokenizer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from sentopt.data import store
from sentopt.errors import ExportError
from sentopt.files import atomic
from sentopt.graph import families, lean, traced, vocabulary
from sentopt.graph.calibration import Calibration, calibrate
from sentopt.graph.products import Int8Products
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe
from sentopt.results import CalibrationSummary, MadeVariant, QuantizeResult, VocabularySummary
from sentopt.run_dir import RunDir
from sentopt.runtime.description import Text
from sentopt.runtime.tokenization import IntArray, TextEncoder
from sentopt.stages import described, exporters, two_stages
from sentopt.stages.silence import silenced
from sentopt.variants import QuantizeOptions, VariantSpec

_OPERATORS = ("MatMul", "Gemm", "Gather")


def run(
    recipe: Recipe, run_dir: RunDir, *, specs: Sequence[VariantSpec], progress: Progress = SILENT
) -> QuantizeResult:
    """Write a graph for each of `specs`.

    Raises:
        ExportError: the quantizer failed, or a traced graph has no product that can be calibrated.
    """
    dynamic = _dynamic(recipe, run_dir, [spec for spec in specs if spec.quantize], progress)
    calibrated, of_traced = _calibrated(recipe, run_dir, [spec for spec in specs if spec.is_calibrated_trace], progress)
    lean_specs = [spec for spec in specs if "lean" in spec.needs]
    if not lean_specs:
        return QuantizeResult((*dynamic, *calibrated), None, traced_calibration=of_traced)
    made = _lean(recipe, run_dir, lean_specs, progress)
    return replace(made, variants=(*dynamic, *calibrated, *made.variants), traced_calibration=of_traced)


def _dynamic(
    recipe: Recipe, run_dir: RunDir, specs: Sequence[VariantSpec], progress: Progress
) -> tuple[MadeVariant, ...]:
    """Dynamic INT8 of traced graphs."""
    exporter = exporters.choose(recipe.export.exporter)[0] if specs else "torch"
    made = []
    with progress.count("quantize", len(specs), "traced graphs") as advance:
        for spec in specs:
            made.append(_make(recipe, run_dir, spec, exporter))
            advance(1)
    return tuple(made)


def _calibrated(
    recipe: Recipe, run_dir: RunDir, specs: Sequence[VariantSpec], progress: Progress
) -> tuple[tuple[MadeVariant, ...], CalibrationSummary | None]:
    """Calibrated INT8 of traced graphs; a summary of the last calibration."""
    if not specs:
        return (), None
    pairs = store.are_pairs(run_dir)
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length, pairs=pairs)
    texts = store.read_split(run_dir, "train").texts
    made, summary = [], None
    for spec in specs:
        graph = traced.TracedGraph(onnx.load(run_dir.model(str(spec.parent))))
        calibrated = traced.calibrate(graph, encoder, texts, progress=progress)
        summary = _summary(calibrated.calibration)
        products = Int8Products(calibrated.calibration.sites, standard=recipe.export.standard_operators)
        with atomic.replace_folder(run_dir.variant(spec.name)) as folder:
            try:
                made.append(_save(traced.write(graph, calibrated, products), folder, spec, recipe, run_dir))
            except ValueError as error:  # of protobuf, which cannot write 2 GiB
                raise ExportError(f"cannot write {spec.name}: {error}") from error
    return tuple(made), summary


def _save(model: onnx.ModelProto, folder: Path, spec: VariantSpec, recipe: Recipe, run_dir: RunDir) -> MadeVariant:
    described.graph(model, recipe, run_dir)
    onnx.save(model, folder / "model.onnx")
    return MadeVariant(spec.name, (folder / "model.onnx").stat().st_size)


def _summary(calibrated: Calibration) -> CalibrationSummary:
    worst = max(calibrated.errors, key=lambda site: calibrated.errors[site])
    return CalibrationSummary(
        calibrated.texts, calibrated.tokens, len(calibrated.sites), worst, calibrated.errors[worst]
    )


def _lean(recipe: Recipe, run_dir: RunDir, specs: Sequence[VariantSpec], progress: Progress) -> QuantizeResult:
    """INT8 of the lean graph, of its student and of their cascades."""
    pairs = store.are_pairs(run_dir)
    architecture = families.read(run_dir.checkpoint, pairs=pairs)
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length, pairs=pairs)
    texts = list(store.read_split(run_dir, "train").texts)
    calibrated = calibrate(architecture, encoder, texts, progress=progress)
    variants, vocabulary_summary = [], None
    full = Int8Products(calibrated.sites, standard=recipe.export.standard_operators)
    for spec in specs:
        if spec.stages:
            continue
        with atomic.replace_folder(run_dir.variant(spec.name)) as folder:
            model = architecture
            if spec.trimmed:
                kept, vocabulary_summary = _trim_tokenizer(recipe, run_dir, encoder, texts, folder)
                model = vocabulary.trim(architecture, kept)
            variants.append(_save(lean.write(model, full, tiled=spec.tiled), folder, spec, recipe, run_dir))
    staged = [spec for spec in specs if spec.stages]
    made, rules = two_stages.make(recipe, run_dir, staged, architecture, calibrated.sites, encoder, texts, progress)
    return QuantizeResult((*variants, *made), _summary(calibrated), vocabulary_summary, rules)


def _trim_tokenizer(
    recipe: Recipe, run_dir: RunDir, encoder: TextEncoder, texts: Sequence[Text], folder: Path
) -> tuple[IntArray, VocabularySummary]:
    """Write the trimmed tokenizer to `folder`. Returns the old ids of the kept tokens, and a summary.

    All tokens of `texts`, the training split, are kept, so the calibration on them is valid for the trimmed model.
    """
    used = {number for tokens in encoder.encode(texts) for number in tokens.ids}
    kept = vocabulary.choose(run_dir.checkpoint, used, common=recipe.export.trim_keep)
    vocabulary.write_files(run_dir.checkpoint, kept, folder)
    test = list(store.read_split(run_dir, "test").texts)
    return kept, vocabulary.compare(run_dir.checkpoint, folder, test)


def _make(recipe: Recipe, run_dir: RunDir, spec: VariantSpec, exporter: exporters.Exporter) -> MadeVariant:
    assert spec.parent is not None
    assert spec.quantize is not None
    with atomic.replace_folder(run_dir.variant(spec.name)) as folder:
        target = folder / "model.onnx"
        quantizer = _with_optimum if exporter == "optimum" else with_onnxruntime
        try:
            with silenced():
                quantizer(run_dir.model(spec.parent), target, spec.quantize)
        except Exception as error:  # the quantizer passes on any exception of onnx and numpy
            raise ExportError(
                f"cannot quantize {spec.parent} to {spec.name}: {type(error).__name__}: {error}"
            ) from error
        described.file(target, recipe, run_dir)
        return MadeVariant(spec.name, target.stat().st_size)


def _with_optimum(source: Path, target: Path, options: QuantizeOptions) -> None:
    from onnxruntime.quantization import QuantFormat, QuantizationMode, QuantType
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import QuantizationConfig

    config = QuantizationConfig(
        is_static=False,
        format=QuantFormat.QOperator,
        mode=QuantizationMode.IntegerOps,
        activations_dtype=QuantType.QUInt8,
        weights_dtype=QuantType.QInt8,
        per_channel=options.per_channel,
        operators_to_quantize=list(_OPERATORS),
        nodes_to_exclude=_kept_products(source, options),
    )
    quantizer = ORTQuantizer(source)
    quantizer.quantize(save_dir=target.parent, quantization_config=config, file_suffix="")
    for extra in target.parent.iterdir():
        if extra.name != target.name:
            extra.unlink()


def with_onnxruntime(source: Path, target: Path, options: QuantizeOptions) -> None:
    """The same quantization without Optimum, which calls this function as well."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=list(_OPERATORS),
        nodes_to_exclude=_kept_products(source, options),
        per_channel=options.per_channel,
        weight_type=QuantType.QInt8,
    )


def _kept_products(source: Path, options: QuantizeOptions) -> list[str]:
    """Names of the matrix products that stay FP32. Exporters write nodes in topological order.

    Products of two activations (in the attention) always stay FP32: Optimum would quantize them, which costs accuracy
    and saves no time.
    """
    graph = onnx.load(source, load_external_data=False).graph
    weights = {initializer.name for initializer in graph.initializer}
    products = [node for node in graph.node if node.op_type in ("MatMul", "Gemm")]
    weighted = [node.name for node in products if weights.intersection(node.input)]
    attention = [node.name for node in products if not weights.intersection(node.input)]
    first = weighted[: int(options.keep_first * len(weighted))]
    last = weighted[len(weighted) - options.keep_last :]
    return attention + first + last
