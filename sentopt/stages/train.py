"""Stage `train`: the tuned checkpoint and what verification compares with, its logits on the test split.

Where the recipe names a classifier that is tuned already, nothing is trained: it is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sentopt import backbones, model_files
from sentopt.backends.counted import counted
from sentopt.backends.torch import TorchEngine
from sentopt.data import pairs, store
from sentopt.data.rows import Examples
from sentopt.errors import BackboneError, RecipeError
from sentopt.files import arrays, journal
from sentopt.measure import confidence, metrics
from sentopt.measure.scores import Scores
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe
from sentopt.results import Confidence, EvalPoint, LossPoint, SampleAnswer, TrainResult
from sentopt.run_dir import SPLITS, RunDir, Split
from sentopt.runtime.classifier import Classifier, Prediction, softmax
from sentopt.runtime.description import Text
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints, hints, lengths, soft_labels, unknown_tokens
from sentopt.training.fit import Fit, fit, make_deterministic
from sentopt.training.malloc import reusing_freed_memory
from sentopt.training.soft_labels import SoftLabels

_PARITY_TEXTS, _SAMPLE_PAIRS = 500, 5
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class _Start:
    """What training starts from: labels, splits, the backbone's folder and tokenizer, and what a teacher answered."""

    labels: tuple[str, ...]
    splits: dict[Split, Examples]
    folder: Path
    tokenizer: Any
    encoder: TextEncoder
    soft_labels: SoftLabels | None

    @classmethod
    def read(cls, recipe: Recipe, run_dir: RunDir) -> _Start:
        """As the stage `prepare` left it, and the backbone as it was found."""
        folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
        tokenizer = checkpoints.load_tokenizer(folder, recipe.model.max_length)
        if store.are_pairs(run_dir):
            checkpoints.give_types(tokenizer, folder)
        splits = {split: store.read_split(run_dir, split) for split in SPLITS}
        encoder = checkpoints.encoder_of(tokenizer, recipe.model.max_length, pairs=store.are_pairs(run_dir))
        answers = soft_labels.read(run_dir.soft_labels) if recipe.train.teacher else None
        return cls(store.read_labels(run_dir), splits, folder, tokenizer, encoder, answers)

    @property
    def learned_texts(self) -> int:
        """Training texts, and those that only a teacher answers."""
        return len(self.splits["train"]) + (len(self.soft_labels.texts) if self.soft_labels else 0)

    def samples(self, recipe: Recipe) -> list[Text]:
        """The texts whose answers are shown before and after: those of the recipe, or pairs of the test split."""
        if not self.encoder.pairs:
            return [*recipe.train.sample_texts]
        test = self.splits["test"].texts
        return [test[int(i)] for i in np.linspace(0, len(test) - 1, min(_SAMPLE_PAIRS, len(test)))]

    def classifier(self, engine: TorchEngine) -> Classifier:
        """A classifier of these labels."""
        return Classifier(engine, self.encoder, self.labels)


@dataclass(frozen=True)
class _Answers:
    """How a model answers a split: logits, float32 of shape (texts, labels), and the positions of the right labels."""

    logits: FloatArray
    truth: np.ndarray

    @classmethod
    @reusing_freed_memory()
    def of(cls, classifier: Classifier, start: _Start, split: Split, progress: Progress) -> _Answers:
        """Let the classifier answer all texts of the split."""
        examples = start.splits[split]
        with progress.count(f"train: {split} split", len(examples), "texts") as advance, counted(classifier, advance):
            logits = classifier.logits(list(examples.texts))
        return cls(logits, examples.labels)

    def scores(self, labels: tuple[str, ...]) -> Scores:
        """Accuracy and what else there is to say of these answers."""
        return metrics.score(self.logits.argmax(axis=1), self.truth, labels)


def run(
    recipe: Recipe,
    run_dir: RunDir,
    *,
    resume_key: str,
    note: Callable[[str], None] = lambda notice: None,
    progress: Progress = SILENT,
) -> TrainResult:
    """Tune, calibrate, evaluate, and write `checkpoint/`, `reference.npy` and `reference-validation.npy`.

    `note` receives what a user should know as soon as it is known, most of it before the training begins; the result
    has it as well.

    Raises:
        BackboneError: the pretrained model cannot be had, has no tokenizer.json, or is not the classifier it should be.
        RecipeError: the batch cannot be shared out among the processes.
        TrainingInterrupted: a signal stopped the training; its state is saved.
    """
    make_deterministic(recipe.run.seed)
    start = _Start.read(recipe, run_dir)
    notices = list(_notices(recipe, start))
    for notice in notices:
        note(notice)
    fitted, untuned = _tuned(recipe, run_dir, start, resume_key=resume_key, progress=progress)
    losses, evals = _loss_history(fitted.history), _eval_history(fitted.history)
    if hint := hints.undertrained(losses, evals, recipe.train, labels=len(start.labels)):
        notices.append(hint)
        note(hint)
    on_validation, temperature = _save(recipe, run_dir, start, fitted.model, progress)

    # What everything is compared with is what was saved, as anybody else will load it.
    classifier = start.classifier(TorchEngine.load(run_dir.checkpoint))
    on_test = _Answers.of(classifier, start, "test", progress)
    arrays.write(run_dir.reference, on_test.logits)
    samples = start.samples(recipe)
    journal.remove(run_dir.trainer)  # not before all is saved: where the disk is full, training need not start again
    return TrainResult(
        **vars(fitted.steps),
        backbone=recipe.model.backbone,
        parameters=sum(p.numel() for p in fitted.model.parameters() if p.requires_grad),
        metric=recipe.train.metric,
        loss=losses,
        evals=evals,
        validation=on_validation.scores(start.labels),
        test=on_test.scores(start.labels),
        confidence=_confidence(on_test, temperature),
        majority={split: start.splits[split].majority() for split in SPLITS},
        truncated={split: lengths.count_truncated(start.encoder, start.splits[split].texts) for split in SPLITS},
        samples=_sample_answers(samples, untuned, classifier.predict(samples)),
        notices=tuple(notices),
    )


def join_training(recipe: Recipe, run_dir: RunDir, *, resume_key: str) -> None:
    """Take part in the training that `run` does in rank 0, and write nothing.

    Raises:
        TrainingInterrupted: a signal stopped the training in any of the processes.
    """
    make_deterministic(recipe.run.seed)
    start = _Start.read(recipe, run_dir)
    model = checkpoints.load_untuned(start.folder, start.labels, start.tokenizer, recipe.train)
    _fit(recipe, run_dir, start, model, resume_key=resume_key, progress=SILENT)


def _tuned(
    recipe: Recipe, run_dir: RunDir, start: _Start, *, resume_key: str, progress: Progress
) -> tuple[Fit, list[Prediction]]:
    """The tuned model, and the sample texts as the untuned one answers them; none where nothing is trained."""
    if recipe.model.tuned:
        return Fit.without_training(checkpoints.load_tuned(start.folder, start.labels, start.tokenizer)), []
    model = checkpoints.load_untuned(start.folder, start.labels, start.tokenizer, recipe.train)
    untuned = start.classifier(TorchEngine(model)).predict(start.samples(recipe))
    return _fit(recipe, run_dir, start, model, resume_key=resume_key, progress=progress), untuned


def _fit(recipe: Recipe, run_dir: RunDir, start: _Start, model: Any, *, resume_key: str, progress: Progress) -> Fit:
    train, validation = start.splits["train"], start.splits["validation"]
    return fit(
        recipe,
        run_dir.trainer,
        model,
        start.tokenizer,
        train,
        validation,
        soft_labels=start.soft_labels,
        resume_key=resume_key,
        progress=progress,
    )


def _save(recipe: Recipe, run_dir: RunDir, start: _Start, model: Any, progress: Progress) -> tuple[_Answers, float]:
    """Write the calibrated checkpoint and its validation logits; the answers before that, and the temperature."""
    answers = _Answers.of(start.classifier(TorchEngine(model)), start, "validation", progress)
    _check_finite(recipe, start.folder, answers.logits)
    temperature = checkpoints.save_calibrated(
        model,
        start.tokenizer,
        run_dir.checkpoint,
        logits=answers.logits,
        truth=answers.truth,
        calibrate=recipe.train.calibrate,
    )
    arrays.write(run_dir.validation_reference, answers.logits / np.float32(temperature))
    _check_tokens(recipe, start.folder, run_dir, list(start.splits["test"].texts[:_PARITY_TEXTS]))
    return answers, temperature


def _notices(recipe: Recipe, start: _Start) -> tuple[str, ...]:
    """What a user should know before the training begins."""
    texts = start.splits["train"].texts
    found = unknown_tokens.count(
        start.encoder, texts, unknown=start.tokenizer.unk_token_id, special=start.tokenizer.all_special_ids
    )
    longest = model_files.length_limit(start.folder) or lengths.LONGEST
    measured = lengths.measure(checkpoints.encoder_of(start.tokenizer, longest, pairs=start.encoder.pairs), texts)
    on_cuda = torch.cuda.is_available()
    told = (
        hints.not_separated(start.tokenizer, recipe.model.backbone) if start.encoder.pairs else "",
        unknown_tokens.notice(found, recipe.model.backbone),
        hints.too_short(measured, recipe.train, max_length=recipe.model.max_length),
        "" if recipe.model.tuned else hints.more_epochs(recipe.train, start.learned_texts),
        "" if recipe.model.tuned else hints.unused_gpu(mps=torch.backends.mps.is_available(), cuda=on_cuda),
    )
    return tuple(notice for notice in told if notice)


def _check_tokens(recipe: Recipe, folder: Path, run_dir: RunDir, texts: Sequence[Text]) -> None:
    """What the runtime reads of the saved tokenizer must be what transformers reads of the original files."""
    are_pairs = store.are_pairs(run_dir)
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length, pairs=are_pairs)
    if not are_pairs and checkpoints.takes_types(run_dir.checkpoint) and any(encoder.encode(["a"])[0].type_ids):
        raise BackboneError(
            f"the tokenizer of {folder} gives tokens of a single text another type than 0 (post_processor in its "
            "tokenizer.json), and the graphs of sentopt know type 0 only. Correct the template, and tune with that"
        )
    texts = [*texts, *checkpoints.telling_texts(encoder, texts)]
    if differing := checkpoints.differing_texts(encoder, folder, texts):
        raise BackboneError(
            f"the tokenizer of {folder} does something that the runtime does not: with transformers, {len(differing)} "
            f"of {len(texts)} texts have other tokens, for example {differing[0]!r:.100}. A setting of its "
            "tokenizer_config.json, such as split_special_tokens, is not in its tokenizer.json"
        )


def _check_finite(recipe: Recipe, folder: Path, logits: FloatArray) -> None:
    if np.isfinite(logits).all():
        return
    if recipe.model.tuned:
        raise BackboneError(f"{folder} answers texts with numbers that are not finite: its weights are damaged")
    advice = "lower it, or set train.precision=fp32"
    raise RecipeError("train.learning_rate", [f"training ended in weights that give no finite numbers: {advice}"])


def _confidence(answers: _Answers, temperature: float) -> Confidence:
    logits, truth = answers.logits, answers.truth
    probabilities = softmax(logits)
    return Confidence(
        temperature=temperature,
        error=confidence.expected_calibration_error(probabilities, truth),
        error_before=confidence.expected_calibration_error(softmax(logits * np.float32(temperature)), truth),
        coverage=confidence.coverage(probabilities, truth, _THRESHOLDS),
    )


def _sample_answers(
    texts: Sequence[Text], untuned: Sequence[Prediction], tuned: Sequence[Prediction]
) -> tuple[SampleAnswer, ...]:
    before: Sequence[Prediction | None] = untuned or [None] * len(tuned)
    return tuple(
        SampleAnswer(
            untuned_label=b.label if b else None,
            untuned_score=b.score if b else None,
            tuned_label=after.label,
            tuned_score=after.score,
            **pairs.as_fields(text),
        )
        for text, b, after in zip(texts, before, tuned, strict=True)
    )


def _loss_history(history: Sequence[dict[str, Any]]) -> tuple[LossPoint, ...]:
    return tuple(
        LossPoint(entry["step"], float(entry["epoch"]), float(entry["loss"]), float(entry["learning_rate"]))
        for entry in history
        if "loss" in entry
    )


def _eval_history(history: Sequence[dict[str, Any]]) -> tuple[EvalPoint, ...]:
    return tuple(
        EvalPoint(
            step=entry["step"],
            epoch=float(entry["epoch"]),
            loss=float(entry["eval_loss"]),
            accuracy=float(entry["eval_accuracy"]),
            macro_precision=float(entry["eval_macro_precision"]),
            macro_recall=float(entry["eval_macro_recall"]),
            macro_f1=float(entry["eval_macro_f1"]),
        )
        for entry in history
        if "eval_loss" in entry
    )
