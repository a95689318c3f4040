"""Stage `train`: fine-tune the backbone with the Hugging Face Trainer and save what verification compares with."""

from __future__ import annotations

import io
import json
import math
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

from sentopt import atomic, backbones, hardware, metrics
from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.data.splits import Example, majority_accuracy
from sentopt.errors import BackboneError, TrainingInterrupted
from sentopt.recipe import Recipe, TrainSection
from sentopt.results import EvalPoint, LossPoint, SampleAnswer, TrainResult
from sentopt.run_dir import SPLITS, RunDir, Split
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.cores import available_cores
from sentopt.runtime.tokenization import TextEncoder
from sentopt.stages.sampling import EpochSampler
from sentopt.stages.trainer_callbacks import ProgressBar, StopOnSignal

_RESUME_KEY = "resume-key"
Encoded = dict[str, Any]


def run(recipe: Recipe, run_dir: RunDir, *, resume_key: str) -> TrainResult:
    """Tune, evaluate, and write `checkpoint/` and `reference.npy`.

    Training that was interrupted is resumed from its last complete Trainer checkpoint, provided that `resume_key` (a
    fingerprint of everything that determines the weights) is the one it was started with.

    Raises:
        BackboneError: the pretrained model cannot be had or has no tokenizer.json.
        TrainingInterrupted: a signal stopped the training; its state is saved.
    """
    _make_deterministic(recipe.run.seed)
    labels = store.read_labels(run_dir)
    splits = {split: store.read_split(run_dir, split) for split in SPLITS}
    backbone = backbones.resolve(recipe.model.backbone, recipe.model.revision)
    tokenizer = load_tokenizer(backbone, recipe.model.max_length)
    model = _untuned(backbone, labels, tokenizer, recipe.train)
    encoded = {split: _encode(tokenizer, examples) for split, examples in splits.items()}
    untuned = _answers(model, tokenizer, recipe, labels)

    trainer, resumed = _fit(recipe, run_dir, model, tokenizer, encoded, resume_key)
    _save_checkpoint(trainer.model, tokenizer, run_dir.checkpoint)
    shutil.rmtree(run_dir.trainer, ignore_errors=True)

    # Loaded again: accelerate leaves its mixed-precision autocast in the forward method of the model it trained.
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length)
    classifier = Classifier(TorchEngine.load(run_dir.checkpoint, threads=available_cores()), encoder, labels)
    logits = classifier.logits([e.text for e in splits["test"]])
    _save_logits(run_dir.reference, logits)
    return TrainResult(
        backbone=recipe.model.backbone,
        device=trainer.args.device.type,
        precision="bf16" if trainer.args.bf16 else "fp32",
        parameters=sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        steps=trainer.state.global_step,
        epochs=float(trainer.state.epoch or 0.0),
        seconds=trainer.sentopt_seconds,
        samples_per_second=trainer.sentopt_samples / max(trainer.sentopt_seconds, 1e-9),
        resumed_from_step=resumed,
        best_step=int(trainer.state.best_global_step or trainer.state.global_step),
        best_metric=float(trainer.state.best_metric or 0.0),
        metric=recipe.train.metric,
        loss=_loss_history(trainer.state.log_history),
        evals=_eval_history(trainer.state.log_history),
        test=metrics.score(logits.argmax(axis=1), _label_array(splits["test"]), labels),
        majority={split: majority_accuracy([e.label for e in splits[split]]) for split in SPLITS},
        truncated={split: _count_truncated(encoder, splits[split]) for split in SPLITS},
        samples=_sample_answers(recipe.train.sample_texts, untuned, classifier.predict(recipe.train.sample_texts)),
    )


def load_tokenizer(folder: Path, max_length: int) -> Any:
    """The fast tokenizer of a backbone, with a padding token.

    Raises:
        BackboneError: no fast tokenizer can be made from the folder's files.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, model_max_length=max_length)
    except (OSError, ValueError) as error:
        raise BackboneError(f"{folder} holds no tokenizer that transformers can load: {error}") from error
    if not tokenizer.is_fast:
        raise BackboneError(
            f"{folder} has a Python tokenizer only; a tokenizer.json is needed to run without transformers"
        )
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


class _Trainer(Trainer):
    """The Trainer with a resumable sampler, and the seconds spent in training steps alone."""

    sentopt_seconds = 0.0
    sentopt_samples = 0

    def __init__(self, *args: Any, sampler: EpochSampler, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sampler = sampler

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        return self.sampler

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        start = time.perf_counter()
        loss: torch.Tensor = super().training_step(model, inputs, *args, **kwargs)
        self.sentopt_seconds += time.perf_counter() - start
        self.sentopt_samples += len(inputs["labels"])
        return loss


def _fit(
    recipe: Recipe, run_dir: RunDir, model: Any, tokenizer: Any, encoded: dict[Split, list[Encoded]], resume_key: str
) -> tuple[_Trainer, int]:
    checkpoint = _resumable(run_dir.trainer, resume_key)
    arguments = _arguments(recipe, run_dir.trainer, len(encoded["train"]))
    stop = StopOnSignal()
    trainer = _Trainer(
        model=model,
        args=arguments,
        train_dataset=encoded["train"],
        eval_dataset=sorted(encoded["validation"], key=lambda e: len(e["input_ids"])),  # little padding
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=_eval_metrics,
        sampler=EpochSampler(
            [len(e["input_ids"]) for e in encoded["train"]],
            batch_size=recipe.train.batch_size,
            seed=recipe.run.seed,
            group=recipe.train.group_by_length,
        ),
    )
    for callback in (transformers.ProgressCallback, transformers.PrinterCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(ProgressBar(recipe.train.metric))
    trainer.add_callback(stop)
    with stop, warnings.catch_warnings():
        # Checkpoints are sorted by number where the file system's times are too coarse, and that is right.
        warnings.filterwarnings("ignore", message="mtime may not be reliable")
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.requested:
        raise TrainingInterrupted(
            f"training was stopped after step {trainer.state.global_step} of {trainer.state.max_steps}; "
            f"its state is saved in {run_dir.trainer}. The same command continues from there."
        )
    return trainer, _step_of(checkpoint) if checkpoint else 0


def _arguments(recipe: Recipe, folder: Path, texts: int) -> TrainingArguments:
    train = recipe.train
    per_epoch = max(1, math.ceil(math.ceil(texts / train.batch_size) / train.gradient_accumulation))
    steps = train.max_steps or math.ceil(per_epoch * train.epochs)
    bf16 = _use_bf16(train.precision)
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        per_device_train_batch_size=train.batch_size,
        per_device_eval_batch_size=train.eval_batch_size,
        gradient_accumulation_steps=train.gradient_accumulation,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        warmup_steps=math.ceil(steps * train.warmup_ratio),
        lr_scheduler_type=train.scheduler,
        label_smoothing_factor=train.label_smoothing,
        eval_strategy=train.eval_strategy,
        save_strategy=train.eval_strategy,
        eval_steps=train.eval_steps or None,
        save_steps=train.eval_steps or 500,
        logging_steps=train.logging_steps,
        metric_for_best_model=train.metric,
        greater_is_better=True,
        load_best_model_at_end=True,
        save_total_limit=train.save_total_limit,
        seed=recipe.run.seed,
        data_seed=recipe.run.seed,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
        push_to_hub=False,
    )


def _use_bf16(precision: str) -> bool:
    if precision == "auto":
        return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else hardware.describe().has_bf16()
    return precision == "bf16"


def _make_deterministic(seed: int) -> None:
    torch.set_num_threads(available_cores())
    transformers.set_seed(seed)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _untuned(backbone: Path, labels: Sequence[str], tokenizer: Any, train: TrainSection) -> Any:
    """The backbone with a fresh classification head; the seed has been set, so the head is the same every time.

    Attention is `eager`: on a CPU, `sdpa` falls back to a slower backward pass (measured: 1.1 to 1.4 times).
    """
    model = AutoModelForSequenceClassification.from_pretrained(
        backbone,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        ignore_mismatched_sizes=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        attn_implementation=None if torch.cuda.is_available() else "eager",
    )
    if not train.encoder_dropout:
        _switch_off_dropout(model.base_model)
    if train.freeze_embeddings:
        embeddings = getattr(model.base_model, "embeddings", None) or model.get_input_embeddings()
        embeddings.requires_grad_(False)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.problem_type = "single_label_classification"
    return model


def _switch_off_dropout(encoder: torch.nn.Module) -> None:
    """Set p = 0 in the modules, not in the config: the checkpoint keeps the backbone's values for later tuning."""
    for module in encoder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0


def _encode(tokenizer: Any, examples: Sequence[Example]) -> list[Encoded]:
    columns = tokenizer([e.text for e in examples], truncation=True, padding=False)
    names = list(columns)
    return [{**{name: columns[name][i] for name in names}, "labels": e.label} for i, e in enumerate(examples)]


def _eval_metrics(prediction: Any) -> dict[str, float]:
    given = {"predictions": prediction.predictions.argmax(axis=1), "references": prediction.label_ids}
    macro = metrics.MacroScores(keep_in_memory=True).compute(**given, num_labels=prediction.predictions.shape[1])
    accuracy = metrics.Accuracy(keep_in_memory=True).compute(**given)
    return {**accuracy, "macro_f1": macro["macro_f1"]}


def _resumable(folder: Path, resume_key: str) -> Path | None:
    """The last complete checkpoint of the same training; leftovers of any other are removed."""
    key_file = folder / _RESUME_KEY
    if not key_file.is_file() or key_file.read_text() != resume_key:
        shutil.rmtree(folder, ignore_errors=True)
        atomic.write_text(key_file, resume_key)
        return None
    complete = []
    for checkpoint in folder.glob("checkpoint-*"):
        if _is_complete(checkpoint):
            complete.append(checkpoint)
        else:
            shutil.rmtree(checkpoint)
    return max(complete, key=_step_of, default=None)


def _is_complete(checkpoint: Path) -> bool:
    """The Trainer writes `trainer_state.json` last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def _save_checkpoint(model: Any, tokenizer: Any, target: Path) -> None:
    with atomic.replace_folder(target) as folder:
        model.save_pretrained(folder, safe_serialization=True)
        tokenizer.save_pretrained(folder)
        if not (folder / "tokenizer.json").is_file():
            raise BackboneError(
                "the tokenizer saves no tokenizer.json, which the runtime needs; "
                "choose a backbone with a fast tokenizer"
            )


def _save_logits(path: Path, logits: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, logits, allow_pickle=False)
    atomic.write_bytes(path, buffer.getvalue())


def _answers(model: Any, tokenizer: Any, recipe: Recipe, labels: tuple[str, ...]) -> list[Prediction]:
    """The sample texts as the untuned model answers them."""
    copy = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())  # the encoder sets truncation on what it is given
    encoder = TextEncoder(copy, max_length=recipe.model.max_length, pad_token_id=tokenizer.pad_token_id)
    return Classifier(TorchEngine(model), encoder, labels).predict(recipe.train.sample_texts)


def _sample_answers(
    texts: Sequence[str], untuned: Sequence[Prediction], tuned: Sequence[Prediction]
) -> tuple[SampleAnswer, ...]:
    return tuple(
        SampleAnswer(text, before.label, before.score, after.label, after.score)
        for text, before, after in zip(texts, untuned, tuned, strict=True)
    )


def _label_array(examples: Sequence[Example]) -> np.ndarray:
    return np.array([e.label for e in examples], dtype=np.int64)


def _count_truncated(encoder: TextEncoder, examples: Sequence[Example]) -> int:
    return sum(t.truncated for t in encoder.encode([e.text for e in examples]))


def _loss_history(history: Sequence[dict[str, Any]]) -> tuple[LossPoint, ...]:
    return tuple(
        LossPoint(entry["step"], float(entry["epoch"]), float(entry["loss"]), float(entry["learning_rate"]))
        for entry in history
        if "loss" in entry
    )


def _eval_history(history: Sequence[dict[str, Any]]) -> tuple[EvalPoint, ...]:
    return tuple(
        EvalPoint(
            entry["step"],
            float(entry["epoch"]),
            float(entry["eval_loss"]),
            float(entry["eval_accuracy"]),
            float(entry["eval_macro_f1"]),
        )
        for entry in history
        if "eval_loss" in entry
    )
