"""Cheap peers, each another model than the checkpoint, trained on the run's training split as its guide shows it.

    python benchmarks/trained_peers.py train NAME RUN_DIR FOLDER
    python benchmarks/trained_peers.py serve NAME FOLDER THREADS

The first trains one and leaves its files and `training.json` in FOLDER/NAME. The second is its process in a benchmark;
it imports nothing but the peer's own packages, which is what its load time and its memory are about.

- `tfidf-lr`: TF-IDF of words and pairs of words, logistic regression; its strength is chosen on the validation split.
- `model2vec`: a static model distilled from the run's backbone, and the classifier that model2vec trains on it.
- `setfit`: contrastive steps of the backbone on a few texts of every label, then a logistic head on all training texts.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sentopt.backends import worker

Answer = Callable[[list[str], int | None], np.ndarray]
PACKAGES = {
    "tfidf-lr": ("sklearn.feature_extraction.text", "sklearn.linear_model"),
    "model2vec": ("model2vec.distill", "model2vec.train"),
    "setfit": ("setfit", "sentence_transformers.sentence_transformer.modules"),
}
NAMES = tuple(PACKAGES)
RECORD = "training.json"
STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
SHOTS, PAIRS_OF_A_TEXT, HEAD_TEXTS, SEED = 64, 5, 12_000, 42
_SETTINGS = [STRENGTHS, SHOTS, PAIRS_OF_A_TEXT, HEAD_TEXTS, SEED]
_SMALLEST = np.finfo(np.float32).tiny


@dataclass(frozen=True)
class Lesson:
    """What a peer learns from. Labels are positions in `labels`."""

    texts: list[str]
    answers: list[int]
    validation_texts: list[str]
    validation_answers: list[int]
    labels: tuple[str, ...]
    backbone: Path
    max_length: int


@dataclass(frozen=True)
class Training:
    """One finished training: what it took, without imports, and on how many texts."""

    seconds: float
    texts: int
    peak_memory_bytes: int
    labels: tuple[str, ...]
    fingerprint: str


class TextPeer:
    """A peer behind the part of `Classifier` that a benchmark calls. It takes texts and cannot be given token ids."""

    def __init__(self, answer: Answer, classes: Iterable[int], labels: Sequence[str]) -> None:
        """`answer` gives probabilities of `classes` (positions in `labels`); None is its own default batch size."""
        self._answer, self.labels = answer, tuple(labels)
        self._columns = [int(column) for column in classes]

    def predict_proba(self, texts: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Probabilities of (texts, labels); a label that no training text had is never given."""
        answers: np.ndarray = self._answer(list(texts), batch_size)
        if self._columns == list(range(len(self.labels))):
            return answers
        placed = np.zeros((len(answers), len(self.labels)), dtype=np.float32)
        placed[:, self._columns] = answers
        return placed

    def logits(self, texts: Sequence[str], *, batch_size: int | None = None) -> np.ndarray:
        """Logarithms of the probabilities."""
        probabilities = self.predict_proba(texts, batch_size=batch_size)
        return np.asarray(np.log(np.maximum(probabilities, _SMALLEST)))


def prepare(run_root: Path, folder: Path, names: Iterable[str], say: Callable[[str], None]) -> dict[str, str]:
    """Train the peers that `folder` lacks, one after the other in processes of their own; why some could not be."""
    skipped = {}
    for name in names:
        recorded = recorded_training(folder, name)
        if recorded and recorded.fingerprint == fingerprint(run_root):
            continue
        say(f"training {name}")
        command = [sys.executable, __file__, "train", name, str(run_root.resolve()), str(folder.resolve())]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        if done.returncode:
            lines = worker.without_traceback(done.stderr) or [f"exit code {done.returncode}"]
            skipped[name] = lines[-1]
    return skipped


def recorded_training(folder: Path, name: str) -> Training | None:
    """The record of a finished training, or None."""
    path = folder / name / RECORD
    if not path.is_file():
        return None
    document = json.loads(path.read_text())
    return Training(**{**document, "labels": tuple(document["labels"])})


def fingerprint(run_root: Path) -> str:
    """A digest of everything that a training depends on: the data, the backbone, the settings of this file."""
    from sentopt import backbones, recipe
    from sentopt.run_dir import RunDir

    run_dir = RunDir(run_root)
    model = recipe.load(str(run_dir.recipe)).model
    digest = hashlib.sha256(json.dumps([_SETTINGS, model.max_length]).encode())
    digest.update(backbones.identify(model.backbone, model.revision).encode())
    for path in (run_dir.split("train"), run_dir.split("validation"), run_dir.data / "labels.json"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def train(name: str, run_root: Path, folder: Path) -> Training:
    """Train one peer; its folder appears when all of it is there."""
    for package in PACKAGES[name]:
        importlib.import_module(package)
    lesson = _lesson(run_root)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as temporary:
        target = Path(temporary) / name
        target.mkdir()
        begin = time.perf_counter()
        texts = TRAINERS[name](lesson, target)
        seconds = time.perf_counter() - begin
        training = Training(seconds, texts, _peak_bytes(), lesson.labels, fingerprint(run_root))
        (target / RECORD).write_text(json.dumps(asdict(training)))
        shutil.rmtree(folder / name, ignore_errors=True)
        target.rename(folder / name)
    return training


def _lesson(run_root: Path) -> Lesson:
    from sentopt import backbones, recipe
    from sentopt.data import store
    from sentopt.run_dir import RunDir

    run_dir = RunDir(run_root)
    model = recipe.load(str(run_dir.recipe)).model
    learnt, validated = store.read_split(run_dir, "train"), store.read_split(run_dir, "validation")
    return Lesson(
        [example.text for example in learnt],
        [example.label for example in learnt],
        [example.text for example in validated],
        [example.label for example in validated],
        store.read_labels(run_dir),
        backbones.resolve(model.backbone, model.revision),
        model.max_length,
    )


def _peak_bytes() -> int:
    from sentopt.measure import memory

    return memory.peak_bytes()


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly spaced."""
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]


def _train_tfidf(lesson: Lesson, folder: Path) -> int:
    from sklearn.linear_model import LogisticRegression

    vectorizer = _vectorizer()
    matrix = vectorizer.fit_transform(lesson.texts)
    validation = vectorizer.transform(lesson.validation_texts)
    fits = [LogisticRegression(C=strength, max_iter=1_000).fit(matrix, lesson.answers) for strength in STRENGTHS]
    best = max(fits, key=lambda fit: fit.score(validation, lesson.validation_answers))
    vocabulary = {word: int(column) for word, column in vectorizer.vocabulary_.items()}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    np.savez(folder / "weights.npz", idf=vectorizer.idf_, **_head_arrays(best))
    return len(lesson.texts)


def _vectorizer(vocabulary: dict[str, int] | None = None) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, vocabulary=vocabulary)


def _head_arrays(head: Any) -> dict[str, Any]:
    return {"coef": head.coef_, "intercept": head.intercept_, "classes": head.classes_}


def _head(arrays: Any) -> Any:
    """A logistic regression from its arrays: scikit-learn's own files are pickles."""
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression()
    head.coef_, head.intercept_, head.classes_ = (arrays[key] for key in ("coef", "intercept", "classes"))
    head.n_features_in_ = head.coef_.shape[1]
    return head


def _open_tfidf(folder: Path, threads: int) -> tuple[Answer, Iterable[int]]:
    vectorizer = _vectorizer(json.loads((folder / "vocabulary.json").read_text(encoding="utf-8")))
    with np.load(folder / "weights.npz", allow_pickle=False) as arrays:
        vectorizer.idf_, head = arrays["idf"], _head(arrays)

    def answer(texts: list[str], batch_size: int | None) -> np.ndarray:
        size = batch_size or max(1, len(texts))
        batches = [texts[begin : begin + size] for begin in range(0, len(texts), size)]
        return np.concatenate([head.predict_proba(vectorizer.transform(batch)) for batch in batches])

    return answer, head.classes_


def _train_model2vec(lesson: Lesson, folder: Path) -> int:
    from model2vec.distill import distill
    from model2vec.train import StaticModelForClassification

    static = distill(str(lesson.backbone), device="cpu")
    classifier = StaticModelForClassification.from_static_model(model=static)
    classifier.fit(
        lesson.texts,
        [str(answer) for answer in lesson.answers],
        X_val=lesson.validation_texts,
        y_val=[str(answer) for answer in lesson.validation_answers],
        device="cpu",
    )
    classifier.to_pipeline().save_pretrained(str(folder))
    return len(lesson.texts)


def _open_model2vec(folder: Path, threads: int) -> tuple[Answer, Iterable[int]]:
    from model2vec.inference import StaticModelPipeline

    pipeline = StaticModelPipeline.from_pretrained(str(folder))

    def answer(texts: list[str], batch_size: int | None) -> np.ndarray:
        given = {} if batch_size is None else {"batch_size": batch_size}
        return np.asarray(pipeline.predict_proba(texts, **given), dtype=np.float32)

    return answer, [int(name) for name in pipeline.classes_]


def _train_setfit(lesson: Lesson, folder: Path) -> int:
    from setfit import SetFitModel, Trainer, TrainingArguments
    from sklearn.linear_model import LogisticRegression

    model = SetFitModel(model_body=_sentence_encoder(lesson), model_head=LogisticRegression(max_iter=1_000))
    few = _some_of_every_label(lesson.answers, SHOTS)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            output_dir=scratch,
            num_epochs=1,
            num_iterations=PAIRS_OF_A_TEXT,
            seed=SEED,
            report_to="none",
            save_strategy="no",
            logging_strategy="no",
            show_progress_bar=False,
        )
        trainer = Trainer(model=model, args=arguments)
        trainer.train_embeddings([lesson.texts[i] for i in few], [lesson.answers[i] for i in few])
        kept = spread(len(lesson.texts), HEAD_TEXTS)
        trainer.train_classifier([lesson.texts[i] for i in kept], [lesson.answers[i] for i in kept])
    model.model_body.save(str(folder / "body"), create_model_card=False)
    np.savez(folder / "head.npz", **_head_arrays(model.model_head))
    return len(kept)


def _sentence_encoder(lesson: Lesson) -> Any:
    """The backbone with a normalized mean over tokens, as the sentence encoder MiniLM was published."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    transformer = Transformer(str(lesson.backbone), max_seq_length=lesson.max_length)
    pooling = Pooling(transformer.get_embedding_dimension(), "mean")
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], device="cpu")


def _some_of_every_label(answers: Sequence[int], count: int) -> list[int]:
    """Positions of `count` examples of every label, or of all that there are."""
    random = np.random.default_rng(SEED)
    positions = [np.flatnonzero(np.asarray(answers) == label) for label in sorted(set(answers))]
    return sorted(int(i) for of_label in positions for i in random.permutation(of_label)[:count])


def _open_setfit(folder: Path, threads: int) -> tuple[Answer, Iterable[int]]:
    import torch
    from sentence_transformers import SentenceTransformer
    from setfit import SetFitModel

    torch.set_num_threads(threads)
    with np.load(folder / "head.npz", allow_pickle=False) as arrays:
        head = _head(arrays)
    model = SetFitModel(model_body=SentenceTransformer(str(folder / "body"), device="cpu"), model_head=head)

    def answer(texts: list[str], batch_size: int | None) -> np.ndarray:
        given = {} if batch_size is None else {"batch_size": batch_size}
        answers = model.predict_proba(texts, as_numpy=True, show_progress_bar=False, **given)
        return np.asarray(answers, dtype=np.float32)

    return answer, head.classes_


TRAINERS: dict[str, Callable[[Lesson, Path], int]] = {
    "tfidf-lr": _train_tfidf,
    "model2vec": _train_model2vec,
    "setfit": _train_setfit,
}
OPENERS: dict[str, Callable[[Path, int], tuple[Answer, Iterable[int]]]] = {
    "tfidf-lr": _open_tfidf,
    "model2vec": _open_model2vec,
    "setfit": _open_setfit,
}


def open_trained(name: str, folder: Path, threads: int) -> TextPeer:
    """A trained peer, ready to answer."""
    training = json.loads((folder / name / RECORD).read_text())
    answer, classes = OPENERS[name](folder / name, threads)
    return TextPeer(answer, classes, training["labels"])


def bytes_of(folder: Path, name: str) -> int:
    """The size of a trained peer on disk."""
    return sum(path.stat().st_size for path in (folder / name).rglob("*") if path.is_file() and path.name != RECORD)


def main(arguments: Sequence[str]) -> None:
    """Train one peer, or serve it."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # the backbone is here; nothing asks the hub about it
    if arguments[0] == "train":
        train(arguments[1], Path(arguments[2]), Path(arguments[3]))
        return
    name, folder, threads = arguments[1], Path(arguments[2]), int(arguments[3])
    worker.serve(partial(open_trained, name, folder, threads))  # type: ignore[arg-type]  # all that is called of it


if __name__ == "__main__":
    main(sys.argv[1:])
