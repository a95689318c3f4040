"""Stage `export`: write FP32 ONNX graphs of the fine-tuned model.

A graph is refused if its logits are not PyTorch's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx

from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.errors import ExportError
from sentopt.files import atomic
from sentopt.graph import families, lean, vocabulary
from sentopt.graph.products import FloatProducts
from sentopt.progress import SILENT, Progress
from sentopt.recipe import Recipe
from sentopt.results import ExportResult, GraphCheck, MadeVariant
from sentopt.run_dir import RunDir
from sentopt.runtime.description import Text
from sentopt.runtime.session import OnnxSession
from sentopt.runtime.tokenization import Batch, TextEncoder, Tokens
from sentopt.stages import described, exporters, tracing
from sentopt.stages.silence import silenced
from sentopt.training import checkpoints
from sentopt.variants import VARIANTS, VariantSpec

_SHAPES = ((1, 2), (1, 16), (2, 31), (3, 64), (8, 23), (5, 0))
_PARITY_TEXTS = 500
_PADDED_TEXTS = 40


def run(recipe: Recipe, run_dir: RunDir, *, specs: Sequence[VariantSpec], progress: Progress = SILENT) -> ExportResult:
    """Write a graph for each of `specs`.

    Raises:
        ExportError: the exporter failed, or a graph or the tokenizer differs from the reference; the message says by
            how much.
    """
    exporter, notices = exporters.choose(recipe.export.exporter)
    pairs = store.are_pairs(run_dir)
    encoder = TextEncoder.load(run_dir.checkpoint, max_length=recipe.model.max_length, pairs=pairs)
    texts = list(store.read_split(run_dir, "test").texts[:_PARITY_TEXTS])
    texts += checkpoints.telling_texts(encoder, texts)
    _check_tokenizer(encoder, run_dir.checkpoint, texts)
    reference = TorchEngine.load(run_dir.checkpoint)
    batches = list(_mixed_batches(encoder, texts, recipe.run.seed))
    variants, checks = [], []
    with progress.count("export", len(specs), "graphs") as advance:
        for spec in specs:
            with atomic.replace_folder(run_dir.variant(spec.name)) as folder:
                model = folder / "model.onnx"
                if "lean" in spec.needs:
                    onnx.save(lean.write(families.read(run_dir.checkpoint, pairs=pairs), FloatProducts()), model)
                else:
                    _export(exporter, run_dir.checkpoint, model, recipe)
                described.file(model, recipe, run_dir)
                checks.append(_check(spec.name, reference, OnnxSession(model), batches, recipe.export.tolerance))
                variants.append(MadeVariant(spec.name, model.stat().st_size))
            advance(1)
    notices += unsupported_notices(recipe, run_dir.checkpoint, exporter)
    return ExportResult(exporter, tuple(checks), len(texts), tuple(variants), notices)


def unsupported_notices(recipe: Recipe, checkpoint: Path, exporter: str) -> tuple[str, ...]:
    """Notices about variants that this model does not support."""
    if reason := families.unsupported_reason(checkpoint):
        return (f"no lean graph for this model ({reason}): the graph traced by {exporter} is used",)
    trimmed = [name for name in recipe.export.variants if VARIANTS[name].trimmed]
    if trimmed and (reason := vocabulary.unsupported_reason(checkpoint)):
        return (f"no {', '.join(trimmed)} for this model: {reason}",)
    return ()


def _export(exporter: exporters.Exporter, checkpoint: Path, model: Path, recipe: Recipe) -> None:
    trace = tracing.trace_with_optimum if exporter == "optimum" else tracing.trace_with_torch
    try:
        with silenced():
            trace(checkpoint, model, opset=recipe.export.opset)
    except Exception as error:  # exporters pass on any exception of the traced model
        raise ExportError(
            f"the {exporter} exporter cannot export {checkpoint}: {type(error).__name__}: {error}"
        ) from error


def _check(
    variant: str, reference: TorchEngine, graph: OnnxSession, batches: Sequence[Batch], tolerance: float
) -> GraphCheck:
    worst, shapes = 0.0, []
    for batch in batches:
        difference = float(np.abs(reference.run(batch) - graph.run(batch)).max())
        shapes.append((batch.input_ids.shape[0], batch.input_ids.shape[1]))
        worst = max(worst, difference)
        if not difference <= tolerance:  # NaN must fail too
            raise ExportError(
                f"a logit of the graph {variant} differs from PyTorch by {difference:.3g} "
                f"on a padded batch of shape {shapes[-1]} (allowed: {tolerance:g}, export.tolerance)"
            )
    return GraphCheck(variant, tuple(shapes), worst, tolerance)


def _mixed_batches(encoder: TextEncoder, texts: Sequence[Text], seed: int) -> Iterator[Batch]:
    """Padded batches of several shapes: random ids of mixed lengths (0: maximum length), then real texts."""
    random = np.random.default_rng(seed)
    for size, tokens_wanted in _SHAPES:
        width = min(tokens_wanted or encoder.max_length, encoder.max_length)
        lengths = random.integers(1, width + 1, size=size)
        lengths[0] = width
        rows = [random.integers(0, encoder.vocabulary_size, size=n).tolist() for n in lengths]
        yield encoder.pad([Tokens(tuple(row), _types(row, random, pairs=encoder.pairs), False) for row in rows])
    tokens = encoder.encode(list(texts[:: max(1, len(texts) // _PADDED_TEXTS)]))
    # The GPT-2 head of transformers finds the last token by comparing ids with the padding id, not by the mask. It
    # reads a wrong token of a text that ends in the padding token; such texts are left out.
    tokens = [t for t in tokens if len(t.ids) == 1 or t.ids[-1] != encoder.pad_token_id]
    for start in range(0, len(tokens), 8):
        yield encoder.pad(tokens[start : start + 8])


def _types(row: Sequence[int], random: np.random.Generator, *, pairs: bool) -> tuple[int, ...]:
    """The types of some tokens: 0, and in pairs 1 from a random place on."""
    first = int(random.integers(1, len(row) + 1)) if pairs else len(row)
    return (0,) * first + (1,) * (len(row) - first)


def _check_tokenizer(encoder: TextEncoder, checkpoint: Path, texts: Sequence[Text]) -> None:
    """Check that the runtime tokenizer gives the ids of transformers, with which the model was trained."""
    differing = checkpoints.differing_texts(encoder, checkpoint, texts)
    if differing:
        raise ExportError(
            f"the ids of tokenizer.json and of transformers differ on {len(differing)} of {len(texts)} texts, "
            f"for example {differing[0]!r:.100}"
        )
