"""Whatever is changed in a bundle: it is refused in words or answers well, and nothing outside its folder is opened."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import answering
import mutations
import pytest
import small_bundles
import small_cascades
from hypothesis import HealthCheck, given, settings

SMALL = {"max_examples": 40, "derandomize": True, "deadline": None, "database": None}
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]")
READ_BY_THE_MODEL = ("max_length", "truncation_side", "pad_token_id", "model_file", "output")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundles.write(tmp_path_factory.mktemp("original") / "bundle")


@pytest.fixture(scope="module")
def process(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[answering.Answering]:
    started = answering.Answering(original, tmp_path_factory.mktemp("trace") / "log")
    yield started
    started.end()


def check_answers(outcome: answering.Outcome, labels: list[str]) -> None:
    """Each text has a label and a distribution, and the golden texts a difference or a reason."""
    assert len(outcome.answers) == len(answering.TEXTS)
    for label, probabilities in outcome.answers:
        assert len(probabilities) == len(labels)
        assert all(math.isfinite(p) and 0 <= p <= 1 for p in probabilities)
        assert sum(probabilities) == pytest.approx(1.0, abs=1e-4)
        assert label == labels[probabilities.index(max(probabilities))]
    assert outcome.golden


def hold(mutation: mutations.Mutation, original: Path, process: answering.Answering) -> None:
    """What must hold of any change."""
    folder = mutation.apply(original, original.parent / "changed")
    try:
        outcome = process.of(folder)
        assert outcome.kind in ("answered", "refused"), outcome
        assert outcome.opened == ()
        assert outcome.seconds < 60
        assert outcome.peak_mib < 1024
        if outcome.kind == "refused":
            assert outcome.words
            assert len(outcome.words) < 3000
            assert not CONTROL.search(outcome.words), outcome.words
            return
        before, after = (json.loads((path / "sentopt.json").read_text()) for path in (original, folder))
        check_answers(outcome, after["labels"])
        if not mutation.listed:
            assert mutation.content == (original / mutation.file).read_bytes()
        if mutation.file == "sentopt.json" and all(before.get(key) == after.get(key) for key in READ_BY_THE_MODEL):
            usual = process.of(original)
            assert [row for _, row in outcome.answers] == [row for _, row in usual.answers]
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("file", ["sentopt.json", "tokenizer.json", small_bundles.MODEL])
def test_a_changed_bundle_is_refused_in_words_or_answers(
    original: Path, process: answering.Answering, file: str
) -> None:
    @settings(**SMALL, suppress_health_check=list(HealthCheck))
    @given(mutations.mutations(original, file))
    def property_of(mutation: mutations.Mutation) -> None:
        hold(mutation, original, process)

    property_of()


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = small_cascades.write(tmp_path_factory.mktemp("cascade") / "bundle")
    return small_bundles.edit(folder, lambda facts: facts.update(golden=facts["golden"][:4]))


@pytest.fixture(scope="module")
def answering_cascades(cascade: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[answering.Answering]:
    started = answering.Answering(cascade, tmp_path_factory.mktemp("trace") / "log")
    yield started
    started.end()


@pytest.mark.parametrize("file", ["sentopt.json", small_bundles.MODEL])
def test_a_changed_cascade_is_refused_in_words_or_answers(
    cascade: Path, answering_cascades: answering.Answering, file: str
) -> None:
    @settings(**SMALL, suppress_health_check=list(HealthCheck))
    @given(mutations.mutations(cascade, file))
    def property_of(mutation: mutations.Mutation) -> None:
        hold(mutation, cascade, answering_cascades)

    property_of()


def test_the_process_is_watched_from_outside(tmp_path: Path) -> None:
    if not answering.can_trace():
        pytest.skip("strace is not installed, or may not be used here")
    code = "import numpy, os; numpy.fromfile('/etc/hostname', dtype='u1'); os.path.exists('/etc/passwd')"
    subprocess.run([*answering.tracing(tmp_path / "log"), sys.executable, "-c", code], check=True)
    opened = answering.opened_in((tmp_path / "log").read_text())
    assert "/etc/hostname" in opened
    assert "/etc/passwd" not in opened


def test_a_process_that_dies_is_noticed_and_started_again(original: Path, tmp_path: Path) -> None:
    """The bundle is good; its folder has a name that ends the process."""
    process = answering.Answering(original, tmp_path / "log")
    assert process.of(Path(answering.END)).kind == "died"
    assert process.of(original).kind == "answered"
    process.end()


@pytest.mark.slow
def test_the_benchmark_finds_nothing_in_300_mutations_of_an_int8_bundle(int8_bundle: Path) -> None:
    script = Path(__file__).parents[2] / "benchmarks" / "bundle_mutations.py"
    done = subprocess.run(
        [sys.executable, script, int8_bundle, "--mutations", "300"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(script.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["mutations"] == found["refused"] + found["answered"] == 300
    assert min(found["refused"], found["answered"]) > 10
