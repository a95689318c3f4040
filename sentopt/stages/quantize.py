"""Stage `quantize`: the INT8 graphs.

Traced graphs get dynamic INT8 by onnxruntime's quantizer, which Optimum calls where it traced them: weights are rounded
here, activations at run time. Lean graphs are written from the checkpoint, with activations calibrated on training
texts. A trimmed graph also gets a tokenizer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from sentopt.data import store
from sentopt.errors import ExportError
from sentopt.files import atomic
from sentopt.graph import families, lean, vocabulary
from sentopt.graph.calibration import calibrate
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
        ExportError: the quantizer failed.
    """
    to_convert = [spec for spec in specs if spec.quantize]
    traced = []
    exporter = exporters.choose(recipe.export.exporter)[0] if to_convert else "torch"
    with progress.count("quantize", len(to_convert), "traced graphs") as advance:
        for spec in to_convert:
            traced.append(_make(recipe, run_dir, spec, exporter))
            advance(1)
    lean_specs = [spec for spec in specs if not spec.quantize]
    if not lean_specs:
        return QuantizeResult(tuple(traced), None)
    pairs = store.are_pairs(run_dir)
    architecture = families.read(run_dir.checkpoint, pairs=pairs)
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length, pairs=pairs)
    texts = list(store.read_split(run_dir, "train").texts)
    calibrated = calibrate(architecture, encoder, texts, progress=progress)
    worst = max(calibrated.errors, key=lambda site: calibrated.errors[site])
    calibration = CalibrationSummary(
        calibrated.texts, calibrated.tokens, len(calibrated.sites), worst, calibrated.errors[worst]
    )
    variants, vocabulary_summary = list(traced), None
    full = Int8Products(calibrated.sites, standard=recipe.export.standard_operators)
    for spec in lean_specs:
        if spec.stages:
            continue
        with atomic.replace_folder(run_dir.variant(spec.name)) as folder:
            model = architecture
            if spec.trimmed:
                kept, vocabulary_summary = _trim_tokenizer(recipe, run_dir, encoder, texts, folder)
                model = vocabulary.trim(architecture, kept)
            graph = lean.write(model, full, tiled=spec.tiled)
            described.graph(graph, recipe, run_dir)
            onnx.save(graph, folder / "model.onnx")
            variants.append(MadeVariant(spec.name, (folder / "model.onnx").stat().st_size))
    staged = [spec for spec in lean_specs if spec.stages]
    made, rules = two_stages.make(recipe, run_dir, staged, architecture, calibrated.sites, encoder, texts, progress)
    return QuantizeResult((*variants, *made), calibration, vocabulary_summary, rules)


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
        quantizer = _with_optimum if exporter == "optimum" else _with_onnxruntime
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


def _with_onnxruntime(source: Path, target: Path, options: QuantizeOptions) -> None:
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
