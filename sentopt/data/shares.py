"""Sizes of the splits that are split off train."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sentopt.recipe import DataSection
from sentopt.run_dir import Split

_TEST, _LARGEST_TEST = 0.2, 0.4
_DECIDES, _LIKELY_DECIDES = 300, 550
"""Number of test and validation texts: the minimum to prove a margin of 1 point, and enough if 0.5 % change."""
_CALIBRATION = (32, 512)
_CALIBRATION_SHARE = 0.15
_MOST_TEST_TEXTS = 10_000


def sizes(given: Mapping[Split, int], missing: Sequence[Split], data: DataSection, *, tuned: bool) -> dict[Split, int]:
    """The sizes of the `missing` splits, in that order.

    If the recipe states no `test_fraction`, the test split gets a fifth of the texts, or up to two fifths if
    verification needs them to decide. An already fine-tuned model needs training texts for calibration only.

    Args:
        given: number of texts of the existing splits, train among them.
        missing: the splits to split off train.
        data: states fractions of the remaining training texts.
        tuned: whether the model is already fine-tuned.
    """
    texts, missing_sizes = given["train"], {}
    left = texts
    if "test" in missing:
        if data.test_fraction:
            missing_sizes["test"] = math.ceil(left * data.test_fraction)
        elif tuned:
            missing_sizes["test"] = _all_but_calibration(texts, missing, data)
        else:
            missing_sizes["test"] = _test(texts, given.get("validation"), data.validation_fraction)
        left -= missing_sizes["test"]
    if "validation" in missing:
        missing_sizes["validation"] = math.ceil(left * data.validation_fraction)
    return {split: missing_sizes[split] for split in missing}


def _test(texts: int, validation: int | None, fraction: float) -> int:
    """A fifth of the texts, or up to two fifths if test and validation texts then suffice as evidence."""
    usual, largest = math.ceil(texts * _TEST), math.floor(texts * _LARGEST_TEST)
    share = 0.0 if validation is not None else fraction

    def evidence(test: int) -> float:
        return test + (validation or 0) + share * (texts - test)

    wanted = math.ceil((_LIKELY_DECIDES - (validation or 0) - share * texts) / (1.0 - share))
    if evidence(usual) >= _LIKELY_DECIDES or evidence(largest) < _DECIDES:
        return usual
    return max(usual, min(wanted, largest))


def _all_but_calibration(texts: int, missing: Sequence[Split], data: DataSection) -> int:
    train = max(_CALIBRATION[0], min(_CALIBRATION[1], math.ceil(texts * _CALIBRATION_SHARE)))
    left = train / (1.0 - data.validation_fraction) if "validation" in missing else train
    test = math.floor(texts - left)
    return max(math.ceil(texts * _TEST), min(test, max(_MOST_TEST_TEXTS, math.ceil(texts * _TEST))))
