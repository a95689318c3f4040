"""What `sentopt data check` finds in a dataset, and that corrections reach the training data."""

import csv
import importlib.util
import io
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_files import read_csv, write_csv

import sentopt
from sentopt import cli
from sentopt.audit import doubts, near_duplicates, wrong_labels
from sentopt.data import sources, splits
from sentopt.errors import DataError, MissingExtraError, OutputError
from sentopt.files import safe_csv
from sentopt.recipe import DataSection

pytest.importorskip("cleanlab")
WORDS = {
    "good": ["lovely", "superb", "charming", "great", "brilliant"],
    "bad": ["awful", "terrible", "boring", "weak", "dreadful"],
    "plain": ["blue", "square", "wooden", "listed", "daily"],
}
THINGS = [f"thing{i}" for i in range(40)]
Row = tuple[str, str]


def made(count: int, labels: tuple[str, ...], seed: int = 0) -> list[Row]:
    """Texts of three telling and three other words, no two of them equal."""
    draw = random.Random(seed)
    rows: dict[str, str] = {}
    while len(rows) < count:
        label = labels[len(rows) % len(labels)]
        text = " ".join([*draw.sample(WORDS[label], 3), *draw.sample(THINGS, 3)])
        rows.setdefault(text, label)
    return list(rows.items())


def flipped(rows: list[Row], count: int, labels: tuple[str, ...]) -> tuple[list[Row], dict[str, str]]:
    """The rows with `count` wrong labels, and the right labels of those texts."""
    draw = random.Random(1)
    right = dict(draw.sample(rows, count))
    wrong = {text: draw.choice([other for other in labels if other != label]) for text, label in right.items()}
    return [(text, wrong.get(text, label)) for text, label in rows], right


def of_files(folder: Path, **changes: Any) -> splits.CleanData:
    data = DataSection(dataset="files", train=str(folder), **changes)
    return splits.clean(sources.load(data), data, seed=1)


@pytest.mark.parametrize("labels", [("good", "bad"), ("good", "bad", "plain")])
def test_planted_wrong_labels_are_found_with_the_right_ones(labels: tuple[str, ...]) -> None:
    rows, right = flipped(made(300, labels), 9, labels)
    found = sentopt.check_data(rows, model="no/such-model")
    listed = found.of_kind("wrong label")
    assert len(listed) >= 7
    assert all(right.get(doubt.text) == doubt.suggested for doubt in listed[:7])
    assert len(listed) <= 12
    assert all(doubt.confidence and doubt.confidence > 0.5 for doubt in listed[:7])
    assert listed[0].place.startswith("train row ")
    assert found.judged == 300
    assert found.backbone is None


def test_a_text_that_repeats_is_counted_once_and_cannot_tell_its_own_label() -> None:
    rows, right = flipped(made(200, ("good", "bad")), 4, ("good", "bad"))
    repeated = [(text.upper(), label) for text, label in rows if text in right]
    found = sentopt.check_data([*rows, *repeated], model="no/such-model")
    assert found.judged == 200
    assert {doubt.text for doubt in found.of_kind("wrong label")[:4]} == set(right)


def test_chinese_without_blanks() -> None:
    draw = random.Random(0)
    telling = {"good": "好美喜优", "bad": "坏差丑劣"}
    rows = {}
    for i in range(800):
        label = ("good", "bad")[i % 2]
        middle = "".join(draw.sample("山水风云天地人你我他上下", 5))
        rows[f"{draw.choice(telling[label])}{middle}{draw.choice(telling[label])}"] = label
    noisy, right = flipped(list(rows.items()), 6, ("good", "bad"))
    found = sentopt.check_data(noisy, model="no/such-model").of_kind("wrong label")
    assert found
    assert {doubt.text for doubt in found} <= set(right)
    labels = np.array([label == "good" for _, label in noisy], dtype=np.int64)
    probabilities = wrong_labels.unseen([text for text, _ in noisy], labels, seed=0)
    least_probable = np.argsort(probabilities[np.arange(800), labels])[:6]
    assert {noisy[row][0] for row in least_probable} == set(right)


def test_texts_beyond_those_that_models_learn_from_are_judged_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_labels, "MOST_TEXTS", 150)
    rows, right = flipped(made(300, ("good", "bad")), 9, ("good", "bad"))
    labels = np.array([label == "good" for _, label in rows], dtype=np.int64)
    probabilities = wrong_labels.unseen([text for text, _ in rows], labels, seed=0)
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    least_probable = np.argsort(probabilities[np.arange(300), labels])[:9]
    assert {rows[row][0] for row in least_probable} == set(right)


def test_a_label_of_few_texts_is_told_and_not_judged() -> None:
    rows = [*made(100, ("good", "bad")), *[(f"rare {i}", "odd") for i in range(4)]]
    found = sentopt.check_data(rows, model="no/such-model")
    assert found.judged == 100
    assert any("fewer than 5 distinct texts" in notice and "'odd'" in notice for notice in found.notices)
    assert "odd" not in {doubt.label for doubt in found.of_kind("wrong label")}


def test_labels_of_fewer_texts_than_folds_are_judged() -> None:
    rows = made(18, ("good", "bad", "plain"))
    assert sentopt.check_data(rows, model="no/such-model").judged == 18


def likenesses(*rows: tuple[str, int]) -> list[tuple[int, int, str]]:
    texts, labels = zip(*rows, strict=True)
    found = near_duplicates.conflicts(texts, np.array(labels, dtype=np.int64))
    return [(near.row, near.other, near.likeness) for near in found]


def test_near_duplicates_with_another_label() -> None:
    eight = "we went to the sea in the rain"
    assert likenesses(("Fine  day", 0), ("fine day", 1)) == [(0, 1, "same text"), (1, 0, "same text")]
    assert likenesses(("fine day", 0), ("Fine, day!", 1), ("fine day.", 1)) == [(0, 1, "same but punctuation")]
    assert likenesses(("fine day", 0), ("fine day!", 0)) == []
    assert likenesses(("day :)", 0), ("day :(", 1)) == []
    assert likenesses((eight, 0), (eight.replace("sea", "lake"), 1))[0] == (0, 1, "one word differs")
    assert likenesses((eight, 0), (eight.replace("rain", "sun"), 1))[0] == (0, 1, "one word differs")
    assert likenesses((eight, 0), (eight.replace("we ", "they "), 1))[0] == (0, 1, "one word differs")
    assert likenesses((eight, 0), (eight.replace("we ", "they ").replace("sea", "lake"), 1)) == []
    assert likenesses((eight[:-5], 0), (eight[:-5].replace("sea", "lake"), 1)) == []


def test_leaks_across_the_splits_that_are_given() -> None:
    train = made(60, ("good", "bad"))
    test = [*made(20, ("good", "bad"), seed=5), (train[0][0] + "!", train[0][1]), (train[1][0].upper(), train[1][1])]
    found = sentopt.check_data({"train": train, "test": test}, model="no/such-model")
    leaks = {doubt.place: doubt for doubt in found.of_kind("leak")}
    assert set(leaks) == {"train row 1", "train row 2"}
    assert leaks["train row 1"].because == f"same but punctuation: test row 21 (test), labelled {train[0][1]}"
    assert leaks["train row 2"].because.startswith("same text: test row 22")
    assert found.texts == {"train": 60, "test": 22}


def test_empty_texts_and_what_training_would_refuse() -> None:
    found = sentopt.check_data([*made(60, ("good", "bad")), (" ", "good"), ("alone", "odd")], model="no/such-model")
    assert [doubt.place for doubt in found.of_kind("empty text")] == ["train row 61"]
    assert "label 'odd' occurs once" in found.refusal


def test_the_backbone_of_the_recipe_counts_tokens(backbone: Path) -> None:
    rows = [*made(60, ("good", "bad")), *[("長い" + text, label) for text, label in made(40, ("good", "bad"), 3)]]
    found = sentopt.check_data(rows, model=backbone, max_length=8).backbone
    assert found is not None
    assert found.unknown.share > 0
    assert found.cut == 1.0
    assert any("model.max_length" in notice for notice in found.notices)


@pytest.fixture
def table(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    rows, right = flipped(made(300, ("good", "bad")), 6, ("good", "bad"))
    rows = [("=" + text, label) if i == 7 else (text, label) for i, (text, label) in enumerate(rows)]
    write_csv(tmp_path / "reviews.csv", rows, ("text", "label"))
    return tmp_path / "reviews.csv", right


def test_the_command_line_says_what_python_returns(
    table: tuple[Path, dict[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    path, right = table
    options = ["--model", "no/such-model"]
    found = sentopt.check_data(path, model="no/such-model")
    assert cli.main(["data", "check", str(path), *options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [doubt["text"] for doubt in said["doubts"]] == [doubt.text for doubt in found.doubts]
    assert said["labels"] == found.labels
    assert {path.name for path in path.parent.iterdir()} == {"reviews.csv"}
    output = path.parent / "doubts.csv"
    assert cli.main(["data", "check", str(path), *options, "--output", str(output)]) == 0
    out = capsys.readouterr().out
    assert f"likely wrong labels: about {len(found.of_kind('wrong label'))} of 300" in out
    assert f"--set data.corrections={output}" in out
    assert "--fetch downloads it" in out
    assert [row["text"] for row in read_csv(output)] == [doubt.text for doubt in found.doubts]
    assert len({doubt.text for doubt in found.doubts} & set(right)) >= 4
    with pytest.raises(OutputError, match="overwrite=True"):
        sentopt.check_data(path, model="no/such-model", output=output)
    with pytest.raises(OutputError, match="overwrite itself"):
        sentopt.check_data(path, output=path, overwrite=True)


def test_corrections_change_the_training_data(table: tuple[Path, dict[str, str]]) -> None:
    path, right = table
    output = path.parent / "doubts.csv"
    sentopt.check_data(path, model="no/such-model", output=output)
    rows = list(csv.DictReader(io.StringIO(output.read_text(encoding="utf-8-sig"), newline="")))
    wrong = [row for row in rows if row["text"] in right][:4]
    right = {row["text"]: right[row["text"]] for row in wrong}
    assert len(wrong) == 4
    for row in wrong[:3]:
        row["corrected"] = right[row["text"]].upper()
    wrong[3]["corrected"] = "<drop>"
    write_csv(output, [tuple(row.values()) for row in rows], tuple(rows[0]))
    before, after = of_files(path), of_files(path, corrections=str(output))

    def labels(data: splits.CleanData) -> dict[str, str]:
        return {e.text: data.labels[e.label] for split in data.splits.values() for e in split}

    changed = {text for text, label in labels(before).items() if labels(after).get(text) != label}
    assert changed == set(right)
    assert {text: labels(after).get(text) for text in right} == {
        **{row["text"]: right[row["text"]] for row in wrong[:3]},
        wrong[3]["text"]: None,
    }
    assert "doubts.csv: corrected the label of 3 row(s) of train; left out 1 row(s) of train" in after.notices


def corrections(folder: Path, *rows: tuple[str, str]) -> str:
    write_csv(folder / "corrections.csv", rows, ("text", "corrected"))
    return str(folder / "corrections.csv")


def test_a_text_that_a_spreadsheet_would_run_is_found_again(table: tuple[Path, dict[str, str]]) -> None:
    path, _ = table
    text = read_csv(path)[7]["text"]
    given = corrections(path.parent, ("'" + text, "<drop>"))
    kept = [e.text for split in of_files(path, corrections=given).splits.values() for e in split]
    assert text.startswith("=")
    assert text not in kept
    assert len(kept) == 299


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("goood", "1 label\\(s\\) are none of bad, good: corrections.csv line 2: 'goood'.*'good'"),
        ("", "no cell of the column 'corrected' is filled in"),
        ("<dropp>", "<drop>"),
    ],
)
def test_wrong_corrections_are_refused(table: tuple[Path, dict[str, str]], label: str, message: str) -> None:
    path, right = table
    with pytest.raises(DataError, match=message):
        of_files(path, corrections=corrections(path.parent, (next(iter(right)), label)))


def test_corrections_of_other_data_and_contradictions_are_refused(table: tuple[Path, dict[str, str]]) -> None:
    path, right = table
    text = next(iter(right))
    with pytest.raises(DataError, match="none of the 1 corrected texts"):
        of_files(path, corrections=corrections(path.parent, ("of another list", "good")))
    with pytest.raises(DataError, match=r"one text is corrected to 'good' .* and to 'bad'"):
        of_files(path, corrections=corrections(path.parent, (text, "good"), (text.upper(), "bad")))
    with pytest.raises(DataError, match="has no column 'corrected'; it has 'text', 'label'"):
        of_files(path, corrections=str(path))
    with pytest.raises(DataError, match="no such file"):
        of_files(path, corrections="nowhere.csv")


def test_a_label_that_is_named_like_leaving_out_is_not_guessed_about(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "r.csv", made(60, ("good", "bad")) + [(f"x{i}", "<drop>") for i in range(9)], ("text", "label")
    )
    with pytest.raises(DataError, match="the data has a label of that name"):
        of_files(tmp_path / "r.csv", corrections=corrections(tmp_path, ("x1", "<drop>")))


def test_corrections_are_part_of_what_splits_are_made_of(table: tuple[Path, dict[str, str]]) -> None:
    path, right = table
    data = DataSection(dataset="files", train=str(path))
    assert set(sources.identify(data)) == {"train"}
    first = corrections(path.parent, (next(iter(right)), "good"))
    named = DataSection(dataset="files", train=str(path), corrections=first)
    before = sources.identify(named)
    corrections(path.parent, (next(iter(right)), "bad"))
    after = sources.identify(named)
    assert {key for key in after if before[key] != after[key]} == {"data.corrections"}


def test_numbers_as_labels_come_back_from_a_spreadsheet(tmp_path: Path) -> None:
    rows = [(text, "1" if label == "good" else "0") for text, label in made(60, ("good", "bad"))]
    write_csv(tmp_path / "r.csv", rows, ("text", "label"))
    text, label = rows[0]
    after = of_files(tmp_path / "r.csv", corrections=corrections(tmp_path, (text, "0.0")))
    assert label == "1"
    found = Counter(after.labels[e.label] for split in after.splits.values() for e in split if e.text == text)
    assert found == {"0": 1}


def test_a_missing_package_is_told_before_the_data_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "sentopt\[clean\]"'):
        sentopt.check_data([("no", "label"), ("of", None)], model="no/such-model")


@pytest.mark.parametrize("text", ["=1+1", "'=1+1", "''@x", "plain", "'quoted'", "-5", " =a", ""])
def test_a_text_is_what_it_was_when_the_list_is_read(text: str) -> None:
    written = list(
        csv.reader(io.StringIO(doubts.as_csv([doubts.Doubt("train", "r 1", "leak", text, "a")]).decode(), newline=""))
    )
    cell = written[1][3]
    assert not cell.lstrip(" ").startswith(("=", "@"))
    assert safe_csv.restored(cell) == text


def test_a_run_that_was_trained_is_told_of_other_corrections(
    table: tuple[Path, dict[str, str]], tiny_options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`prepare` is done again, and the finished checkpoint is not replaced without being asked."""
    path, right = table
    given = corrections(tmp_path, (next(iter(right)), right[next(iter(right))]))
    options = ["--data", str(path), "--run-dir", str(tmp_path / "run"), *tiny_options[2:]]
    options += ["--set", "train.max_steps=1"]
    assert cli.main(["train", *options, "--set", f"data.corrections={given}"]) == 0
    manifest = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert "data.corrections" in manifest["stages"]["prepare"]["result"]["identity"]
    capsys.readouterr()
    corrections(tmp_path, (next(iter(right)), "<drop>"))
    assert cli.main(["train", *options, "--set", f"data.corrections={given}"]) == 1
    assert f"data.corrections: {given} has changed since this run was trained" in capsys.readouterr().err
