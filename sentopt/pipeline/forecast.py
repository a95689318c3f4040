"""What a run will take and what its data can decide, said when the data is prepared and before anything is trained.

`measure` lets a few training steps and answers run on this machine (`training.rehearsal`) and scales them to the whole
run. What cannot be measured before there is a model is taken from runs of the quickstart on two cores of an AMD EPYC
(MiniLM, 22.7 million parameters), and scaled by how fast this machine and this model are in comparison.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentopt import gate, model_files
from sentopt.data import store, unlabelled
from sentopt.measure import stats
from sentopt.progress import SILENT, Progress, stage_of
from sentopt.progress import in_words as duration
from sentopt.recipe import TEST_AS_VALIDATION, Recipe
from sentopt.results import PrepareResult
from sentopt.run_dir import RunDir
from sentopt.runtime.cores import available_cores
from sentopt.training import schedule
from sentopt.variants import REFERENCE, VariantSpec

if TYPE_CHECKING:
    from sentopt.stages.bench import Depth
    from sentopt.training.rehearsal import Rehearsal

_FORWARD_SHARE = 1 / 3  # of a training step: the backward pass has two products for each of the forward pass
_FLIP_TEXTS = 320  # that `verify` answers a third time
_EMULATION_SECONDS = 12.0, 0.3  # to start Python under qemu, and for each text of 20 tokens: measured with MiniLM
# Seconds of a text, one at a time and in micro-batches, in those of PyTorch in FP32: the quickstart's benchmark.
_RELATIVE: Mapping[tuple[str, str], tuple[float, float]] = {
    ("torch", "float32"): (1.0, 1.0),
    ("torch", "bfloat16"): (1.1, 1.3),
    ("onnx", "float32"): (0.35, 0.6),
    ("onnx", "int8"): (0.15, 0.3),
    ("openvino", "bfloat16"): (0.2, 0.3),
    ("openvino", "int8"): (0.15, 0.3),
}
_ON_GPU = (0.5, 0.05)
_OF_A_STUDENT = 0.8  # seconds of a step on one layer of its own, in those of a layer of the whole model: the quickstart
# The quickstart's stages on its machine, in seconds: a traced graph with its checks, a lean one, INT8 of a traced
# graph, calibration with the INT8 of a lean graph, a benchmark's process of PyTorch, and one of another engine.
_TRACED, _LEAN, _DYNAMIC, _CALIBRATED, _START_TORCH, _START = 4.0, 1.2, 1.5, 4.5, 5.0, 0.6
_SAVE = 0.5  # a checkpoint of the quickstart
_PARAMETERS = 22.7e6
# Seconds of a token in micro-batches for each million of parameters that are multiplied with, on that machine.
_USUAL_RATE = 2.0e-5
# Bytes of a benchmark's process beside twice its model, and what this process keeps of the exporter beside six times
# the model: the quickstart's benchmark, and the resident size of the quickstart's run while it verifies.
_TORCH_PROCESS, _ENGINE_PROCESS, _EXPORTER = 480e6, 140e6, 800e6


@dataclass(frozen=True)
class Teaching:
    """What a teacher adds.

    Attributes:
        seconds: to tune it, where that is done, and to answer, by what is counted.
        texts: that are learnt besides the training split.
        size: of the largest teacher that is tuned, in weights of the model that are multiplied with; at least 1.
    """

    seconds: Mapping[str, float]
    texts: int = 0
    size: float = 1.0


@dataclass(frozen=True)
class Forecast:
    """What a run will take, and what is known of its data before it.

    Attributes:
        counts: seconds of what is still to come, by stage or by what is counted of a stage, in their order.
        memory_bytes: of each stage at its peak, all processes together.
        gpu_bytes: of training on the GPU; 0 without one.
        texts: of each split.
        dropped: what was left out of the data, and why.
        max_length: tokens that the model is given at most.
        truncated: the share of training texts with more than that.
        hints: what to set so that fewer are cut, and how few texts are trained on; the stage `train` says them, too.
        test_texts: distinct test texts, with validation texts where these count as evidence, too.
        most_lost: how many of them an INT8 variant may lose more than it gains; None where not even 0 prove it.
        steps: optimizer steps of the training; 0 where nothing is trained.
        measured_steps: those that were measured.
        measured_texts: test texts that were answered.
        took_seconds: to measure all this.
    """

    counts: Mapping[str, float]
    memory_bytes: Mapping[str, int]
    gpu_bytes: int
    texts: Mapping[str, int]
    dropped: tuple[str, ...]
    max_length: int
    truncated: float
    hints: tuple[str, ...]
    test_texts: int
    most_lost: int | None
    steps: int
    measured_steps: int
    measured_texts: int
    took_seconds: float

    @property
    def seconds(self) -> dict[str, float]:
        """Of each stage that is still to come, in their order."""
        return by_stage(self.counts)

    @property
    def total_seconds(self) -> float:
        """Of all stages."""
        return sum(self.seconds.values())

    @property
    def peak_bytes(self) -> int:
        """Of the stage that needs most."""
        return max(self.memory_bytes[stage] for stage in self.seconds)


def measure(
    recipe: Recipe,
    run_dir: RunDir,
    prepared: PrepareResult,
    *,
    depth: Depth | None = "full",
    again: bool = False,
    progress: Progress = SILENT,
) -> Forecast:
    """Measure on this machine what the stages after `prepare` will take. The run's results do not depend on it.

    It needs the `train` extra, and one process: do not call it under torchrun.

    Args:
        recipe: with `model.max_length` at most what the model reads.
        run_dir: where `prepare` has left the splits; nothing is written into it.
        prepared: what it left there.
        depth: of the benchmark; None where the run ends with the training.
        again: a teacher is tuned, and answers, as if it never had been.
        progress: is told how far the download of a teacher has come.

    Raises:
        BackboneError: the model, or a teacher, cannot be had or cannot be used.
        DataError: texts without labels cannot be read.
        RecipeError, RunDirError: a run that is a teacher cannot be used.
    """
    from sentopt import backbones
    from sentopt.graph import families
    from sentopt.pipeline import limits
    from sentopt.training import hints, rehearsal

    folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
    able = limits.capable(recipe, folder, prepared.texts_of("validation"))
    if prepared.is_multi_label:
        able -= {"student"}
    specs = limits.among(able, recipe, source=recipe.run.name)
    measured = rehearsal.rehearse(recipe, run_dir)
    texts = {split: prepared.texts_of(split) for split in prepared.counts}
    evidence, most_lost = _what_may_be_lost(recipe, run_dir)
    lengths, max_length = measured.train_lengths, recipe.model.max_length
    taught = _teaching(measured, recipe, run_dir, texts, progress, again=again)
    learnt = texts["train"] + (taught.texts if taught else 0)
    advice = [hints.too_short(lengths, recipe.train, max_length=max_length)]
    if measured.training:
        advice.append(hints.more_epochs(recipe.train, learnt))
    return Forecast(
        counts=seconds_by_count(
            measured,
            recipe,
            specs,
            texts,
            depth=depth,
            layers=families.layers(folder),
            teaching=taught,
            free=_unlabelled(recipe, run_dir) if depth else 0,
        ),
        memory_bytes=memory_by_stage(measured, specs, teaching=taught),
        gpu_bytes=measured.training.gpu_bytes if measured.training else 0,
        texts=texts,
        dropped=tuple(notice for notice in prepared.notices if "dropped" in notice or notice.startswith("left out")),
        max_length=max_length,
        truncated=lengths.share_cut_at(max_length),
        hints=tuple(hint for hint in advice if hint),
        test_texts=evidence,
        most_lost=most_lost,
        steps=schedule.steps_for(recipe.train, learnt) if measured.training else 0,
        measured_steps=measured.training.steps if measured.training else 0,
        measured_texts=measured.test_texts,
        took_seconds=measured.took_seconds,
    )


def announce(
    recipe: Recipe, run_dir: RunDir, prepared: PrepareResult, progress: Progress, *, depth: Depth | None, again: bool
) -> Forecast:
    """Measure, say it in words, and let the progress know how long the stages will take."""
    forecast = measure(recipe, run_dir, prepared, depth=depth, again=again, progress=progress)
    for line in in_words(forecast):
        progress.say(line)
    progress.expect(forecast.counts, steady=[what for what in forecast.counts if what.rpartition(": ")[2] == "train"])
    return forecast


def in_words(forecast: Forecast) -> tuple[str, ...]:
    """The forecast, a line for each thing: the data, what it can decide, and what the run takes; not its hints."""
    texts = forecast.texts
    data = f"{texts['train']:,} training, {texts['validation']:,} validation and {texts['test']:,} test texts"
    dropped = f". {'; '.join(forecast.dropped)}" if forecast.dropped else ""
    share = f"about {forecast.truncated:.0%}" if forecast.truncated >= 0.005 else "fewer than 1 %"
    share = share if forecast.truncated else "none"
    cut = f"{share} of the training texts are cut at {forecast.max_length} tokens"
    stages = ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in forecast.seconds.items())
    took = f"about {duration(forecast.total_seconds)}"
    if len(forecast.seconds) > 1:
        took = f"{stages}: {took} in all"
    return tuple(
        line
        for line in (
            f"data: {data}{dropped}",
            cut,
            _decision(forecast),
            f"forecast: {took}, with {_memory(forecast)}",
            f"measured on this machine in {duration(forecast.took_seconds)}, {_basis(forecast)}",
        )
        if line
    )


def _decision(forecast: Forecast) -> str:
    if forecast.most_lost is None:
        return ""  # what would be needed is said by `gate.foresee`
    return (
        f"an INT8 variant can pass if it loses at most {forecast.most_lost} of {forecast.test_texts:,} texts, "
        "net of those it gains"
    )


def _memory(forecast: Forecast) -> str:
    gpu = f" and {_gigabytes(forecast.gpu_bytes)} on the GPU" if forecast.gpu_bytes else ""
    return f"up to {_gigabytes(forecast.peak_bytes)} of memory{gpu}"


def _basis(forecast: Forecast) -> str:
    answers = f"{forecast.measured_texts} answers"
    if not forecast.steps:
        return f"from {answers}"
    return f"from {min(forecast.measured_steps, forecast.steps)} of {forecast.steps:,} training steps and {answers}"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.1f} GB"


def by_stage(counts: Mapping[str, float]) -> dict[str, float]:
    """Seconds of each stage, in their order, of those of what is counted."""
    stages: dict[str, float] = {}
    for what, seconds in counts.items():
        stage = stage_of(what)
        stages[stage] = stages.get(stage, 0.0) + seconds
    return stages


def seconds_by_count(
    measured: Rehearsal,
    recipe: Recipe,
    specs: Sequence[VariantSpec],
    texts: Mapping[str, int],
    *,
    depth: Depth | None,
    layers: int = 6,
    teaching: Teaching | None = None,
    free: int = 0,
) -> dict[str, float]:
    """Seconds of what comes after `prepare`, given what was measured, the variants, and the texts of each split.

    Trainings and teachers by what is counted of them, other stages as a whole. `layers` are those of the model, and
    `free` counts the texts without labels.
    """
    slow = _slowness(measured)
    size = measured.parameters / _PARAMETERS
    save = _SAVE * slow * size
    learnt = {**texts, "train": texts["train"] + (teaching.texts if teaching else 0)}
    trained = {
        **(teaching.seconds if teaching else {}),
        **_train(measured, recipe, learnt, save=save),
    }
    if _trains_twice(recipe):
        trained |= _as_part("without teacher", _train(measured, recipe, texts, save=save))
    if depth is None:
        return trained
    export = sum((_LEAN if "lean" in spec.needs else _TRACED) for spec in specs if spec.made_by == "export")
    made = [spec for spec in specs if spec.made_by == "quantize"]
    quantize = _DYNAMIC * sum(spec.quantize is not None for spec in made)
    quantize += _CALIBRATED * (any(spec.quantize is None for spec in made) + any(spec.stages for spec in made))
    students = any(spec.stages for spec in specs)
    return {
        **trained,
        "export": export * slow * size,
        **({"distill": _distill(measured, recipe, texts["train"], free, layers)} if students else {}),
        "quantize": quantize * slow * size,
        "verify": _verify(measured, recipe, specs, texts, free if recipe.counts_unlabelled else 0),
        "bench": _bench(measured, recipe, specs, texts["test"], depth),
    }


def _trains_twice(recipe: Recipe) -> bool:
    return bool(recipe.train.teacher) and recipe.train.without_teacher


def _teaching(
    measured: Rehearsal,
    recipe: Recipe,
    run_dir: RunDir,
    texts: Mapping[str, int],
    progress: Progress,
    *,
    again: bool,
) -> Teaching | None:
    """Teachers are as slow as they are large. They answer what they have not answered in an earlier run."""
    from sentopt import backbones
    from sentopt.pipeline import steps, teaching
    from sentopt.training import answer_store, teachers

    if not recipe.train.teacher:
        return None
    lessons = steps.lessons(recipe, run_dir)
    asked = lessons.all
    own, largest = max(1e5, measured.parameters - measured.embeddings), 1.0
    tuned: dict[str, float] = {}
    answered: dict[str, float] = {}  # when all are tuned
    for name in recipe.train.teacher:
        source = teachers.locate(name, progress=progress)
        teacher = None if again and source.kind == "backbone" else teaching.ready(recipe, run_dir, source)
        folder = teacher.checkpoint if teacher else backbones.resolve(source.model, source.revision)
        size = model_files.multiplied_weights(folder) / own
        kept = [*map(teacher.digest, teacher.variants)] if teacher and not again else []
        answers = answer_store.missing(kept, asked, labels=len(teacher.labels) if teacher else 0)
        answer = _RELATIVE["onnx", "float32"][1] * measured.many_seconds
        if teacher and teacher.candidate:
            _, answer = _seconds_of(teacher.candidate.spec, measured)
        what = f"teach: {source.name}"
        if teacher is None:
            tuning = _train(measured, teaching.tuning_of(recipe, source), texts, save=_SAVE * _slowness(measured))
            tuned |= _as_part(what, {part: size * taken for part, taken in tuning.items()})
            largest = max(largest, size)
        answered[what] = size * answers * answer
    return Teaching({**tuned, **answered}, len(lessons.besides), largest)


def memory_by_stage(
    measured: Rehearsal, specs: Sequence[VariantSpec], *, teaching: Teaching | None = None
) -> dict[str, int]:
    """Bytes of each stage at its peak. A benchmark has a process for every variant, all at the same time.

    What training keeps grows with width and depth, the weights with the square of the width.
    """
    model = 4.0 * measured.parameters
    resident = measured.resident_bytes
    train = max(measured.training.peak_bytes, resident) if measured.training else resident
    exported = resident + _EXPORTER + 6 * model
    return {
        **({"teach": round(train * teaching.size ** (2 / 3)), "without teacher": train} if teaching else {}),
        "train": train,
        "export": round(exported),
        **({"distill": round(exported)} if any(spec.stages for spec in specs) else {}),
        "quantize": round(exported),
        "verify": round(exported + 2 * model),
        "bench": round(exported + sum(_process_bytes(spec, model) for spec in specs)),
    }


def _process_bytes(spec: VariantSpec, model: float) -> float:
    if spec.backend == "torch":
        return _TORCH_PROCESS + 2 * model
    return _ENGINE_PROCESS + 2 * (model / 4 if spec.dtype == "int8" else model)


def _slowness(measured: Rehearsal) -> float:
    """How many times slower this machine is now than the one that the constants were measured on."""
    multiplied = max(1e5, measured.parameters - measured.embeddings) / 1e6
    return measured.many_seconds / (measured.tokens * multiplied * _USUAL_RATE)


def _as_part(name: str, counts: Mapping[str, float]) -> dict[str, float]:
    """As `progress.Part` names what a run counts that is a part of another one."""
    return {f"{name}: {what}": seconds for what, seconds in counts.items()}


def _train(measured: Rehearsal, recipe: Recipe, texts: Mapping[str, int], *, save: float) -> dict[str, float]:
    """Loading and tokenizing, steps, evaluations, and the answers on validation and test split afterwards."""
    begin = 3 * measured.load_seconds + 2 * measured.tokenize_seconds * sum(texts.values())
    answers = {f"train: {split} split": measured.many_seconds * texts[split] for split in ("validation", "test")}
    if measured.training is None:
        return {"train: tokens": begin + save, **answers}
    batch, steps = recipe.train, schedule.steps_for(recipe.train, texts["train"])
    new = min(1.0, measured.training.shapes / (steps * batch.gradient_accumulation))
    of_batch = new * measured.training.first_seconds + (1.0 - new) * measured.training.seconds
    per_epoch = schedule.steps_per_epoch(batch, texts["train"])
    evaluations = math.ceil(steps / (batch.eval_steps if batch.eval_strategy == "steps" else per_epoch))
    evaluation = _FORWARD_SHARE * of_batch * texts["validation"] / batch.batch_size
    learning = steps * batch.gradient_accumulation * of_batch + evaluations * (evaluation + 2 * save)
    return {"train: tokens": begin, "train": learning, **answers}


def _distill(measured: Rehearsal, recipe: Recipe, texts: int, free: int, layers: int) -> float:
    """The answers of the full model, and the steps of every student."""
    settings = recipe.distill
    lessons = min(texts * (1 + settings.copies) + free, settings.max_steps * settings.batch_size)
    answers = lessons * _RELATIVE["onnx", "float32"][1] * measured.many_seconds
    training = measured.training
    on_cpu = training is not None and not training.gpu_bytes  # where a student is trained, too
    step = training.seconds / recipe.train.batch_size if training and on_cpu else 3 * measured.many_seconds
    passes = min(lessons * settings.epochs, settings.max_steps * settings.batch_size)
    own = sum(count - settings.shared_by(count) for count in settings.depths(layers))
    return answers + passes * step * _OF_A_STUDENT * own / max(1, layers)


def _seconds_of(spec: VariantSpec, measured: Rehearsal) -> tuple[float, float]:
    """Seconds of a text by this variant: one at a time, and in micro-batches."""
    alone, many = _ON_GPU if spec.device == "cuda" else _RELATIVE[spec.backend, spec.dtype]
    return alone * measured.alone_seconds, many * measured.many_seconds


def _verify(
    measured: Rehearsal, recipe: Recipe, specs: Sequence[VariantSpec], texts: Mapping[str, int], free: int
) -> float:
    """Every variant answers the test split, in both ways of serving; one that is not exact the other texts, too.

    These are the validation split and `free` texts without labels, which PyTorch has not answered either.
    """
    from sentopt.backends import emulation

    slow, total = _slowness(measured), free * measured.many_seconds
    beside = free + (0 if recipe.data.validation == TEST_AS_VALIDATION else texts["validation"])
    emulated = min(recipe.verify.cpu_texts, texts["test"])
    cpus = sum(not emulation.problem(cpu) for cpu in recipe.verify.cpu) if emulated else 0
    for spec in specs:
        if spec.name == REFERENCE:
            continue
        alone, many = _seconds_of(spec, measured)
        answered = texts["test"] + (beside if spec.ships and spec.dtype != "float32" else 0)
        total += answered * (alone + many if spec.ships else many)
        if spec.ships:
            total += min(_FLIP_TEXTS, texts["test"]) * many
        if spec.backend == "torch":
            total += measured.load_seconds
        if cpus and spec.dtype == "int8" and spec.backend == "onnx":
            start, each = _EMULATION_SECONDS
            size = (measured.parameters - measured.embeddings) / 10.8e6 * measured.tokens / 20
            total += cpus * (start * slow + each * slow * size * math.ceil(emulated / available_cores()))
    return total


def _bench(measured: Rehearsal, recipe: Recipe, specs: Sequence[VariantSpec], texts: int, depth: Depth) -> float:
    """A process for every variant, then rounds of single texts, of the grid, and of many texts."""
    from sentopt.stages import bench

    slow, plan = _slowness(measured), bench.plan(recipe.bench, depth)
    start = sum((_START_TORCH if spec.backend == "torch" else _START) for spec in specs) * slow
    workload = bench.workload(plan, depth, texts=texts, longest=recipe.model.max_length)
    answering = 0.0
    for spec in specs:
        alone, many = _seconds_of(spec, measured)
        by_token = many / measured.tokens
        call = max(0.0, alone - by_token * measured.tokens)  # what a call costs, however short its text
        answering += workload.single_texts * alone + workload.many_texts * many
        answering += workload.grid_calls * call + workload.grid_tokens * by_token
    return start + answering


def _unlabelled(recipe: Recipe, run_dir: RunDir) -> int:
    """How many texts without labels are used."""
    if not recipe.data.unlabelled:
        return 0
    return len(unlabelled.beside_splits(recipe.data, run_dir, seed=recipe.run.seed).texts)


def _what_may_be_lost(recipe: Recipe, run_dir: RunDir) -> tuple[int, int | None]:
    """The distinct texts that decide, and how many of these may be lost; None where not even 0 prove the margin."""
    test, validation = store.read_distinct(run_dir)
    counts = gate.validation_counts(recipe, len(test))
    texts = len(test) + (len(validation) if counts else 0)
    rules = gate.Rules.of(recipe)
    return texts, most_lost(texts, margin=rules.margin, confidence=rules.confidence)


def most_lost(texts: int, *, margin: float, confidence: float) -> int | None:
    """How many of `texts` may be lost, net of those that are gained, within `margin`; None where 0 are too many."""

    def is_proven(lost: int) -> bool:
        return stats.compare_counts(texts, lost, 0, margin=margin, confidence=confidence).non_inferior

    if not texts or not is_proven(0):
        return None
    low, high = 0, math.ceil(texts * margin) + 1  # as many as the margin itself are never proven
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if is_proven(middle) else (low, middle)
    return low
