"""One text answered by every variant of a run that this machine can run."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sentopt._optional import is_installed
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.selection import NO_LABEL
from sentopt.results import VerifyResult
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.description import Text
from sentopt.variants import REFERENCE, VARIANTS, VariantSpec, runnable

if TYPE_CHECKING:
    from sentopt.backends.opening import Candidate

_TIMED = 5  # calls of each variant; the median is shown


@dataclass(frozen=True)
class VariantAnswer:
    """What one variant answers, and the median time of a few calls."""

    variant: str
    summary: str
    prediction: Prediction
    milliseconds: float


class Comparison:
    """The variants of one run. Each is loaded on its first use and stays loaded."""

    def __init__(self, bundled: Classifier, facts: RunFacts | None) -> None:
        self._bundled = bundled
        self._facts = facts
        self._own = bundled.description.variant if bundled.description else "this model"
        self._open: dict[str, Classifier] = {self._own: bundled}
        self._specs: list[VariantSpec] | None = None
        self._opening = threading.Lock()
        self.missing = ""

    def answers(self, text: Text) -> Iterator[VariantAnswer]:
        """The answers of all variants, one after the other; that of the bundled variant comes first."""
        if self._specs is None:
            self._specs = self._runnable()
        for spec in self._specs:
            yield _ask(spec, self._opened(spec), text)

    def _opened(self, spec: VariantSpec) -> Classifier:
        with self._opening:
            if spec.name not in self._open:
                self._open[spec.name] = self._candidate(spec).open(self._bundled.tuning.threads)
            return self._open[spec.name]

    def _runnable(self) -> list[VariantSpec]:
        own = [VARIANTS[self._own]] if self._own in VARIANTS else []
        if self._facts is None:
            self.missing = (
                "This bundle was loaded without its run, and the other variants are in the directory of the run."
            )
            return own
        if not (is_installed("onnx") and is_installed("transformers")):
            self.missing = 'The other variants need the packages of the export: pip install "sentopt[export]".'
            return own
        from sentopt.backends.opening import capabilities

        made = {REFERENCE, *(v.variant for v in self._facts.manifest.result("verify", VerifyResult).verdicts)}
        possible = runnable(capabilities(self._facts.run_dir.checkpoint), made)
        others = [s for s in possible if s.name in made and s.name != self._own and self._candidate(s).model.is_file()]
        return own + others

    def _candidate(self, spec: VariantSpec) -> Candidate:
        from sentopt.backends.opening import Candidate

        assert self._facts is not None
        return Candidate.of(spec, self._facts.run_dir, self._bundled.labels, self._facts.recipe.model.max_length)


def _ask(spec: VariantSpec, classifier: Classifier, text: Text) -> VariantAnswer:
    prediction = classifier(text)  # also the warm-up
    seconds = []
    for _ in range(_TIMED):
        start = time.perf_counter()
        classifier(text)
        seconds.append(time.perf_counter() - start)
    return VariantAnswer(spec.name, spec.summary, prediction, statistics.median(seconds) * 1e3)


def disagreement(answers: list[VariantAnswer], *, sets: bool = False) -> str:
    """A sentence on whether all variants give the same label, or `sets` of the same labels, as plain text."""
    labels: dict[str, list[str]] = {}
    for answer in answers:
        given = answer.prediction
        said = (" and ".join(sorted(given.labels)) or NO_LABEL) if sets else given.label
        labels.setdefault(said, []).append(answer.variant)
    if len(labels) == 1:
        by_label = zip(*(answer.prediction.probabilities.values() for answer in answers), strict=True)
        compared = list(by_label) if sets else [[answer.prediction.score for answer in answers]]
        spread = max(max(each) - min(each) for each in compared)
        return (
            f"All variants agree; their {'probabilities' if sets else 'scores'} differ by at most {spread:.4f}."
            if len(answers) > 1
            else ""
        )
    told = (f"{', '.join(names)} {'says' if len(names) == 1 else 'say'} {label}" for label, names in labels.items())
    return f"They disagree: {'; '.join(told)}."
