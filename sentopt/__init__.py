"""sentopt: from a labelled text dataset to the fastest classifier that is provably still as accurate.

Importing this package is cheap: numpy, onnxruntime and tokenizers are imported when a `Classifier` is first asked for,
torch and its companions never.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentopt.runtime.classifier import Classifier, Prediction

__all__ = ["Classifier", "Prediction", "__version__"]

__version__ = "0.1.0"

# Since 1.29 onnxruntime sends usage data from Linux unless this is set before its first import; whoever wants that sets
# it to 0. The sender is also a thread that would keep forked processes from ending.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> object:
    if name in ("Classifier", "Prediction"):
        from sentopt.runtime import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
