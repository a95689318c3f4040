"""Stage `train`: the tuned checkpoint and what verification compares with, its logits on the test split.

Where the recipe names a classifier that is tuned already, nothing is trained: it is taken as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from sentopt.measure import confidence, set_metrics
from sentopt.measure.decision import SINGLE, Decision, untuned
from sentopt.measure.scores import Scores
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe, TrainSection
from sentopt.results import Confidence, EvalPoint, LossPoint, SampleAnswer, TrainResult
from sentopt.run_dir import SPLITS, RunDir, Split
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints, hints, lengths, soft_labels, unknown_tokens
from sentopt.training.checkpoints import Calibrated
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
    multi_label: bool

    @classmethod
    def read(cls, recipe: Recipe, run_dir: RunDir) -> _Start:
        """As the stage `prepare` left it, and the backbone as it was found."""
        folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
        tokenizer = checkpoints.load_tokenizer(folder, recipe.model.max_length, pairs=store.are_pairs(run_dir))
        splits = {split: store.read_split(run_dir, split) for split in SPLITS}
        encoder = checkpoints.encoder_of(tokenizer, recipe.model.max_length, pairs=store.are_pairs(run_dir))
        answers = soft_labels.read(run_dir.soft_labels) if recipe.train.teacher else None
        multi_label = store.is_multi_label(run_dir)
        return cls(store.read_labels(run_dir), splits, folder, tokenizer, encoder, answers, multi_label)

    @property
    def decision(self) -> Decision:
        """How answers follow from the logits of a model that is not tuned yet."""
        return untuned(len(self.labels)) if self.multi_label else SINGLE

    def untuned_model(self, train: TrainSection) -> Any:
        """The backbone with a fresh head."""
        return checkpoints.load_untuned(self.folder, self.labels, self.tokenizer, train, multi_label=self.multi_label)

    def tuned_model(self) -> Any:
        """A classifier that was tuned elsewhere."""
        return checkpoints.load_tuned(self.folder, self.labels, self.tokenizer, multi_label=self.multi_label)

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
    """How a model answers a split: logits, float32 of shape (texts, labels), and the right labels, int64 (texts,)."""

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

    def scores(self, labels: tuple[str, ...], decision: Decision) -> Scores:
        """Accuracy and what else there is to say of these answers."""
        return set_metrics.score_logits(self.logits, self.truth, decision, labels)


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
    fitted, asked = _tuned(recipe, run_dir, start, resume_key=resume_key, progress=progress)
    losses, evals = _loss_history(fitted.history), _eval_history(fitted.history)
    outcomes = 2 if start.multi_label else len(start.labels)  # each label is there or not
    if hint := hints.undertrained(losses, evals, recipe.train, labels=outcomes):
        notices.append(hint)
        note(hint)
    on_validation, calibrated = _save(recipe, run_dir, start, fitted.model, progress)
    decision = calibrated.decision

    # What everything is compared with is what was saved, as anybody else will load it.
    classifier = start.classifier(TorchEngine.load(run_dir.checkpoint))
    on_test = _Answers.of(classifier, start, "test", progress)
    arrays.write(run_dir.reference, on_test.logits)
    samples = start.samples(recipe)
    journal.remove(run_dir.trainer)  # not before all is saved: where the disk is full, training need not start again
    return TrainResult(
        **vars(fitted.steps),
        backbone=recipe.model.backbone,
        parameters=fitted.parameters,
        metric=recipe.train.metric,
        loss=losses,
        evals=evals,
        validation=on_validation.scores(start.labels, decision),
        test=on_test.scores(start.labels, decision),
        confidence=_confidence(on_test, calibrated),
        majority={split: start.splits[split].majority() for split in SPLITS},
        truncated={split: lengths.count_truncated(start.encoder, start.splits[split].texts) for split in SPLITS},
        samples=_sample_answers(samples, asked, _asked(classifier, samples, decision)),
        notices=tuple(notices),
        thresholds=decision.thresholds,
        temperatures=calibrated.temperatures if start.multi_label else (),
    )


def join_training(recipe: Recipe, run_dir: RunDir, *, resume_key: str) -> None:
    """Take part in the training that `run` does in rank 0, and write nothing.

    Raises:
        TrainingInterrupted: a signal stopped the training in any of the processes.
    """
    make_deterministic(recipe.run.seed)
    start = _Start.read(recipe, run_dir)
    model = start.untuned_model(recipe.train)
    _fit(recipe, run_dir, start, model, resume_key=resume_key, progress=SILENT)


def _tuned(
    recipe: Recipe, run_dir: RunDir, start: _Start, *, resume_key: str, progress: Progress
) -> tuple[Fit, list[_Asked]]:
    """The tuned model, and the sample texts as the untuned one answers them; none where nothing is trained."""
    if recipe.model.tuned:
        return Fit.without_training(start.tuned_model()), []
    model = start.untuned_model(recipe.train)
    asked = _asked(start.classifier(TorchEngine(model)), start.samples(recipe), start.decision)
    return _fit(recipe, run_dir, start, model, resume_key=resume_key, progress=progress), asked


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


def _save(
    recipe: Recipe, run_dir: RunDir, start: _Start, model: Any, progress: Progress
) -> tuple[_Answers, Calibrated]:
    """Write the calibrated checkpoint and its validation logits; these answers, and what was fitted to them."""
    answers = _Answers.of(start.classifier(TorchEngine(model)), start, "validation", progress)
    _check_finite(recipe, start.folder, answers.logits)
    calibrated = checkpoints.save_calibrated(
        model,
        start.tokenizer,
        run_dir.checkpoint,
        logits=answers.logits,
        truth=answers.truth,
        calibrate=recipe.train.calibrate,
        multi_label=start.multi_label,
    )
    answers = replace(answers, logits=calibrated.divided(answers.logits))
    arrays.write(run_dir.validation_reference, answers.logits)
    _check_tokens(recipe, start.folder, run_dir, list(start.splits["test"].texts[:_PARITY_TEXTS]))
    return answers, calibrated


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
        "" if recipe.model.tuned else hints.low_rate(recipe.train),
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


def _confidence(answers: _Answers, calibrated: Calibrated) -> Confidence:
    decision, truth = calibrated.decision, answers.truth
    probabilities = decision.probabilities(answers.logits)
    before = decision.probabilities(calibrated.undivided(answers.logits))
    return Confidence(
        temperature=1.0 if decision.is_multi_label else calibrated.temperatures[0],
        error=confidence.calibration_error(probabilities, truth, decision),
        error_before=confidence.calibration_error(before, truth, decision),
        coverage=confidence.coverage(probabilities, truth, _THRESHOLDS, decision),
    )


@dataclass(frozen=True)
class _Asked:
    """The answer to a sample text, and the probability of its most probable label."""

    answer: str
    score: float


def _asked(classifier: Classifier, texts: Sequence[Text], decision: Decision) -> list[_Asked]:
    """The answers of a model to the sample texts."""
    if not texts:
        return []
    logits = classifier.logits(texts)
    scores = decision.best(decision.probabilities(logits)).tolist()
    names = [decision.in_words(answer, classifier.labels) for answer in decision.answers(logits).tolist()]
    return list(map(_Asked, names, scores))


def _sample_answers(
    texts: Sequence[Text], untuned: Sequence[_Asked], tuned: Sequence[_Asked]
) -> tuple[SampleAnswer, ...]:
    before: Sequence[_Asked | None] = untuned or [None] * len(tuned)
    return tuple(
        SampleAnswer(
            untuned_label=b.answer if b else None,
            untuned_score=b.score if b else None,
            tuned_label=after.answer,
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
            micro_f1=float(entry["eval_micro_f1"]),
        )
        for entry in history
        if "eval_loss" in entry
    )
