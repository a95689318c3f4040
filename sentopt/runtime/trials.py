"""Measuring, on this machine, how a bundle runs fastest: for one text, and for many."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sentopt.errors import BundleError
from sentopt.runtime import tuning
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.cores import available_cores
from sentopt.runtime.description import read_description
from sentopt.runtime.tuning import Tuning

_MICRO_BATCHES = ((1, 512), (4, 256), (8, 512), (16, 512), (32, 1024))
_ROUNDS = 5
_MANY = 192
T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """One way that was tried: median milliseconds of one text, or texts per second of many; the other is None."""

    tuning: Tuning
    milliseconds: float | None = None
    texts_per_second: float | None = None


@dataclass(frozen=True)
class Tuned:
    """The ways that won, all that were tried, and the file that keeps the winners for `Classifier.load`."""

    tuning: Tuning
    trials: tuple[Trial, ...]
    kept_in: Path


def tune(bundle: str | os.PathLike[str], texts: Sequence[str] = ()) -> Tuned:
    """Try threads, workers and micro-batches, and keep the fastest; `Classifier.load` finds them from then on.

    Args:
        bundle: the folder that holds `sentopt.json`.
        texts: texts of the lengths to come; the bundle's golden texts by default.

    Raises:
        BundleError: not a bundle, damaged, or without any text to measure with.
    """
    folder = Path(bundle)
    description = read_description(folder)
    sample = list(texts) or [golden.text for golden in description.golden]
    if not sample:
        raise BundleError(f"{folder} carries no golden texts: give texts to tune with")
    many = [sample[i % len(sample)] for i in range(max(_MANY, len(sample)))]
    single = tuple(_single_trials(folder, sample))
    threads = min(single, key=lambda trial: trial.milliseconds or 0.0).tuning.threads
    batched = tuple(_many_trials(folder, many, threads))
    chosen = max(batched, key=lambda trial: trial.texts_per_second or 0.0).tuning
    digest = description.files[description.model_file][1]
    kept_in = tuning.remember(digest, description.engine, chosen)
    return Tuned(chosen, (*single, *batched), kept_in)


def _single_trials(folder: Path, texts: Sequence[str]) -> Iterator[Trial]:
    for threads in sorted({1, max(1, available_cores() // 2), available_cores()}):
        way = Tuning(threads=threads, workers=1)
        classifier = Classifier.load(folder, tuning=way)
        samples = [_seconds(classifier, text) for _ in range(_ROUNDS) for text in texts]
        yield Trial(way, milliseconds=statistics.median(samples[len(texts) :]) * 1e3)


def _many_trials(folder: Path, texts: Sequence[str], threads: int) -> Iterator[Trial]:
    for workers in sorted({1, available_cores()}):
        for max_batch, max_tokens in _MICRO_BATCHES:
            way = Tuning(threads, workers, max_batch, max_tokens)
            classifier = Classifier.load(folder, tuning=way)
            samples = [_seconds(classifier.predict_proba, texts) for _ in range(_ROUNDS)]
            yield Trial(way, texts_per_second=len(texts) / statistics.median(samples[1:]))


def _seconds(answer: Callable[[T], object], question: T) -> float:
    start = time.perf_counter()
    answer(question)
    return time.perf_counter() - start
