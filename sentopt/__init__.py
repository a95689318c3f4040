"""sentopt: from a labelled text dataset to the fastest classifier that is provably still as accurate.

Importing this package is cheap: numpy, onnxruntime and tokenizers are imported when a `Classifier` is first asked for,
torch and its companions never.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentopt.runtime.classifier import Classifier, Prediction

__all__ = ["Classifier", "Prediction", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    if name in ("Classifier", "Prediction"):
        from sentopt.runtime import classifier

        return getattr(classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
