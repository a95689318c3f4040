"""Example texts of the page: from the test split of the run where it is there, else from the bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service

_FEWEST, _MOST = 6, 12
_SHORT = 160  # characters


@dataclass(frozen=True)
class Examples:
    """Texts to try, and where they come from, as a heading says it.

    `labels` are those that the texts have in the data; empty where there is no data.
    """

    heading: str
    texts: tuple[str, ...]
    labels: tuple[str, ...] = ()

    def label_of(self, text: str) -> str | None:
        """The label of an example in the data; None for any other text."""
        return dict(zip(self.texts, self.labels, strict=False)).get(text)


def choose(service: Service, facts: RunFacts | None) -> Examples:
    """Short distinct texts of every label in turn; one of each at least, if there are no more than twelve labels.

    The first one, which a visitor finds answered, is the one that is answered most surely and as the data has it.
    """
    labels = service.classifier.labels
    if facts is not None and (examples := facts.test_examples()):
        by_label: list[list[str]] = [[] for _ in labels]
        for example in examples:
            if 0 <= example.label < len(labels):
                by_label[example.label].append(example.text)
        by_label = _without_contradictions(by_label)
        if texts := pick(by_label, longest=service.limits.characters):
            known = {text: labels[i] for i, of_label in enumerate(by_label) for text in of_label}
            return _clearest_first(
                service, Examples("Examples from the test split:", texts, tuple(known[text] for text in texts))
            )
    by_label = [[] for _ in labels]
    description = service.classifier.description
    for golden in description.golden if description else ():
        if isinstance(golden.text, str):
            by_label[max(range(len(labels)), key=golden.probabilities.__getitem__)].append(golden.text)
    return Examples("Examples:", pick(by_label, longest=service.limits.characters) or ("This is an example.",))


def _clearest_first(service: Service, examples: Examples) -> Examples:
    """The example with the surest right answer goes to the front; the others keep their order."""
    predictions = service.classifier.predict(list(examples.texts))
    right = [
        (p.score, -i) for i, (p, label) in enumerate(zip(predictions, examples.labels, strict=True)) if p.label == label
    ]
    first = -max(right)[1] if right else 0
    order = [first, *(i for i in range(len(examples.texts)) if i != first)]
    return Examples(examples.heading, tuple(examples.texts[i] for i in order), tuple(examples.labels[i] for i in order))


def pick(by_label: Sequence[Sequence[str]], *, longest: int) -> tuple[str, ...]:
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


def _without_contradictions(by_label: Sequence[Sequence[str]]) -> list[list[str]]:
    """Without texts that stand there with several labels."""
    counts = Counter(text for texts in by_label for text in dict.fromkeys(texts))
    return [[text for text in texts if counts[text] == 1] for texts in by_label]


def _evenly(texts: Sequence[str], count: int, shift: float) -> list[str]:
    """`count` texts, one of each equal part, at the same share `shift` of its part."""
    count = min(count, len(texts))
    return [texts[int((i + shift) * len(texts) / count)] for i in range(count)]


def _short_ones(texts: Sequence[str], longest: int) -> list[str]:
    distinct = [text for text in dict.fromkeys(texts) if text.strip() and len(text) <= longest]
    by_length = sorted(distinct, key=len)
    return [text for text in by_length if len(text) <= _SHORT] or by_length[:1]
