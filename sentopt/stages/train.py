"""Stage `train`: the tuned checkpoint and what verification compares with, its logits on the test split.

Where the recipe names a classifier that is tuned already, nothing is trained: it is taken as it is.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sentopt import backbones
from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.data.splits import Example, majority_accuracy
from sentopt.errors import BackboneError, RecipeError
from sentopt.files import atomic, journal
from sentopt.measure import confidence, metrics
from sentopt.recipe import Recipe
from sentopt.results import Confidence, EvalPoint, LossPoint, SampleAnswer, Steps, TrainResult
from sentopt.run_dir import SPLITS, RunDir
from sentopt.runtime.classifier import Classifier, Prediction, softmax
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import TextEncoder
from sentopt.training import checkpoints, unknown_tokens
from sentopt.training.fit import Fit, fit, make_deterministic
from sentopt.training.malloc import reusing_freed_memory

_PARITY_TEXTS = 500
_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def run(
    recipe: Recipe, run_dir: RunDir, *, resume_key: str, say: Callable[[str], None] = lambda notice: None
) -> TrainResult:
    """Tune, calibrate, evaluate, and write `checkpoint/`, `reference.npy` and `reference-validation.npy`.

    `say` receives what a user should know before the training begins; the result has it as well.

    Raises:
        BackboneError: the pretrained model cannot be had, has no tokenizer.json, or is not the classifier it should be.
        RecipeError: the batch cannot be shared out among the processes.
        TrainingInterrupted: a signal stopped the training; its state is saved.
    """
    make_deterministic(recipe.run.seed)
    labels = store.read_labels(run_dir)
    splits = {split: store.read_split(run_dir, split) for split in SPLITS}
    folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
    tokenizer = checkpoints.load_tokenizer(folder, recipe.model.max_length)
    notices = _notices(recipe, tokenizer, splits["train"])
    for notice in notices:
        say(notice)
    untuned: list[Prediction] = []
    if recipe.model.tuned:
        fitted = _taken(checkpoints.load_tuned(folder, labels, tokenizer))
    else:
        model = checkpoints.load_untuned(folder, labels, tokenizer, recipe.train)
        untuned = _answers(model, tokenizer, recipe, labels)
        fitted = fit(
            recipe, run_dir.trainer, model, tokenizer, splits["train"], splits["validation"], resume_key=resume_key
        )

    classifier = Classifier(
        TorchEngine(fitted.model), checkpoints.encoder_of(tokenizer, recipe.model.max_length), labels
    )
    logits, truth = _logits_and_labels(classifier, splits["validation"])
    _check_finite(recipe, folder, logits)
    validation = metrics.score(logits.argmax(axis=1), truth, labels)
    temperature = 1.0
    if recipe.train.calibrate:
        temperature = confidence.temperature(logits, truth)
        checkpoints.divide_logits(fitted.model, temperature)
    _save_logits(run_dir.validation_reference, logits / np.float32(temperature))
    checkpoints.save(fitted.model, tokenizer, run_dir.checkpoint)
    _check_tokens(recipe, folder, run_dir, [e.text for e in splits["test"][:_PARITY_TEXTS]])

    # What everything is compared with is what was saved, as anybody else will load it.
    classifier = Classifier(TorchEngine.load(run_dir.checkpoint), classifier.encoder, labels)
    logits, truth = _logits_and_labels(classifier, splits["test"])
    _save_logits(run_dir.reference, logits)
    journal.remove(run_dir.trainer)  # not before all is saved: where the disk is full, training need not start again
    return TrainResult(
        **vars(fitted.steps),
        backbone=recipe.model.backbone,
        parameters=sum(p.numel() for p in fitted.model.parameters() if p.requires_grad),
        metric=recipe.train.metric,
        loss=_loss_history(fitted.history),
        evals=_eval_history(fitted.history),
        validation=validation,
        test=metrics.score(logits.argmax(axis=1), truth, labels),
        confidence=_confidence(logits, truth, temperature),
        majority={split: majority_accuracy([e.label for e in splits[split]]) for split in SPLITS},
        truncated={
            split: sum(t.truncated for t in classifier.encoder.encode([e.text for e in splits[split]]))
            for split in SPLITS
        },
        samples=_sample_answers(recipe.train.sample_texts, untuned, classifier.predict(recipe.train.sample_texts)),
        notices=notices,
    )


def join_training(recipe: Recipe, run_dir: RunDir, *, resume_key: str) -> None:
    """Join the training that `run` does on rank 0, without writing anything.

    Raises:
        TrainingInterrupted: a signal stopped the training in any of the processes.
    """
    make_deterministic(recipe.run.seed)
    folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
    tokenizer = checkpoints.load_tokenizer(folder, recipe.model.max_length)
    model = checkpoints.load_untuned(folder, store.read_labels(run_dir), tokenizer, recipe.train)
    train, validation = (store.read_split(run_dir, split) for split in ("train", "validation"))
    fit(recipe, run_dir.trainer, model, tokenizer, train, validation, resume_key=resume_key)


def _notices(recipe: Recipe, tokenizer: Any, train: Sequence[Example]) -> tuple[str, ...]:
    found = unknown_tokens.count(
        checkpoints.encoder_of(tokenizer, recipe.model.max_length),
        [example.text for example in train],
        unknown=tokenizer.unk_token_id,
        special=tokenizer.all_special_ids,
    )
    notice = unknown_tokens.notice(found, recipe.model.backbone)
    return (notice,) if notice else ()


def _check_tokens(recipe: Recipe, folder: Path, run_dir: RunDir, texts: Sequence[str]) -> None:
    """What the runtime reads of the saved tokenizer must be what transformers reads of the original files."""
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length)
    if checkpoints.takes_types(run_dir.checkpoint) and any(encoder.encode(["a"])[0].type_ids):
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


def _taken(model: Any) -> Fit:
    nothing = Steps(
        device="cpu",
        precision="fp32",
        processes=1,
        steps=0,
        epochs=0.0,
        seconds=0.0,
        samples_per_second=0.0,
        resumed_from_step=0,
        best_step=0,
        best_metric=0.0,
    )
    return Fit(model, nothing, history=())


def _answers(model: Any, tokenizer: Any, recipe: Recipe, labels: tuple[str, ...]) -> list[Prediction]:
    """The sample texts as the untuned model answers them."""
    return Classifier(TorchEngine(model), checkpoints.encoder_of(tokenizer, recipe.model.max_length), labels).predict(
        recipe.train.sample_texts
    )


@reusing_freed_memory()
def _logits_and_labels(classifier: Classifier, examples: Sequence[Example]) -> tuple[FloatArray, np.ndarray]:
    logits = classifier.logits([e.text for e in examples])
    return logits, np.array([e.label for e in examples], dtype=np.int64)


def _confidence(logits: FloatArray, truth: np.ndarray, temperature: float) -> Confidence:
    probabilities = softmax(logits)
    return Confidence(
        temperature=temperature,
        error=confidence.expected_calibration_error(probabilities, truth),
        error_before=confidence.expected_calibration_error(softmax(logits * np.float32(temperature)), truth),
        coverage=confidence.coverage(probabilities, truth, _THRESHOLDS),
    )


def _save_logits(path: Path, logits: FloatArray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, logits, allow_pickle=False)
    atomic.write_bytes(path, buffer.getvalue())


def _sample_answers(
    texts: Sequence[str], untuned: Sequence[Prediction], tuned: Sequence[Prediction]
) -> tuple[SampleAnswer, ...]:
    before: Sequence[Prediction | None] = untuned or [None] * len(tuned)
    return tuple(
        SampleAnswer(text, b.label if b else None, b.score if b else None, after.label, after.score)
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
