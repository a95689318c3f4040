"""A few training steps and answers, measured on this machine before the real training and then thrown away.

The model is loaded anew, and random states, threads and log levels are put back: the training that follows gives the
weights that it would have given without a rehearsal.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sentopt import backbones, model_files
from sentopt.backends.torch import TorchEngine
from sentopt.data import store
from sentopt.data.rows import Examples
from sentopt.measure import memory
from sentopt.recipe import Recipe
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.description import Text
from sentopt.training import caller, checkpoints, lengths
from sentopt.training.fit import make_deterministic, time_steps
from sentopt.training.lengths import TokenLengths
from sentopt.training.malloc import reusing_freed_memory
from sentopt.training.sampling import EpochSampler
from sentopt.training.tokenized import Encoded, encode

_SAMPLE = 2_000  # training texts whose batches are looked at
_STEPS_BUDGET, _ANSWERS_BUDGET = 4.0, 1.5  # seconds, after which no further step or call is begun
_HOLES = 1.25  # the quickstart: 2.5 GB after the step on its widest batch, 3.0 GB when its training ends
_TEXTS = 64  # test texts that are answered, if the budget allows
_MANY, _ALONE = 16, 8  # in micro-batches of a call of so many; and so many of them one at a time


@dataclass(frozen=True)
class TrainingSteps:
    """What an optimizer step on one batch takes, in seconds, and how it changes with the batch.

    Attributes:
        seconds: mean over batches as training meets them, once their shape has been met before.
        first_seconds: the same where the shape is new to the libraries.
        shapes: different widths among the batches of the sample.
        peak_bytes: of the process in a step on the widest batch, estimated from a narrower one.
        gpu_bytes: the same on the GPU; 0 without one.
        steps: how many were measured.
    """

    seconds: float
    first_seconds: float
    shapes: int
    peak_bytes: int
    gpu_bytes: int
    steps: int


@dataclass(frozen=True)
class Rehearsal:
    """What was measured on this machine.

    Attributes:
        training: training steps; None for a model that is tuned already.
        many_seconds: of one text by PyTorch in FP32, answered in micro-batches.
        alone_seconds: of one text by PyTorch in FP32, answered by itself.
        tokenize_seconds: to tokenize one training text.
        tokens: mean tokens of a test text.
        load_seconds: to load the model and its tokenizer.
        resident_bytes: of this process, with the model loaded.
        parameters: of the model.
        embeddings: those of them that are looked up and not multiplied with.
        train_lengths: of training texts.
        test_texts: test texts that were answered.
        took_seconds: the rehearsal itself.
    """

    training: TrainingSteps | None
    many_seconds: float
    alone_seconds: float
    tokenize_seconds: float
    tokens: float
    load_seconds: float
    resident_bytes: int
    parameters: int
    embeddings: int
    train_lengths: TokenLengths
    test_texts: int
    took_seconds: float


def rehearse(recipe: Recipe, run_dir: RunDir) -> Rehearsal:
    """Measure on the stored splits. It writes nothing into the run directory.

    Raises:
        BackboneError: the model cannot be had, or cannot be used.
    """
    begin = time.perf_counter()
    with caller.left_alone():
        make_deterministic(recipe.run.seed)
        folder = backbones.resolve(recipe.model.backbone, recipe.model.revision)
        labels, train = store.read_labels(run_dir), store.read_split(run_dir, "train")
        multi_label = store.is_multi_label(run_dir)
        pairs = store.are_pairs(run_dir)
        started = time.perf_counter()
        tokenizer = checkpoints.load_tokenizer(folder, recipe.model.max_length, pairs=pairs)
        if recipe.model.tuned:
            model = checkpoints.load_tuned(folder, labels, tokenizer, multi_label=multi_label)
        else:
            model = checkpoints.load_untuned(folder, labels, tokenizer, recipe.train, multi_label=multi_label)
        load_seconds = time.perf_counter() - started
        limit = model_files.length_limit(folder) or lengths.LONGEST
        longest = checkpoints.encoder_of(tokenizer, limit, pairs=pairs)
        encoder = checkpoints.encoder_of(tokenizer, recipe.model.max_length, pairs=pairs)
        classifier = Classifier(TorchEngine(model), encoder, labels)
        test = list(_spread(store.read_split(run_dir, "test").texts, _TEXTS))
        many, alone = _time_answers(classifier, test)
        resident = memory.resident_bytes() or memory.peak_bytes()
        parameters = sum(p.numel() for p in model.parameters())
        embeddings = sum(
            p.numel()
            for module in model.modules()
            if isinstance(module, torch.nn.Embedding)
            for p in module.parameters()
        )
        started = time.perf_counter()
        train_lengths = lengths.measure(longest, train.texts)
        tokenize_seconds = (time.perf_counter() - started) / len(train_lengths.tokens)
        training = None if recipe.model.tuned else _time_training(recipe, model, tokenizer, train)
        return Rehearsal(
            training=training,
            many_seconds=many,
            alone_seconds=alone,
            tokenize_seconds=tokenize_seconds,
            tokens=float(np.mean([len(t.ids) for t in classifier.encoder.encode(test)])),
            load_seconds=load_seconds,
            resident_bytes=resident,
            parameters=parameters,
            embeddings=embeddings,
            train_lengths=train_lengths,
            test_texts=len(test),
            took_seconds=time.perf_counter() - begin,
        )


@reusing_freed_memory()
def _time_answers(classifier: Classifier, texts: Sequence[Text]) -> tuple[float, float]:
    """Seconds of a text in micro-batches, and of one by itself."""
    classifier.logits(texts[:2])  # the first call is slower
    many = [texts[start : start + _MANY] for start in range(0, len(texts), _MANY)]
    alone = [[text] for text in texts[:: max(1, len(texts) // _ALONE)]]
    return _seconds_of_a_text(classifier.logits, many), _seconds_of_a_text(classifier.logits, alone)


def _seconds_of_a_text(answer: Callable[[Sequence[Text]], object], calls: Sequence[Sequence[Text]]) -> float:
    """Median over as many of `calls` as the budget allows, one at least: a moment of a busy machine counts once."""
    samples: list[float] = []
    begin = time.perf_counter()
    for call in calls:
        started = time.perf_counter()
        answer(call)
        samples.append((time.perf_counter() - started) / len(call))
        if time.perf_counter() - begin > _ANSWERS_BUDGET:
            break
    return float(np.median(samples))


def _time_training(recipe: Recipe, model: Any, tokenizer: Any, train: Examples) -> TrainingSteps:
    batches = _batches(recipe, encode(tokenizer, _spread(train, _SAMPLE)))
    chosen = _typical(batches)
    resident, peak_before = memory.resident_bytes(), memory.peak_bytes()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory(prefix="sentopt-rehearsal-") as folder:
        timed = time_steps(recipe, Path(folder), model, tokenizer, chosen, budget=_STEPS_BUDGET)
    peak = memory.peak_bytes()
    # a process that took more before, in a notebook perhaps, has no new peak to read
    taken = (peak if peak > peak_before else timed.resident_bytes) - resident
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    head = _head_size(model.config)
    kept = max(_kept(batch, head) for batch in chosen[: len(timed.seconds)])
    widest = max(_kept(batch, head) for batch in batches) / kept
    first, again = per_batch(timed.seconds, [_tokens(batch) for batch in chosen], _mean_tokens(batches))
    return TrainingSteps(
        seconds=again,
        first_seconds=first,
        shapes=len({_width(batch) for batch in batches}),
        peak_bytes=resident + _on_widest(taken, trainable, widest),
        gpu_bytes=_on_widest(_gpu_bytes(), trainable, widest),
        steps=len(timed.seconds),
    )


def _on_widest(taken: int, trainable: int, widest: float) -> int:
    """Bytes that training takes whose widest batch keeps `widest` times as much as one on which a step took `taken`.

    Gradients and both moments of Adam have a fixed size, four bytes each for every trainable parameter; the rest is
    what the backward pass keeps, and holes that batches of other shapes leave in it.
    """
    fixed = min(taken, 12 * trainable)
    return round(fixed + (taken - fixed) * widest * _HOLES)


def _kept(batch: Sequence[Encoded], head: float) -> float:
    """In proportion, what the backward pass keeps of a batch.

    A layer keeps about 20 numbers of each token and dimension, and 4 of each pair of tokens in every attention head.
    """
    return _tokens(batch) * (1.0 + 4.0 * _width(batch) / (20.0 * head))


def _head_size(config: Any) -> float:
    """Dimensions of an attention head; 64, as in most models, where the configuration does not tell."""
    width, heads = getattr(config, "hidden_size", 0), getattr(config, "num_attention_heads", 0)
    return float(width / heads) if width and heads else 64.0


def _gpu_bytes() -> int:
    return int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else 0


def _batches(recipe: Recipe, sample: Sequence[Encoded]) -> list[list[Encoded]]:
    """The batches of the first epoch, were the sample all there is; incomplete ones only where there is no other."""
    sampler = EpochSampler.of_recipe(recipe, [len(e["input_ids"]) for e in sample])
    batches = [[sample[i] for i in positions] for positions in sampler.batches()]
    return [batch for batch in batches if len(batch) == sampler.batch_size] or batches


def _typical(batches: Sequence[list[Encoded]]) -> list[list[Encoded]]:
    """The batch of median width, which the first step is taken on; then, twice, those at the quartiles of width."""
    by_width = sorted(batches, key=_width)
    low, median, high = (by_width[round(share * (len(by_width) - 1))] for share in (0.25, 0.5, 0.75))
    return [median, low, high, median, low, high]


def per_batch(seconds: Sequence[float], tokens: Sequence[float], mean: float) -> tuple[float, float]:
    """Seconds of a batch of `mean` tokens whose shape is new, and of one whose shape is not.

    `seconds` are those of `_typical`, and may end early. The first step prepares much that no other does, so it does
    not count where there is another.
    """

    def of(part: slice) -> float:
        return sum(seconds[part]) / sum(tokens[: len(seconds)][part]) * mean

    first = of(slice(1, 3) if len(seconds) > 1 else slice(0, 1))
    return first, of(slice(3, None)) if len(seconds) > 3 else first


def _mean_tokens(batches: Sequence[Sequence[Encoded]]) -> float:
    """Of a batch, padding included."""
    return sum(map(_tokens, batches)) / len(batches)


def _tokens(batch: Sequence[Encoded]) -> float:
    return float(len(batch) * _width(batch))


def _width(batch: Sequence[Encoded]) -> int:
    return max(len(encoded["input_ids"]) for encoded in batch)


def _spread(items: Any, count: int) -> Any:
    """At most `count` items of a sequence, at even distances."""
    return items[:: max(1, -(-len(items) // count))]
