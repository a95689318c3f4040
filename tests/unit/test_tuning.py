"""What `sentopt tune` keeps, and what counts as nothing kept."""

import json
from pathlib import Path

import pytest

from sentopt.errors import InputError, OutputError
from sentopt.runtime import tuning
from sentopt.runtime.tuning import Tuning, load, save

MODEL, ENGINE = "0123abcd" * 8, "onnxruntime"
MEASURED = Tuning(threads=3, workers=2, max_batch=16, max_tokens=512)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_nothing_is_recalled_where_nothing_was_measured(cache: Path) -> None:
    assert load(MODEL, ENGINE) is None
    assert not cache.exists()


def test_what_was_measured_is_recalled(cache: Path) -> None:
    kept_in = save(MODEL, ENGINE, MEASURED)
    assert load(MODEL, ENGINE) == MEASURED
    assert [path for path in cache.rglob("*") if path.is_file()] == [kept_in]


def test_a_later_measurement_replaces_an_earlier_one() -> None:
    save(MODEL, ENGINE, Tuning(1, 1))
    save(MODEL, ENGINE, MEASURED)
    assert load(MODEL, ENGINE) == MEASURED


def test_measurements_hold_for_one_model_one_engine_and_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    save(MODEL, ENGINE, MEASURED)
    assert load(MODEL[::-1], ENGINE) is None
    assert load(MODEL, "openvino") is None
    for name, other in (("available_cores", lambda: 77), ("cpu_model", lambda: "another CPU")):
        with monkeypatch.context() as patch:
            patch.setattr(tuning, name, other)
            assert load(MODEL, ENGINE) is None
    assert load(MODEL, ENGINE) == MEASURED


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"threads": 3, "work',
        b"[3, 2, 16, 512]",
        b"null",
        b"{}",
        b'{"threads": 3}',
        b'{"threads": null, "workers": 2}',
        b'{"threads": "many", "workers": 2}',
        b'{"threads": NaN, "workers": 2}',
        b'{"threads": Infinity, "workers": 2}',
        b'{"threads": 3, "workers": 2, "color": 1}',
        b'{"threads": 0, "workers": 2}',
        b'{"threads": 3, "workers": -2}',
        b'{"threads": 3, "workers": 2, "max_batch": 0}',
        b'{"threads": 3, "workers": 2, "max_tokens": -1}',
        b"\xff\xfe\x00",
    ],
)
def test_a_record_that_makes_no_sense_counts_as_none(content: bytes) -> None:
    save(MODEL, ENGINE, MEASURED).write_bytes(content)
    assert load(MODEL, ENGINE) is None


def test_a_folder_in_the_way_counts_as_none() -> None:
    path = save(MODEL, ENGINE, MEASURED)
    path.unlink()
    path.mkdir()
    assert load(MODEL, ENGINE) is None


def test_nothing_is_left_behind_when_writing_fails(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    save(MODEL, ENGINE, MEASURED)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"cannot be stored in .*: No space left on device\. Set SENTOPT_CACHE_DIR"):
        save(MODEL, ENGINE, Tuning(1, 1))
    assert load(MODEL, ENGINE) == MEASURED
    assert len([path for path in cache.rglob("*") if path.is_file()]) == 1


def test_the_record_is_plain_json() -> None:
    kept_in = save(MODEL, ENGINE, MEASURED)
    assert json.loads(kept_in.read_text()) == {"threads": 3, "workers": 2, "max_batch": 16, "max_tokens": 512}


def test_the_cache_lies_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuning.cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("SENTOPT_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert tuning.cache_folder() == tmp_path / "xdg" / "sentopt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tuning.cache_folder() == tmp_path / ".cache" / "sentopt"


def test_by_default_every_core_is_used() -> None:
    assert tuning.default(6) == Tuning(threads=6, workers=6)
    assert tuning.default().threads == tuning.available_cores()


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SENTOPT_CACHE_DIR")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as without HOME and without an entry in passwd
    assert load(MODEL, ENGINE) is None
    for call in (tuning.cache_folder, tuning.check_can_save, lambda: save(MODEL, ENGINE, MEASURED)):
        with pytest.raises(OutputError, match=r"no home folder, and HOME is not set. Set SENTOPT_CACHE_DIR"):
            call()


def test_a_cache_that_cannot_be_written_is_named(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    assert load(MODEL, ENGINE) is None
    for call in (tuning.check_can_save, lambda: save(MODEL, ENGINE, MEASURED)):
        with pytest.raises(OutputError, match=rf"cannot be stored in {cache}.*Set SENTOPT_CACHE_DIR to a folder"):
            call()


def test_whether_a_tuning_can_be_stored_leaves_nothing_behind(cache: Path) -> None:
    tuning.check_can_save()
    assert [path for path in cache.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("wrong", [0, -1, True, 2.0, "2", None, float("nan")])
@pytest.mark.parametrize("name", ["threads", "workers", "max_batch", "max_tokens"])
def test_a_tuning_of_other_numbers_is_refused(name: str, wrong: object) -> None:
    with pytest.raises(InputError, match=f"^{name} must be (a whole number, )?at least 1, found "):
        Tuning(**{"threads": 1, "workers": 1, name: wrong})  # type: ignore[arg-type]
