"""The command line and the scoring of tables with multi-label bundles and with bundles of text pairs."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import kinds_of_bundles
import pytest
import small_bundles

import sentopt
from sentopt import Classifier, cli

TEXTS = ("great the great", "terrible", "", "the the")


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_bundles.write(tmp_path_factory.mktemp("kinds") / "single")


@pytest.fixture(scope="module")
def of_pairs(single: Path) -> Path:
    return kinds_of_bundles.of_pairs(single, single.with_name("pairs"))


@pytest.fixture(scope="module")
def sets(single: Path) -> Path:
    return kinds_of_bundles.multi_label(single, single.with_name("sets"), thresholds=(0.6, 0.9, 0.95))


def predicted(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sentopt", "predict", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60)


def test_both_texts_of_pairs_follow_one_another(of_pairs: Path, capsys: Any) -> None:
    given = ["great great", "terrible", "the", "great"]
    assert cli.main(["predict", *given, "--bundle", str(of_pairs)]) == 0
    expected = Classifier.load(of_pairs).predict([("great great", "terrible"), ("the", "great")])
    assert capsys.readouterr().out.splitlines() == [
        f"{expected[0].label}\t{expected[0].score:.4f}\tgreat great\tterrible",
        f"{expected[1].label}\t{expected[1].score:.4f}\tthe\tgreat",
    ]
    assert cli.main(["predict", *given, "--json", "--bundle", str(of_pairs)]) == 0
    first, _ = map(json.loads, capsys.readouterr().out.splitlines())
    assert (first["text"], first["pair"], first["label"]) == ("great great", "terrible", expected[0].label)


def test_lines_of_stdin_are_pairs_with_a_tab_between(of_pairs: Path) -> None:
    done = predicted("--bundle", str(of_pairs), stdin="great\tterrible\nthe the\tgreat\n")
    assert [line.split("\t")[2:] for line in done.stdout.splitlines()] == [["great", "terrible"], ["the the", "great"]]
    done = predicted("--bundle", str(of_pairs), stdin="great\tterrible\nalone\n")
    assert done.returncode == 1
    assert len(done.stdout.splitlines()) == 1
    assert "line 2 holds one text ('alone'), and the model answers pairs" in done.stderr


def test_a_text_without_the_other_of_its_pair_is_refused(of_pairs: Path, capsys: Any) -> None:
    assert cli.main(["predict", "great", "--bundle", str(of_pairs)]) == 1
    assert "1 text(s) are given: give both texts of each pair, one after the other" in capsys.readouterr().err


def test_all_labels_of_a_text_are_printed(sets: Path, capsys: Any) -> None:
    expected = Classifier.load(sets).predict(TEXTS)
    assert [one.labels for one in expected] == [("positive",), ("negative",), (), ("neutral",)]
    assert cli.main(["predict", *TEXTS, "great the great the terrible", "--bundle", str(sets)]) == 0
    shown = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == ["positive", "negative", "(none of the labels)", "neutral", "neutral, positive, negative"]
    assert cli.main(["predict", "the", "--abstain-below", "0.99", "--bundle", str(sets)]) == 0
    assert capsys.readouterr().out.startswith("?\t")


def test_a_check_names_texts_and_thresholds(of_pairs: Path, sets: Path, capsys: Any) -> None:
    assert cli.main(["check", str(sets)]) == 0
    assert (
        "lean-fp32, any of the labels negative from 0.6, neutral from 0.9, positive from 0.95"
        in capsys.readouterr().out
    )
    assert cli.main(["check", str(of_pairs)]) == 0
    said = capsys.readouterr().out
    assert "labels negative, neutral, positive of pairs of text and aspect" in said
    assert f"{len(kinds_of_bundles.PAIRS)} pairs answered as verified" in said


def test_tune_measures_pairs(of_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cli.main(["tune", str(of_pairs)]) == 0
    assert "kept for this machine" in capsys.readouterr().out


def table(folder: Path, suffix: str = ".csv") -> Path:
    path = folder / f"in{suffix}"
    if suffix == ".csv":
        path.write_text("text,n\n" + "".join(f"{text},{i}\n" for i, text in enumerate(TEXTS)))
    else:
        path.write_text("".join(json.dumps({"text": text, "n": i}) + "\n" for i, text in enumerate(TEXTS)))
    return path


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_scored_table_has_all_labels_of_a_row(sets: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out.csv"
    assert cli.main(["predict", "--input", str(table(tmp_path)), "--output", str(out), "--bundle", str(sets)]) == 0
    printed = capsys.readouterr().out
    assert "  neutral: 1\n" in printed
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert list(rows[0]) == ["text", "n", "labels", "p_negative", "p_neutral", "p_positive"]
    assert [row["labels"] for row in rows] == ['["positive"]', '["negative"]', "", '["neutral"]']
    expected = Classifier.load(sets)("terrible").probabilities
    assert float(rows[1]["p_negative"]) == pytest.approx(expected["negative"], abs=1e-5)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_labels_are_lists_where_a_format_has_lists(sets: Path, tmp_path: Path, suffix: str) -> None:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / f"out{suffix}"
    classifier = Classifier.load(sets, abstain_below=0.15)
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in (*TEXTS, "hello", "terrible the")))
    summary = sentopt.score(classifier, source, out, progress=False)
    read = pyarrow.read_table(out).to_pylist() if suffix == ".parquet" else lines_of(out)
    assert [row["labels"] for row in read] == [None, ["negative"], None, ["neutral"], [], None]
    assert (summary.abstained, summary.empty, summary.without_label) == (2, 1, 1)
    assert summary.labels == {"negative": 1, "neutral": 1, "positive": 0}


def test_rows_without_a_label_are_counted(sets: Path, tmp_path: Path, capsys: Any) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text,labels\ngreat,x\nterrible,x\n")
    assert cli.main(["predict", "--input", str(source), "--output", str(out), "--bundle", str(sets)]) == 0
    captured = capsys.readouterr()
    assert "  none of the labels: 1" in captured.out
    assert "predicted_labels, predicted_p_negative" in captured.err
    assert [row["predicted_labels"] for row in csv.DictReader(io.StringIO(out.read_text()))] == ["[]", '["negative"]']


def test_many_files_are_scored_with_all_labels(sets: Path, tmp_path: Path, capsys: Any) -> None:
    pa, pyarrow = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    folder, out = tmp_path / "in", tmp_path / "scored"
    folder.mkdir()
    table(folder, ".jsonl")
    pyarrow.write_table(pa.table({"text": [*TEXTS, "great"]}), folder / "b.parquet")
    assert cli.main(["score", str(folder), "--output", str(out), "--bundle", str(sets), "--no-progress"]) == 0
    assert "  none of the labels: 1" in capsys.readouterr().out
    (parquet,) = out.rglob("*.parquet")
    expected = [["positive"], ["negative"], None, ["neutral"], []]
    assert pyarrow.read_table(parquet)["labels"].to_pylist() == expected
    (lines,) = out.rglob("*.jsonl")
    assert [row["labels"] for row in lines_of(lines)] == expected[:4]
