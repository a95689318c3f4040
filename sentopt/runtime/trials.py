"""Measure the fastest tuning of a bundle on this machine, for one text and for many."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sentopt.errors import BundleError
from sentopt.runtime import arguments, tuning
from sentopt.runtime.classifier import Classifier
from sentopt.runtime.cores import available_cores
from sentopt.runtime.description import Text, check_files, read_description
from sentopt.runtime.tuning import Tuning

_MICRO_BATCHES = ((1, 512), (4, 256), (8, 512), (16, 512), (32, 1024))
_ROUNDS = 5
_MANY = 192
T = TypeVar("T")


@dataclass(frozen=True)
class Trial:
    """One measured tuning: median latency of one text in milliseconds, or throughput of many; the other is None."""

    tuning: Tuning
    milliseconds: float | None = None
    texts_per_second: float | None = None


@dataclass(frozen=True)
class Tuned:
    """The fastest tuning, all trials, and the file from which `Classifier.load` reads the tuning."""

    tuning: Tuning
    trials: tuple[Trial, ...]
    path: Path


def tune(bundle: str | os.PathLike[str], texts: Sequence[Text] = ()) -> Tuned:
    """Time several numbers of threads, workers and micro-batches, and save the fastest for `Classifier.load`.

    Args:
        bundle: the folder with `sentopt.json`.
        texts: texts as long as those to be classified; the bundle's golden texts by default.

    Raises:
        BundleError: not a bundle, damaged, or no texts to measure with.
        InputError: `texts` is one text, a table, a mapping or a set.
        OutputError: the cache folder cannot be written; said before anything is measured.
    """
    folder = Path(bundle)
    description = read_description(folder)
    given = arguments.text_list(texts)
    check_files(folder, description)
    tuning.check_can_save()
    sample = given or [golden.text for golden in description.golden]
    if not sample:
        raise BundleError(f"{folder} carries no golden texts; pass `texts` to measure with")
    many = [sample[i % len(sample)] for i in range(max(_MANY, len(sample)))]
    single = tuple(_single_trials(folder, sample))
    threads = min(single, key=lambda trial: trial.milliseconds or 0.0).tuning.threads
    batch_trials = tuple(_batch_trials(folder, many, threads))
    fastest = max(batch_trials, key=lambda trial: trial.texts_per_second or 0.0).tuning
    digest = description.files[description.model_file][1]
    path = tuning.save(digest, description.engine, fastest)
    return Tuned(fastest, (*single, *batch_trials), path)


def _single_trials(folder: Path, texts: Sequence[Text]) -> Iterator[Trial]:
    for threads in sorted({1, max(1, available_cores() // 2), available_cores()}):
        candidate = Tuning(threads=threads, workers=1)
        classifier = Classifier.load(folder, tuning=candidate)
        samples = [_seconds(classifier, text) for _ in range(_ROUNDS) for text in texts]
        yield Trial(candidate, milliseconds=statistics.median(samples[len(texts) :]) * 1e3)


def _batch_trials(folder: Path, texts: Sequence[Text], threads: int) -> Iterator[Trial]:
    for workers in sorted({1, available_cores()}):
        for max_batch, max_tokens in _MICRO_BATCHES:
            candidate = Tuning(threads, workers, max_batch, max_tokens)
            classifier = Classifier.load(folder, tuning=candidate)
            samples = [_seconds(classifier.predict_proba, texts) for _ in range(_ROUNDS)]
            yield Trial(candidate, texts_per_second=len(texts) / statistics.median(samples[1:]))


def _seconds(predict: Callable[[T], object], texts: T) -> float:
    start = time.perf_counter()
    predict(texts)
    return time.perf_counter() - start
