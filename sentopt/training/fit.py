"""Fine-tuning with the Hugging Face Trainer: resumable, in one process or several, with little disk."""

from __future__ import annotations

import functools
import gc
import json
import math
import os
import re
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch.utils.data import Sampler, SequentialSampler
from transformers import DataCollatorWithPadding, IntervalStrategy, Trainer

from sentopt.backends import opening
from sentopt.backends.torch import limit_threads
from sentopt.data.rows import Examples
from sentopt.errors import RecipeError, TrainingInterrupted
from sentopt.files import atomic, durable, journal
from sentopt.measure import metrics, set_metrics
from sentopt.measure.label_sets import MULTI_LABEL
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe, TrainSection
from sentopt.results import Steps
from sentopt.run_dir import RunDir
from sentopt.runtime.cores import available_cores
from sentopt.training import distributed, lora, malloc, schedule, set_loss, tokenized, trackers
from sentopt.training.adversarial import AdversarialEmbeddings
from sentopt.training.callbacks import (
    DropOldCheckpoints,
    MemoryAfterSteps,
    StepClock,
    StopOnSignal,
    TellProgress,
    checkpoints_in,
    step_of,
)
from sentopt.training.ema import EmaWeights
from sentopt.training.sampling import EpochSampler
from sentopt.training.soft_labels import SoftLabels
from sentopt.training.teacher_loss import TeacherLoss
from sentopt.training.tokenized import NO_LABEL, SOFT_LABELS, Encoded, Tokenized, encode
from sentopt.training.trainer_arguments import Arguments

_RESUME_KEY = "resume-key"
_CHECKPOINT = re.compile(r"checkpoint-\d+")
_OF_THE_TRAINER = re.compile(
    r"(generation_|tokenizer_)?config\.json|tokenizer\.json|special_tokens_map\.json|added_tokens\.json|trainer_state\.json"
    r"|vocab\.(json|txt)|merges\.txt|.*\.model|chat_template\.jinja|(model|last-weights).*\.safetensors(\.index\.json)?"
    r"|(optimizer|scheduler|scaler)\.pt|rng_state.*\.pth|training_args\.bin"
)
_TOKENS = "tokens"


@dataclass(frozen=True)
class Fit:
    """The tuned model, and what there is to tell about the way to it; `history` is the Trainer's.

    `parameters` is the number of weights that training could change.
    """

    model: Any
    steps: Steps
    history: Sequence[dict[str, Any]]
    parameters: int

    @classmethod
    def without_training(cls, model: Any) -> Fit:
        """A model that was tuned elsewhere and is taken as it is."""
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
        return cls(model, nothing, history=(), parameters=_trainable(model))


@malloc.reusing_freed_memory()
@distributed.together()
def fit(
    recipe: Recipe,
    folder: Path,
    model: Any,
    tokenizer: Any,
    train: Examples,
    validation: Examples,
    *,
    soft_labels: SoftLabels | None = None,
    resume_key: str,
    progress: Progress = SILENT,
) -> Fit:
    """Tune `model`, keeping the Trainer's checkpoints in `folder` until it has finished. LoRA is merged then.

    With `soft_labels`, it learns a teacher's answers beside the labels, and texts that have no label.

    Training that was interrupted is resumed from its last complete Trainer checkpoint, provided that `resume_key` (a
    fingerprint of everything that determines the weights) is the one it was started with.

    Raises:
        RecipeError: the batch cannot be shared out among the processes.
        TrainingInterrupted: a signal stopped the training; its state is saved.
    """
    count = len(train) + (len(soft_labels.texts) if soft_labels else 0)
    checkpoint = None
    if distributed.is_rank_zero():
        checkpoint = _resumable(folder, resume_key)
        with progress.count("train: tokens", count, "texts") as advance:
            tokenized.write(folder / _TOKENS, tokenizer, train, soft_labels, advance=advance)
    checkpoint = distributed.broadcast(checkpoint)
    trainer = _trainer_of_all(recipe, folder, model, tokenizer, validation)
    stop, clock, told = StopOnSignal(), StepClock(), TellProgress(recipe.train.metric, progress)
    reports = trackers.callbacks(recipe, RunDir(folder.parent), resume_key)
    for callback in (stop, clock, *([told] if distributed.is_rank_zero() else []), *reports):
        trainer.add_callback(callback)
    with stop, closing(told), warnings.catch_warnings():
        # Checkpoints are sorted by number where the file system's times are too coarse, and that is right.
        warnings.filterwarnings("ignore", message="mtime may not be reliable")
        trainer.train(resume_from_checkpoint=checkpoint or None)
    state = trainer.state
    if stop.requested:
        raise TrainingInterrupted(
            f"training was stopped after step {state.global_step} of {state.max_steps}; "
            f"its state is saved in {folder}. The same command continues from there."
        )
    # accelerate wraps the forward method of what it trains in mixed-precision autocast
    tuned = trainer.accelerator.unwrap_model(trainer.model, keep_fp32_wrapper=False)
    fitted = Fit(tuned, _steps(trainer, clock, checkpoint), state.log_history, _trainable(tuned))
    lora.merge(tuned)
    del trainer
    gc.collect()  # a network file system removes no folder with a file that is still mapped
    return fitted


def _trainable(model: Any) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _steps(trainer: _Trainer, clock: StepClock, checkpoint: str | None) -> Steps:
    """What there is to tell of a training that has ended, and began from `checkpoint`, if there was one."""
    state = trainer.state
    return Steps(
        device=trainer.args.device.type,
        precision="bf16" if trainer.args.bf16 else "fp16" if trainer.args.fp16 else "fp32",
        processes=distributed.world_size(),
        steps=state.global_step,
        epochs=float(state.epoch or 0.0),
        seconds=clock.seconds,
        samples_per_second=trainer.samples / max(clock.seconds, 1e-9),
        resumed_from_step=step_of(Path(checkpoint)) if checkpoint else 0,
        best_step=int(state.best_global_step or state.global_step),
        best_metric=float(state.best_metric or 0.0),
    )


@dataclass(frozen=True)
class TimedSteps:
    """Seconds of each optimizer step, and the most memory that the process had after one, in bytes."""

    seconds: tuple[float, ...]
    resident_bytes: int


@malloc.reusing_freed_memory()
def time_steps(
    recipe: Recipe, folder: Path, model: Any, tokenizer: Any, batches: Sequence[Sequence[Encoded]], *, budget: float
) -> TimedSteps:
    """Train on `batches`, one step each, as `fit` would do it, until `budget` seconds are used up.

    Nothing is evaluated or saved. The model is changed: it is for nothing else afterwards. All batches but the last
    must have the size that the recipe names. `folder` is an empty one that the Trainer may write into.
    """
    texts = [encoded for batch in batches for encoded in batch]
    once = replace(recipe.train, max_steps=len(batches), gradient_accumulation=1)
    trainer = _trainer(replace(recipe, train=once), folder, model, tokenizer, Tokenized.of(texts), texts[:1])
    trainer.sampler = SequentialSampler(texts)
    trainer.args.eval_strategy = trainer.args.save_strategy = IntervalStrategy.NO
    trainer.args.load_best_model_at_end = False
    clock, memory = StepClock(budget), MemoryAfterSteps()
    for callback in (clock, memory):
        trainer.add_callback(callback)
    trainer.train()
    return TimedSteps(tuple(clock.samples), memory.most)


@malloc.reusing_freed_memory()
def evaluate_while_training(
    recipe: Recipe,
    folder: Path,
    model: Any,
    tokenizer: Any,
    train: Examples,
    validation: Examples,
    *,
    callbacks: Sequence[Any],
) -> None:
    """Train as `fit` does, in one process, and keep nothing: `callbacks` see the evaluations, and may end it.

    `folder` is an empty one that the Trainer may write into.
    """
    tokenized.write(folder / _TOKENS, tokenizer, train)
    trainer = _trainer_of_all(recipe, folder, model, tokenizer, validation)
    trainer.args.save_strategy = IntervalStrategy.NO
    trainer.args.load_best_model_at_end = False
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.train()


def make_deterministic(seed: int) -> None:
    """Fix every random state and the number of threads, and quiet transformers."""
    limit_threads(available_cores() // distributed.local_world_size())
    transformers.set_seed(seed)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


class _Trainer(Trainer):
    """The Trainer with a resumable sampler, this project's loss, average and adversary, and a count of texts seen."""

    def __init__(
        self,
        *args: Any,
        sampler: Sampler[int],
        class_weights: torch.Tensor | None,
        averaged: EmaWeights | None,
        adversary: AdversarialEmbeddings | None,
        teaching: TeacherLoss | None,
        multi_label: bool,
        smoothing: float,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.teaching = teaching
        self.multi_label = multi_label
        self.smoothing = smoothing
        self.sampler = sampler
        self.class_weights = class_weights
        self.averaged = averaged
        self.adversary = adversary
        if averaged:
            self.add_callback(averaged)
        self.samples = 0
        # The loss below is a mean over its batch, whatever a model's forward method would take.
        self.model_accepts_loss_kwargs = False

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return self.sampler

    def _set_signature_columns_if_needed(self) -> None:
        """The column of a teacher's logits stays with a text, though the model does not take it."""
        super()._set_signature_columns_if_needed()
        columns: list[str] = getattr(self, "_signature_columns", None) or []
        self._signature_columns = [*dict.fromkeys([*columns, SOFT_LABELS])]

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        inputs = dict(inputs)
        labels, soft_labels = inputs.pop("labels"), inputs.pop(SOFT_LABELS, None)
        outputs = model(**inputs)
        weights = self.class_weights if model.training else None
        if self.teaching and soft_labels is not None:
            loss = self.teaching.of(outputs.logits.float(), labels, soft_labels, class_weights=weights)
            return (loss, outputs) if return_outputs else loss
        smoothing = self.smoothing if model.training else 0.0
        loss = self._loss(outputs.logits.float(), labels, weights, smoothing)
        return (loss, outputs) if return_outputs else loss

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, smoothing: float
    ) -> torch.Tensor:
        weights = None if weights is None else weights.to(labels.device)
        if self.multi_label:
            return set_loss.of(logits, labels, weights=weights, smoothing=smoothing)
        return torch.nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)

    def _kept_weights(self) -> AbstractContextManager[None]:
        """The model has the weights that are evaluated and saved in this context."""
        return self.averaged.applied() if self.averaged else nullcontext()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with self._kept_weights():
            scores: dict[str, float] = super().evaluate(*args, **kwargs)
        return scores

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        with self._kept_weights():
            super().save_model(output_dir, _internal_call)
        if self.averaged and self.args.should_save:
            self.averaged.save_last(Path(output_dir or self.args.output_dir))

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """With LoRA, the weights that it freezes are left out: they are those of the pretrained model."""
        if lora.is_in(self.model):
            state_dict = lora.trained_state(self.model, state_dict or self.model.state_dict())
        super()._save(output_dir, state_dict)

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        """Whatever comes into the new folder is known to be the Trainer's, even where this process is killed."""
        checkpoint = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.args.should_save:
            journal.record_unfinished(checkpoint)
        try:
            super()._save_checkpoint(*args, **kwargs)
        except Exception as error:
            durable.blame_full_disk(error, checkpoint)
            raise
        if self.args.should_save:
            states = [f"rng_state_{rank}.pth" for rank in range(distributed.world_size())]
            journal.record_folder(checkpoint, [*journal.files_below(checkpoint), *states])

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.averaged:
            self.averaged.resume(Path(resume_from_checkpoint))

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> torch.Tensor:
        self.samples += len(inputs["labels"]) * distributed.world_size()
        step = functools.partial(super().training_step, model, inputs, *args, **kwargs)
        loss: torch.Tensor = self.adversary.step_twice(step) if self.adversary else step()
        malloc.bound()
        return loss


def _trainer_of_all(recipe: Recipe, folder: Path, model: Any, tokenizer: Any, validation: Examples) -> _Trainer:
    """The Trainer on all tokens in `folder`, for as many epochs as their number and the recipe ask for."""
    texts = Tokenized.open(folder / _TOKENS)
    # Not before the fingerprint is made: the recipe says what was asked for, and with it the texts decide the epochs.
    epochs = schedule.epochs_for(recipe.train, len(texts.labels))
    recipe = replace(recipe, train=replace(recipe.train, epochs=epochs))
    return _trainer(recipe, folder, model, tokenizer, texts, encode(tokenizer, validation))


def _trainer(
    recipe: Recipe, folder: Path, model: Any, tokenizer: Any, train: Tokenized, validation: list[Encoded]
) -> _Trainer:
    multi_label = model.config.problem_type == MULTI_LABEL
    trainer = _Trainer(
        model=model,
        args=_arguments(recipe, folder, len(train.labels), multi_label=multi_label),
        train_dataset=train.texts,
        eval_dataset=sorted(validation, key=lambda e: len(e["input_ids"])),  # little padding
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=_metrics_of_sets if multi_label else _eval_metrics,
        multi_label=multi_label,
        smoothing=recipe.train.label_smoothing,
        class_weights=_class_weights(recipe.train, train.labels, model.config.num_labels, multi_label=multi_label),
        averaged=EmaWeights(model, recipe.train.ema_decay) if recipe.train.ema_decay else None,
        adversary=_adversary(model, recipe.train.adversarial),
        teaching=TeacherLoss.of_recipe(recipe.train) if recipe.train.teacher else None,
        sampler=EpochSampler.of_recipe(recipe, train.lengths),
    )
    for callback in (transformers.ProgressCallback, transformers.PrinterCallback):
        trainer.remove_callback(callback)
    if distributed.is_rank_zero():
        trainer.add_callback(DropOldCheckpoints(recipe.train.save_total_limit))
    return trainer


def _arguments(recipe: Recipe, folder: Path, texts: int, *, multi_label: bool) -> Arguments:
    train = recipe.train
    precision = _precision(train.precision)
    on_cuda = torch.cuda.is_available()
    # The Trainer never takes back what an earlier training of this process asked for: FP32 would go on in its BF16.
    os.environ["ACCELERATE_MIXED_PRECISION"] = "no" if precision == "fp32" else precision
    return Arguments(
        recipe,
        output_dir=str(folder),
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        per_device_train_batch_size=_share_of_batch(train.batch_size),
        per_device_eval_batch_size=train.eval_batch_size,
        gradient_accumulation_steps=train.gradient_accumulation,
        learning_rate=train.learning_rate,
        weight_decay=train.weight_decay,
        warmup_steps=math.ceil(schedule.steps_for(train, texts) * train.warmup_ratio),
        lr_scheduler_type=train.scheduler,
        label_smoothing_factor=0.0 if multi_label else train.label_smoothing,  # the Trainer smooths no sets of labels
        eval_strategy=train.eval_strategy,
        save_strategy=train.eval_strategy,
        eval_steps=train.eval_steps or None,
        save_steps=train.eval_steps or 500,
        logging_steps=train.logging_steps,
        metric_for_best_model=train.metric,
        greater_is_better=True,
        load_best_model_at_end=True,
        seed=schedule.seed_of(recipe),
        data_seed=schedule.seed_of(recipe),
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        use_cpu=not on_cuda,
        ddp_backend=distributed.backend() if distributed.world_size() > 1 else None,
        ddp_find_unused_parameters=False,
        report_to=[],
        label_names=["labels"],
        dataloader_num_workers=0,
        dataloader_pin_memory=on_cuda,
        push_to_hub=False,
    )


def _share_of_batch(batch_size: int) -> int:
    """Texts of a batch for each process: together they take the steps that one process would take."""
    processes = distributed.world_size()
    if batch_size % processes:
        raise RecipeError(
            "train.batch_size",
            [f"a batch of {batch_size} texts cannot be shared out evenly among {processes} processes"],
        )
    return batch_size // processes


def _precision(wanted: str) -> str:
    """What training computes in; `auto` is BF16 where that is faster, else FP16 on a GPU and FP32 on a CPU."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if opening.is_bf16_faster() else "fp32"


def _adversary(model: Any, length: float) -> AdversarialEmbeddings | None:
    return AdversarialEmbeddings(model.get_input_embeddings(), length) if length else None


def _class_weights(
    train: TrainSection, given: NDArray[np.int64], labels: int, *, multi_label: bool
) -> torch.Tensor | None:
    """Inversely proportional to frequency, with a mean of 1 over the texts: scikit-learn's "balanced".

    Where a text has any number of labels, those of `set_loss`.
    """
    if train.class_weights == "none":
        return None
    if multi_label:
        return set_loss.balanced(given, labels)
    known = torch.from_numpy(given[given != NO_LABEL])
    return len(known) / (labels * torch.bincount(known, minlength=labels).float())


def _eval_metrics(prediction: Any) -> dict[str, float]:
    given = {"predictions": prediction.predictions.argmax(axis=1), "references": prediction.label_ids}
    macro = metrics.MacroScores(keep_in_memory=True).compute(**given, num_labels=prediction.predictions.shape[1])
    accuracy = metrics.Accuracy(keep_in_memory=True).compute(**given)
    return {**accuracy, **macro, "micro_f1": accuracy["accuracy"]}


def _metrics_of_sets(prediction: Any) -> dict[str, float]:
    return set_metrics.while_training(prediction.predictions, prediction.label_ids)


def _resumable(folder: Path, resume_key: str) -> str:
    """The last complete checkpoint of the same training, or nothing; leftovers of any other are removed.

    Raises:
        RunDirError: the folder holds something that sentopt did not write, and it would have to go.
    """
    key_file = folder / _RESUME_KEY
    if key_file.is_file() and not journal.exists(folder):
        _adopt(folder)
    if not key_file.is_file() or key_file.read_text(encoding="utf-8") != resume_key:
        journal.check(folder)
        journal.remove(folder)
        journal.remember(folder)
        atomic.write_text(key_file, resume_key)
    complete = []
    for checkpoint in checkpoints_in(folder):
        if _is_complete(checkpoint):
            complete.append(checkpoint)
        else:
            journal.check(checkpoint)
            journal.remove(checkpoint)
    return str(complete[-1]) if complete else ""


def _adopt(folder: Path) -> None:
    """Start the journal of a training that a sentopt without one began: the Trainer's files, and no others, are its."""
    journal.record_file(folder / _RESUME_KEY)
    for checkpoint in folder.glob("checkpoint-*"):
        if _CHECKPOINT.fullmatch(checkpoint.name) and checkpoint.is_dir():
            files = [name for name in journal.files_below(checkpoint) if _OF_THE_TRAINER.fullmatch(name)]
            journal.record_folder(checkpoint, files)


def _is_complete(checkpoint: Path) -> bool:
    """The Trainer writes `trainer_state.json` last."""
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
