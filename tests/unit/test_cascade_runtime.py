"""A cascade in the runtime: what is counted, in every thread and process, and what its bundle says of it."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small_bundles
import small_cascades

from sentopt import Classifier
from sentopt.bundles import check, pack, words
from sentopt.errors import BundleError, BundleIntegrityError, InputError
from sentopt.runtime import trials
from sentopt.runtime.deferral import LATEST, Stats, Tally, has_drifted
from sentopt.runtime.description import Cascade, FullGraph, read_description
from sentopt.runtime.tuning import Tuning

TEXTS = small_cascades.TEXTS
TWO_WORKERS = Tuning(threads=1, workers=2, max_batch=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_cascades.write(tmp_path_factory.mktemp("cascade") / "bundle")


def test_the_bundle_says_what_it_is(folder: Path) -> None:
    description = read_description(folder)
    assert isinstance(description.cascade, Cascade)
    assert (description.cascade.layers, description.cascade.reads) == (1, "head")
    assert 0.3 < description.cascade.threshold < 1.0
    assert description.cascade.threshold_tokens == 10
    assert 0.3 < description.cascade.deferred < 0.7
    assert description.full == FullGraph("lean-fp32", small_cascades.FULL, "logits")


def test_the_full_model_answers_what_is_deferred_and_the_counts_say_so(folder: Path) -> None:
    classifier = Classifier.load(folder, check=True)
    assert classifier.stats() == Stats(0, 0, None, pytest.approx(read_description(folder).cascade.deferred))  # type: ignore[union-attr]
    expected = small_cascades.deferred(classifier)
    logits, deferred = classifier.routed(TEXTS)
    assert deferred.tolist() == expected
    full = Classifier.open(folder / small_cascades.FULL, classifier.encoder, small_bundles.LABELS)
    assert np.abs(logits - full.logits(TEXTS))[deferred].max() < 1e-5
    assert np.abs(logits - full.logits(TEXTS))[~deferred].min(axis=1).max() > 1e-3
    stats = classifier.stats()
    assert (stats.texts, stats.deferred) == (len(TEXTS), sum(expected))
    assert stats.share == stats.latest_share == stats.recorded_share
    assert not stats.drifted


@pytest.mark.parametrize("tuning", [Tuning(threads=1, workers=1), TWO_WORKERS])
def test_every_way_of_asking_is_counted(folder: Path, tuning: Tuning) -> None:
    classifier = Classifier.load(folder, tuning=tuning)
    expected = small_cascades.deferred(classifier)
    classifier(TEXTS[0])
    classifier.predict(TEXTS)
    classifier.predict_proba(iter(TEXTS))
    classifier.logits(TEXTS, batch_size=7)
    list(classifier.stream(TEXTS, window=50))
    tokens = classifier.encoder.encode(TEXTS)
    classifier.predict_tokens(tokens)
    assert classifier.routed_of(tokens)[1].tolist() == expected
    stats = classifier.stats()
    assert (stats.texts, stats.deferred) == (6 * len(TEXTS) + 1, 6 * sum(expected) + expected[0])


def test_what_is_not_to_count_does_not(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path))
    classifier = Classifier.load(folder, check=True)
    classifier.check_golden()
    tokens = classifier.encoder.encode(TEXTS)
    classifier.predict_tokens(tokens, counted=[False] * len(TEXTS))
    assert classifier.stats().texts == 0
    trials.tune(folder, TEXTS[:3])
    assert classifier.stats().texts == 0
    classifier.predict_tokens(tokens, counted=[i == 5 for i in range(len(TEXTS))])
    stats = classifier.stats()
    assert (stats.texts, stats.deferred) == (1, small_cascades.deferred(classifier)[5])
    with pytest.raises(InputError, match="counted has 1 values for"):
        classifier.predict_tokens(tokens, counted=[True])


def test_threads_lose_no_text(folder: Path) -> None:
    classifier = Classifier.load(folder, tuning=TWO_WORKERS)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(classifier.predict, [TEXTS] * 40))
    stats = classifier.stats()
    assert (stats.texts, stats.deferred) == (40 * len(TEXTS), 40 * sum(small_cascades.deferred(classifier)))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_process_counts_its_own(folder: Path) -> None:
    classifier = Classifier.load(folder, tuning=TWO_WORKERS)
    classifier.predict(TEXTS)
    child = os.fork()
    if child == 0:
        threading.Timer(20, os._exit, (9,)).start()
        fresh = classifier.stats().texts == 0
        classifier.predict(TEXTS[:7])
        os._exit(0 if fresh and classifier.stats().texts == 7 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert classifier.stats().texts == len(TEXTS)


def test_what_is_no_cascade_counts_its_texts_alone(tmp_path: Path) -> None:
    classifier = Classifier.load(small_bundles.write(tmp_path / "bundle"))
    classifier.predict(list(small_bundles.TEXTS))
    assert classifier.stats() == Stats(3)
    logits, deferred = classifier.routed(["the"])
    assert logits.shape == (1, 3)
    assert deferred.tolist() == [True]


def test_other_texts_than_those_that_it_was_verified_on_are_noticed(folder: Path) -> None:
    classifier = Classifier.load(folder)
    of_one_way = [text for text, d in zip(TEXTS, small_cascades.deferred(classifier), strict=True) if d]
    classifier.predict(list(TEXTS) * 10)
    assert not classifier.stats().drifted
    classifier.predict(of_one_way * 20)
    stats = classifier.stats()
    assert stats.drifted
    assert stats.latest_share == 1.0
    classifier.predict(list(TEXTS) * 10)
    assert not classifier.stats().drifted


def test_the_limit_of_the_share_is_that_of_chance() -> None:
    assert not has_drifted(250, LATEST, 0.25, 1200)
    assert not has_drifted(290, LATEST, 0.25, 1200)
    assert has_drifted(340, LATEST, 0.25, 1200)
    assert has_drifted(160, LATEST, 0.25, 1200)
    assert not has_drifted(340, LATEST, 0.25, 60)  # recorded on too few texts to say
    assert not has_drifted(99, 99, 0.25, 1200)
    assert has_drifted(100, 100, 0.25, 1200)
    assert not has_drifted(0, 1000, 0.0, 500)
    assert not has_drifted(1000, 1000, 1.0, 500)


def test_false_alarms_are_rare() -> None:
    """Both shares are drawn, as they are in truth."""
    chance = np.random.default_rng(1)
    recorded, latest = chance.binomial(600, 0.2, 3000) / 600, chance.binomial(LATEST, 0.2, 3000)
    alarms = sum(has_drifted(int(n), LATEST, share, 600) for n, share in zip(latest, recorded, strict=True))
    assert alarms <= 3


def test_only_the_latest_texts_decide() -> None:
    tally = Tally()
    tally.add(5000, [True] * 5000)
    for _ in range(10):
        tally.add(100, [i % 4 == 0 for i in range(100)])
    stats = tally.stats(cascade=True, recorded=(0.25, 600))
    assert (stats.texts, stats.deferred, stats.latest_share, stats.drifted) == (6000, 5250, 0.25, False)


def test_the_check_says_how_many_texts_went_which_way(folder: Path) -> None:
    outcome = check.check(folder)
    count = sum(small_cascades.deferred(Classifier.load(folder)))
    assert (outcome.deferred, outcome.rerouted) == (count, 0)
    lines = list(words.of_check(folder, outcome))
    assert f"cascade: {len(TEXTS) - count} answered by the student, {count} by the full model" in lines


def test_texts_that_go_the_other_way_are_told(tmp_path: Path) -> None:
    folder = small_cascades.write(tmp_path / "bundle")
    small_bundles.edit(folder, lambda facts: [entry.update(deferred=True) for entry in facts["golden"]])
    outcome = check.check(folder)
    assert outcome.rerouted == len(TEXTS) - (outcome.deferred or 0) > 0
    assert any(
        f"{outcome.rerouted} of them not as where it was verified" in line for line in words.of_check(folder, outcome)
    )
    small_bundles.edit(folder, lambda facts: facts["golden"][0].update(probabilities=[1, 0, 0]))
    small_bundles.edit(folder, lambda facts: facts["golden"][1].update(probabilities=[0, 0, 1]))
    with pytest.raises(
        BundleIntegrityError, match=rf"answered by the student, \d+ by the full model, {outcome.rerouted}"
    ):
        Classifier.load(folder, check=True)


def test_what_is_said_to_be_a_cascade_must_say_what_it_defers(tmp_path: Path) -> None:
    folder = small_cascades.write(tmp_path / "bundle")
    small_bundles.edit(folder, lambda facts: facts.update(model_file=small_cascades.FULL))
    with pytest.raises(BundleError, match=r"described as a cascade, and onnx/model_full\.onnx does not say"):
        Classifier.load(folder)


def test_an_archive_holds_both_graphs(folder: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(pack.archive(folder, tmp_path / "packed.tar.gz")) as tar:
        assert {"small/onnx/model.onnx", "small/onnx/model_full.onnx"} <= set(tar.getnames())
        tar.extractall(tmp_path, filter="data")
    assert Classifier.load(tmp_path / "small", check=True).is_cascade


def test_a_student_that_reads_the_beginning(tmp_path: Path) -> None:
    folder = small_cascades.write(tmp_path / "bundle", max_length=4)
    classifier = Classifier.load(folder, check=True)
    assert classifier.routed(TEXTS)[1].tolist() == small_cascades.deferred(classifier)
