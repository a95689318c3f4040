"""Choosing, from what products see on training texts, how each of them is quantized.

Layer normalization and GELU leave a few channels many times larger than the rest, and one scale for all of them then
has too few steps for the others. Dividing each channel by a constant before rounding, and multiplying the weight's row
with it, moves the spread into the weight, where every column has its own scale (SmoothQuant, Xiao et al. 2023, with the
division done in the graph, because behind a residual or a GELU it cannot be folded away). How far to move it is decided
per product: by the error that the product's output really has on recorded rows, weight rounding included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sentopt.graph import lean
from sentopt.graph.architecture import Architecture, Dense, FloatArray
from sentopt.graph.products import Site, TappedProducts, quantize_columns
from sentopt.progress import SILENT, Advance, Progress
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import TextEncoder, Tokens

_TEXTS, _TOKENS, _ROWS = 512, 16_384, 1_024
STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_WORTH_A_PASS = 0.8
_LEVELS = 255


@dataclass
class _Seen:
    """What one product's input was: range of each channel over all tokens, and some rows, (rows, inputs)."""

    lowest: FloatArray
    highest: FloatArray
    rows: list[FloatArray]


@dataclass(frozen=True)
class Calibration:
    """How each product is quantized, and the relative error of its output (error variance / output variance)."""

    sites: dict[str, Site]
    errors: dict[str, float]
    texts: int
    tokens: int


def calibrate(
    architecture: Architecture,
    encoder: TextEncoder,
    texts: Sequence[str],
    *,
    strengths: Sequence[float] = STRENGTHS,
    progress: Progress = SILENT,
) -> Calibration:
    """Quantization of every product, from up to 512 of `texts`. The same texts give the same result.

    `strengths` are the degrees of smoothing that are tried beside none; at 1 all spread moves into the weight.
    """
    tokens = _choose(encoder, texts)
    products = TappedProducts()
    model = lean.write(architecture, products).SerializeToString()
    with progress.count("quantize: calibration", len(tokens), "texts") as advance:
        seen = _observe(model, [name for name, _ in products.taps], tokens, encoder, advance)
    sites, errors = {}, {}
    with progress.count("quantize: calibration", len(products.denses), "products") as advance:
        for site, dense in products.denses.items():
            sites[site], errors[site] = _fit(dense, seen[f"tap.{site}"], strengths)
            advance(1)
    return Calibration(sites, errors, len(tokens), sum(len(t.ids) for t in tokens))


def _choose(encoder: TextEncoder, texts: Sequence[str]) -> list[Tokens]:
    """Texts at even distances, as many as stay within the limits on texts and tokens; at least one."""
    step = max(1, len(texts) // _TEXTS)
    chosen: list[Tokens] = []
    budget = _TOKENS
    for tokens in encoder.encode(list(texts[::step][:_TEXTS])):
        if chosen and len(tokens.ids) > budget:
            break
        chosen.append(tokens)
        budget -= len(tokens.ids)
    return chosen


def _observe(
    model: bytes, names: Sequence[str], tokens: Sequence[Tokens], encoder: TextEncoder, advance: Advance
) -> dict[str, _Seen]:
    session = OnnxSession(model)
    every = max(1, sum(len(t.ids) for t in tokens) // _ROWS)
    seen: dict[str, _Seen] = {}
    position = 0
    for text in tokens:
        for name, found in zip(names, session.outputs(encoder.pad([text]), names), strict=True):
            rows = found.reshape(-1, found.shape[-1])
            kept = rows if rows.shape[0] < len(text.ids) else rows[-position % every :: every]
            _record(seen, name, rows, kept)
        position += len(text.ids)
        advance(1)
    return seen


def _record(seen: dict[str, _Seen], name: str, rows: FloatArray, kept: FloatArray) -> None:
    lowest, highest = rows.min(axis=0), rows.max(axis=0)
    if name not in seen:
        seen[name] = _Seen(lowest, highest, [])
    one = seen[name]
    one.lowest, one.highest = np.minimum(one.lowest, lowest), np.maximum(one.highest, highest)
    one.rows.append(kept.copy())


def _fit(dense: Dense, seen: _Seen, strengths: Sequence[float]) -> tuple[Site, float]:
    """The candidate with the smallest output error; smoothing has to earn the pass that it costs."""
    rows = np.concatenate(seen.rows)
    exact = rows @ dense.weight
    spread = float(exact.var()) or 1.0
    plain = _range(seen, None)
    best, least = plain, _error(dense.weight, rows, exact, plain) * _WORTH_A_PASS
    for strength in strengths:
        site = _range(seen, _smoothing(dense.weight, seen, strength))
        error = _error(dense.weight, rows, exact, site)
        if error < least:
            best, least = site, error
    return best, (least if best is not plain else least / _WORTH_A_PASS) / spread


def _smoothing(weight: FloatArray, seen: _Seen, strength: float) -> FloatArray:
    """max|x|^strength / max|w|^(1 - strength) per channel, with geometric mean 1."""
    activation = np.maximum(np.maximum(np.abs(seen.lowest), np.abs(seen.highest)), 1e-5)
    rows = np.maximum(np.abs(weight).max(axis=1), 1e-5)
    logarithm = strength * np.log(activation) - (1.0 - strength) * np.log(rows)
    return np.asarray(np.exp(logarithm - logarithm.mean()), dtype=np.float32)


def _range(seen: _Seen, smoothing: FloatArray | None) -> Site:
    """Scale and zero point that hold everything seen, and zero exactly."""
    divisor: FloatArray | float = 1.0 if smoothing is None else smoothing
    lowest, highest = min(float((seen.lowest / divisor).min()), 0.0), max(float((seen.highest / divisor).max()), 0.0)
    scale = float(np.float32(max((highest - lowest) / _LEVELS, 1e-8)))
    return Site(scale, int(np.clip(np.rint(-lowest / scale), 0, _LEVELS)), smoothing)


def _error(weight: FloatArray, rows: FloatArray, exact: FloatArray, site: Site) -> float:
    """Mean squared error of the product's output when activation and weight are rounded as the graph rounds them."""
    x = rows
    if site.smoothing is not None:
        weight, x = weight * site.smoothing[:, None], rows / site.smoothing
    rounded, scales = quantize_columns(weight)
    levels = np.clip(np.rint(x / np.float32(site.scale)) + site.zero_point, 0, _LEVELS) - site.zero_point
    found = (levels * np.float32(site.scale)).astype(np.float32) @ (rounded.astype(np.float32) * scales)
    return float(((found - exact) ** 2).mean())
