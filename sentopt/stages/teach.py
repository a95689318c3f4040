"""Stage `teach`: what teachers answer to the training texts, to changed copies of them, and to texts without labels.

The model that is trained next learns these answers beside the labels (Hinton et al. 2015; texts without labels:
Mukherjee and Awadallah 2019).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentopt.data import store, unlabelled
from sentopt.data.duplicates import normal_form
from sentopt.measure import metrics
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe
from sentopt.results import TeacherAnswers, TeachResult
from sentopt.run_dir import SPLITS, RunDir
from sentopt.runtime.description import Text
from sentopt.training import answer_store, augmentation, soft_labels, teachers
from sentopt.training.soft_labels import SoftLabels
from sentopt.training.teachers import Teacher

_COMPARED = 32  # training texts on which a lean graph is compared with PyTorch


@dataclass(frozen=True)
class Lessons:
    """What a teacher answers.

    Attributes:
        train: the training split.
        copies: changed copies of training texts.
        further: texts without labels.
        test: the test split, from which nothing is learnt.
        notices: what to say of the texts without labels.
    """

    train: Sequence[Text]
    copies: Sequence[Text]
    further: Sequence[Text]
    test: Sequence[Text]
    notices: tuple[str, ...] = ()

    @property
    def besides(self) -> list[Text]:
        """What is learnt besides the training split."""
        return [*self.copies, *self.further]

    @property
    def all(self) -> list[Text]:
        """Those that are learnt first, in the order of the attributes."""
        return [*self.train, *self.besides, *self.test]


def lessons(recipe: Recipe, run_dir: RunDir) -> Lessons:
    """What the teachers of `recipe` answer, of the splits that `run_dir` holds. No copy is a text that is held out.

    Raises:
        DataError: the texts without labels cannot be read.
    """
    splits = {split: store.read_split(run_dir, split) for split in SPLITS}
    train, test = ([e.text for e in splits[split]] for split in ("train", "test"))
    held_out = {normal_form(e.text) for split in ("test", "validation") for e in splits[split]}
    copies = augmentation.changed_texts(train, copies=recipe.train.teacher_copies, seed=recipe.run.seed)
    copies = [text for text in copies if normal_form(text) not in held_out]
    if not recipe.data.unlabelled:
        return Lessons(train, copies, (), test)
    loaded = unlabelled.beside_splits(recipe.data, run_dir, seed=recipe.run.seed)
    return Lessons(train, copies, loaded.texts, test, (loaded.notice,))


def run(
    recipe: Recipe,
    run_dir: RunDir,
    asked: Sequence[Teacher],
    *,
    again: bool = False,
    progress: Progress = SILENT,
) -> TeachResult:
    """Let the teachers answer, and write `soft-labels/`. With `again`, they do not take what they once answered.

    Raises:
        DataError: a teacher does not know the labels, or the texts without labels cannot be read.
        BackboneError: a teacher cannot be loaded.
    """
    labels = store.read_labels(run_dir)
    columns = [teacher.columns(labels) for teacher in asked]  # before the first one takes its time
    given = lessons(recipe, run_dir)
    texts, learnt = given.all, len(given.train) + len(given.besides)
    notices = [*given.notices]
    logits, told = [], []
    for teacher, own in zip(asked, columns, strict=True):
        begin = time.perf_counter()
        classifier, variant = teacher.open(given.train[:_COMPARED])
        answers = answer_store.answers(
            classifier,
            teacher.digest(variant),
            texts,
            what=f"teach: {teacher.name}",
            again=again,
            progress=progress,
        )
        logits.append(answers.logits[:, own])
        notices += [answers.trouble] if answers.trouble else []
        told.append(TeacherAnswers(teacher.name, variant, answers.answered, time.perf_counter() - begin))
    combined = teachers.combined(logits)
    on_test = combined[learnt:]
    soft_labels.write(run_dir.soft_labels, SoftLabels(given.besides, combined[:learnt]), on_test)
    truth = np.array(store.read_split(run_dir, "test").labels, dtype=np.int64)
    return TeachResult(
        teachers=tuple(told),
        texts=len(given.train),
        copies=len(given.copies),
        unlabelled=len(given.further),
        test=metrics.score(on_test.argmax(axis=1), truth, labels),
        notices=tuple(notices),
    )
