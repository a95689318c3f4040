"""The list of doubts that a person goes through: which row, what is doubted, and room for the right label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from sentopt.data.corrections import CORRECTED, TEXT
from sentopt.files import safe_csv

Kind: TypeAlias = Literal["wrong label", "conflict", "leak", "empty text"]
_COLUMNS = ("split", "place", "kind", TEXT, "label", "suggested", "confidence", "because", CORRECTED)
_MARK = "\ufeff"  # by which spreadsheets know UTF-8


@dataclass(frozen=True)
class Doubt:
    """A row that a person should look at.

    Args:
        split: where the row is.
        place: its file and line.
        kind: what is doubted. A `conflict` is a text with another label than nearly the same text has, a `leak` one
            that is nearly the same in a split that is to test what was learned.
        text: as it is in the data.
        label: as it is in the data, spelled as the label's name.
        suggested: another label, or an empty text.
        confidence: the probability of the suggested label by a model that has not seen the text; None where none was
            asked.
        because: in words, for instance which text is nearly the same.
    """

    split: str
    place: str
    kind: Kind
    text: str
    label: str
    suggested: str = ""
    confidence: float | None = None
    because: str = ""


def as_csv(doubts: Sequence[Doubt]) -> bytes:
    """A table with a row for each doubt and an empty column `corrected`; no cell is a formula in a spreadsheet."""
    rows = (
        [
            doubt.split,
            doubt.place,
            doubt.kind,
            safe_csv.protected(doubt.text),
            doubt.label,
            doubt.suggested,
            "" if doubt.confidence is None else f"{doubt.confidence:.3f}",
            doubt.because,
            "",
        ]
        for doubt in doubts
    )
    return (_MARK + safe_csv.to_csv(_COLUMNS, rows)).encode()
