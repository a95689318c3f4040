"""`sentopt tune`: what it measures, keeps, and changes for later loads."""

import json
import re
from pathlib import Path

import pytest

from sentopt import Classifier, cli
from sentopt.errors import BundleError, BundleIntegrityError
from sentopt.runtime import trials
from sentopt.runtime.cores import available_cores
from sentopt.runtime.description import read_description
from sentopt.runtime.tuning import Tuning, default, load, save

UNLIKELY = Tuning(threads=1, workers=2, max_batch=5, max_tokens=77)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def digest(bundle: Path) -> str:
    description = read_description(bundle)
    return description.files[description.model_file][1]


def test_what_was_measured_is_used_from_then_on(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", str(bundle), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    kept = Tuning(**result["tuning"])
    assert load(digest(bundle), "onnxruntime") == kept == Classifier.load(bundle).tuning
    singles = [trial for trial in result["trials"] if trial["milliseconds"]]
    manys = [trial for trial in result["trials"] if trial["texts_per_second"]]
    assert {trial["tuning"]["threads"] for trial in singles} >= {1, available_cores()}
    assert {trial["tuning"]["workers"] for trial in manys} == {1, available_cores()}
    assert max(manys, key=lambda trial: trial["texts_per_second"])["tuning"] == result["tuning"]
    assert kept.threads == min(singles, key=lambda trial: trial["milliseconds"])["tuning"]["threads"]


def test_tuning_is_told_in_words(bundle: Path, cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", str(bundle)]) == 0
    out = capsys.readouterr().out
    (path,) = (path for path in cache.rglob("*") if path.is_file())
    assert "one text, 1 thread: " in out
    assert re.search(r"many, 1 worker, up to 8 texts of \d+ tokens: \d+ texts/s", out)
    assert out.splitlines()[-1].startswith("kept for this machine: ")
    assert str(path) in out


def test_a_record_is_ignored_where_threads_or_a_tuning_are_given(bundle: Path) -> None:
    save(digest(bundle), "onnxruntime", UNLIKELY)
    assert Classifier.load(bundle).tuning == UNLIKELY
    assert Classifier.load(bundle, threads=1).tuning == default(1)
    assert Classifier.load(bundle, tuning=Tuning(2, 1)).tuning == Tuning(2, 1)


def test_a_record_counts_for_one_bundle_only(bundle: Path, int8_bundle: Path) -> None:
    save(digest(bundle), "onnxruntime", UNLIKELY)
    assert Classifier.load(int8_bundle).tuning == default()


def test_a_record_does_not_change_answers(bundle: Path) -> None:
    before = Classifier.load(bundle).predict(["great great", "terrible terrible"] * 9)
    save(digest(bundle), "onnxruntime", UNLIKELY)
    after = Classifier.load(bundle)
    assert [p.label for p in after.predict(["great great", "terrible terrible"] * 9)] == [p.label for p in before]
    assert after.check_golden() < 1e-4


def test_texts_of_ones_own_can_be_tuned_with(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    honest = Classifier.__call__
    monkeypatch.setattr(Classifier, "__call__", lambda self, text: (asked.append(text), honest(self, text))[1])
    tuned = trials.tune(bundle, ["the the shop " * 5])
    assert set(asked) == {"the the shop " * 5}
    assert tuned.path.is_file()


def test_without_golden_texts_some_must_be_given(bundle: Path, edit_description) -> None:  # type: ignore[no-untyped-def]
    edit_description(golden=[])
    with pytest.raises(BundleError, match="carries no golden texts; pass `texts` to measure with"):
        trials.tune(bundle)


def test_a_damaged_bundle_is_not_tuned(bundle: Path, cache: Path) -> None:
    (bundle / "tokenizer.json").write_text("{}")
    with pytest.raises(BundleIntegrityError):
        trials.tune(bundle)
    assert not cache.exists()
