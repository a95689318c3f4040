"""How what was measured is scaled to a run, and how it is said."""

from dataclasses import replace
from typing import Any

import pytest

from sentopt import recipe
from sentopt.measure import stats
from sentopt.pipeline import forecast
from sentopt.pipeline.forecast import Forecast
from sentopt.training.lengths import TokenLengths
from sentopt.training.rehearsal import Rehearsal, TrainingSteps, per_batch
from sentopt.variants import VARIANTS, VariantSpec

RECIPE = recipe.load("quickstart", {"verify.cpu_texts": 0, "train.min_steps": 0})
TEXTS = {"train": 6_400, "validation": 640, "test": 1_000}
MEASURED = Rehearsal(
    training=TrainingSteps(1.0, 2.0, shapes=15, peak_bytes=1_500_000_000, gpu_bytes=0, steps=6),
    many_seconds=0.005,
    alone_seconds=0.015,
    tokenize_seconds=0.0001,
    tokens=25.0,
    load_seconds=1.0,
    resident_bytes=600_000_000,
    parameters=22_700_000,
    embeddings=11_900_000,
    train_lengths=TokenLengths((20,) * 90 + (200,) * 10, 6_400, 512),
    test_texts=64,
    took_seconds=7.0,
)
SPECS = [VARIANTS[name] for name in ("torch", "onnx-fp32", "onnx-int8", "lean-fp32", "lean-int8")]
MADE = Forecast(
    counts={"train: tokens": 40.0, "train": 200.0, "export": 20.0, "quantize": 6.0, "verify": 50.0, "bench": 60.0},
    memory_bytes={"train": 1_500_000_000, "export": 9, "quantize": 9, "verify": 9, "bench": 2_100_000_000},
    gpu_bytes=0,
    texts=TEXTS,
    dropped=("train: dropped 3 empty texts",),
    max_length=128,
    truncated=0.02,
    hints=(),
    test_texts=1_000,
    most_lost=4,
    steps=150,
    measured_steps=6,
    measured_texts=64,
    took_seconds=7.0,
)


def by_stage(*given: Any, **options: Any) -> dict[str, float]:
    return forecast.by_stage(forecast.seconds_by_count(*given, **options))


def seconds(
    measured: Rehearsal = MEASURED, given: recipe.Recipe = RECIPE, specs: list[VariantSpec] = SPECS, **texts: int
) -> dict[str, float]:
    return by_stage(measured, given, specs, {**TEXTS, **texts}, depth="full")


def with_training(**settings: object) -> recipe.Recipe:
    return replace(RECIPE, train=replace(RECIPE.train, **settings))  # type: ignore[arg-type]


def test_a_student_is_counted_with_its_texts_and_layers() -> None:
    staged = [*SPECS, VARIANTS["student-int8"], VARIANTS["cascade-int8"]]

    def distill(**values: object) -> float:
        given = replace(RECIPE, distill=replace(RECIPE.distill, **values))  # type: ignore[arg-type]
        return by_stage(MEASURED, given, staged, TEXTS, depth="full", layers=6)["distill"]

    assert "distill" not in by_stage(MEASURED, RECIPE, SPECS, TEXTS, depth="full")
    assert distill(epochs=6.0) > 1.5 * distill(epochs=3.0)
    assert distill(copies=3) == pytest.approx(2 * distill(copies=1))
    assert distill(layers=(2, 3)) > distill(layers=(2,))
    assert list(forecast.memory_by_stage(MEASURED, staged)) == [
        "train",
        "export",
        "distill",
        "quantize",
        "verify",
        "bench",
    ]


def test_a_teacher_adds_its_answers_and_a_second_training() -> None:
    given = with_training(teacher=("mpnet",), min_steps=0)
    taught = forecast.Teaching({"teach: mpnet": 500.0}, texts=6_400, size=8.0)

    def stages(recipe_: recipe.Recipe) -> dict[str, float]:
        return by_stage(MEASURED, recipe_, SPECS, TEXTS, depth=None, teaching=taught)

    alone = seconds()["train"]
    assert list(stages(given)) == ["teach", "train", "without teacher"]
    assert stages(given)["teach"] == 500.0
    assert stages(given)["without teacher"] == pytest.approx(alone)
    assert stages(given)["train"] > 1.8 * alone
    assert list(stages(with_training(teacher=("mpnet",), without_teacher=False))) == ["teach", "train"]
    memory = forecast.memory_by_stage(MEASURED, SPECS, teaching=taught)
    assert memory["teach"] == 4 * memory["train"] == 4 * memory["without teacher"]


def test_training_is_steps_evaluations_and_answers() -> None:
    # 150 steps, a tenth of them on new shapes: 165 s; two evaluations of 10 batches at a third of a step: 7.3 s;
    # 1,640 answers: 8.2 s; three times loading: 3 s; tokenizing twice: 1.6 s; four times saving: 1.9 s
    assert seconds()["train"] == pytest.approx(165 + 7.3 + 8.2 + 3 + 1.6 + 1.9, abs=1)


def test_training_scales_with_texts_and_epochs() -> None:
    assert seconds(train=12_800)["train"] == pytest.approx(2 * seconds()["train"], rel=0.15)
    assert seconds(given=with_training(epochs=4.5))["train"] == pytest.approx(3 * seconds()["train"], rel=0.15)
    assert seconds(given=with_training(max_steps=15))["train"] < 60


def test_gradient_accumulation_saves_no_time() -> None:
    accumulating = seconds(given=with_training(gradient_accumulation=4))["train"]
    assert accumulating == pytest.approx(seconds()["train"], rel=0.05)


def test_a_tuned_model_takes_no_training() -> None:
    assert seconds(replace(MEASURED, training=None))["train"] < 15


def test_verification_scales_with_texts_and_variants() -> None:
    one = seconds(specs=SPECS[:2])["verify"]
    assert one == pytest.approx(1_000 * 0.35 * 0.015 + 1_320 * 0.6 * 0.005)
    assert seconds(specs=SPECS[:1])["verify"] == 0.0
    assert seconds(test=2_000, validation=1_280)["verify"] > 1.8 * seconds()["verify"]


def test_texts_without_labels_are_answered_by_pytorch_and_by_what_is_not_exact() -> None:
    given = replace(RECIPE, data=replace(RECIPE.data, unlabelled="more.txt"))
    more = by_stage(MEASURED, given, SPECS, TEXTS, depth="full", free=10_000)
    pytorch, lossy = 10_000 * 0.005, 10_000 * (0.15 * 0.015 + 0.3 * 0.005)
    assert more["verify"] - seconds()["verify"] == pytest.approx(pytorch + 2 * lossy)  # onnx-int8 and lean-int8
    taught = replace(given, train=replace(given.train, teacher=("mpnet",)))  # no evidence then
    assert by_stage(MEASURED, taught, SPECS, TEXTS, depth="full", free=10_000)["verify"] == seconds()["verify"]
    students = [*SPECS, VARIANTS["cascade-int8"]]
    few, many = (
        by_stage(MEASURED, given, students, TEXTS, depth="full", layers=6, free=free)["distill"] for free in (0, 10_000)
    )
    assert many > 1.5 * few


def test_a_slower_machine_takes_longer_in_every_stage() -> None:
    slow = replace(
        MEASURED,
        many_seconds=0.01,
        alone_seconds=0.03,
        load_seconds=2.0,
        training=replace(MEASURED.training, seconds=2.0, first_seconds=4.0),
    )
    for stage, taken in seconds(slow).items():
        assert taken == pytest.approx(2.0 * seconds()[stage], rel=0.05), stage


def test_a_training_alone_has_one_stage() -> None:
    found = by_stage(MEASURED, RECIPE, SPECS, TEXTS, depth=None)
    assert list(found) == ["train"]


def test_a_quick_benchmark_takes_less() -> None:
    quick = by_stage(MEASURED, RECIPE, SPECS, TEXTS, depth="quick")
    assert quick["bench"] < 0.7 * seconds()["bench"]


def test_a_benchmark_needs_the_memory_of_all_its_processes() -> None:
    few, many = (forecast.memory_by_stage(MEASURED, specs) for specs in (SPECS[:2], SPECS))
    assert many["bench"] > few["bench"] + 500_000_000
    assert many["train"] == 1_500_000_000


def test_the_first_step_does_not_count_where_there_is_another() -> None:
    tokens = [100.0, 50.0, 150.0, 100.0, 50.0, 150.0]
    assert per_batch([9.0], tokens, 100.0) == (9.0, 9.0)
    assert per_batch([9.0, 1.0], tokens, 100.0) == (2.0, 2.0)
    assert per_batch([9.0, 1.0, 3.0, 1.0, 0.5, 1.5], tokens, 100.0) == (2.0, 1.0)


@pytest.mark.parametrize("texts", [299, 600, 1_200, 5_000])
def test_the_most_that_may_be_lost_is_the_last_that_passes(texts: int) -> None:
    most = forecast.most_lost(texts, margin=0.01, confidence=0.95)
    proven = [
        stats.compare_counts(texts, lost, 0, margin=0.01, confidence=0.95).non_inferior for lost in range(texts // 50)
    ]
    assert most == (proven.index(False) - 1 if proven[0] else None)


def test_nothing_may_be_lost_where_there_is_nothing() -> None:
    assert forecast.most_lost(0, margin=0.01, confidence=0.95) is None


def test_a_forecast_in_words() -> None:
    assert forecast.in_words(MADE) == (
        "data: 6,400 training, 640 validation and 1,000 test texts. train: dropped 3 empty texts",
        "about 2% of the training texts are cut at 128 tokens",
        "an INT8 variant can pass if it loses at most 4 of 1,000 texts, net of those it gains",
        "forecast: train 4 minutes, export 20 seconds, quantize 6 seconds, verify 50 seconds, bench 60 seconds: "
        "about 6 minutes in all, with up to 2.1 GB of memory",
        "measured on this machine in 7 seconds, from 6 of 150 training steps and 64 answers",
    )


def test_what_cannot_be_decided_is_left_to_the_gate() -> None:
    assert not any("INT8" in line for line in forecast.in_words(replace(MADE, most_lost=None)))


def test_a_training_alone_in_words() -> None:
    alone = replace(MADE, counts={"train": 240.0})
    assert "forecast: about 4 minutes, with up to 1.5 GB of memory" in forecast.in_words(alone)


def test_the_memory_of_a_gpu_is_said() -> None:
    lines = forecast.in_words(replace(MADE, gpu_bytes=3_000_000_000))
    assert any(line.endswith("2.1 GB of memory and 3.0 GB on the GPU") for line in lines)
