"""Where an answer should not be trusted: at which scores, and on which texts."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TypeVar

from sentopt.bundles import facts as recorded
from sentopt.demo.page.fragments import quoted
from sentopt.errors import BundleError
from sentopt.measure.familiarity import Familiarity
from sentopt.report.tables import counted
from sentopt.results import ScoreBand
from sentopt.runtime.description import BundleDescription
from sentopt.runtime.tokenization import ReadPart

T = TypeVar("T")
_OFTEN_WRONG = 2 / 3
_FEWEST = 10  # test texts with such a score that say something
_UNNAMED = ("files", "memory", "hub", "sample")


def bands(description: BundleDescription | None) -> tuple[ScoreBand, ...]:
    """How often scores are right; nothing where the bundle does not say, or not in a form that can be read."""
    return _told(recorded.score_bands, description) or ()


def usual_texts(description: BundleDescription | None) -> Familiarity | None:
    """What is usual for texts of the model; None where the bundle does not say, or not in a form that can be read."""
    return _told(recorded.familiarity, description)


def _told(read: Callable[[BundleDescription], T], description: BundleDescription | None) -> T | None:
    try:
        return None if description is None else read(description)
    except BundleError:
        return None


def unlike(usual: Familiarity | None, read: ReadPart) -> list[str]:
    """How a text differs from those that the model was trained on, as HTML; nothing where it does not, or is empty.

    Args:
        usual: what is usual.
        read: what the model reads of the text.
    """
    if usual is None or not read.pieces:
        return []
    said = []
    if not read.cut and not usual.shortest <= read.tokens <= usual.longest:
        which = "longer" if read.tokens > usual.longest else "shorter"
        said.append(
            f"<b>{which} than the training texts</b>: {read.tokens} tokens; 99 % of these have "
            f"{usual.shortest} to {usual.longest}"
        )
    seen = usual.is_seen(read.ids)
    if usual.is_new(seen):
        new = list(dict.fromkeys(piece for piece, is_seen in zip(read.pieces, seen, strict=True) if not is_seen))
        said.append(
            f"<b>unlike the training texts</b>: {len(seen) - sum(seen)} of {len(seen)} tokens occur in none of "
            f"{usual.texts:,} of them ({quoted(new)})"
        )
    return said


def in_words(scores: tuple[ScoreBand, ...], score: float, *, sets: bool = False) -> str:
    """What to say of an answer with this score, as HTML; nothing where most of these are right, or too few are known.

    Args:
        scores: bands of a tenth, from the lowest one.
        score: of the answer.
        sets: the model gives any number of labels, and the score is that of the most probable one, which the text has
            or not.
    """
    band = next((band for band in reversed(scores) if band.least <= score), None)
    if band is None or score > band.least + 0.1 or band.texts < _FEWEST or band.right > _OFTEN_WRONG * band.texts:
        return ""
    which, right = "with such a score", "were answered rightly"
    if sets:
        which, right = "whose most probable label has such a probability", "have it"
    return (
        f"<b>unsure</b>: {band.right:,} of {band.texts:,} test texts {which} ({band.least:.1f} to "
        f"{band.least + 0.1:.1f}) {right}"
    )


def scope(description: BundleDescription | None) -> str:
    """What the model was trained on, as HTML, for other texts are answered, too; nothing where that is not known."""
    origin = recorded.origin(description) if description else None
    texts = dict(origin.texts).get("train", 0) if origin else 0
    if origin is None or origin.tuned_elsewhere or not texts:
        return ""
    of = "" if origin.dataset in _UNNAMED else f" of the dataset {html.escape(origin.dataset)}"
    return (
        f"Trained on {counted(texts, 'text')}{of}. Texts of another kind or language are answered as well, and may be "
        "answered wrongly."
    )
