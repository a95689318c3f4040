"""What the report says of single answers: bands, wrong answers, doubtful labels."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from sentopt import recipe
from sentopt.report import answers, tables
from sentopt.results import Confidence, ExamineResult
from sentopt.run_dir import RunDir
from sentopt.stages import examine

LABELS = ("bad", "good")
TRAINED = Confidence(temperature=1.5, error=0.02, error_before=0.03, coverage=())
# probability of "good" by the variant and by PyTorch, and the label of the text
ROWS = [
    ("short and good", 0.99, 0.98, 1),
    ("said to be bad, and surely good", 0.97, 0.96, 0),
    ("a slip of the variant alone", 0.60, 0.30, 0),
    ("wrong and sure, but PyTorch is right", 0.98, 0.20, 0),
    ("bad", 0.05, 0.05, 0),
    ("SHORT and good", 0.01, 0.98, 1),  # repeats the first text
    ("word " * 40, 0.70, 0.70, 1),
]


@pytest.fixture
def run_dir(tmp_path: Path, backbone: Path) -> RunDir:
    run = RunDir(tmp_path)
    run.checkpoint.symlink_to(backbone)
    run.data.mkdir()
    (run.data / "labels.json").write_text(json.dumps(LABELS), encoding="utf-8")
    lines = [json.dumps({"text": text, "label": label}) for text, _, _, label in ROWS]
    run.split("test").write_text("\n".join(lines) + "\n", encoding="utf-8")
    run.split("validation").write_text("", encoding="utf-8")
    run.answers("x").parent.mkdir(parents=True)
    for path, column in ((run.answers("x"), 1), (run.reference, 2)):
        good = np.array([row[column] for row in ROWS], dtype=np.float32)
        np.save(path, np.log(np.stack([1 - good, good], axis=1)))
    return run


@pytest.fixture
def examined(run_dir: RunDir) -> ExamineResult:
    return examine.run(recipe.load("quickstart"), run_dir, "x", TRAINED, ["x"])


def test_wrong_answers_are_those_of_distinct_texts_the_surest_first(examined: ExamineResult) -> None:
    assert (examined.texts, examined.wrong_texts) == (6, 3)
    assert [answer.row for answer in examined.wrong] == [4, 2, 3]
    assert [answer.answer for answer in examined.wrong] == ["good"] * 3
    assert [answer.reference_answer for answer in examined.wrong] == ["bad", "good", "bad"]


def test_a_label_is_doubtful_where_both_models_are_sure_of_another(examined: ExamineResult) -> None:
    assert examined.doubtful == 1
    assert [answer.row for answer in examined.wrong if answer.doubtful] == [2]
    (section,) = answers.wrong_section(examined)
    assert "1 of them score 0.95 or more in PyTorch" in section.paragraphs[0]
    assert [row[1] for row in section.tables[0].rows] == ["bad", "bad ?", "bad"]


def test_bands_hold_every_text_once(examined: ExamineResult) -> None:
    assert sum(band.texts for band in examined.lengths) == sum(band.texts for band in examined.bands) == 6
    assert sum(band.right for band in examined.lengths) == sum(band.right for band in examined.bands) == 3
    assert sum(band.reference_right for band in examined.lengths) == 5
    assert all(a.most < b.least for a, b in zip(examined.lengths, examined.lengths[1:], strict=False))
    assert all(band.least <= band.mean_score <= band.least + 0.1 + 1e-6 for band in examined.bands)


def test_long_texts_are_cut(run_dir: RunDir) -> None:
    lines = run_dir.split("test").read_text(encoding="utf-8").splitlines()
    lines[1] = json.dumps({"text": "word " * 1_000, "label": 0})
    run_dir.split("test").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = examine.run(recipe.load("quickstart"), run_dir, "x", TRAINED)
    (cut,) = (answer.text for answer in found.wrong if answer.row == 2)
    assert len(cut) <= 304
    assert cut.endswith(" ...")


def test_the_calibration_is_that_of_what_ships(examined: ExamineResult) -> None:
    assert examined.confidence.error != TRAINED.error
    assert examined.confidence.temperature == TRAINED.temperature


def test_the_file_has_all_mistakes_with_their_whole_texts(run_dir: RunDir, examined: ExamineResult) -> None:
    with run_dir.mistakes("x").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["row"]) for row in rows] == [answer.row for answer in examined.wrong]
    assert [row["doubtful"] for row in rows] == ["", "yes", ""]
    assert rows[1]["text"] == ROWS[1][0]


def test_texts_are_no_markup(run_dir: RunDir) -> None:
    lines = run_dir.split("test").read_text(encoding="utf-8").splitlines()
    odd = "<img src=http://x/y.png> ![a](http://b) `c` *d* | e \\| f\r\ng\u2028h"
    lines[1] = json.dumps({"text": odd, "label": 0})
    run_dir.split("test").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = examine.run(recipe.load("quickstart"), run_dir, "x", TRAINED)
    (section,) = answers.wrong_section(found)
    written = tables.as_markdown(section.tables[0])
    assert len(written.splitlines()) == 2 + 3
    line = next(line for line in written.splitlines() if "img" in line)
    assert not re.search(r"(?<!\\)[<`*!\[]", line)
    assert len(re.findall(r"(?<!\\)\|", line)) == 6  # the borders of five cells


def test_a_variant_without_mistakes_has_none_to_show(run_dir: RunDir) -> None:
    truth = np.array([row[3] for row in ROWS])
    np.save(run_dir.answers("x"), np.eye(2, dtype=np.float32)[truth] * 9)
    found = examine.run(recipe.load("quickstart"), run_dir, "x", TRAINED)
    assert (found.wrong_texts, found.wrong) == (0, ())
    assert answers.wrong_section(found) == []


def test_lost_and_gained_texts_are_shown_for_every_variant(examined: ExamineResult) -> None:
    (change,) = examined.changes
    assert (change.variant, change.lost, change.gained) == ("x", 2, 0)
    assert [answer.row for answer in change.texts] == [4, 3]  # the surest first
    assert not any(answer.gained for answer in change.texts)
    (section,) = answers.changes_section(examined)
    assert section.tables[0].title == "x: 2 lost, 0 gained"
    assert [row[1] for row in section.tables[0].rows] == ["lost", "lost"]


def test_a_variant_without_finite_answers_has_no_changes_to_show(run_dir: RunDir) -> None:
    run_dir.answers("y").parent.mkdir()
    np.save(run_dir.answers("y"), np.full((len(ROWS), 2), np.nan, dtype=np.float32))
    found = examine.run(recipe.load("quickstart"), run_dir, "x", TRAINED, ["y"])
    assert found.changes == ()
    assert answers.changes_section(found) == []
