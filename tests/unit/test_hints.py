"""When a training is said to have been too short, and when texts are said to be cut too early."""

from dataclasses import replace

import pytest

from sentopt.audit.backbone_fit import BackboneFit
from sentopt.recipe import TrainSection
from sentopt.results import EvalPoint, LossPoint
from sentopt.training import hints
from sentopt.training.lengths import TokenLengths
from sentopt.training.unknown_tokens import UnknownTokens

TRAIN = TrainSection()


def evals(*losses: float, steps: int = 100) -> list[EvalPoint]:
    """One evaluation after each of as many epochs."""
    return [EvalPoint(steps * (i + 1), float(i + 1), loss, 0.8, 0.8, 0.8, 0.8) for i, loss in enumerate(losses)]


def training(*losses: float, epochs: float = 1.0) -> list[LossPoint]:
    """Losses at even distances over `epochs`."""
    return [LossPoint(10 * (i + 1), epochs * (i + 1) / len(losses), x, 1e-5) for i, x in enumerate(losses)]


def undertrained(losses: list[LossPoint], points: list[EvalPoint], **settings: float) -> str:
    return hints.undertrained(losses, points, replace(TRAIN, **settings), labels=3)


def test_a_validation_loss_that_still_falls_is_told_with_more_epochs() -> None:
    assert undertrained([], evals(0.9, 0.7, 0.5)) == (
        "the validation loss was still falling when training ended (from 0.70 to 0.50 in its last part): "
        "train longer with --set train.epochs=6"
    )


@pytest.mark.parametrize("losses", [(0.6, 0.45, 0.43), (0.45, 0.42, 0.46), (0.06, 0.04, 0.02), (0.3,), ()])
def test_a_validation_loss_that_is_at_rest_rising_or_small_is_not_told(losses: tuple[float, ...]) -> None:
    assert undertrained([], evals(*losses)) == ""


def test_the_curves_of_the_quickstart_give_no_hint() -> None:
    """As they were measured: the training loss falls by a third in the second epoch, the validation loss does not."""
    measured = [
        (1.061, 0.748, 0.56, 0.566, 0.456, 0.461, 0.49, 0.386, 0.443, 0.381, 0.357, 0.31),
        (0.305, 0.363, 0.335, 0.361, 0.179, 0.164, 0.161, 0.184, 0.218, 0.15, 0.153, 0.2),
    ]
    losses = training(*measured[0], *measured[1], epochs=1.5)
    first, last = evals(0.288, 0.265)
    assert undertrained(losses, [replace(first, step=168), replace(last, step=252, epoch=1.5)], epochs=1.5) == ""


def test_those_of_a_tenth_of_its_texts_give_one() -> None:
    first, last = evals(0.729, 0.627)
    told = undertrained(training(1.077, 0.832), [replace(first, step=17), replace(last, step=26)], epochs=1.5)
    assert "validation loss was still falling" in told


def test_one_epoch_is_judged_by_its_training_loss() -> None:
    hint = undertrained(training(1.1, 1.1, 1.0, 1.0, 0.9, 0.9, 0.6, 0.6), evals(0.55), epochs=1.0)
    assert "training loss was still falling" in hint
    assert hint.endswith("--set train.epochs=2")
    assert undertrained(training(1.1, 0.7, 0.45, 0.41, 0.38, 0.37, 0.36, 0.38), evals(0.4), epochs=1.0) == ""


def test_texts_that_are_learnt_by_heart_are_no_sign() -> None:
    assert undertrained(training(*[1.0 - 0.08 * i for i in range(12)], epochs=3.0), evals(0.4)) == ""


def test_many_evaluations_are_compared_over_a_quarter_of_the_training() -> None:
    assert "still falling" in undertrained([], evals(*[0.98**i for i in range(40)]))


def test_a_limit_of_steps_is_what_is_raised() -> None:
    assert undertrained([], evals(0.9, 0.7, 0.5), max_steps=30).endswith("--set train.max_steps=60")


def lengths(*tokens: int, longest: int = 512) -> TokenLengths:
    return TokenLengths(tokens, 10 * len(tokens), longest)


def test_cut_texts_are_told_with_the_length_that_fits_and_its_cost() -> None:
    hint = hints.too_short(lengths(*[40] * 60, *[200] * 40), replace(TRAIN, batch_size=20), max_length=128)
    assert hint == (
        "about 40% of the 1,000 training texts are cut at 128 tokens: --set model.max_length=208 reads 100% of them "
        "whole, and takes about 1.4 times as long"
    )


def test_few_cut_texts_are_not_told() -> None:
    assert hints.too_short(lengths(*[40] * 96, *[200] * 4), TRAIN, max_length=128) == ""


def test_no_more_is_suggested_than_the_model_reads() -> None:
    found = lengths(*[40] * 60, *[200] * 20, *[256] * 20, longest=256)
    assert "--set model.max_length=256 reads" in hints.too_short(found, TRAIN, max_length=128)
    assert hints.too_short(found, TRAIN, max_length=256) == ""


@pytest.mark.parametrize("longest", [512, 144])
def test_a_check_of_the_data_recommends_the_same_length(longest: int) -> None:
    found = lengths(*[40] * 60, *[200] * 34, *[300] * 6, longest=longest)
    fitting = found.fitting(0.99)
    fit = BackboneFit("minilm", UnknownTokens(0.0, 100, ""), 128, 0.4, fitting, found.share_cut_at(fitting))
    recommended = f"--set model.max_length={fitting} reads {1 - found.share_cut_at(fitting):.0%} of them whole"
    assert recommended in fit.notices[0]
    assert recommended in hints.too_short(found, TRAIN, max_length=128)


def test_lengths_that_fit_a_share_of_the_texts() -> None:
    found = lengths(*range(1, 101))
    assert found.fitting(0.99) == 112  # of 100 tokens
    assert found.fitting(0.5) == 64
    assert found.share_cut_at(90) == pytest.approx(0.1)


def test_grouping_saves_padding() -> None:
    found = lengths(*[10, 100] * 50)
    assert found.padded(512, batch_size=10, group=True) == 55.0
    assert found.padded(512, batch_size=10, group=False) > 90.0
    assert found.padded(50, batch_size=10, group=True) == 30.0


def test_the_gpu_of_a_mac_is_named_where_it_is_not_used() -> None:
    assert "(MPS) is not used" in hints.unused_gpu(mps=True, cuda=False)
    assert hints.unused_gpu(mps=False, cuda=False) == hints.unused_gpu(mps=True, cuda=True) == ""
