"""Stage `bundle`: the selected variant, alone, with everything that an application needs to run and to trust it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentopt import __version__, atomic, records
from sentopt.data import store
from sentopt.recipe import Recipe
from sentopt.results import BenchResult, BundleResult, Confidence, Verdict
from sentopt.run_dir import RunDir
from sentopt.runtime.bundle import DESCRIPTION_FILE, SCHEMA_VERSION, sha256_file
from sentopt.runtime.classifier import Classifier, softmax
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import TextEncoder
from sentopt.variants import VariantSpec

_FROM_CHECKPOINT = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_GOLDEN_TEXTS = 16
_LONGEST_GOLDEN = 400
_LEAST_TOLERANCE = 0.01


def run(
    recipe: Recipe,
    run_dir: RunDir,
    *,
    spec: VariantSpec,
    verdict: Verdict,
    bench: BenchResult,
    confidence: Confidence,
) -> BundleResult:
    """Write `bundle/`, load it as an application would, and make it answer its own golden texts.

    Raises:
        BundleError: the written bundle does not load or does not answer as verified.
    """
    labels = store.read_labels(run_dir)
    with atomic.replace_folder(run_dir.bundle) as folder:
        model = folder / spec.bundle_file
        model.parent.mkdir(parents=True)
        shutil.copyfile(run_dir.model(spec.file_owner), model)
        for name in _FROM_CHECKPOINT:
            if (run_dir.checkpoint / name).is_file():
                shutil.copyfile(run_dir.checkpoint / name, folder / name)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        golden = _golden(recipe, run_dir, spec, model, labels, verdict)
        description = {
            **_description(recipe, folder, spec, labels, files, golden, verdict, bench),
            "confidence": records.to_json(confidence),
        }
        (folder / DESCRIPTION_FILE).write_text(
            json.dumps(description, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
        Classifier.load(folder, check=bool(golden))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return BundleResult(spec.name, len(files) + 1, size, len(golden))


def _description(
    recipe: Recipe,
    folder: Path,
    spec: VariantSpec,
    labels: Sequence[str],
    files: Sequence[Path],
    golden: list[dict[str, Any]],
    verdict: Verdict,
    bench: BenchResult,
) -> dict[str, Any]:
    encoder = TextEncoder.load(folder, max_length=recipe.model.max_length)
    session = OnnxSession(folder / spec.bundle_file)
    row = next(row for row in bench.rows if row.variant == spec.name)
    return {
        "schema_version": SCHEMA_VERSION,
        "made_by": f"sentopt {__version__}",
        "name": recipe.run.name,
        "variant": spec.name,
        "engine": spec.engine,
        "labels": list(labels),
        "max_length": recipe.model.max_length,
        "pad_token_id": encoder.pad_token_id,
        "model_file": spec.bundle_file,
        "inputs": list(session.inputs),
        "output": session.output,
        "files": {
            path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
            for path in files
        },
        "verified": {
            "test_texts": verdict.comparison.n,
            "accuracy": verdict.scores.accuracy,
            "macro_f1": verdict.scores.macro_f1,
            "agreement_with_pytorch": verdict.agreement,
            "comparison": records.to_json(verdict.comparison),
            "batch_flips": records.to_json(verdict.batch_flips),
            "cpu_flips": records.to_json(verdict.cpu_flips),
            "reason": verdict.reason,
        },
        "measured": {
            "hardware": records.to_json(bench.hardware),
            "threads": bench.threads,
            "row": records.to_json(row),
        },
        "golden_tolerance": max(_LEAST_TOLERANCE, verdict.max_probability_difference),
        "golden": golden,
    }


def _golden(
    recipe: Recipe, run_dir: RunDir, spec: VariantSpec, model: Path, labels: Sequence[str], verdict: Verdict
) -> list[dict[str, Any]]:
    """Texts of the test split, from the least to the most certain, that this variant and PyTorch label the same.

    A text that is a tie on this CPU would be decided by rounding on the next, so the lead of the top probability must
    exceed twice what the variant may differ by, where such texts exist.
    """
    examples = store.read_split(run_dir, "test")
    expected = softmax(np.load(run_dir.reference, allow_pickle=False))
    top_two = np.sort(expected, axis=1)[:, -2:]
    lead = top_two[:, 1] - top_two[:, 0]
    short = np.array([len(e.text) <= _LONGEST_GOLDEN for e in examples])
    usable = np.flatnonzero(short & (lead > 2.0 * verdict.max_probability_difference))
    if not len(usable):
        usable = np.flatnonzero(short)
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length)
    classifier = Classifier.open(model, encoder, labels, engine=spec.engine)
    by_lead = usable[np.argsort(lead[usable], kind="stable")]
    chosen: list[int] = []
    for position in (
        by_lead[np.linspace(0, len(by_lead) - 1, min(2 * _GOLDEN_TEXTS, len(by_lead))).astype(int)]
        if len(by_lead)
        else []
    ):
        answer = classifier.predict_proba([examples[position].text])[0]
        if answer.argmax() == expected[position].argmax() and int(position) not in chosen:
            chosen.append(int(position))
    kept = chosen[:: max(1, len(chosen) // _GOLDEN_TEXTS)][:_GOLDEN_TEXTS]
    return [{"text": examples[i].text, "probabilities": [round(float(p), 6) for p in expected[i]]} for i in kept]
