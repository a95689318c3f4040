"""Stage `teach`: what teachers answer to the training texts, to changed copies of them, and to texts without labels.

The model that is trained next learns these answers beside the labels (Hinton et al. 2015; texts without labels:
Mukherjee and Awadallah 2019).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from sentopt.data import store, unlabelled
from sentopt.measure import metrics
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe
from sentopt.results import TeacherAnswers, TeachResult
from sentopt.run_dir import SPLITS, RunDir
from sentopt.training import answer_store, augmentation, lessons, teachers
from sentopt.training.lessons import Lessons
from sentopt.training.teachers import Teacher


def run(recipe: Recipe, run_dir: RunDir, found: Sequence[Teacher], *, progress: Progress = SILENT) -> TeachResult:
    """Let the teachers answer, and write `taught/`.

    Raises:
        DataError: a teacher does not know the labels, or the texts without labels cannot be read.
        BackboneError: a teacher's outputs have no names.
    """
    labels = store.read_labels(run_dir)
    for teacher in found:  # all of them, before the first one takes its time
        teacher.columns(labels)
    train, test = ([e.text for e in store.read_split(run_dir, split)] for split in ("train", "test"))
    copies = augmentation.changed_texts(train, copies=recipe.train.teacher_copies, seed=recipe.run.seed)
    further: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    if recipe.data.unlabelled:
        known = [e.text for split in SPLITS for e in store.read_split(run_dir, split)]
        loaded = unlabelled.load(recipe.data, known, seed=recipe.run.seed)
        further, notices = loaded.texts, (loaded.notice,)
    texts = [*train, *copies, *further, *test]
    answers, told = [], []
    for teacher in found:
        begin = time.perf_counter()
        classifier = teacher.open()
        logits, answered = answer_store.answers(
            classifier, teacher.digest, texts, what=f"teach: {teacher.name}", progress=progress
        )
        answers.append(logits[:, teacher.columns(labels)])
        told.append(TeacherAnswers(teacher.name, teacher.variant, answered, time.perf_counter() - begin))
    taught = teachers.combined(answers)
    on_test = taught[len(texts) - len(test) :]
    lessons.write(run_dir.taught, Lessons([*copies, *further], taught[: len(texts) - len(test)]), on_test)
    truth = np.array([e.label for e in store.read_split(run_dir, "test")], dtype=np.int64)
    return TeachResult(
        teachers=tuple(told),
        texts=len(train),
        copies=len(copies),
        unlabelled=len(further),
        test=metrics.score(on_test.argmax(axis=1), truth, labels),
        notices=notices,
    )
