"""What would make a training better, told before it begins and after it has ended."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sentopt.recipe import TrainSection
from sentopt.results import EvalPoint, LossPoint
from sentopt.training.lengths import TokenLengths

_CUT = 0.05
_FITTING = 0.99
# How much of the loss must go in the last quarter of a training for it to have ended too early. Measured with MiniLM on
# the bundled corpus: 8 % of the validation loss go in the last third of the quickstart's steps, where nothing is gained
# by more epochs; FELL on 1,044 of its texts, where 26 steps are too few.
_FALL = 0.12
_LEAST_POINTS = 8


def too_short(lengths: TokenLengths, train: TrainSection, *, max_length: int) -> str:
    """What to say where many training texts are cut and the model could read more of them, else nothing."""
    cut = lengths.share_cut_at(max_length)
    longer = lengths.fitting(_FITTING)
    if cut <= _CUT or longer <= max_length:
        return ""
    fits = 1.0 - lengths.share_cut_at(longer)
    widths = [
        lengths.padded(length, batch_size=train.batch_size, group=train.group_by_length)
        for length in (max_length, longer)
    ]
    return (
        f"about {cut:.0%} of the {lengths.texts:,} training texts are cut at {max_length} tokens: "
        f"--set model.max_length={longer} reads {fits:.0%} of them whole, "
        f"and takes about {widths[1] / widths[0]:.1f} times as long"
    )


def undertrained(losses: Sequence[LossPoint], evals: Sequence[EvalPoint], train: TrainSection) -> str:
    """What to say where the loss was still falling when training ended, else nothing.

    The validation loss decides: the last one against the latest of the first three quarters of the training. A training
    that never comes back to a text is judged by its own loss where there are no two evaluations. In later epochs that
    one falls because texts are learnt by heart.
    """
    fall = _fall_of_validation(evals)
    which = "validation"
    if fall is None:
        fall, which = _fall_of_training(losses), "training"
    if fall is None or fall < _FALL:
        return ""
    return (
        f"the {which} loss was still falling when training ended (by {fall:.0%} in its last part): "
        f"train longer with {_longer(losses, evals, train)}"
    )


def _fall_of_validation(evals: Sequence[EvalPoint]) -> float | None:
    """The share of the loss that went since the latest evaluation of the first three quarters; None without one."""
    if not evals:
        return None
    before = [point for point in evals if point.step <= 0.75 * evals[-1].step]
    return 1.0 - evals[-1].loss / before[-1].loss if before and before[-1].loss > 0.0 else None


def _fall_of_training(losses: Sequence[LossPoint]) -> float | None:
    """From the mean of the third quarter to that of the last; None where there are few points or several epochs."""
    if len(losses) < _LEAST_POINTS or losses[-1].epoch > 1.0:
        return None
    quarter = len(losses) // 4
    last = sum(point.loss for point in losses[-quarter:]) / quarter
    before = sum(point.loss for point in losses[-2 * quarter : -quarter]) / quarter
    return 1.0 - last / before if before > 0.0 else None


def _longer(losses: Sequence[LossPoint], evals: Sequence[EvalPoint], train: TrainSection) -> str:
    """The setting that doubles what was trained."""
    if train.max_steps:
        return f"--set train.max_steps={2 * train.max_steps}"
    trained = max([train.epochs, *(point.epoch for point in losses), *(point.epoch for point in evals)])
    return f"--set train.epochs={max(2, math.ceil(2 * trained))}"
