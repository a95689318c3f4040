"""INT8 calibration: scale, zero point and smoothing of every quantization site, from activations on training texts.

After layer normalization and GELU, a few channels are many times larger than the rest. A single scale then leaves too
few steps for the other channels. Smoothing divides each channel by a constant before rounding and multiplies the
corresponding weight row by it. That moves the spread into the weight, which has one scale per column (SmoothQuant, Xiao
et al. 2023). The division is a node of the graph: it cannot be folded into a preceding residual or GELU. The degree of
smoothing is chosen per site, by the output error on recorded rows with both activation and weight rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sentopt.graph import lean
from sentopt.graph.architecture import Architecture, Dense, FloatArray
from sentopt.graph.products import Site, TappedProducts, quantize_columns
from sentopt.progress import SILENT, Progress
from sentopt.runtime.description import Text
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import TextEncoder, Tokens

MAX_TEXTS, MAX_TOKENS, _ROWS = 512, 16_384, 1_024
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_REQUIRED_ERROR_RATIO = 0.8  # smoothing costs one more pass over the activation and must reduce the error by this
_LEVELS = 255


@dataclass
class Activations:
    """Recorded inputs of one product: minimum and maximum of each channel over all tokens, and a sample of rows.

    `minimum` and `maximum` have shape (inputs,), every array of `rows` (rows, inputs).
    """

    minimum: FloatArray
    maximum: FloatArray
    rows: list[FloatArray]


@dataclass(frozen=True)
class Calibration:
    """The quantization of each site, and the relative error of its output (error variance / output variance)."""

    sites: dict[str, Site]
    errors: dict[str, float]
    texts: int
    tokens: int


def calibrate(
    architecture: Architecture,
    encoder: TextEncoder,
    texts: Sequence[Text],
    *,
    strengths: Sequence[float] = STRENGTHS,
    read: Callable[[Tokens], Tokens] | None = None,
    progress: Progress = SILENT,
) -> Calibration:
    """Quantize every site, with up to 512 of `texts`. The result is deterministic.

    `strengths` are the degrees of smoothing to try besides none; 1 moves the whole spread into the weight. `read`
    gives the tokens of a text that the model reads, if these are not all.
    """
    tokens = sample(encoder, texts, read)
    products = TappedProducts()
    session = OnnxSession(lean.write(architecture, products).SerializeToString())
    activations = record(session, [name for name, _ in products.taps], tokens, encoder, progress)
    recorded = {site: activations[f"tap.{site}"] for site in products.denses}
    return quantize_all(products.denses, recorded, tokens, strengths, progress)


def quantize_all(
    denses: Mapping[str, Dense],
    activations: Mapping[str, Activations],
    tokens: Sequence[Tokens],
    strengths: Sequence[float] = STRENGTHS,
    progress: Progress = SILENT,
) -> Calibration:
    """Quantize every site of `denses`; its activations were recorded on `tokens`. See `quantize_sites`."""
    sites: dict[str, Site] = {}
    errors: dict[str, float] = {}
    with progress.count("quantize: calibration", len(denses), "products") as advance:
        for names in _by_weight(denses):
            recorded = {site: activations[site] for site in names}
            for site, found in quantize_sites(denses[names[0]], recorded, strengths).items():
                sites[site], errors[site] = found
                advance(1)
    return Calibration(sites, errors, len(tokens), sum(len(t.ids) for t in tokens))


def sample(encoder: TextEncoder, texts: Sequence[Text], read: Callable[[Tokens], Tokens] | None = None) -> list[Tokens]:
    """Evenly spaced texts within the limits on texts and tokens; at least one."""
    step = max(1, len(texts) // MAX_TEXTS)
    chosen: list[Tokens] = []
    budget = MAX_TOKENS
    encoded = encoder.encode(list(texts[::step][:MAX_TEXTS]))
    for tokens in map(read, encoded) if read else encoded:
        if chosen and len(tokens.ids) > budget:
            break
        chosen.append(tokens)
        budget -= len(tokens.ids)
    return chosen


def record(
    session: OnnxSession,
    names: Sequence[str],
    tokens: Sequence[Tokens],
    encoder: TextEncoder,
    progress: Progress = SILENT,
) -> dict[str, Activations]:
    """The activations in the graph outputs `names`, by name. One text at a time is computed, and kept in memory."""
    every = max(1, sum(len(t.ids) for t in tokens) // _ROWS)
    activations: dict[str, Activations] = {}
    position = 0
    with progress.count("quantize: calibration", len(tokens), "texts") as advance:
        for text in tokens:
            for name, output in zip(names, session.outputs(encoder.pad([text]), names), strict=True):
                rows = output.reshape(-1, output.shape[-1])
                drawn = rows if rows.shape[0] < len(text.ids) else rows[-position % every :: every]
                _add(activations, name, rows, drawn)
            position += len(text.ids)
            advance(1)
    return activations


def _add(activations: dict[str, Activations], name: str, rows: FloatArray, sample: FloatArray) -> None:
    minimum, maximum = rows.min(axis=0), rows.max(axis=0)
    if name not in activations:
        activations[name] = Activations(minimum, maximum, [])
    recorded = activations[name]
    recorded.minimum, recorded.maximum = np.minimum(recorded.minimum, minimum), np.maximum(recorded.maximum, maximum)
    recorded.rows.append(sample.copy())


def _by_weight(denses: Mapping[str, Dense]) -> list[list[str]]:
    """The sites in order; those that share a weight (ALBERT) are together."""
    groups: dict[int, list[str]] = {}
    for site, dense in denses.items():
        groups.setdefault(id(dense), []).append(site)
    return list(groups.values())


def quantize_sites(
    dense: Dense, activations: Mapping[str, Activations], strengths: Sequence[float] = STRENGTHS
) -> dict[str, tuple[Site, float]]:
    """Quantize the sites that one weight is used at: see `quantize_site`.

    They have one smoothing, chosen on the activations of all, so that the rounded weight is the same. The scale is each
    site's own.
    """
    if len(activations) == 1:
        return {site: quantize_site(dense, recorded, strengths) for site, recorded in activations.items()}
    smoothing = quantize_site(dense, _pooled(activations.values()), strengths)[0].smoothing
    found = {}
    for name, recorded in activations.items():
        site, rows = site_for(recorded, smoothing), np.concatenate(recorded.rows)
        found[name] = site, output_error(dense.weight, rows, site) / (float((rows @ dense.weight).var()) or 1.0)
    return found


def _pooled(activations: Collection[Activations]) -> Activations:
    return Activations(
        np.min([each.minimum for each in activations], axis=0),
        np.max([each.maximum for each in activations], axis=0),
        [rows for each in activations for rows in each.rows],
    )


def quantize_site(dense: Dense, activations: Activations, strengths: Sequence[float] = STRENGTHS) -> tuple[Site, float]:
    """The quantization of a product with the smallest output error, and its relative output error.

    Smoothing is chosen only if it reduces the error by at least a fifth: it costs one more pass over the activation.
    """
    rows = np.concatenate(activations.rows)
    exact = rows @ dense.weight
    variance = float(exact.var()) or 1.0
    plain = site_for(activations)
    best, lowest = plain, output_error(dense.weight, rows, plain) * _REQUIRED_ERROR_RATIO
    for strength in strengths:
        site = site_for(activations, _smoothing(dense.weight, activations, strength))
        error = output_error(dense.weight, rows, site)
        if error < lowest:
            best, lowest = site, error
    return best, (lowest if best is not plain else lowest / _REQUIRED_ERROR_RATIO) / variance


def _smoothing(weight: FloatArray, activations: Activations, strength: float) -> FloatArray:
    """max|x|^strength / max|w|^(1 - strength) per channel, with geometric mean 1."""
    activation = np.maximum(np.maximum(np.abs(activations.minimum), np.abs(activations.maximum)), 1e-5)
    rows = np.maximum(np.abs(weight).max(axis=1), 1e-5)
    logarithm = strength * np.log(activation) - (1.0 - strength) * np.log(rows)
    return np.asarray(np.exp(logarithm - logarithm.mean()), dtype=np.float32)


def site_for(activations: Activations, smoothing: FloatArray | None = None) -> Site:
    """Scale and zero point whose range covers all recorded activations, and represents zero exactly."""
    divisor: FloatArray | float = 1.0 if smoothing is None else smoothing
    minimum = min(float((activations.minimum / divisor).min()), 0.0)
    maximum = max(float((activations.maximum / divisor).max()), 0.0)
    scale = float(np.float32(max((maximum - minimum) / _LEVELS, 1e-8)))
    return Site(scale, int(np.clip(np.rint(-minimum / scale), 0, _LEVELS)), smoothing)


def output_error(weight: FloatArray, rows: FloatArray, site: Site) -> float:
    """Mean squared error of `rows @ weight` when activation and weight are rounded as in the INT8 graph."""
    exact, x = rows @ weight, rows
    if site.smoothing is not None:
        weight, x = weight * site.smoothing[:, None], rows / site.smoothing
    rounded, scales = quantize_columns(weight)
    levels = np.clip(np.rint(x / np.float32(site.scale)) + site.zero_point, 0, _LEVELS) - site.zero_point
    quantized = (levels * np.float32(site.scale)).astype(np.float32) @ (rounded.astype(np.float32) * scales)
    return float(((quantized - exact) ** 2).mean())
