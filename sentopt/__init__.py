"""sentopt: from a labelled text dataset to the fastest classifier that is verified to be still as accurate.

    run = sentopt.train(data, epochs=2).optimize()
    classifier = run.classifier()

Importing this package is cheap: what a name needs is imported when the name is first asked for. `Classifier` needs
numpy, onnxruntime and tokenizers; `train` and `optimize` bring PyTorch and its companions when they are called.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from sentopt._version import __version__

if TYPE_CHECKING:
    from sentopt import errors
    from sentopt.api import (
        Report,
        Run,
        average,
        check,
        check_data,
        emulator,
        environment,
        find,
        open,
        optimize,
        pack,
        push,
        score,
        score_files,
        search,
        serve,
        train,
        tune,
    )
    from sentopt.runtime.classifier import Classifier, Prediction
    from sentopt.runtime.deferral import Stats

__all__ = [
    "Classifier",
    "Prediction",
    "Report",
    "Run",
    "Stats",
    "__version__",
    "average",
    "check",
    "check_data",
    "emulator",
    "environment",
    "errors",
    "find",
    "open",
    "optimize",
    "pack",
    "push",
    "score",
    "score_files",
    "search",
    "serve",
    "train",
    "tune",
]

# Since 1.29 onnxruntime sends usage data from Linux unless this is set before its first import; whoever wants that sets
# it to 0. The sender is also a thread that would keep forked processes from ending.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_RUNTIME = ("Classifier", "Prediction", "Stats")


def __getattr__(name: str) -> object:
    """Public names are imported when they are first asked for."""
    if name == "errors":
        return importlib.import_module("sentopt.errors")
    if name in __all__:
        module = importlib.import_module("sentopt.runtime.classifier" if name in _RUNTIME else "sentopt.api")
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
