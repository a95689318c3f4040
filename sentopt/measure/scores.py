"""Records of classification metrics; `metrics` and `set_metrics` compute them."""

from __future__ import annotations

from dataclasses import dataclass, field

from sentopt.records import ADDED_LATER


@dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one label, and its number of texts (support)."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class SetScores:
    """Further metrics where a text has any number of labels.

    Precision, recall and F1 of all labels of all texts together (micro), and the mean over labels of the average
    precision, which no threshold decides.
    """

    micro_precision: float
    micro_recall: float
    micro_f1: float
    average_precision: float
    texts: int


@dataclass(frozen=True)
class Scores:
    """Metrics on one split. `confusion[i][j]` counts texts of label i that were predicted as label j.

    Where a text has any number of labels, `sets` has more, `accuracy` is the share of texts whose labels are all right,
    and there is no confusion matrix.
    """

    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_class: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    sets: SetScores | None = field(default=None, metadata={ADDED_LATER: True})

    @property
    def texts(self) -> int:
        """How many texts were scored."""
        return self.sets.texts if self.sets else sum(c.support for c in self.per_class)

    @property
    def micro_f1(self) -> float:
        """F1 of all labels of all texts together; the accuracy where each text has one label."""
        return self.sets.micro_f1 if self.sets else self.accuracy
