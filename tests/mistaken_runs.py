"""A finished run whose models make mistakes on test texts that are hard to show."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from sentopt import manifest, recipe, records
from sentopt.manifest import artefacts
from sentopt.results import TrainResult, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.stages import examine, verify
from sentopt.variants import VARIANTS

MARKUP = "<img src=x onerror=\"document.title='owned'\"> <b>bold</b> ${document.title='owned'} {{value}} & `code`"
FORMULA = "=1+1 terrible"
LONG = "terrible <i>word</i> " * 60 + "the very end"
ODD = {0: MARKUP, 7: FORMULA, 14: LONG, 21: "\u202eterrible\u202c \u05e9\u05dc\u05d5\u05dd terrible"}
"""Texts by row, from 0. Their labels, as those of every seventh text, are not what the models answer."""
LOST, GAINED = (1, 2, 3, 4), (29, 36)
"""Rows, from 0, in which PyTorch's stored answers differ from those of all variants."""


def make(run: Path) -> None:
    """Change texts, labels and PyTorch's answers of a finished run, and verify and examine it again."""
    run_dir, found = RunDir(run), manifest.read(RunDir(run).manifest)
    classifier = Classifier.load(run_dir.bundle)
    rows = [json.loads(line) for line in run_dir.split("test").read_text(encoding="utf-8").splitlines()]
    for i, text in ODD.items():
        rows[i]["text"] = text
    answers = classifier.logits([row["text"] for row in rows])
    labels = answers.argmax(axis=1)
    others = (labels + 1) % len(classifier.labels)
    mistaken = [*range(0, len(rows), 7), *LOST]
    labels[mistaken] = others[mistaken]
    for row, label in zip(rows, labels.tolist(), strict=True):
        row["label"] = label
    run_dir.split("test").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    told = [*LOST, *GAINED]
    answers[told] = np.eye(len(classifier.labels), dtype=np.float32)[others[told]] * 8
    np.save(run_dir.reference, answers)
    verified = _verify_and_examine(run_dir, found)
    stages = {
        name: dataclasses.replace(entry, outputs=artefacts(run, [run / a.path for a in entry.outputs]))
        for name, entry in found.stages.items()
    }
    stages["verify"] = dataclasses.replace(stages["verify"], result=records.to_json(verified))
    manifest.write(run_dir.manifest, dataclasses.replace(found, stages=stages))


def _verify_and_examine(run_dir: RunDir, found: manifest.Manifest) -> VerifyResult:
    """Write what the stages find of the changed texts."""
    before, resolved = found.result("verify", VerifyResult), recipe.load(str(run_dir.recipe))
    shipped = str(json.loads((run_dir.bundle / "sentopt.json").read_text())["variant"])
    specs = [VARIANTS[verdict.variant] for verdict in before.verdicts]
    assert before.reference is not None
    verified = verify.run(resolved, run_dir, specs=specs, reference_check=before.reference)
    examine.run(resolved, run_dir, shipped, found.result("train", TrainResult).confidence)
    return verified
