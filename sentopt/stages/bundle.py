"""Stage `bundle`: the selected variant, alone, with everything that an application needs to run and to trust it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from sentopt import backbones, records
from sentopt._version import __version__
from sentopt.backends import webassembly
from sentopt.bundles import golden
from sentopt.data import catalog, pairs, store
from sentopt.errors import EmulationError
from sentopt.files import atomic
from sentopt.measure.decision import Decision
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe
from sentopt.results import BenchResult, BundleResult, ExamineResult, PrepareResult, StringInput, Verdict
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.comparison import compare
from sentopt.runtime.description import DESCRIPTION_FILE, Cascade, schema_of, sha256_file
from sentopt.runtime.options import Options
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import TextEncoder
from sentopt.variants import VariantSpec

_WITH_THE_MODEL = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


@dataclass(frozen=True)
class Shipment:
    """The selected variant, and what its bundle says of it.

    `fallback` is an FP32 graph that goes with it, `full` the graph of a cascade's full model alone. `cascades` has what
    the bundle says of each of the two graphs that is a cascade, by variant.
    """

    spec: VariantSpec
    verdict: Verdict
    bench: BenchResult
    examined: ExamineResult
    data: PrepareResult
    fallback: tuple[VariantSpec, Verdict] | None = None
    full: tuple[VariantSpec, Verdict] | None = None
    cascades: Mapping[str, Cascade] = field(default_factory=dict)

    @property
    def cascade(self) -> Cascade | None:
        """What the bundle says of the selected variant, if it is a cascade."""
        return self.cascades.get(self.spec.name)


def run(
    recipe: Recipe,
    run_dir: RunDir,
    shipment: Shipment,
    *,
    add: Callable[[Path], StringInput] | None = None,
    progress: Progress = SILENT,
) -> BundleResult:
    """Write `bundle/`, load it as an application would, and make it answer its own golden texts.

    `add` puts a graph that takes texts into the finished folder; if it raises, the bundle of before stays. Where Node
    and onnxruntime-web are installed, the tolerance of the golden texts in WebAssembly is measured as well.

    Raises:
        BundleError: the written bundle does not load or does not answer as verified.
    """
    spec, fallback = shipment.spec, shipment.fallback
    labels, decision = store.read_labels(run_dir), store.read_decision(run_dir)
    with atomic.replace_folder(run_dir.bundle) as folder:
        model = _copy_files(folder, shipment, run_dir)
        _name_the_file_for_transformers_js(folder / "config.json", spec)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        encoder = TextEncoder.load(folder, max_length=recipe.model.max_length, pairs=store.are_pairs(run_dir))
        texts, tolerance = golden.choose(
            Classifier.open(
                model, encoder, labels, options=Options(engine=spec.engine), thresholds=decision.thresholds
            ),
            store.read_split(run_dir, "test"),
            decision.probabilities(np.load(run_dir.reference, allow_pickle=False)),
            shipment.verdict,
            _router(model, shipment.cascade, len(labels)) if shipment.cascade else None,
        )
        description = {
            **_description(recipe, folder, shipment, encoder, labels, files, decision, store.read_pair(run_dir)),
            "golden_tolerance": tolerance,
            "golden": texts,
            **_in_webassembly(model, spec, encoder, texts, shipment.verdict, progress, decision),
            "confidence": records.to_json(shipment.examined.confidence),
            "score_bands": records.to_json(shipment.examined.bands),
            # A trimmed vocabulary has other ids.
            **({} if spec.trimmed else {"familiarity": records.to_json(shipment.examined.familiarity)}),
            "made_from": _made_from(recipe, shipment.data),
            **({"fallback": _fallback(folder, *fallback, shipment)} if fallback else {}),
            **({"full": _full(folder, *shipment.full)} if shipment.full else {}),
        }
        (folder / DESCRIPTION_FILE).write_text(
            json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        Classifier.load(folder, check=bool(texts))
        if fallback:
            Classifier.load(folder, check=bool(texts), fallback=True)
        added = add(folder) if add else None
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return BundleResult(spec.name, len(files) + 1 + bool(added), size, len(texts), added)


def _copy_files(folder: Path, shipment: Shipment, run_dir: RunDir) -> Path:
    """Copy graphs, configuration and tokenizer into the bundle; the path of its model there."""
    spec = shipment.spec
    model = folder / spec.bundle_file
    model.parent.mkdir(parents=True)
    shutil.copyfile(run_dir.model(spec.file_owner), model)
    source = run_dir.variant(spec.file_owner) if spec.trimmed else run_dir.checkpoint
    for name in _WITH_THE_MODEL:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if shipment.fallback:
        fallback = shipment.fallback[0]
        shutil.copyfile(run_dir.model(fallback.file_owner), folder / fallback.bundle_file)
    if shipment.full:
        shutil.copyfile(run_dir.model(shipment.full[0].file_owner), folder / full_file(shipment.full[0]))
    return model


def _name_the_file_for_transformers_js(config: Path, spec: VariantSpec) -> None:
    """Make the graph of the bundle the default of transformers.js, which looks for the FP32 graph in Node."""
    settings = json.loads(config.read_text(encoding="utf-8"))
    settings["transformers.js_config"] = {"dtype": "q8" if spec.dtype == "int8" else "fp32"}
    config.write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _description(
    recipe: Recipe,
    folder: Path,
    shipment: Shipment,
    encoder: TextEncoder,
    labels: Sequence[str],
    files: Sequence[Path],
    decision: Decision,
    pair: tuple[str, str] | None,
) -> dict[str, Any]:
    spec, verdict, bench = shipment.spec, shipment.verdict, shipment.bench
    row = next(row for row in bench.rows if row.variant == spec.name)
    return {
        "schema_version": schema_of(encoder.side, multi_label=decision.is_multi_label, pairs=encoder.pairs),
        "made_by": f"sentopt {__version__}",
        "name": recipe.run.name,
        "engine": spec.engine,
        "labels": list(labels),
        **_sets(decision),
        **({"pair": list(pair)} if pair else {}),
        "max_length": recipe.model.max_length,
        "truncation_side": encoder.side,
        "pad_token_id": encoder.pad_token_id,
        **_graph(folder, spec),
        **_cascade(shipment, spec),
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for path in files
        },
        "verified": {
            "test_texts": verdict.comparison.n,
            "criteria": records.to_json(verdict.criteria),
            "exact": verdict.exact,
            "accuracy": verdict.scores.accuracy,
            "macro_f1": verdict.scores.macro_f1,
            **({"sets": records.to_json(verdict.scores.sets)} if verdict.scores.sets else {}),
            "per_label": [records.to_json(scores) for scores in verdict.scores.per_class],
            "agreement_with_pytorch": verdict.agreement,
            "comparison": records.to_json(verdict.comparison),
            "batch_flips": records.to_json(verdict.batch_flips),
            "cpu_flips": records.to_json(verdict)["cpu_flips"],
            "reason": verdict.reason,
        },
        "measured": {
            "hardware": records.to_json(bench.hardware),
            "threads": bench.threads,
            "onnxruntime": onnxruntime.__version__,
            "row": records.to_json(row),
        },
    }


def _sets(decision: Decision) -> dict[str, Any]:
    """What makes sets of labels of probabilities; nothing where each text has one label."""
    if not decision.is_multi_label:
        return {}
    return {"problem_type": decision.problem_type, "thresholds": list(decision.thresholds)}


def _graph(folder: Path, spec: VariantSpec) -> dict[str, Any]:
    session = OnnxSession(folder / spec.bundle_file)
    return {
        "variant": spec.name,
        "model_file": spec.bundle_file,
        "inputs": list(session.inputs),
        "output": session.output,
    }


def _in_webassembly(
    model: Path,
    spec: VariantSpec,
    encoder: TextEncoder,
    texts: Sequence[dict[str, Any]],
    verdict: Verdict,
    progress: Progress,
    decision: Decision,
) -> dict[str, Any]:
    """What a browser may differ by from PyTorch on the golden texts; nothing where that cannot be measured here."""
    if not texts or not webassembly.is_available():
        return {}
    try:
        answers = webassembly.answer(
            model, OnnxSession(model).output, encoder, [pairs.of_fields(text) for text in texts]
        )
    except EmulationError as error:
        progress.say(f"note: {spec.name} was not tested in WebAssembly: {error}")
        return {}
    found = compare(
        [text["probabilities"] for text in texts],
        decision.probabilities(answers.logits),
        recorded_deferred=[text.get("deferred") for text in texts],
        deferred=answers.deferred,
        thresholds=decision.thresholds,
    )
    largest = found.largest_difference
    if found.changed:
        progress.say(
            f"note: in WebAssembly {found.changed} of {len(texts)} golden texts get another label, so browsers will "
            "refuse this bundle; its FP32 graph answers there as here (export.fp32_fallback=true carries one)"
        )
    return {
        "webassembly": {
            "onnxruntime_web": answers.version,
            "golden_tolerance": golden.tolerance(largest, max(largest, verdict.max_probability_difference)),
            "largest_difference": largest,
            "labels_changed": found.changed,
            **({"rerouted": found.rerouted} if answers.deferred is not None else {}),
        }
    }


def _router(model: Path, cascade: Cascade, labels: int) -> golden.Router:
    return golden.Router(model, Threshold.of(cascade), labels)


def _cascade(shipment: Shipment, spec: VariantSpec) -> dict[str, Any]:
    """What a host that knows cascades finds in the description; others run the graph all the same."""
    cascade = shipment.cascades.get(spec.name)
    return {"cascade": asdict(cascade)} if cascade else {}


def full_file(spec: VariantSpec) -> str:
    """The name of the full graph beside a cascade, as transformers.js finds it with the file name `model_full`."""
    return spec.bundle_file.replace("onnx/model", "onnx/model_full", 1)


def _full(folder: Path, spec: VariantSpec, verdict: Verdict) -> dict[str, Any]:
    largest = verdict.max_probability_difference
    return {
        "variant": spec.name,
        "file": full_file(spec),
        "output": OnnxSession(folder / full_file(spec)).output,
        "accuracy": verdict.scores.accuracy,
        "agreement_with_pytorch": verdict.agreement,
        "golden_tolerance": golden.tolerance(largest, largest),
    }


def _fallback(folder: Path, spec: VariantSpec, verdict: Verdict, shipment: Shipment) -> dict[str, Any]:
    largest = verdict.max_probability_difference
    return {
        **_graph(folder, spec),
        **_cascade(shipment, spec),
        "accuracy": verdict.scores.accuracy,
        "agreement_with_pytorch": verdict.agreement,
        "golden_tolerance": golden.tolerance(largest, largest),
    }


def _made_from(recipe: Recipe, data: PrepareResult) -> dict[str, Any]:
    """Data and backbone, without the folders they were in on this machine."""
    backbone, dataset = recipe.model.backbone, recipe.data.dataset
    known, listed = backbones.BACKBONES.get(backbone), catalog.DATASETS.get(dataset)
    return {
        "dataset": listed.hub_id if listed else recipe.data.hub_id or dataset,
        "files": data.source,
        "sha256": dict(data.identity),
        "texts": {split: data.texts_of(split) for split in data.counts},
        "backbone": known.hub_id if known else Path(backbone).name if Path(backbone).is_dir() else backbone,
        "backbone_revision": known.revision if known else recipe.model.revision,
        "backbone_license": known.license if known else "",
        "tuned_elsewhere": recipe.model.tuned,
    }
