"""Options of a classifier are validated when they are built."""

from dataclasses import FrozenInstanceError

import pytest

from sentopt.errors import InputError
from sentopt.runtime.options import Options
from sentopt.runtime.tuning import Tuning


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "threads must be at least 1, found 0; None uses every core"),
        ({"threads": -2}, "threads must be at least 1, found -2"),
        ({"engine": "tensorrt"}, "unknown engine 'tensorrt'; known: onnxruntime, openvino"),
        ({"providers": ()}, "providers is empty"),
        ({"providers": "CPUExecutionProvider"}, "sequence of names, found the text 'CPUExecutionProvider'"),
        ({"abstain_below": 1.5}, r"from 0 to 1, found 1\.5"),
        ({"abstain_below": float("nan")}, "from 0 to 1, found nan"),
    ],
)
def test_an_impossible_option_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Options(**options)  # type: ignore[arg-type]


def test_possible_options_are_kept_and_cannot_change() -> None:
    options = Options(threads=2, engine="openvino", tuning=Tuning(1, 1), abstain_below=1.0)
    assert (options.threads, options.engine, options.abstain_below) == (2, "openvino", 1.0)
    with pytest.raises(FrozenInstanceError):
        options.threads = 3  # type: ignore[misc]
