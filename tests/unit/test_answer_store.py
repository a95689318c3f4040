"""What teachers answered is kept: by content, across runs, whatever becomes of the cache folder."""

import hashlib
import multiprocessing
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from sentopt.runtime.classifier import Classifier
from sentopt.runtime.session import FloatArray
from sentopt.runtime.tokenization import Batch, TextEncoder
from sentopt.training import answer_store
from sentopt.training.answer_store import answers

LABELS = ("a", "b")
TEXTS = ["great", "terrible film", "great", "", "a\ud800b", *(f"text {i}" for i in range(1_200))]


class Engine:
    """Gives each text a logit of its own, and counts the texts that it was asked."""

    def __init__(self, stop_after: int = 10**9) -> None:
        self.asked, self.stop_after = 0, stop_after
        self.tokens: list[int] = []  # of the longest text of each batch

    def run(self, batch: Batch) -> FloatArray:
        self.asked += len(batch.input_ids)
        self.tokens.append(batch.input_ids.shape[1])
        if self.asked > self.stop_after:
            raise KeyboardInterrupt
        totals = (batch.input_ids * batch.attention_mask).sum(axis=1)
        return np.stack([totals, -totals], axis=1).astype(np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def encoder(backbone: Path) -> TextEncoder:
    return TextEncoder.load(backbone, max_length=32)


def ask(engine: Engine, encoder: TextEncoder, texts: Sequence[str], digest: str = "x") -> tuple[FloatArray, int]:
    found = answers(Classifier(engine, encoder, LABELS), digest, texts, what="teach: it")
    return found.logits, found.answered


def test_a_text_is_answered_once(encoder: TextEncoder) -> None:
    engine = Engine()
    found, new = ask(engine, encoder, TEXTS)
    assert new == engine.asked == len(set(TEXTS))
    assert found.shape == (len(TEXTS), 2)
    assert found.dtype == np.float32
    assert np.array_equal(found, Classifier(Engine(), encoder, LABELS).logits(TEXTS))
    again, none = ask(engine, encoder, list(reversed(TEXTS)))
    assert (none, engine.asked) == (0, new)
    assert np.array_equal(again, found[::-1])


def test_another_teacher_answers_for_itself(encoder: TextEncoder, cache: Path) -> None:
    ask(Engine(), encoder, TEXTS[:3], "x")
    assert ask(Engine(), encoder, TEXTS[:3], "y")[1] == 2
    assert sorted(path.name for path in (cache / "answers").iterdir()) == ["x.sqlite", "y.sqlite"]


def test_what_was_stopped_goes_on(encoder: TextEncoder) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(Engine(stop_after=700), encoder, TEXTS)
    left = answer_store.missing(["x"], TEXTS, labels=2)
    engine = Engine()
    ask(engine, encoder, TEXTS)
    assert engine.asked == left == len(set(TEXTS)) - answer_store.CHUNK


def test_what_is_missing_is_counted_without_a_file(encoder: TextEncoder, cache: Path) -> None:
    assert answer_store.missing(["x"], TEXTS, labels=2) == len(set(TEXTS))
    assert answer_store.missing([], TEXTS, labels=2) == len(set(TEXTS))
    assert not cache.exists()
    ask(Engine(), encoder, TEXTS[:2], "x")
    ask(Engine(), encoder, TEXTS[:4], "y")
    assert answer_store.missing(["x", "y", "z"], TEXTS, labels=2) == len(set(TEXTS)) - len(set(TEXTS[:4]))
    assert answer_store.missing(["y"], TEXTS, labels=3) == len(set(TEXTS))  # answers of another width are none
    assert sorted(path.name for path in (cache / "answers").iterdir()) == ["x.sqlite", "y.sqlite"]


def test_long_texts_do_not_all_come_last(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their rate is that of the time left which is told."""
    monkeypatch.setattr(answer_store, "CHUNK", 20)
    engine = Engine()
    ask(engine, encoder, ["great " * (1 + i // 20) + str(i) for i in range(400)])
    half = len(engine.tokens) // 2
    first, last = np.mean(engine.tokens[:half]), np.mean(engine.tokens[half:])
    assert 0.6 < first / last < 1.6
    assert len({*engine.tokens}) > 10  # a batch has texts of one length


def test_no_texts_are_no_answers(encoder: TextEncoder) -> None:
    found, new = ask(Engine(), encoder, [])
    assert (found.shape, new) == ((0, 2), 0)


def test_rows_of_another_width_are_none(encoder: TextEncoder) -> None:
    ask(Engine(), encoder, TEXTS[:2])
    three = Classifier(_Wide(), encoder, ("a", "b", "c"))
    assert answers(three, "x", TEXTS[:2], what="teach: it").logits.shape == (2, 3)


class _Wide(Engine):
    def run(self, batch: Batch) -> FloatArray:
        return np.pad(super().run(batch), ((0, 0), (0, 1)))


def test_all_texts_are_answered_again_on_request(encoder: TextEncoder) -> None:
    ask(Engine(), encoder, TEXTS[:3])
    engine = Engine()
    answers(Classifier(engine, encoder, LABELS), "x", TEXTS[:3], what="teach: it", again=True)
    assert engine.asked == 2


TROUBLES = (
    "a file where the folder should be",
    "no database",
    "a folder of that name",
    "another table of that name",
    "other values",
    "pages overwritten",
)


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_cache_that_cannot_be_used_costs_time_only(encoder: TextEncoder, cache: Path, trouble: str) -> None:
    folder = cache / "answers"
    path = folder / "x.sqlite"
    if trouble.startswith("a file"):
        cache.mkdir()
        folder.write_text("mine", encoding="utf-8")
    elif trouble.startswith("a folder"):
        path.mkdir(parents=True)
    else:
        folder.mkdir(parents=True)
        _spoil(path, trouble, encoder)
    found = answers(Classifier(Engine(), encoder, LABELS), "x", TEXTS, what="teach: it")
    assert np.array_equal(found.logits, Classifier(Engine(), encoder, LABELS).logits(TEXTS))
    assert str(folder) in found.trouble
    assert "may be deleted" in found.trouble


def _spoil(path: Path, trouble: str, encoder: TextEncoder) -> None:
    if trouble == "no database":
        path.write_bytes(b"mine")
    elif trouble == "pages overwritten":
        ask(Engine(), encoder, TEXTS)
        with path.open("r+b") as stream:
            stream.seek(4096)
            stream.write(b"\xff" * (path.stat().st_size - 4096))
    else:
        with closing(sqlite3.connect(path)) as database, database:
            if trouble == "another table of that name":
                database.execute("CREATE TABLE answers (name TEXT)")
            else:
                database.execute("CREATE TABLE answers (text, logits)")
                key = hashlib.sha256(TEXTS[0].encode()).digest()
                database.execute("INSERT INTO answers VALUES (?, ?)", (key, 7))


def test_a_full_disk_costs_time_only(encoder: TextEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        """A connection whose writes fail, as on a full disk."""

        def __init__(self, real: sqlite3.Connection) -> None:
            self.real = real

        def __enter__(self) -> None:
            self.real.__enter__()

        def __exit__(self, *error: object) -> None:
            self.real.__exit__(*error)

        def __getattr__(self, name: str) -> object:
            return getattr(self.real, name)

        def executemany(self, *given: object) -> None:
            raise sqlite3.OperationalError("database or disk is full")

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: Full(connect(*given, **named)))
    found = answers(Classifier(Engine(), encoder, LABELS), "x", TEXTS, what="teach: it")
    assert found.answered == len(set(TEXTS))
    assert "disk is full" in found.trouble


def _answer(backbone: Path, start: int) -> None:
    encoder = TextEncoder.load(backbone, max_length=32)
    answers(Classifier(Engine(), encoder, LABELS), "x", TEXTS[start : start + 700], what="teach: it")


def test_several_processes_may_write(backbone: Path, encoder: TextEncoder) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_answer, args=(backbone, start)) for start in (0, 300, 505)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert ask(Engine(), encoder, TEXTS)[1] == 0
