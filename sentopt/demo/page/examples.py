"""Example texts of the page: from the test split of the run where it is there, else from the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentopt.data import pairs
from sentopt.data.examples import Example
from sentopt.demo.page.given import is_blank
from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service
from sentopt.runtime.classifier import Classifier, Prediction
from sentopt.runtime.description import Golden, Text

_FEWEST, _MOST = 6, 12
_SHORT = 160  # characters
_ANY_TEXT = "This is an example."


@dataclass(frozen=True)
class Examples:
    """Texts to try, or pairs of them, and where they come from, as a heading says it.

    `labels` are those that the texts have in the data, of which a multi-label text has any number; empty where there is
    no data.
    """

    heading: str
    texts: tuple[Text, ...]
    labels: tuple[tuple[str, ...], ...] = ()

    def labels_of(self, text: Text) -> tuple[str, ...] | None:
        """The labels of an example in the data; None for any other text."""
        return dict(zip(self.texts, self.labels, strict=False)).get(text)


def choose(service: Service, facts: RunFacts | None) -> Examples:
    """Short distinct texts of every label in turn; one of each at least, if there are no more than twelve labels.

    The first one, which a visitor finds answered, is the one that is answered most surely and as the data has it.
    """
    classifier, longest = service.classifier, service.limits.characters
    if facts is not None and (examples := facts.test_examples()):
        of_text = _labels_by_text(classifier, examples)
        if texts := pick(_by_label(classifier, of_text), longest=longest):
            return _clearest_first(
                service, Examples("Examples from the test split:", texts, tuple(of_text[text] for text in texts))
            )
    golden = classifier.description.golden if classifier.description else ()
    of_text = {one.text: _labels_of_golden(classifier, one) for one in golden}
    any_text: Text = (_ANY_TEXT, _ANY_TEXT) if service.pair else _ANY_TEXT
    return Examples("Examples:", pick(_by_label(classifier, of_text), longest=longest) or (any_text,))


def _labels_by_text(classifier: Classifier, examples: Sequence[Example]) -> dict[Text, tuple[str, ...]]:
    """Of each distinct text the labels in the data; without texts that stand there with several.

    `Example.label` is a position; of a multi-label text, bit i of it stands for label i.
    """
    labels = classifier.labels
    found: dict[Text, tuple[str, ...]] = {}
    codes: dict[Text, set[int]] = {}
    for one in examples:
        codes.setdefault(one.text, set()).add(one.label)
    for text, (code, *others) in codes.items():
        if others:
            continue
        if classifier.thresholds:
            found[text] = tuple(label for i, label in enumerate(labels) if code >> i & 1)
        elif 0 <= code < len(labels):
            found[text] = (labels[code],)
    return found


def _labels_of_golden(classifier: Classifier, golden: Golden) -> tuple[str, ...]:
    """The labels that PyTorch gave a golden text."""
    named = list(zip(classifier.labels, golden.probabilities, strict=True))
    if not classifier.thresholds:
        return (max(named, key=lambda one: one[1])[0],)
    return tuple(label for (label, p), limit in zip(named, classifier.thresholds, strict=True) if p >= limit)


def _by_label(classifier: Classifier, of_text: dict[Text, tuple[str, ...]]) -> list[list[Text]]:
    """The texts of each label; in the end those without any, of a model that gives any number."""
    groups = [[text for text, labels in of_text.items() if label in labels] for label in classifier.labels]
    return [*groups, [text for text, labels in of_text.items() if not labels]] if classifier.thresholds else groups


def _clearest_first(service: Service, examples: Examples) -> Examples:
    """The example with the surest right answer goes to the front; the others keep their order."""
    predictions = service.classifier.predict(list(examples.texts))
    sets = bool(service.classifier.thresholds)
    right = [
        (one.score, -i)
        for i, (one, labels) in enumerate(zip(predictions, examples.labels, strict=True))
        if _is_right(one, labels, sets)
    ]
    first = -max(right)[1] if right else 0
    order = [first, *(i for i in range(len(examples.texts)) if i != first)]
    return Examples(examples.heading, tuple(examples.texts[i] for i in order), tuple(examples.labels[i] for i in order))


def _is_right(prediction: Prediction, labels: tuple[str, ...], sets: bool) -> bool:
    if sets:  # a text without labels is no good start
        return bool(labels) and set(prediction.labels) == set(labels)
    return (prediction.label,) == labels


def pick(by_label: Sequence[Sequence[Text]], *, longest: int) -> tuple[Text, ...]:
    """A few texts of each label, in turn.

    They are spread evenly over the lengths of the short ones of a label. A label without short texts gives its
    shortest one.

    Args:
        by_label: all texts of each label.
        longest: characters that a text may have at most.
    """
    usable = [_short_ones(texts, longest) for texts in by_label]
    count = max(_FEWEST, min(_MOST, sum(bool(texts) for texts in usable)))
    turns = -(-count // max(1, sum(bool(texts) for texts in usable)))
    spread = [_evenly(texts, turns, (i + 0.5) / len(usable)) for i, texts in enumerate(usable)]
    picked = [texts[turn] for turn in range(turns) for texts in spread if turn < len(texts)]
    return tuple(dict.fromkeys(picked))[:count]


def _evenly(texts: Sequence[Text], count: int, shift: float) -> list[Text]:
    """`count` texts, one of each equal part, at the same share `shift` of its part."""
    count = min(count, len(texts))
    return [texts[int((i + shift) * len(texts) / count)] for i in range(count)]


def _short_ones(texts: Sequence[Text], longest: int) -> list[Text]:
    distinct = [text for text in dict.fromkeys(texts) if not is_blank(text) and pairs.characters(text) <= longest]
    by_length = sorted(distinct, key=pairs.characters)
    return [text for text in by_length if pairs.characters(text) <= _SHORT] or by_length[:1]
