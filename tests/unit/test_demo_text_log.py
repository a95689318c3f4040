"""The log of texts, also where the disk is full."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from sentopt.demo.text_log import TextLog
from sentopt.runtime.classifier import Prediction

ANSWER = Prediction("good", 0.5, {"good": 0.5}, truncated=False)
FULL = Path("/dev/full")


@contextlib.contextmanager
def small_files_only() -> Iterator[None]:
    """No file of this process grows beyond 300 bytes: the write that would make it do so is cut short.

    Not a fixture: until those end, pytest writes its own output, which may be a file, too.
    """
    resource = pytest.importorskip("resource")
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_every_text_is_a_line(tmp_path: Path) -> None:
    with TextLog.open(tmp_path / "log.jsonl") as log:
        assert log.add(["one", "two\n\ud800"], [ANSWER, ANSWER])
        assert log.add([], [])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == ["one", "two\n\ud800"]


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    with TextLog.open(FULL) as log:
        assert [log.add(["a"], [ANSWER]) for _ in range(5)] == [False] * 5
    assert len(caplog.records) == 1
    assert "/dev/full" in caplog.text
    assert "No space left" in caplog.text
    assert "sentopt_unlogged_texts_total" in caplog.text


def test_no_half_a_line_is_left_and_later_texts_are_added(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with TextLog.open(path) as log, small_files_only():
        logging.getLogger("sentopt.demo").disabled = True
        try:
            assert [log.add([text], [ANSWER]) for text in ("a" * 100, "b" * 200, "c")] == [True, False, True]
        finally:
            logging.getLogger("sentopt.demo").disabled = False
    assert [json.loads(line)["text"][0] for line in path.read_text().splitlines()] == ["a", "c"]


def test_what_another_process_added_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with TextLog.open(path) as one, TextLog.open(path) as other:
        assert one.add(["one"], [ANSWER])
        assert other.add(["other"], [ANSWER])
        assert one.add(["one again"], [ANSWER])
    assert [json.loads(line)["text"] for line in path.read_text().splitlines()] == ["one", "other", "one again"]


def test_a_log_that_is_removed_or_read_only_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with TextLog.open(path) as log:
        path.unlink()
        assert log.add(["a"], [ANSWER])
    (tmp_path / "other").touch()
    reading = os.open(tmp_path / "other", os.O_RDONLY)
    assert TextLog(path, reading).add(["a"], [ANSWER]) is False
    os.close(reading)


def test_pairs_and_sets_of_labels_are_logged(tmp_path: Path) -> None:
    path = tmp_path / "texts.jsonl"
    answer = Prediction("good", 0.9, {"good": 0.9}, False, labels=("good", "fine"))
    for _ in range(2):  # such a file is taken again
        with TextLog.open(path) as log:
            assert log.add([("a", "b")], [answer])
            assert log.add(["c"], [answer], sets=True)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == 2 * [
        {"text": "a", "pair": "b", "label": "good", "score": 0.9},
        {"text": "c", "label": "good", "score": 0.9, "labels": ["good", "fine"]},
    ]
