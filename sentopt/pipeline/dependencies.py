"""What each stage depends on: a stage is current while none of it changes.

Every function returns values that `manifest.fingerprint` can hash. Files of earlier stages count by their SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sentopt import backbones, records
from sentopt import recipe as recipes
from sentopt.backends import webassembly
from sentopt.data import sources, unlabelled
from sentopt.measure import hardware
from sentopt.pipeline.cache import StageCache
from sentopt.recipe import Recipe
from sentopt.results import Confidence, Selection, VerifyResult
from sentopt.variants import VariantSpec

if TYPE_CHECKING:
    from sentopt.stages.bundle import Shipment


def prepare(recipe: Recipe) -> list[object]:
    """Data, seed of the splits, and the tuned model, whose labels decide the order."""
    return [
        sources.identify(recipe.data),
        recipes.identity(replace(recipe.data.labelled, corrections="")),  # which count by their content, above
        recipe.run.seed,
        _model(recipe) if recipe.model.tuned else "",
        _versions("datasets", "scikit-learn"),
    ]


def teach(recipe: Recipe, cache: StageCache, teachers: Sequence[str]) -> list[object]:
    """Splits, the weights of the teachers, and the texts that they answer.

    Which variant of a teacher answers is no part of it, and neither is its version: answers that were given stay.
    """
    return [
        cache.outputs("prepare"),
        [*teachers],
        [recipe.train.teacher_copies, recipe.run.seed],
        unlabelled.depends(recipe.data),
    ]


def train(recipe: Recipe, cache: StageCache) -> list[object]:
    """Splits, a teacher's answers, pretrained model, hyperparameters, and the packages that train."""
    settings = replace(recipe.train.decisive, teacher=())  # its answers count, and not where it is
    return [
        cache.outputs("prepare"),
        *([cache.outputs("teach") if cache.has("teach") else "not taught yet"] if recipe.train.teacher else []),
        _model(recipe),
        [recipe.model, recipes.identity(settings), recipe.run.seed],
        _versions("torch", "transformers", "tokenizers", "accelerate"),
    ]


def gain(recipe: Recipe, cache: StageCache, baseline: StageCache | None) -> list[object]:
    """The answers of the teacher, of the model, and of the baseline; and how they are compared."""
    return [
        cache.outputs("teach"),
        cache.outputs("train"),
        baseline.outputs("train") if baseline else [],
        [recipe.verify.confidence, recipe.verify.margin],
    ]


def export(recipe: Recipe, cache: StageCache, specs: Sequence[VariantSpec]) -> list[object]:
    """The checkpoint, and how graphs are made."""
    settings = records.to_json(
        replace(recipe.export, string_input=False, fp32_fallback=False, full_graph=False, trim_keep=0)
    )
    del settings["standard_operators"]  # of INT8; and runs of before did not have it
    return [
        cache.outputs("train"),
        [recipes.identity(settings), recipe.model.max_length, [spec.name for spec in specs]],
        _versions("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime"),
    ]


def distill(recipe: Recipe, cache: StageCache) -> list[object]:
    """The checkpoint, the texts that its student learns from, and how; what must be proven decides among students."""
    return [
        cache.outputs("prepare"),
        cache.outputs("train"),
        [recipe.distill, recipe.model.max_length, recipe.run.seed],
        unlabelled.depends(recipe.data),
        _rules(recipe) if len(recipe.distill.layers) > 1 else [],
        _versions("torch", "onnxruntime", "tokenizers", "numpy"),
    ]


def quantize(recipe: Recipe, cache: StageCache, specs: Sequence[VariantSpec]) -> list[object]:
    """The FP32 graphs, the texts for calibration, the student, and how INT8 and the threshold are made."""
    return [
        cache.outputs("prepare"),
        *_graphs(cache, "train", "export"),
        [list(specs), recipe.model.max_length, recipe.export.trim_keep],
        *(["standard operators"] if recipe.export.standard_operators else []),
        *([cache.outputs("distill"), recipe.distill, _rules(recipe)] if any(spec.stages for spec in specs) else []),
        _versions("optimum-onnx", "onnx", "onnxruntime", "numpy"),
    ]


def verify(
    recipe: Recipe, cache: StageCache, specs: Sequence[VariantSpec], *, emulated: Sequence[bool]
) -> list[object]:
    """The graphs, what they must prove, this machine's instruction set, and which of the other CPUs it can emulate.

    One CPU is written as it was when there was room for one only, so that runs of before stay current.
    """
    rules = records.to_json(recipe.verify)
    one = len(recipe.verify.cpu) == 1
    return [
        *_graphs(cache),
        [
            {**rules, "cpu": rules["cpu"][0]} if one else rules,
            recipe.train.metric,
            recipe.model.max_length,
            [spec.name for spec in specs],
        ],
        ["answers", cache.outputs("prepare")],  # runs of earlier versions kept no answers
        unlabelled.depends(recipe.data),
        [hardware.describe().isa, emulated[0] if one else list(emulated)],
        _versions("onnxruntime", "openvino", "torch", "numpy"),
    ]


def bench(recipe: Recipe, cache: StageCache, specs: Sequence[VariantSpec]) -> list[object]:
    """The graphs, what is measured, and this machine."""
    return [
        *_graphs(cache),
        [recipe.bench, recipe.model.max_length, [spec.name for spec in specs]],
        "means",  # benchmarks of earlier versions have none
        hardware.describe(),
        _versions("onnxruntime", "openvino", "torch", "tokenizers", "numpy"),
    ]


def examine(
    recipe: Recipe, cache: StageCache, variant: str, trained: Confidence, inexact: Sequence[str]
) -> list[object]:
    """The test split, the answers of the selected variant, of the inexact ones, and of PyTorch."""
    answers = [cache.outputs(stage) for stage in ("prepare", "train", "verify")]
    return [*answers, variant, [*inexact], trained, recipe.model.max_length]


def bundle(recipe: Recipe, cache: StageCache, selection: Selection, shipment: Shipment) -> list[object]:
    """The graphs, all that is said of the selected variant, the operators of a graph that takes texts, and WebAssembly.

    A bundle without such a graph stays current where that package is upgraded.
    """
    verdicts = cache.result("verify", VerifyResult).verdicts
    packages = ("onnx", "onnxruntime", "onnxruntime-extensions")
    return [
        *_graphs(cache),
        [shipment.examined.confidence, shipment.examined.bands],
        selection,
        {verdict.variant: verdict for verdict in verdicts},
        shipment.bench,
        shipment.spec,
        shipment.fallback[0].name if shipment.fallback else None,
        *([shipment.full[0].name] if shipment.full else []),
        *([shipment.cascades] if shipment.cascades else []),
        *(["string_input", hardware.versions(packages)] if recipe.export.string_input else []),
        *(["webassembly"] if webassembly.is_available() else []),
    ]


def report(cache: StageCache) -> list[object]:
    """The results of all other stages."""
    stages = cache.manifest.stages.items()
    finished = {name: (entry.fingerprint, entry.finished) for name, entry in stages if name != "report"}
    return [finished, _versions("sentopt", "matplotlib")]


def _rules(recipe: Recipe) -> list[object]:
    """What the threshold of a cascade is chosen by."""
    verify = recipe.verify
    margins = [verify.margin, verify.recall_margin, verify.max_changed, verify.confidence]
    return [*margins, recipe.train.metric, recipe.data.validation]


def _graphs(cache: StageCache, *stages: str) -> list[object]:
    return [cache.outputs(name) for name in stages or ("train", "export", "quantize")]


def _model(recipe: Recipe) -> str:
    return backbones.identify(recipe.model.backbone, recipe.model.revision)


def _versions(*packages: str) -> dict[str, str]:
    installed = hardware.versions()
    return {package: installed[package] for package in packages if package in installed}
