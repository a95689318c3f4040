"""Where an answer should not be trusted: at which scores, and on which texts."""

from __future__ import annotations

from sentopt.bundles import facts as recorded
from sentopt.errors import BundleError
from sentopt.report.markup import in_markdown
from sentopt.report.tables import counted
from sentopt.results import ScoreBand
from sentopt.runtime.description import BundleDescription

_OFTEN_WRONG = 2 / 3
_FEWEST = 10  # test texts with such a score that say something
_UNNAMED = ("files", "memory", "hub", "sample")


def bands(description: BundleDescription | None) -> tuple[ScoreBand, ...]:
    """How often scores are right; nothing where the bundle does not say, or not in a form that can be read."""
    if description is None:
        return ()
    try:
        return recorded.score_bands(description)
    except BundleError:
        return ()


def in_words(scores: tuple[ScoreBand, ...], score: float) -> str:
    """What to say of an answer with this score; nothing where such answers are mostly right, or too few are known.

    Args:
        scores: bands of a tenth, from the lowest one.
        score: of the answer.
    """
    band = next((band for band in reversed(scores) if band.least <= score), None)
    if band is None or score > band.least + 0.1 or band.texts < _FEWEST or band.right > _OFTEN_WRONG * band.texts:
        return ""
    return (
        f"**unsure**: {band.right:,} of {band.texts:,} test texts with such a score ({band.least:.1f} to "
        f"{band.least + 0.1:.1f}) were answered rightly"
    )


def scope(description: BundleDescription | None) -> str:
    """What the model was trained on, for texts of another kind are answered, too; nothing where that is not known."""
    origin = recorded.origin(description) if description else None
    texts = dict(origin.texts).get("train", 0) if origin else 0
    if origin is None or origin.tuned_elsewhere or not texts:
        return ""
    of = "" if origin.dataset in _UNNAMED else f" of the dataset {in_markdown(origin.dataset)}"
    return (
        f"Trained on {counted(texts, 'text')}{of}. Texts of another kind or language are answered as well, and may be "
        "answered wrongly."
    )
