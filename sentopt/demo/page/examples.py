"""Example texts of the page: from the test split of the run where it is there, else from the bundle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentopt.demo.run_facts import RunFacts
from sentopt.demo.service import Service

_FEWEST, _MOST = 6, 12
_SHORT = 160  # characters


@dataclass(frozen=True)
class Examples:
    """Texts to try, and where they come from, as a heading says it."""

    heading: str
    texts: tuple[str, ...]


def choose(service: Service, facts: RunFacts | None) -> Examples:
    """Short distinct texts of every label in turn; one of each at least, if there are no more than twelve labels."""
    labels = service.classifier.labels
    if facts is not None and (examples := facts.test_examples()):
        by_label: list[list[str]] = [[] for _ in labels]
        for example in examples:
            if 0 <= example.label < len(labels):
                by_label[example.label].append(example.text)
        if texts := pick(by_label, longest=service.limits.characters):
            return Examples("Examples from the test split:", texts)
    by_label = [[] for _ in labels]
    description = service.classifier.description
    for golden in description.golden if description else ():
        by_label[max(range(len(labels)), key=golden.probabilities.__getitem__)].append(golden.text)
    return Examples("Examples:", pick(by_label, longest=service.limits.characters) or ("This is an example.",))


def pick(by_label: Sequence[Sequence[str]], *, longest: int) -> tuple[str, ...]:
    """A few texts of each label, in turn.

    They are spread evenly over the short ones of a label. A label without short texts gives its shortest one.

    Args:
        by_label: all texts of each label.
        longest: characters that a text may have at most.
    """
    usable = [_short_ones(texts, longest) for texts in by_label]
    count = max(_FEWEST, min(_MOST, sum(bool(texts) for texts in usable)))
    turns = -(-count // max(1, sum(bool(texts) for texts in usable)))
    spread = [_evenly(texts, turns) for texts in usable]
    picked = [texts[turn] for turn in range(turns) for texts in spread if turn < len(texts)]
    return tuple(dict.fromkeys(picked))[:count]


def _evenly(texts: Sequence[str], count: int) -> list[str]:
    count = min(count, len(texts))
    return [texts[i * len(texts) // count] for i in range(count)]


def _short_ones(texts: Sequence[str], longest: int) -> list[str]:
    distinct = [text for text in dict.fromkeys(texts) if text.strip() and len(text) <= longest]
    return [text for text in distinct if len(text) <= _SHORT] or sorted(distinct, key=len)[:1]
