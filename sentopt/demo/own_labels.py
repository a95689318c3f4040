"""Answers beside labels that a visitor brings: how many are right, where they differ, what could not be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sentopt.demo.text_lists import names_label, positions, sets_of


@dataclass(frozen=True)
class Marked:
    """Answers that were compared with labels.

    `confusion[i][j]` counts texts of label i that were answered with label j. `wrong` are positions in the list, each
    with the label that stands there, the surest answers first. `unknown` are values that name no label, each once;
    `blank` counts texts without one. `by_position`: the values are numbers, which count the labels from 0.
    """

    labels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    wrong: tuple[tuple[int, str], ...]
    unknown: tuple[str, ...]
    blank: int
    by_position: bool = False

    @property
    def texts(self) -> int:
        """Texts with a label of the model."""
        return sum(map(sum, self.confusion))

    @property
    def right(self) -> int:
        """Those that are answered with their label."""
        return sum(self.confusion[i][i] for i in range(len(self.labels)))


def mark(values: Sequence[str], answers: Sequence[tuple[str, float] | None], labels: Sequence[str]) -> Marked:
    """Compare answers with the labels of a column.

    Args:
        values: cells of the column, of length n.
        answers: label and score of each text, None for a blank text, of length n.
        labels: of the model.
    """
    places = positions(values, labels)
    counts = [[0] * len(labels) for _ in labels]
    wrong: list[tuple[float, int, str]] = []
    for i, (place, answer) in enumerate(zip(places, answers, strict=True)):
        if place is None or answer is None:
            continue
        label, score = answer
        counts[place][labels.index(label)] += 1
        if label != labels[place]:
            wrong.append((-score, i, labels[place]))
    answered = [(value.strip(), place) for value, place, a in zip(values, places, answers, strict=True) if a]
    return Marked(
        labels=tuple(labels),
        confusion=tuple(map(tuple, counts)),
        wrong=tuple((i, own) for _, i, own in sorted(wrong)),
        unknown=tuple(dict.fromkeys(value for value, place in answered if value and place is None)),
        blank=sum(not value for value, _ in answered),
        by_position=any(place is not None and not names_label(value, labels) for value, place in answered),
    )


@dataclass(frozen=True)
class MarkedSets:
    """Answers of a multi-label model that were compared with labels, of which a text has any number.

    `counts[i]` are of label i: texts that have it and were answered so, that were answered so and have it not, and that
    have it and were not answered so. `wrong` are positions in the list, each with the labels that stand there.
    `unknown` are values with something that is no label, each once.
    """

    labels: tuple[str, ...]
    texts: int
    counts: tuple[tuple[int, int, int], ...]
    wrong: tuple[tuple[int, tuple[str, ...]], ...]
    unknown: tuple[str, ...]

    @property
    def right(self) -> int:
        """Texts that are answered with all of their labels and no others."""
        return self.texts - len(self.wrong)


def mark_sets(values: Sequence[str], answers: Sequence[Sequence[str] | None], labels: Sequence[str]) -> MarkedSets:
    """Compare answers with the labels of a column; a blank cell is a text without labels.

    Args:
        values: cells of the column, of length n.
        answers: labels of each text, None for a blank text, of length n.
        labels: of the model.
    """
    counts = [[0, 0, 0] for _ in labels]
    wrong: list[tuple[int, tuple[str, ...]]] = []
    unknown: dict[str, None] = {}
    texts = 0
    for i, (own, answer) in enumerate(zip(sets_of(values, labels), answers, strict=True)):
        if answer is None:
            continue
        if own is None:
            unknown[values[i].strip()] = None
            continue
        texts += 1
        given = {labels.index(label) for label in answer}
        if own != given:
            wrong.append((i, tuple(labels[place] for place in sorted(own))))
        for column, places in enumerate((own & given, given - own, own - given)):
            for place in places:
                counts[place][column] += 1
    each = tuple((both, added, missed) for both, added, missed in counts)
    return MarkedSets(tuple(labels), texts, each, tuple(wrong), tuple(unknown))
