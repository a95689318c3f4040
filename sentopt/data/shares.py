"""How many texts each split takes that is split off train."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from sentopt.recipe import DataSection
from sentopt.run_dir import Split

_TEST, _LARGEST_TEST = 0.2, 0.4
_DECIDES, _LIKELY_DECIDES = 300, 550
"""Test and validation texts without which nothing is proven at 1 point; with which it mostly is at 0.5 % changed."""
_CALIBRATION = (32, 512)
_CALIBRATION_SHARE = 0.15
_MOST_TEST_TEXTS = 10_000


def sizes(given: Mapping[Split, int], missing: Sequence[Split], data: DataSection, *, tuned: bool) -> dict[Split, int]:
    """The sizes of the splits that are `missing`, in that order.

    Where the recipe states no `test_fraction`, a fifth of the texts is the test split, or up to two fifths where that
    is what lets verification decide. A model that was tuned already needs training texts for calibration alone.

    Args:
        given: texts of the splits that there are; train among them.
        missing: the splits to be taken from train.
        data: states fractions, of what is left of train.
        tuned: whether nothing is trained.
    """
    texts, found = given["train"], {}
    left = texts
    if "test" in missing:
        if data.test_fraction:
            found["test"] = math.ceil(left * data.test_fraction)
        elif tuned:
            found["test"] = _all_but_calibration(texts, missing, data)
        else:
            found["test"] = _test(texts, given.get("validation"), data.validation_fraction)
        left -= found["test"]
    if "validation" in missing:
        found["validation"] = math.ceil(left * data.validation_fraction)
    return {split: found[split] for split in missing}


def _test(texts: int, validation: int | None, fraction: float) -> int:
    """A fifth, or as many as make the evidence enough, together with the validation split."""
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
