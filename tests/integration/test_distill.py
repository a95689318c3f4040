"""Student and cascades from `sentopt run` to an application, on a small model of four layers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from sentopt import Classifier, cli, manifest, recipe
from sentopt.errors import TrainingInterrupted
from sentopt.files import journal
from sentopt.gate import deferral, rules
from sentopt.measure import stats
from sentopt.pipeline.order import Pipeline
from sentopt.results import BenchResult, DistillResult, QuantizeResult, Selection, VerifyResult
from sentopt.run_dir import RunDir
from sentopt.stages import distill
from sentopt.training import distillation
from sentopt.variants import VARIANTS

VARIANTS_OF_TWO_STAGES = ["student-int8", "cascade-int8", "cascade-fp32"]
NAMES = ["torch", "lean-fp32", "lean-int8", *VARIANTS_OF_TWO_STAGES]
SETTINGS = (
    "distill.layers=2",
    "distill.epochs=2",
    "distill.copies=1",
    "distill.shared=1",
    "distill.learning_rate=0.002",
    f"export.variants={NAMES}",
    "verify.margin=15",
    "verify.max_changed=30",
    "verify.recall_margin=40",
)


@pytest.fixture(scope="session")
def deep_backbone(backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small BERT with four layers."""
    import torch
    import transformers

    folder = shutil.copytree(backbone, tmp_path_factory.mktemp("deep") / "backbone")
    config = transformers.AutoConfig.from_pretrained(folder)
    config.num_hidden_layers = 4
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def deep_run(deep_backbone: Path, tiny_options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of it. Do not change it: copy it with `copied`."""
    root = tmp_path_factory.mktemp("exports") / "deep"
    options = [argument for value in SETTINGS for argument in ("--set", value)]
    given = ["run", *tiny_options, "--model", str(deep_backbone), *options, "--run-dir", str(root)]
    assert cli.main(given) == 0
    return root


@pytest.fixture
def copied(deep_run: Path, tmp_path: Path) -> RunDir:
    return RunDir(shutil.copytree(deep_run, tmp_path / "deep"))


def export(run_dir: RunDir, *settings: str) -> int:
    return cli.main(["export", "--run-dir", str(run_dir.root), *(a for s in settings for a in ("--set", s))])


def test_they_are_made_judged_and_measured_like_every_other(deep_run: Path) -> None:
    run_dir = RunDir(deep_run)
    found = manifest.read(run_dir.manifest)
    student = found.result("distill", DistillResult)
    assert student.layers == 2
    assert (student.texts, student.copies, student.unlabelled) == (240, 240, 0)
    assert student.tried[0].steps == 30
    assert (student.tried[0].agreement or 0.0) > 0.8
    made = found.result("quantize", QuantizeResult)
    assert [variant.name for variant in made.variants] == ["lean-int8", *VARIANTS_OF_TWO_STAGES]
    assert set(made.cascades) == {"cascade-int8", "cascade-fp32"}
    verdicts = {verdict.variant: verdict for verdict in found.result("verify", VerifyResult).verdicts}
    assert list(verdicts) == NAMES
    assert verdicts["student-int8"].deferred is None
    assert 0.0 <= (verdicts["cascade-int8"].deferred or 0.0) <= 1.0
    assert verdicts["cascade-int8"].agreement >= verdicts["student-int8"].agreement
    assert [row.variant for row in found.result("bench", BenchResult).rows] == NAMES
    assert not run_dir.distilling.exists()
    sizes = {name: run_dir.model(name).stat().st_size for name in NAMES[2:]}
    assert sizes["student-int8"] < sizes["cascade-int8"] < sizes["lean-int8"] + sizes["student-int8"]


def test_validation_texts_and_texts_without_labels_are_no_evidence_for_them(deep_run: Path) -> None:
    """Their threshold was chosen on the former, and the student may have learned from the latter."""
    found = manifest.read(RunDir(deep_run).manifest).result("verify", VerifyResult)
    assert found.validation_texts == 60
    texts = {v.variant: v.criteria[0].texts for v in found.verdicts if v.criteria}
    assert texts["lean-int8"] == 180
    assert texts["cascade-int8"] == texts["student-int8"] == 120


def test_a_second_run_does_nothing(copied: RunDir) -> None:
    before = manifest.read(copied.manifest).stages
    assert export(copied) == 0
    assert manifest.read(copied.manifest).stages == before


def test_the_student_is_the_same_every_time(copied: RunDir) -> None:
    before = (copied.student / "student.safetensors").read_bytes()
    pipeline = Pipeline(recipe.load(str(copied.recipe)), copied, force=True)
    key = manifest.read(copied.manifest).stages["distill"].fingerprint
    distill.run(pipeline.recipe, copied, resume_key=key)
    assert (copied.student / "student.safetensors").read_bytes() == before


@pytest.mark.parametrize("variant", ["cascade-int8", "student-int8"])
def test_its_bundle_answers_as_verified(copied: RunDir, variant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sentopt.stages.select.run", lambda *_, **__: Selection(variant, "latency", "a test"))
    assert export(copied, "select.tie=0.5") == 0
    facts = json.loads((copied.bundle / "sentopt.json").read_text())
    assert facts["model_file"] == "onnx/model_quantized.onnx"
    classifier = Classifier.load(copied.bundle, check=True)
    texts = ["great great food", "terrible terrible service", "the the menu"]
    alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
    assert np.allclose(classifier.predict_proba(texts), alone, atol=1e-4)
    assert ("cascade" in facts) == (variant == "cascade-int8")
    assert classifier.stats().texts == 6


def test_without_layers_there_is_neither(copied: RunDir) -> None:
    assert export(copied, "distill.layers=0", "export.variants=[]") == 0
    names = {v.variant for v in manifest.read(copied.manifest).result("verify", VerifyResult).verdicts}
    assert "lean-int8" in names
    assert not names & set(VARIANTS_OF_TWO_STAGES)


def test_a_variant_that_no_student_can_give_is_refused(copied: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(copied, "distill.layers=0", "export.variants=['cascade-int8']") == 2
    assert "distill.layers" in capsys.readouterr().err


def test_the_fastest_cascade_decides_among_numbers_of_layers(copied: RunDir) -> None:
    assert export(copied, "distill.layers=[1, 3]", "distill.epochs=1") == 0
    found = manifest.read(copied.manifest).result("distill", DistillResult)
    assert [one.layers for one in found.tried] == [1, 3]
    assert found.layers == min(found.tried, key=lambda one: one.cost).layers


def test_texts_without_labels_teach_the_student(copied: RunDir, tmp_path: Path) -> None:
    path = tmp_path / "more.txt"
    path.write_text("".join(f"great great number {i}\n" for i in range(50)))
    assert export(copied, f"data.unlabelled={path}", "distill.epochs=1") == 0
    assert manifest.read(copied.manifest).result("distill", DistillResult).unlabelled == 50


def test_there_are_not_more_changed_copies_than_all_steps_can_teach(copied: RunDir) -> None:
    assert export(copied, "distill.copies=3", "distill.max_steps=10") == 0
    student = manifest.read(copied.manifest).result("distill", DistillResult)
    assert (student.texts, student.copies) == (240, 10 * 32 - 240)
    assert student.tried[0].steps == 10


def test_there_are_not_more_texts_than_all_steps_can_teach(copied: RunDir) -> None:
    """Millions of texts would be answered by the full model, and held in memory, for nothing."""
    assert export(copied, "distill.copies=3", "distill.max_steps=2") == 0
    student = manifest.read(copied.manifest).result("distill", DistillResult)
    assert (student.texts, student.copies) == (2 * 32, 0)
    assert "64 of 240 training texts" in student.notices[0]


def test_texts_without_labels_leave_room_for_training_texts(copied: RunDir, tmp_path: Path) -> None:
    path = tmp_path / "more.txt"
    path.write_text("".join(f"great great number {i}\n" for i in range(500)))
    limit = "data.unlabelled_limit=300"
    assert export(copied, f"data.unlabelled={path}", limit, "distill.copies=3", "distill.max_steps=10") == 0
    student = manifest.read(copied.manifest).result("distill", DistillResult)
    assert (student.texts, student.copies, student.unlabelled) == (160, 0, 160)
    assert [line for line in student.notices if "the student learns" in line] == [
        "the student learns from 160 of 300 texts without labels (distill.max_steps)",
        "the student learns from 160 of 240 training texts (distill.max_steps)",
    ]


def test_a_student_can_read_the_ends_of_long_texts(copied: RunDir) -> None:
    assert export(copied, "distill.max_length=10", "distill.reads=head_and_tail", "distill.epochs=1") == 0
    verdicts = manifest.read(copied.manifest).result("verify", VerifyResult).verdicts
    assert next(v for v in verdicts if v.variant == "cascade-int8").agreement > 0.8


def test_test_texts_as_validation_texts_choose_no_threshold(
    deep_backbone: Path, tiny_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = (*SETTINGS, "data.validation=test", "export.variants=[]")
    options = [argument for setting in chosen for argument in ("--set", setting)]
    root = str(tmp_path / "run")
    assert cli.main(["train", *tiny_options, "--model", str(deep_backbone), *options, "--run-dir", root]) == 0
    assert export(RunDir(Path(root))) == 0
    assert "no student and no cascade: 0 validation texts choose no threshold" in capsys.readouterr().err
    assert not RunDir(Path(root)).student.exists()


def test_an_interrupted_distillation_goes_on(copied: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = recipe.with_overrides(recipe.load(str(copied.recipe)), {"distill.epochs": 1.5}, source="a test")

    class Stop:
        requested = True

        def __enter__(self) -> "Stop":
            return self

        def __exit__(self, *_: object) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(distillation, "StopOnSignal", Stop)
        with pytest.raises(TrainingInterrupted, match="The same command continues from there"):
            Pipeline(settings, copied).distill()
    assert journal.is_known(copied.distilling)
    result = Pipeline(settings, copied).distill()
    assert result is not None
    assert not copied.distilling.exists()


def test_they_are_tested_after_what_they_are_made_of_and_before_dynamic_int8() -> None:
    names = ("cascade-int8", "student-int8", "lean-int8", "onnx-int8", "openvino-int8")
    specs = [VARIANTS[name] for name in names]
    agreement = dict(zip(names, (0.999, 0.95, 0.995, 0.97, 0.98), strict=True))
    order = rules.testing_order(specs, (), agreement)
    assert order == ["lean-int8", "openvino-int8", "cascade-int8", "onnx-int8", "student-int8"]
    likely = rules.testing_order(specs, (), {**agreement, "onnx-int8": 0.997})
    assert likely == ["onnx-int8", "lean-int8", "openvino-int8", "cascade-int8", "student-int8"]
    assert rules.testing_order(specs, (), None)[-3:] == ["cascade-int8", "onnx-int8", "student-int8"]


def test_too_few_validation_texts_make_neither_and_say_so(copied: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(copied, "verify.margin=2", "export.variants=[]") in (0, 3)
    told = capsys.readouterr().err
    needed = stats.fewest_texts(margin=0.02, confidence=deferral.ENOUGH)
    assert f"no student and no cascade: 60 validation texts choose no threshold, for which {needed} or more" in told
    assert "distill" not in manifest.read(copied.manifest).result("verify", VerifyResult).order


def test_a_student_as_large_as_its_model_is_refused(copied: RunDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(copied, "distill.layers=[4, 5]") == 2
    assert "a student has fewer layers than its model, which has 4; found [4, 5]" in capsys.readouterr().err


def test_a_student_of_before_is_not_told_where_there_is_none_now(copied: RunDir) -> None:
    assert "The student and the cascade" in copied.report.read_text()
    assert export(copied, "distill.layers=0", "export.variants=['lean-fp32', 'lean-int8']") == 0
    assert "The student and the cascade" not in copied.report.read_text()
