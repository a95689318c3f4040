"""What would make a training better, told before it begins and after it has ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from sentopt.recipe import TrainSection
from sentopt.results import EvalPoint, LossPoint
from sentopt.training import schedule
from sentopt.training.lengths import FITTING, NOTABLE_CUT, TokenLengths

# How much the loss must fall in the last part of a training that ended too early, as a share of ln(labels), the loss of
# a model that knows nothing. Measured with MiniLM on the bundled corpus: 0.02 in the last third of the quickstart's
# steps, where longer training gains nothing; 0.09 on 1,044 of its texts, where 26 steps are too few.
_FALL = 0.04
_LEAST_POINTS = 8
_LEAST_LORA_RATE = 1e-4  # Hu et al. 2022 use 2e-4 to 5e-4 for RoBERTa


def too_short(lengths: TokenLengths, train: TrainSection, *, max_length: int) -> str:
    """What to say where many training texts are cut and the model could read more of them, else nothing."""
    cut = lengths.share_cut_at(max_length)
    longer = lengths.fitting(FITTING)
    if cut <= NOTABLE_CUT or longer <= max_length:
        return ""
    widths = [
        lengths.padded(length, batch_size=train.batch_size, group=train.group_by_length)
        for length in (max_length, longer)
    ]
    return (
        f"about {cut:.0%} of the {lengths.texts:,} training texts are cut at {max_length} tokens: "
        f"{reads_whole(longer, lengths.share_cut_at(longer))}, "
        f"and takes about {widths[1] / widths[0]:.1f} times as long"
    )


def reads_whole(length: int, cut: float) -> str:
    """What to set, and how many texts that reads whole: all but the share `cut`."""
    return f"--set model.max_length={length} reads {1.0 - cut:.0%} of them whole"


def not_separated(tokenizer: Any, backbone: str) -> str:
    """What to say where a tokenizer of transformers puts no token of its own between the texts of a pair."""
    if tokenizer.num_special_tokens_to_add(pair=True) > tokenizer.num_special_tokens_to_add(pair=False):
        return ""
    return (
        f"the tokenizer of {backbone} puts nothing between the two texts of a pair, so the model is not told where the "
        "second one begins; models of BERT's kind are"
    )


def more_epochs(train: TrainSection, train_texts: int) -> str:
    """What to say where few texts are seen more often than `train.epochs` says, else nothing."""
    epochs = schedule.epochs_for(train, train_texts)
    if epochs == train.epochs:
        return ""
    return (
        f"small data: {epochs:g} epochs instead of {train.epochs:g}, to make {schedule.steps_for(train, train_texts)} "
        f"steps; --set train.min_steps=0 keeps to {train.epochs:g}"
    )


def low_rate(train: TrainSection) -> str:
    """What to say where the learning rate is one for whole models and LoRA alone is trained, else nothing."""
    if train.peft != "lora" or train.learning_rate >= _LEAST_LORA_RATE:
        return ""
    return (
        f"LoRA learns slowly with a learning rate of {train.learning_rate:g}, which suits whole models: "
        "--set train.learning_rate=5e-4 is usual"
    )


def unused_gpu(*, mps: bool, cuda: bool) -> str:
    """What to say where PyTorch sees the GPU of a Mac (MPS) and none that training uses, else nothing.

    Training on MPS was never compared with training on a CPU, and its checkpoints would not repeat bit by bit.
    """
    if cuda or not mps:
        return ""
    return "training on the CPU; the GPU of this Mac (MPS) is not used, because its results were never compared"


def undertrained(losses: Sequence[LossPoint], evals: Sequence[EvalPoint], train: TrainSection, *, labels: int) -> str:
    """What to say where the loss was still falling when training ended, else nothing.

    The validation loss decides: the last one against the latest of the first three quarters of the training. A training
    that never comes back to a text is judged by its own loss where there are no two evaluations. In later epochs that
    one falls because texts are learnt by heart.
    """
    which, change = "validation", _validation_losses(evals)
    if change is None:
        which, change = "training", _training_losses(losses)
    if change is None or change[0] - change[1] < _FALL * math.log(max(2, labels)):
        return ""
    return (
        f"the {which} loss was still falling when training ended (from {change[0]:.2f} to {change[1]:.2f} in its last "
        f"part): train longer with {_longer(losses, evals, train)}"
    )


def _validation_losses(evals: Sequence[EvalPoint]) -> tuple[float, float] | None:
    """At the latest evaluation of the first three quarters, and at the last; None where there are no two."""
    before = [point for point in evals if point.step <= 0.75 * evals[-1].step]
    return (before[-1].loss, evals[-1].loss) if before else None


def _training_losses(losses: Sequence[LossPoint]) -> tuple[float, float] | None:
    """The means of the third quarter and of the last; None where there are few points or several epochs."""
    if len(losses) < _LEAST_POINTS or losses[-1].epoch > 1.0:
        return None
    quarter = len(losses) // 4
    parts = losses[-2 * quarter : -quarter], losses[-quarter:]
    before, last = (sum(point.loss for point in part) / quarter for part in parts)
    return before, last


def _longer(losses: Sequence[LossPoint], evals: Sequence[EvalPoint], train: TrainSection) -> str:
    """The setting that doubles what was trained."""
    if train.max_steps:
        return f"--set train.max_steps={2 * train.max_steps}"
    trained = max([train.epochs, *(point.epoch for point in losses), *(point.epoch for point in evals)])
    return f"--set train.epochs={max(2, math.ceil(2 * trained))}"
