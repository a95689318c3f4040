"""One colour for each variant and one for each label, the same in every plot of every run.

All stand out from white paper: those of variants, which draw points and lines, by a contrast of at least 3, those of
labels, in which names are written, too, by at least 4.5 (WCAG 2.2, criteria 1.4.11 and 1.4.3).
"""

from __future__ import annotations

from collections.abc import Sequence

from sentopt.variants import VARIANTS

PAPER, INK, FAINT = "#ffffff", "#222222", "#767676"

_OF_VARIANTS = (
    *("#404040", "#808080"),  # PyTorch
    *("#d95f02", "#a63603", "#7f2704", "#a8780a"),  # traced graphs
    *("#2171b5", "#1b7837", "#008080", "#6b8e23"),  # lean graphs
    *("#c51b7d", "#6a3d9a", "#9b6fc0"),  # students and cascades
    *("#8c510a", "#b0752a"),  # OpenVINO
    *("#54278f", "#7a7ab8", "#2f4f4f", "#000000", "#e31a1c", "#3f51d0"),  # the GPU
    *("#800000", "#556b2f", "#4682b4", "#8b008b", "#cd5c5c"),  # rows to come
)
_OF_LABELS = (
    *("#b2182b", "#595959", "#2166ac", "#1b7837", "#762a83"),
    *("#8c510a", "#01665e", "#ae017e", "#54278f", "#a63603"),
)


def of_variant(name: str) -> str:
    """That of a variant, by its place in the table of variants."""
    return _OF_VARIANTS[list(VARIANTS).index(name)] if name in VARIANTS else _OF_VARIANTS[-1]


def of_label(place: int) -> str:
    """That of the label at this place in the model's output; after ten labels they repeat."""
    return _OF_LABELS[place % len(_OF_LABELS)]


def tint(colour: str, share: float) -> tuple[float, float, float]:
    """Red, green and blue from 0 to 1: white where the share is 0, the colour where it is 1."""
    red, green, blue = (1.0 - share * (1.0 - int(colour[i : i + 2], 16) / 255) for i in (1, 3, 5))
    return red, green, blue


def ink_on(paper: Sequence[float]) -> str:
    """Black or white, whichever is read more easily on red, green and blue from 0 to 1."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in paper]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#000000" if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else PAPER
