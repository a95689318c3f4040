"""Many texts in one call: micro-batches that workers answer side by side."""

import random
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from sentopt import Classifier
from sentopt.runtime.options import Options
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import Batch, TextEncoder, Tokens
from sentopt.runtime.tuning import Tuning, default

pytestmark = pytest.mark.versions

LABELS = ("negative", "neutral", "positive")
THREE_WORKERS = Tuning(threads=1, workers=3, max_batch=4, max_tokens=64)
WORDS = ("great", "terrible", "the", "shop", "opened", "again", "nothing", "new", "to", "say", "about", "it")


def texts(count: int) -> list[str]:
    drawn = random.Random(4)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(0, 40))) for _ in range(count)]


def test_workers_give_the_answers_of_one_text_at_a_time_in_order(bundle: Path) -> None:
    many, alone = Classifier.load(bundle, tuning=THREE_WORKERS), Classifier.load(bundle, threads=1)
    rows = np.concatenate([alone.predict_proba([text]) for text in texts(150)])
    assert np.abs(many.predict_proba(texts(150)) - rows).max() < 1e-5
    assert [p.label for p in many.predict(texts(150))] == [LABELS[i] for i in rows.argmax(axis=1)]
    assert [p.label for p in many.stream(texts(150), window=40)] == [LABELS[i] for i in rows.argmax(axis=1)]


def test_int8_workers_give_bit_for_bit_the_answers_of_one_text_at_a_time(int8_bundle: Path) -> None:
    many, alone = Classifier.load(int8_bundle, tuning=THREE_WORKERS), Classifier.load(int8_bundle, threads=1)
    rows = np.concatenate([alone.logits([text]) for text in texts(150)])
    assert np.array_equal(many.logits(texts(150)), rows)
    assert np.array_equal(many.logits(texts(150), batch_size=32), rows)


def test_the_answers_of_concurrent_calls_are_not_mixed_up(bundle: Path) -> None:
    many, parts = Classifier.load(bundle, tuning=THREE_WORKERS), [texts(60)[i::4] for i in range(4)]
    expected = [many.predict(part) for part in parts]
    found: dict[int, object] = {}

    def work(i: int) -> None:
        found[i] = [many.predict(parts[i]) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: [expected[i]] * 5 for i in range(4)}


class Recorder:
    """An engine that answers zeros and notes on which threads it was called."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.largest = 0
        self.meet: threading.Barrier | None = None

    def run(self, batch: Batch) -> FloatArray:
        self.threads.append(threading.current_thread().name)
        self.largest = max(self.largest, len(batch.input_ids))
        if self.meet:
            self.meet.wait(timeout=20)
        return np.zeros((len(batch.input_ids), 3), dtype=np.float32)


@pytest.fixture
def encoder(bundle: Path) -> TextEncoder:
    return TextEncoder.load(bundle, max_length=48)


def test_as_many_workers_as_asked_for_work_at_the_same_time(encoder: TextEncoder) -> None:
    own, shared, counts = Recorder(), Recorder(), []
    shared.meet = threading.Barrier(3)  # unless three are there at once it breaks, and the test fails

    def open_workers(count: int) -> Recorder:
        counts.append(count)
        return shared

    classifier = Classifier(own, encoder, LABELS, open_workers=open_workers, options=Options(tuning=THREE_WORKERS))
    for _ in range(2):
        assert classifier.predict_proba(["great"] * 12).shape == (12, 3)
    assert counts == [3]
    assert shared.largest == 4
    assert len(shared.threads) == 6
    assert {name.rpartition("_")[0] for name in shared.threads} == {"sentopt"}
    assert own.threads == []


def test_few_texts_are_shared_out_among_all_workers(encoder: TextEncoder) -> None:
    shared = Recorder()
    shared.meet = threading.Barrier(3)
    classifier = Classifier(
        Recorder(), encoder, LABELS, open_workers=lambda count: shared, options=Options(tuning=THREE_WORKERS)
    )
    assert classifier.predict_proba(["great"] * 6).shape == (6, 3)
    assert shared.largest == 2


def test_one_text_or_one_worker_starts_none(encoder: TextEncoder) -> None:
    def open_workers(count: int) -> Recorder:
        raise AssertionError("not needed")

    for tuning, asked in ((THREE_WORKERS, ["great"]), (Tuning(threads=1, workers=1), ["great"] * 50)):
        own = Recorder()
        Classifier(own, encoder, LABELS, open_workers=open_workers, options=Options(tuning=tuning)).predict_proba(asked)
        assert set(own.threads) == {"MainThread"}


def test_what_goes_wrong_in_a_worker_reaches_the_caller(encoder: TextEncoder) -> None:
    class Broken(Recorder):
        def run(self, batch: Batch) -> FloatArray:
            if len(self.threads) == 2:
                raise RuntimeError("out of luck")
            return super().run(batch)

    classifier = Classifier(
        Recorder(), encoder, LABELS, open_workers=lambda count: Broken(), options=Options(tuning=THREE_WORKERS)
    )
    with pytest.raises(RuntimeError, match="out of luck"):
        classifier.predict(["great"] * 40)


def test_threads_asked_for_decide_the_workers(bundle: Path) -> None:
    assert Classifier.load(bundle, threads=3).tuning == default(3)
    assert Classifier.load(bundle).tuning == default()


class Watched(TextEncoder):
    """An encoder that notes how many texts it is given at a time, and how many tokens are alive meanwhile."""

    def __init__(self, encoder: TextEncoder) -> None:
        vars(self).update(vars(encoder))
        self.given: list[int] = []
        self.alive: list[weakref.ref[Tokens]] = []
        self.most_alive = 0

    def encode(self, texts: Sequence[str], *, first: int = 0) -> list[Tokens]:
        tokens = super().encode(texts, first=first)
        self.given.append(len(texts))
        self.alive = [one for one in self.alive if one() is not None] + [weakref.ref(one) for one in tokens]
        self.most_alive = max(self.most_alive, len(self.alive))
        return tokens


@pytest.mark.parametrize("batch_size", [None, 7, 3000])
@pytest.mark.parametrize("workers", [1, 3])
def test_many_texts_are_tokenized_in_windows(encoder: TextEncoder, workers: int, batch_size: int | None) -> None:
    watched = Watched(encoder)
    options = Options(tuning=Tuning(threads=1, workers=workers))
    classifier = Classifier(Recorder(), watched, LABELS, open_workers=lambda count: Recorder(), options=options)
    classifier.logits(["great day"] * 10_000, batch_size=batch_size)
    window = {None: 1024, 7: 1022, 3000: 3000}[batch_size]
    assert watched.given == [window] * (10_000 // window) + [10_000 % window]
    assert watched.most_alive <= 2 * window


def test_windows_do_not_change_answers_or_their_order(int8_bundle: Path) -> None:
    many, alone = Classifier.load(int8_bundle, tuning=THREE_WORKERS), Classifier.load(int8_bundle, threads=1)
    asked = texts(150) * 15
    rows = np.concatenate([alone.logits([text]) for text in texts(150)] * 15)
    assert np.array_equal(many.logits(asked), rows)
    assert np.array_equal(many.logits(asked, batch_size=32), rows)
    assert [p.truncated for p in many.predict(asked)] == [p.truncated for p in many.predict(texts(150))] * 15


def test_a_stream_holds_one_window(encoder: TextEncoder) -> None:
    watched, taken = Watched(encoder), 0
    classifier = Classifier(Recorder(), watched, LABELS)

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "great day"

    answers = classifier.stream(endless(), window=50)
    for answered in range(1, 20_001):
        next(answers)
        assert taken - answered < 50
    assert watched.most_alive <= 100
    assert set(watched.given) == {50}
