"""Options of a classifier: everything `Classifier.load` takes besides the bundle, validated in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentopt.errors import InputError
from sentopt.runtime import arguments
from sentopt.runtime.description import ENGINES
from sentopt.runtime.session import CPU
from sentopt.runtime.tuning import Tuning


@dataclass(frozen=True, slots=True)
class Options:
    """How a classifier is opened and how it answers.

    Attributes:
        threads: cores to use; None uses every core granted to this process (affinity and cgroup quota).
        check: answer the golden texts of the bundle while loading it.
        engine: "onnxruntime" or "openvino"; None uses the engine that the bundle was selected with.
        tuning: threads, workers and micro-batches; None uses what `sentopt tune` measured here, or the defaults.
        providers: onnxruntime execution providers, in order of preference.
        abstain_below: minimum score of an answer, 0 to 1; a prediction with a lower score is marked `abstained`.
        fallback: use the FP32 graph that an INT8 bundle may carry.

    Raises:
        InputError: a value is out of range, or the engine is not known.
    """

    threads: int | None = None
    check: bool = False
    engine: str | None = None
    tuning: Tuning | None = None
    providers: Sequence[str] = CPU
    abstain_below: float = 0.0
    fallback: bool = False

    def __post_init__(self) -> None:
        if self.threads is not None:
            arguments.whole_number("threads", self.threads, hint="None uses every core")
        arguments.flag("check", self.check)
        arguments.flag("fallback", self.fallback)
        arguments.probability("abstain_below", self.abstain_below)
        if self.engine is not None and self.engine not in ENGINES:
            raise InputError(f"unknown engine {self.engine!r}; known: {', '.join(ENGINES)}")
        if self.tuning is not None and not isinstance(self.tuning, Tuning):
            raise InputError(f"tuning must be a Tuning, found {self.tuning!r} ({type(self.tuning).__name__})")
        if isinstance(self.providers, str) or not isinstance(self.providers, Sequence):
            raise InputError(f"providers must be a sequence of names, found the text {self.providers!r}")
        if not self.providers:
            raise InputError("providers is empty; expected names of onnxruntime execution providers")


DEFAULT_OPTIONS = Options()
