"""One text through every variant of a run that this machine can run."""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass

from sentopt._optional import is_installed
from sentopt.demo.run_facts import RunFacts
from sentopt.results import VerifyResult
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.variants import REFERENCE, VARIANTS, runnable

_TIMED = 5  # calls of each variant; the median is shown


@dataclass(frozen=True)
class VariantAnswer:
    """What one variant answers, and the median time of a few calls."""

    variant: str
    summary: str
    prediction: Prediction
    milliseconds: float


class Comparison:
    """The variants of one run, opened when they are first asked, and kept open."""

    def __init__(self, bundled: Classifier, facts: RunFacts | None) -> None:
        self._open: dict[str, Classifier] = {}
        self._facts = facts
        self._bundled = bundled
        self._one_at_a_time = threading.Lock()
        self.missing = ""

    def answer(self, text: str) -> list[VariantAnswer]:
        """The answers of all variants, PyTorch's first if it is there. Takes seconds when it is called first."""
        with self._one_at_a_time:
            if not self._open:
                self._open = self._open_all()
            return [self._ask(name, classifier, text) for name, classifier in self._open.items()]

    def _open_all(self) -> dict[str, Classifier]:
        description = self._bundled.description
        own = description.variant if description else "this model"
        if self._facts is None:
            self.missing = "This bundle stands alone: the other variants stay in the directory of the run that made it."
            return {own: self._bundled}
        if not (is_installed("onnx") and is_installed("transformers")):
            self.missing = "The run's other variants need what training and export need: pip install sentopt[export]."
            return {own: self._bundled}
        return self._open_run(self._facts, own)

    def _open_run(self, facts: RunFacts, own: str) -> dict[str, Classifier]:
        from sentopt.backends.opening import Candidate, capabilities

        verdicts = facts.manifest.result("verify", VerifyResult).verdicts
        made = {REFERENCE, *(verdict.variant for verdict in verdicts)}
        labels, length = self._bundled.labels, facts.recipe.model.max_length
        opened = {}
        for spec in runnable(capabilities(facts.run_dir.checkpoint), made):
            candidate = Candidate.of(spec, facts.run_dir, labels, length)
            if spec.name == own:
                opened[spec.name] = self._bundled
            elif spec.name in made and candidate.model.is_file():
                opened[spec.name] = candidate.open(self._bundled.tuning.threads)
        return opened

    def _ask(self, name: str, classifier: Classifier, text: str) -> VariantAnswer:
        prediction = classifier(text)  # also the warm-up
        seconds = []
        for _ in range(_TIMED):
            start = time.perf_counter()
            classifier(text)
            seconds.append(time.perf_counter() - start)
        summary = VARIANTS[name].summary if name in VARIANTS else ""
        return VariantAnswer(name, summary, prediction, statistics.median(seconds) * 1e3)


def disagreement(answers: list[VariantAnswer]) -> str:
    """Whether the variants give one label, in words."""
    labels: dict[str, list[str]] = {}
    for answer in answers:
        labels.setdefault(answer.prediction.label, []).append(answer.variant)
    if len(labels) == 1:
        scores = [answer.prediction.score for answer in answers]
        return f"All agree; their scores differ by at most {max(scores) - min(scores):.4f}." if len(answers) > 1 else ""
    return "They disagree: " + "; ".join(f"{label} says {', '.join(names)}" for label, names in labels.items()) + "."
