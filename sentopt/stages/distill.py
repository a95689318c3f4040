"""Stage `distill`: the student, which is the first stage of a cascade.

The fine-tuned model answers the training texts, changed copies of them, and the texts without labels once, by its lean
FP32 graph. The student learns these answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from sentopt.backends.counted import counted
from sentopt.data import splits, store, unlabelled
from sentopt.files import atomic, journal
from sentopt.gate import Rules, deferral
from sentopt.graph import cascade, families, lean, student_file
from sentopt.graph.cascade import Student
from sentopt.graph.products import FloatProducts
from sentopt.measure import timing
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe
from sentopt.results import DistillResult, StudentDepth
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text
from sentopt.runtime.threshold import Threshold
from sentopt.runtime.tokenization import TextEncoder, Tokens
from sentopt.training import augmentation
from sentopt.training.distillation import Distilled, Lessons, distil, layers_of

_TIMED_TEXTS, _TIMED_ROUNDS = 48, 3


@dataclass(frozen=True)
class _Source:
    """What is learned: tokens of the training texts, of their changed copies, and of the texts without labels."""

    labelled: list[Tokens]
    copies: list[Tokens]
    unlabelled: list[Tokens]
    notices: tuple[str, ...]

    @property
    def all(self) -> list[Tokens]:
        """In that order."""
        return [*self.labelled, *self.copies, *self.unlabelled]


def run(recipe: Recipe, run_dir: RunDir, *, resume_key: str, progress: Progress = SILENT) -> DistillResult:
    """Distil a student for each number of layers that the recipe names, and keep the one with the fastest cascade.

    Raises:
        TrainingInterrupted: a signal stopped it; its state is saved.
        DataError: the texts without labels cannot be read.
    """
    teacher = families.read(run_dir.checkpoint)
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length)
    full = _opened(lean.write(teacher, FloatProducts()), encoder, run_dir)
    source = _source(recipe, run_dir, encoder)
    begin = time.perf_counter()
    with (
        progress.count("distill: answers to learn", len(source.all), "texts") as advance,
        counted(full, advance),
    ):
        answers = full.logits_of(source.all)
    teacher_seconds = time.perf_counter() - begin
    lessons = Lessons(list(map(cascade.reader(recipe.distill), source.all)), answers)
    made = {}
    for count in recipe.distill.depths(len(teacher.blocks)):
        made[count] = distil(
            teacher,
            layers_of(teacher, count, recipe.distill.shared_by(count)),
            lessons,
            recipe.distill,
            seed=recipe.run.seed,
            state=run_dir.distilling / f"{count}.safetensors",
            key=resume_key,
            pad_token_id=encoder.pad_token_id,
            progress=progress,
        )
    tried = _judge(made, recipe, run_dir, full, len(teacher.blocks))
    kept = min(tried, key=lambda depth: depth.cost)
    with atomic.replace_folder(run_dir.student) as folder:
        (folder / student_file.FILE).write_bytes(student_file.to_bytes(made[kept.layers].architecture))
    journal.remove(run_dir.distilling)
    return DistillResult(
        layers=kept.layers,
        tried=tuple(tried),
        texts=len(source.labelled),
        copies=len(source.copies),
        unlabelled=len(source.unlabelled),
        teacher_seconds=teacher_seconds,
        notices=source.notices,
    )


def _opened(model: onnx.ModelProto, encoder: TextEncoder, run_dir: RunDir) -> Classifier:
    return Classifier.open(model.SerializeToString(), encoder, store.read_labels(run_dir))


def _source(recipe: Recipe, run_dir: RunDir, encoder: TextEncoder) -> _Source:
    """All texts to learn from; not more of them, nor of changed copies, than fit in all steps.

    More would be answered and held in memory for nothing. Where there are too many, half of the room at least is for
    training texts.
    """
    further: list[Tokens] = []
    notices: list[str] = []
    texts = store.read_split(run_dir, "train").texts
    room = recipe.distill.max_steps * recipe.distill.batch_size
    if recipe.data.unlabelled:
        loaded = unlabelled.beside_splits(recipe.data, run_dir, seed=recipe.run.seed)
        chosen = splits.sampled(len(loaded.texts), max(room - len(texts), room // 2), recipe.run.seed)
        further = encoder.encode([loaded.texts[i] for i in chosen])
        notices += [loaded.notice, *_partly(len(further), len(loaded.texts), "texts without labels")]
    chosen = splits.sampled(len(texts), max(1, room - len(further)), recipe.run.seed)
    notices += _partly(len(chosen), len(texts), "training texts")
    labelled = encoder.encode(list(texts.take(chosen)))
    room = max(0, room - len(labelled) - len(further))
    passes = min(recipe.distill.copies, -(-room // len(labelled)))
    copies = augmentation.changed_copies(labelled, encoder, copies=passes, seed=recipe.run.seed)
    return _Source(labelled, copies[:room], further, tuple(notices))


def _partly(used: int, count: int, what: str) -> list[str]:
    return [f"the student learns from {used:,} of {count:,} {what} (distill.max_steps)"] if used < count else []


def _judge(
    made: dict[int, Distilled], recipe: Recipe, run_dir: RunDir, full: Classifier, layers: int
) -> list[StudentDepth]:
    """Each student on the validation split, and the expected time of a text by its cascade, in that of the full model.

    Both stages answer in FP32 here: what matters is which student is the better one.
    """
    test, rows = store.read_distinct(run_dir)
    examples = store.read_split(run_dir, "validation").take(rows)
    texts, truth = list(examples.texts), examples.labels
    students = {
        count: _opened(
            cascade.write_student(Student.of(one.architecture, FloatProducts(), recipe.distill)), full.encoder, run_dir
        )
        for count, one in made.items()
    }
    timed = store.read_split(run_dir, "train").texts
    shares = _shares_of_time(students, full, list(timed[:: max(1, len(timed) // _TIMED_TEXTS)][:_TIMED_TEXTS]))
    tokens = full.encoder.encode(texts)
    logits = full.logits_of(tokens)
    lengths = np.array([len(t.ids) for t in tokens], dtype=np.int64)
    tried = []
    for count, one in made.items():
        answers = deferral.Answers(students[count].logits_of(tokens), logits, logits, truth, lengths)
        costs = replace(
            deferral.costs_by_layers(count, layers, shared=recipe.distill.shared_by(count)), student=shares[count]
        )
        rule = deferral.choose(answers, Rules.of(recipe), costs, test_texts=len(test))
        threshold = Threshold.of(rule)
        labels = answers.by_student
        tried.append(
            StudentDepth(
                layers=count,
                steps=one.steps,
                seconds=one.seconds,
                loss=one.loss,
                accuracy=float((labels == truth).mean()) if texts else None,
                agreement=float((labels == answers.labels).mean()) if texts else None,
                cost=1.0 / costs.speed(answers.share_of_tokens(answers.cascade(threshold)[1])) if texts else 1.0,
            )
        )
    return tried


def _shares_of_time(students: dict[int, Classifier], full: Classifier, texts: Sequence[Text]) -> dict[int, float]:
    """Median time of a text by each student, in that of the full model, measured in turns."""

    def turn(classifier: Classifier) -> list[float]:
        samples = []
        for text in texts:
            begin = time.perf_counter()
            classifier.logits([text])
            samples.append(time.perf_counter() - begin)
        return samples

    contenders = {str(count): partial(turn, one) for count, one in students.items()}
    samples = timing.interleave({"full": partial(turn, full), **contenders}, rounds=_TIMED_ROUNDS)
    whole = float(np.median(samples["full"]))
    return {count: float(np.median(samples[str(count)])) / whole for count in students}
