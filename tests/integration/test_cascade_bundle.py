"""A cascade as the stage `bundle` writes it: golden texts of both ways, what is said of it, and the graphs beside."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import small_cascades

from sentopt import Classifier, manifest, recipe
from sentopt.bundles import check, golden
from sentopt.data import store
from sentopt.data.splits import Example
from sentopt.errors import BundleError, RecipeError
from sentopt.graph import cascade, families
from sentopt.graph.cascade import Student
from sentopt.graph.products import FloatProducts
from sentopt.pipeline import dependencies, shipping
from sentopt.recipe import Recipe
from sentopt.results import (
    BenchResult,
    CascadeRule,
    DistillResult,
    ExamineResult,
    PrepareResult,
    QuantizeResult,
    TrainResult,
    Verdict,
    VerifyResult,
)
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import softmax
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import TextEncoder
from sentopt.stages import bundle
from sentopt.variants import VARIANTS

VARIANT = "cascade-fp32"


@dataclass
class Cascaded:
    """A finished run with a cascade, and the results from which its bundle is made."""

    run_dir: RunDir
    threshold: Threshold
    results: dict[str, Any]

    def result(self, name: str, kind: type[Any]) -> Any:
        """As `StageCache.result`."""
        return self.results[name]

    def outputs(self, name: str) -> list[str]:
        """As `StageCache.outputs`."""
        return [name]

    def recipe(self, **settings: object) -> Recipe:
        """The recipe of the run with other keys of `export`."""
        loaded = recipe.load(str(self.run_dir.recipe))
        return replace(loaded, export=replace(loaded.export, **settings))  # type: ignore[arg-type]

    def shipment(self, **settings: object) -> bundle.Shipment:
        """What is shipped."""
        return shipping.shipment(self.recipe(**settings), self, VARIANT)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cascaded(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Cascaded:
    run_dir = RunDir(shutil.copytree(finished_run, tmp_path_factory.mktemp("cascade") / "tiny"))
    architecture = families.read(run_dir.checkpoint)
    student = Student(replace(architecture, blocks=architecture.blocks[:1]), FloatProducts())
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=48)
    labels = store.read_labels(run_dir)
    classifier = Classifier.open(cascade.write_student(student).SerializeToString(), encoder, labels)
    texts = [example.text for example in store.read_split(run_dir, "test")]
    lengths = np.array([len(tokens.ids) for tokens in encoder.encode(texts)])
    threshold = small_cascades.deferring(classifier.predict_proba(texts).max(axis=1), lengths, 0.4)
    made = cascade.write(student, architecture, FloatProducts(), threshold)
    run_dir.model(VARIANT).parent.mkdir(parents=True)
    onnx.save_model(made, run_dir.model(VARIANT))
    found = manifest.read(run_dir.manifest)
    verified, measured = found.result("verify", VerifyResult), found.result("bench", BenchResult)
    (of_full,) = (verdict for verdict in verified.verdicts if verdict.variant == "lean-fp32")
    (row,) = (row for row in measured.rows if row.variant == "lean-fp32")
    verdict = replace(of_full, variant=VARIANT, max_probability_difference=0.4, deferred=0.4)
    rule = CascadeRule(threshold.confidence, threshold.tokens, 60, 0.4, 0, 0, 0, 0.0, 0.01, 0.95)
    return Cascaded(
        run_dir,
        threshold,
        {
            "train": found.result("train", TrainResult),
            "prepare": found.result("prepare", PrepareResult),
            "distill": DistillResult(1, (), 240, 0, 0, 0.0),
            "quantize": replace(found.result("quantize", QuantizeResult), cascades={VARIANT: rule}),
            "verify": replace(verified, verdicts=(*verified.verdicts, verdict)),
            "bench": replace(measured, rows=(*measured.rows, replace(row, variant=VARIANT))),
            "examine": found.result("examine", ExamineResult),
        },
    )


def test_golden_texts_went_both_ways_and_are_clear_of_the_threshold(cascaded: Cascaded) -> None:
    result = bundle.run(cascaded.recipe(), cascaded.run_dir, cascaded.shipment())
    assert result.golden_texts == 16
    classifier = Classifier.load(cascaded.run_dir.bundle, check=True)
    description = classifier.description
    assert description is not None
    ways = [entry.deferred for entry in description.golden]
    assert ways.count(True) == ways.count(False) == 8
    assert classifier.routed([entry.text for entry in description.golden])[1].tolist() == ways
    router = golden.Router(cascaded.run_dir.model(VARIANT), cascaded.threshold, len(description.labels))
    distances = [router.distance(classifier, entry.text) for entry in description.golden]
    assert [distance < 0 for distance in distances] == ways
    assert min(map(abs, distances)) >= 0.1
    outcome = check.check(cascaded.run_dir.bundle)
    assert (outcome.deferred, outcome.rerouted) == (8, 0)


def test_the_description_says_what_the_graph_is(cascaded: Cascaded) -> None:
    bundle.run(cascaded.recipe(), cascaded.run_dir, cascaded.shipment())
    facts = json.loads((cascaded.run_dir.bundle / "sentopt.json").read_text(encoding="utf-8"))
    assert facts["schema_version"] == 1
    assert facts["cascade"] == {
        "layers": 1,
        "threshold": cascaded.threshold.confidence,
        "threshold_tokens": cascaded.threshold.tokens,
        "max_length": 0,
        "reads": "head",
        "deferred": 0.4,
        "texts": 120,
        "deferred_output": "deferred",
    }
    assert "full" not in facts
    assert (facts["variant"], facts["output"]) == (VARIANT, "logits")


def test_the_full_graph_goes_with_it_where_the_recipe_asks_for_it(cascaded: Cascaded) -> None:
    shipment = cascaded.shipment(full_graph=True)
    bundle.run(cascaded.recipe(full_graph=True), cascaded.run_dir, shipment)
    folder = cascaded.run_dir.bundle
    facts = json.loads((folder / "sentopt.json").read_text(encoding="utf-8"))
    assert facts["full"]["variant"] == "lean-fp32"
    assert facts["full"]["file"] == "onnx/model_full.onnx"
    assert (folder / "onnx/model_full.onnx").read_bytes() == cascaded.run_dir.model("lean-fp32").read_bytes()
    assert set(facts["files"]) >= {"onnx/model.onnx", "onnx/model_full.onnx"}
    (folder / "onnx/model_full.onnx").write_bytes(b"another")
    with pytest.raises(BundleError, match=r"model_full\.onnx: 7 bytes"):
        Classifier.load(folder)
    selection = manifest.read(cascaded.run_dir.manifest).stages["select"].result
    without, with_it = (
        dependencies.bundle(
            cascaded.recipe(full_graph=wanted), cascaded, selection, cascaded.shipment(full_graph=wanted)
        )  # type: ignore[arg-type]
        for wanted in (False, True)
    )
    assert without != with_it


def test_a_full_graph_of_int8_has_the_name_that_transformers_js_looks_for() -> None:
    assert bundle.full_file(VARIANTS["lean-int8"]) == "onnx/model_full_quantized.onnx"


@pytest.mark.parametrize(
    ("verified", "why"), [("refused", "was refused: lost too much"), ("missing", "was not verified")]
)
def test_a_full_graph_that_did_not_pass_is_not_shipped(cascaded: Cascaded, verified: str, why: str) -> None:
    verdicts: list[Verdict] = list(cascaded.results["verify"].verdicts)
    others = [verdict for verdict in verdicts if verdict.variant != "lean-fp32"]
    (full,) = (verdict for verdict in verdicts if verdict.variant == "lean-fp32")
    if verified == "refused":
        others.append(replace(full, passed=False, reason="lost too much"))
    results = {**cascaded.results, "verify": replace(cascaded.results["verify"], verdicts=tuple(others))}
    refused = replace(cascaded, results=results)
    with pytest.raises(RecipeError, match=rf"export.full_graph: 1 problem.*\n.*the full model of cascade-fp32, {why}"):
        refused.shipment(full_graph=True)
    assert refused.shipment().full is None


def test_what_is_no_cascade_carries_none_of_it(cascaded: Cascaded) -> None:
    shipment = shipping.shipment(cascaded.recipe(full_graph=True), cascaded, "lean-fp32")  # type: ignore[arg-type]
    assert shipment.full is None
    assert shipment.cascade is None


def test_a_fallback_that_is_a_cascade_is_described(cascaded: Cascaded) -> None:
    shipment = cascaded.shipment()
    int8 = replace(shipment, spec=VARIANTS["lean-int8"], fallback=(VARIANTS[VARIANT], shipment.verdict))
    verdicts = cascaded.results["verify"].verdicts
    (verdict,) = (verdict for verdict in verdicts if verdict.variant == "lean-int8")
    bundle.run(cascaded.recipe(), cascaded.run_dir, replace(int8, verdict=verdict))
    assert not Classifier.load(cascaded.run_dir.bundle, check=True).is_cascade
    assert Classifier.load(cascaded.run_dir.bundle, fallback=True).is_cascade


def test_few_texts_of_one_way_are_filled_up_with_the_other(cascaded: Cascaded) -> None:
    """Whatever there is: no test text is deferred, or every one is."""
    encoder = TextEncoder.load(cascaded.run_dir.checkpoint, max_length=48)
    labels = store.read_labels(cascaded.run_dir)
    classifier = Classifier.open(cascaded.run_dir.model(VARIANT), encoder, labels)
    router = golden.Router(cascaded.run_dir.model(VARIANT), cascaded.threshold, len(labels))
    examples = store.read_split(cascaded.run_dir, "test")
    expected = softmax(np.load(cascaded.run_dir.reference))
    _, deferred = classifier.routed([example.text for example in examples])
    verdict = cascaded.shipment().verdict
    for way in (True, False):
        rows = [row for row in range(len(examples)) if deferred[row] == way]
        some: list[Example] = [examples[row] for row in rows]
        texts, _ = golden.choose(classifier, some, expected[rows], verdict, router)
        assert 10 <= len(texts) <= 16
        assert {text["deferred"] for text in texts} == {way}
