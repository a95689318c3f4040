"""Golden texts: a few texts of the test split in each bundle, for a check of its answers wherever it is deployed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from sentopt.data import pairs
from sentopt.data.splits import Example
from sentopt.errors import BundleError
from sentopt.measure.decision import Decision
from sentopt.results import Verdict
from sentopt.runtime.classifier import Classifier, softmax
from sentopt.runtime.description import Text
from sentopt.runtime.session import FloatArray, OnnxSession
from sentopt.runtime.threshold import Threshold

_TEXTS = 16
_LONGEST = 400
_CLEAR_LEAD, _LEAST_LEAD = 0.2, 1e-3
_LEAST_TOLERANCE = 0.01
_ROUTED = 8 * _TEXTS  # texts of which a cascade tells the way
_CLEAR_OF_THRESHOLD, _AT_THRESHOLD = 0.5, 0.1  # log-odds; INT8 on another CPU moves a logit by less than the second
_LARGEST_ODDS = 1e-6
_CLOSE = 0.1  # of PyTorch's probabilities; what differs by more makes the tolerance wide


class Router:
    """How far the student of a cascade is from handing texts to the full model."""

    def __init__(self, model: Path, threshold: Threshold, labels: int) -> None:
        """
        Args:
            model: the cascade's file.
            threshold: when it defers a text.
            labels: how many it has.

        Raises:
            BundleError: the file is no cascade of this project.
        """
        graph = onnx.load(model)
        # A student of long texts has a branching of its own, for its attention; the one that defers gives the answers.
        answers = {output.name for output in graph.graph.output}
        choices = [node for node in graph.graph.node if node.op_type == "If" and answers & set(node.output)]
        if len(choices) != 1:
            raise BundleError(f"{model} is no cascade: no branching gives its answers")
        (answered,) = [a.g for a in choices[0].attribute if a.name == "else_branch"]
        self._student = answered.node[-1].input[0]
        del graph.graph.output[:]
        graph.graph.output.append(
            helper.make_tensor_value_info(self._student, TensorProto.FLOAT, ["batch_size", labels])
        )
        self._session = OnnxSession(graph.SerializeToString(), output=self._student)
        self._threshold = threshold

    def distance(self, classifier: Classifier, text: Text) -> float:
        """The log-odds of the student's answer less those of the threshold; below 0 where the text is deferred."""
        (tokens,) = classifier.encoder.encode([text])
        (row,) = softmax(self._session.run(classifier.encoder.pad([tokens])))
        return _log_odds(float(row.max())) - _log_odds(self._threshold.at(len(tokens.ids)))


def choose(
    classifier: Classifier,
    examples: Sequence[Example],
    expected: FloatArray,
    verdict: Verdict,
    router: Router | None = None,
) -> tuple[list[dict[str, Any]], float]:
    """Texts that this variant and PyTorch label the same, with PyTorch's probabilities; and the tolerance of a check.

    They are spread from the least to the most certain, without near ties: another CPU could round a near tie to the
    other label. So the lead of the top probability exceeds 0.2, or twice the largest difference of the variant where
    that is less. Of a set of labels, the lead is the smallest distance of a probability to its threshold. The
    tolerance follows from the largest difference of the chosen texts here; see `tolerance`.

    Of a cascade, half of the texts are answered by the student and half by the full model, where there are as many, and
    each says which. They are clear of the threshold: another CPU could route a text near it otherwise.

    Args:
        classifier: of the variant's file.
        examples: the test split.
        expected: PyTorch's probabilities, float32 of shape (texts, labels).
        verdict: of the variant.
        router: of a cascade.
    """
    decision = Decision(classifier.thresholds)
    if router is None:
        spread = _spread(examples, expected, verdict, 2 * _TEXTS, decision)
        rows = [*spread[::2], *spread[1::2]]
        kept = list(islice(_same_labels(classifier, examples, expected, rows), _TEXTS))
    else:
        spread = _spread(examples, expected, verdict, _ROUTED, decision)
        kept = _both_ways(list(_same_labels(classifier, examples, expected, spread, router)))
    texts = [
        {
            **pairs.as_fields(examples[one.row].text),
            "probabilities": _stored(expected[one.row]).tolist(),
            **({"deferred": one.deferred} if router else {}),
        }
        for one in kept
    ]
    return texts, tolerance(max((one.difference for one in kept), default=0.0), verdict.max_probability_difference)


def tolerance(seen: float, of_all: float) -> float:
    """The largest difference from PyTorch's probabilities that a check accepts on another machine.

    It is twice the difference of the golden texts here, but at most that of the whole test split. It always exceeds the
    difference here by a quarter: the file keeps six digits, and other machines round differently.

    Args:
        seen: the largest difference of the golden texts.
        of_all: the largest difference of the test split.
    """
    return min(1.0, max(_LEAST_TOLERANCE, 1.25 * seen + 1e-3, min(2.0 * seen, of_all)))


@dataclass(frozen=True)
class _Answered:
    """A test text that gets PyTorch's label.

    `difference` is the largest of any probability from PyTorch's, `distance` that of a `Router`, without its sign.
    """

    row: int
    difference: float
    deferred: bool
    distance: float

    @property
    def is_good(self) -> bool:
        """Clear of the threshold, and close to PyTorch."""
        return self.distance >= _CLEAR_OF_THRESHOLD and self.difference <= _CLOSE


def _same_labels(
    classifier: Classifier,
    examples: Sequence[Example],
    expected: FloatArray,
    rows: Sequence[int],
    router: Router | None = None,
) -> Iterator[_Answered]:
    """Those of `rows` that this variant labels as PyTorch does."""
    decision = Decision(classifier.thresholds)
    for row in rows:
        text = examples[row].text
        logits, deferred = classifier.routed([text])
        (answered,) = decision.probabilities(logits)
        if _answer(answered, decision) == _answer(_stored(expected[row]), decision):
            distance = abs(router.distance(classifier, text)) if router else 0.0
            yield _Answered(row, float(np.abs(answered - expected[row]).max()), bool(deferred[0]), distance)


def _both_ways(answered: Sequence[_Answered]) -> list[_Answered]:
    """Half of the golden texts deferred and half not, where there are as many."""
    clear = [one for one in answered if one.distance >= _AT_THRESHOLD]
    deferred = [one for one in clear if one.deferred]
    others = [one for one in clear if not one.deferred]
    count = min(len(deferred), max(_TEXTS // 2, _TEXTS - len(others)))
    return [*_picked(others, _TEXTS - count), *_picked(deferred, count)]


def _picked(answered: Sequence[_Answered], count: int) -> list[_Answered]:
    """`count` of the good ones, evenly spread; where there are fewer, those besides that are farthest from doubt."""
    good = [one for one in answered if one.is_good]
    if len(good) >= count:
        return [good[i] for i in np.linspace(0, len(good) - 1, count).astype(int)]
    others = sorted((one for one in answered if not one.is_good), key=lambda one: one.difference - one.distance)
    return [*good, *others[: count - len(good)]]


def _log_odds(probability: float) -> float:
    p = min(max(probability, _LARGEST_ODDS), 1 - _LARGEST_ODDS)
    return math.log(p / (1 - p))


def _stored(probabilities: FloatArray) -> npt.NDArray[np.float64]:
    return np.round(probabilities.astype(float), 6)


def _answer(probabilities: npt.NDArray[Any], decision: Decision) -> int:
    """The label of one text, or the code of its labels."""
    given = np.asarray(probabilities, dtype=np.float32)
    return int(decision.sets(given[None])[0] if decision.is_multi_label else probabilities.argmax())


def _spread(
    examples: Sequence[Example], expected: FloatArray, verdict: Verdict, most: int, decision: Decision
) -> list[int]:
    """Rows of texts without near ties, from the least to the most certain, evenly spread."""
    lead = decision.margins(expected)
    short = np.array([pairs.characters(e.text) <= _LONGEST for e in examples])
    clear = max(_LEAST_LEAD, min(_CLEAR_LEAD, 2.0 * verdict.max_probability_difference))
    usable = np.flatnonzero(short & (lead > clear))
    if not len(usable):  # a model that hardly prefers any label: the clearest there are
        usable = np.flatnonzero(short)
        usable = usable[np.argsort(lead[usable], kind="stable")[-most:]]
    by_lead = usable[np.argsort(lead[usable], kind="stable")]
    spread: list[int] = by_lead[
        np.unique(np.linspace(0, len(by_lead) - 1, min(most, len(by_lead))).astype(int))
    ].tolist()
    return spread
