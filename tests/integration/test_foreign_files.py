"""Nothing of a person's is deleted, overwritten or changed: folders are compared to the byte for every verb."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from csv_files import read_csv, write_csv
from folder_state import state

from sentopt import cli, manifest, score
from sentopt.data import tables
from sentopt.data.row_writer import RowWriter
from sentopt.errors import DataError, ServingError
from sentopt.files import journal
from sentopt.run_dir import RunDir
from sentopt.runtime.classifier import Prediction

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sentopt(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; returns exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def project(in_folder: Path, reviews: Path, finished_run: Path) -> Path:
    """A person's own project: their data, their model, and folders called as those of a run. It is the current one."""
    root = in_folder / "project"
    shutil.copytree(reviews, root / "data")
    shutil.copyfile(root / "data" / "train.csv", root / "data" / "reviews.csv")
    shutil.copytree(finished_run / "checkpoint", root / "checkpoint")
    for name in (
        "plots/mine.png",
        "trainer/notes.txt",
        "bundle/mine.txt",
        "variants/onnx-fp32/mine.onnx",
        "averaged/x",
    ):
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text("mine")
    for name in ("report.md", "report.html", "reference.npy", "bench-samples.json", "recipe.toml"):
        (root / name).write_text("mine")
    os.chdir(root)
    return root


def set_options(options: list[str]) -> list[str]:
    """Without --data and --model."""
    return options[4:]


# ---- directories that are not sentopt's


@pytest.mark.parametrize("run_json", [None, '{"run": "another tool"}', "{", '{"schema_version": 1, "stages": {}}'])
@pytest.mark.parametrize("verb", ["train", "run", "export", "average"])
def test_a_project_is_no_run_directory(
    project: Path, tiny_options: list[str], finished_run: Path, sentopt: Run, verb: str, run_json: str | None
) -> None:
    if run_json:
        (project / "run.json").write_text(run_json)
    before = state(project)
    model = ["--model", tiny_options[3]]
    for run_dir in (".", project, "../project", "data"):
        arguments = {
            "train": ["train", "--data", "data/reviews.csv", *model, *set_options(tiny_options)],
            "run": ["run", "--data", "data", *model, *set_options(tiny_options), "--force"],
            "export": ["export", "--model", "checkpoint", "--data", "data", "--force"],
            "average": ["average", finished_run, finished_run / "." / ".." / finished_run.name],
        }[verb]
        code, out, err = sentopt(*arguments, "--run-dir", run_dir)
        assert (code, out) == (1, "")
        assert "--run-dir" in err
        assert "Traceback" not in err
        assert state(project) == before


def test_the_refusal_names_what_is_there(project: Path, tiny_options: list[str], sentopt: Run) -> None:
    err = sentopt("train", "--data", "data/reviews.csv", *tiny_options[2:], "--run-dir", ".")[2]
    assert "is not a run directory of sentopt and not empty: it holds averaged, bench-samples.json, bundle" in err
    assert "Name a new folder with --run-dir NEW_FOLDER" in err


@pytest.mark.parametrize("verb", ["bench", "export", "report"])
def test_verbs_that_go_on_with_a_run_refuse_a_project(project: Path, sentopt: Run, verb: str) -> None:
    (project / "run.json").write_text('{"of": "another tool"}')
    (project / "recipe.toml").write_text('[run]\nname = "mine"\n')
    before = state(project)
    code, _, err = sentopt(verb, "--run-dir", ".")
    assert code == 1
    assert "no run of sentopt's" in err or "is not a run directory of sentopt" in err
    assert state(project) == before


def test_a_bundle_or_the_folder_of_all_runs_is_no_run_directory(
    run_copy: Path, tiny_options: list[str], sentopt: Run
) -> None:
    before = state(run_copy.parent)
    for run_dir in (run_copy / "bundle", run_copy / "variants", run_copy / "checkpoint", run_copy.parent):
        code, _, err = sentopt("train", *tiny_options, "--run-dir", run_dir)
        assert code == 1
        assert "is not a run directory of sentopt" in err
    assert state(run_copy.parent) == before


def test_a_run_that_failed_at_once_is_known_again(in_folder: Path, tiny_options: list[str], sentopt: Run) -> None:
    data = write_csv(in_folder / "data.csv", [("x", "a")])
    assert sentopt("train", "--data", data, *tiny_options[2:], "--run-dir", "new")[0] == 1
    assert (in_folder / "new" / "run.json").is_file()
    code, _, err = sentopt("train", "--data", data, *tiny_options[2:], "--run-dir", "new")
    assert code == 1
    assert "is not a run directory" not in err
    code, _, err = sentopt("predict", "x")
    assert "no run found" in err


# ---- inputs inside the run directory


def test_inputs_in_the_run_directory_are_refused(run_copy: Path, tiny_options: list[str], sentopt: Run) -> None:
    shutil.copyfile(Path(tiny_options[1]) / "train.csv", run_copy / "mine.csv")
    shutil.copyfile(run_copy / "recipe.toml", run_copy / "mine.toml")
    (run_copy.parent / "link.csv").symlink_to(run_copy / "mine.csv")
    rest = [*tiny_options[2:], "--run-dir", run_copy, "--force"]
    before = state(run_copy)
    for arguments, named in (
        (["train", "--data", run_copy / "mine.csv", *rest], "mine.csv"),
        (["train", "--data", run_copy.parent / "link.csv", *rest], "link.csv"),
        (["train", "--data", run_copy / "data", *rest], "data/train.jsonl"),
        (["train", *tiny_options[:2], "--model", run_copy / "checkpoint", *rest[2:]], "checkpoint"),
        (["run", run_copy / "mine.toml", "--run-dir", run_copy / "." / "..", "--force"], ""),
        (["run", run_copy / "mine.toml", "--run-dir", f"{run_copy}/../{run_copy.name}", "--force"], "mine.toml"),
    ):
        code, _, err = sentopt(*arguments)
        assert code == 1
        assert f"{named}, which the run is to read" in err if named else "is not a run directory" in err
        assert state(run_copy) == before


def test_the_runs_own_recipe_may_be_in_it(run_copy: Path, sentopt: Run) -> None:
    assert sentopt("run", run_copy / "recipe.toml", "--run-dir", run_copy)[0] == 0


# ---- files of a person's in folders that sentopt made


@pytest.mark.parametrize(
    ("place", "command"),
    [
        ("data/mine.csv", "train"),
        ("checkpoint/mine.txt", "train"),
        ("trainer/mine.txt", "train"),
        ("trainer/checkpoint-30/mine.bin", "train"),
        ("trainer/checkpoint-7-backup/optimizer.pt", "train"),
        ("variants/onnx-fp32/mine.txt", "export"),
        ("variants/lean-int8/deep/mine.txt", "export"),
        ("bundle/mine.txt", "export"),
        ("bundle/onnx/mine.onnx", "export"),
        ("plots/mine.png", "report"),
    ],
)
def test_a_stage_refuses_to_replace_a_folder_with_something_else_in_it(
    run_copy: Path, tiny_options: list[str], sentopt: Run, place: str, command: str
) -> None:
    (run_copy / place).parent.mkdir(parents=True, exist_ok=True)
    (run_copy / place).write_text("mine")
    folder = run_copy / ("/".join(place.split("/")[: 2 if place.startswith("variants") else 1]))
    if command == "report":
        (run_copy / "report.md").write_text("changed, so that it is written again")
    before = state(folder)
    code, _, err = sentopt(
        *{
            "train": ["train", *tiny_options, "--force", "--run-dir", run_copy],
            "export": ["export", "--force", "--run-dir", run_copy],
            "report": ["report", "--run-dir", run_copy],
        }[command]
    )
    assert code == 1
    assert f"{run_copy / place} was not written by sentopt, and would be replaced: move it elsewhere" in err
    assert state(folder) == before


def test_nothing_that_passes_does_not_take_a_persons_file_along(run_copy: Path, sentopt: Run) -> None:
    """Where no variant may ship, the bundle of before goes; not with what somebody put into it."""
    (run_copy / "bundle" / "mine.txt").write_text("mine")
    code, _, err = sentopt("export", "--run-dir", run_copy, "--set", "verify.margin=0.5")
    assert code == 1
    assert "bundle/mine.txt was not written by sentopt" in err
    assert (run_copy / "bundle" / "mine.txt").read_text() == "mine"


def test_other_files_in_a_run_directory_stay(run_copy: Path, tiny_options: list[str], sentopt: Run) -> None:
    for name in (
        "notes.md",
        "variants/mine/model.onnx",
        "variants/.tmp-onnx-fp32-mine/x",
        "mine/deep/x",
        ".tmp-data-mine/x",
    ):
        (run_copy / name).parent.mkdir(parents=True, exist_ok=True)
        (run_copy / name).write_text("mine")
    kept = ["notes.md", "variants/mine", "variants/.tmp-onnx-fp32-mine", "mine", ".tmp-data-mine"]
    before = [(run_copy / name).read_bytes() if name == "notes.md" else state(run_copy / name) for name in kept]
    assert sentopt("run", *tiny_options, "--run-dir", run_copy, "--force")[0] == 0
    assert [(run_copy / n).read_bytes() if n == "notes.md" else state(run_copy / n) for n in kept] == before


def without_journals(run_dir: Path) -> Path:
    """As a sentopt left it that kept none."""
    for path in run_dir.rglob(journal.FILE):
        path.unlink()
    return run_dir


def test_a_run_of_before_the_journal_is_known_by_its_manifest(
    run_copy: Path, tiny_options: list[str], sentopt: Run
) -> None:
    without_journals(run_copy)
    code, _, err = sentopt("train", *tiny_options, "--run-dir", run_copy, "--set", "train.epochs=1")
    assert code == 1
    assert "train.epochs: 3.0 -> 1.0" in err
    without_journals(run_copy)
    (run_copy / "checkpoint" / "mine.txt").write_text("mine")
    code, _, err = sentopt("train", *tiny_options, "--run-dir", run_copy, "--force")
    assert code == 1
    assert "checkpoint/mine.txt was not written by sentopt" in err
    (run_copy / "checkpoint" / "mine.txt").unlink()
    without_journals(run_copy)
    assert sentopt("run", *tiny_options, "--run-dir", run_copy, "--force")[0] == 0


# ---- another run in the same place


@pytest.fixture
def two_files(in_folder: Path, tiny_options: list[str], sentopt: Run) -> list[str]:
    """A/reviews.csv and B/reviews.csv; the first is trained on, into exports/reviews. Returns options."""
    rows = [(row["text"], row["label"]) for row in read_csv(Path(tiny_options[1]) / "train.csv")]
    for folder, shown in (("A", rows), ("B", rows[:200])):
        (in_folder / folder).mkdir()
        write_csv(in_folder / folder / "reviews.csv", shown)
    options = [*tiny_options[2:], "--set", "train.max_steps=2"]
    assert sentopt("train", "--data", "A/reviews.csv", *options)[0] == 0
    return options


def test_another_run_in_the_same_place(
    in_folder: Path, two_files: list[str], backbone_without_lean_graph: Path, sentopt: Run
) -> None:
    run = in_folder / "exports" / "reviews"
    before = state(run)
    other_model = ["--model", backbone_without_lean_graph]
    (in_folder / "B" / "exports").symlink_to(in_folder / "exports")
    first = ["train", "--data", "A/reviews.csv", *two_files]
    for folder, arguments, listed in (
        (".", ["train", "--data", "B/reviews.csv", *two_files], "data.train: A/reviews.csv -> B/reviews.csv"),
        (".", ["run", "--data", "B/reviews.csv", *two_files], "data.train: A/reviews.csv -> B/reviews.csv"),
        ("B", ["train", "--data", "reviews.csv", *two_files], "data.train: A/reviews.csv -> reviews.csv"),
        (".", [*first, *other_model], f"model.backbone: {two_files[1]} -> {backbone_without_lean_graph}"),
        (".", [*first, "--set", "train.learning_rate=0.1"], "train.learning_rate: 0.003 -> 0.1"),
        (".", [*first, "--set", "run.seed=7"], "run.seed: 42 -> 7"),
        (".", [*first, "--set", "data.train_limit=50"], "data.train_limit: 0 -> 50"),
        (".", ["export", "--model", run / "checkpoint", "--data", "A/reviews.csv", "--run-dir", run], "is to read"),
    ):
        os.chdir(in_folder / folder)
        code, out, err = sentopt(*arguments)
        os.chdir(in_folder)
        assert (code, out) == (1, "")
        assert f"{listed}\n" in err or "is to read" in err
        assert "--run-dir N" in err
        assert state(run) == before
    (in_folder / "A" / "again").mkdir()
    shutil.copyfile(in_folder / "A" / "reviews.csv", in_folder / "A" / "again" / "reviews.csv")
    assert sentopt("train", "--data", "A/again/reviews.csv", *two_files)[0] == 0  # the same texts, elsewhere


def test_data_that_changed_is_said_and_force_trains_again(in_folder: Path, two_files: list[str], sentopt: Run) -> None:
    shutil.copyfile("B/reviews.csv", "A/reviews.csv")
    weights = in_folder / "exports" / "reviews" / "checkpoint" / "model.safetensors"
    before = weights.read_bytes()
    command = ["train", "--data", "A/reviews.csv", *two_files]
    code, _, err = sentopt(*command)
    assert code == 1
    assert "data.train: A/reviews.csv has changed since this run was trained" in err
    assert "replace it with --force" in err
    assert weights.read_bytes() == before
    assert sentopt(*command, "--force")[0] == 0
    assert weights.read_bytes() != before
    assert sentopt(*command)[0] == 0


def test_a_model_folder_that_changed(in_folder: Path, tiny_options: list[str], sentopt: Run) -> None:
    shutil.copytree(tiny_options[3], "model")
    command = ["train", *tiny_options[:2], "--model", "model", *tiny_options[4:], "--set", "train.max_steps=1"]
    assert sentopt(*command)[0] == 0
    (in_folder / "model" / "config.json").write_text((in_folder / "model" / "config.json").read_text() + "\n")
    code, _, err = sentopt(*command)
    assert code == 1
    assert "model.backbone: model has changed since this run was trained" in err


def test_a_training_that_has_not_finished_may_become_another(
    in_folder: Path, tiny_options: list[str], sentopt: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentopt.stages import train

    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt()))
        assert sentopt("train", *tiny_options, "--run-dir", "x")[0] == 130
    code, _, err = sentopt("train", *tiny_options, "--run-dir", "x", "--set", "train.max_steps=1")
    assert code == 0, err


def test_a_forced_training_that_was_stopped_does_not_ship_the_old_checkpoint(
    run_copy: Path, tiny_options: list[str], sentopt: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentopt.stages import train

    other = [*tiny_options, "--run-dir", str(run_copy), "--set", "data.train_limit=50", "--force"]
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", lambda *args, **kwargs: (_ for _ in ()).throw(KeyboardInterrupt()))
        assert sentopt("train", *other)[0] == 130
    code, _, err = sentopt("export", "--run-dir", run_copy)
    assert code == 1
    assert "training was started anew and has not finished" in err
    assert "data.train_limit: 0 -> 50" in err


@pytest.mark.parametrize("key", ["verify.margin=6", "select.objective=throughput", "export.fp32_fallback=true"])
def test_what_does_not_decide_the_checkpoint_may_change(
    run_copy: Path, tiny_options: list[str], sentopt: Run, key: str
) -> None:
    before = (run_copy / "checkpoint" / "model.safetensors").read_bytes()
    assert sentopt("train", *tiny_options, "--run-dir", run_copy, "--set", key)[0] == 0
    assert (run_copy / "checkpoint" / "model.safetensors").read_bytes() == before


def test_another_tuned_model_in_the_same_place(
    in_folder: Path, finished_run: Path, reviews: Path, sentopt: Run
) -> None:
    for name in ("one", "two"):
        shutil.copytree(finished_run / "checkpoint", in_folder / name / "model")
    config = in_folder / "two" / "model" / "config.json"
    config.write_text(config.read_text() + "\n")
    rest = ["--data", reviews, "--set", "verify.margin=5", "--set", "export.variants=['lean-fp32']"]
    rest += ["--set", "bench.rounds=1", "--set", "bench.texts=2", "--set", "bench.throughput_texts=4"]
    assert sentopt("export", "--model", "one/model", *rest)[0] == 0
    before = state(in_folder / "exports")
    code, _, err = sentopt("export", "--model", "two/model", *rest)
    assert code == 1
    assert "model.backbone: one/model -> two/model" in err
    assert state(in_folder / "exports") == before


def test_an_average_takes_no_directory_that_is_used(project: Path, finished_run: Path, sentopt: Run) -> None:
    before = state(project)
    code, _, err = sentopt("average", finished_run, finished_run, "--run-dir", ".")
    assert code == 1
    assert "is there already" in err
    assert state(project) == before


def test_followers_of_a_distributed_training_claim_nothing(
    project: Path, tiny_options: list[str], sentopt: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    before = state(project)
    assert sentopt("train", *tiny_options, "--run-dir", ".")[0] == 0
    assert sentopt("train", *tiny_options, "--run-dir", "new")[0] == 0
    assert state(project) == before


# ---- files that are named as an output


def test_predict_does_not_replace_a_file_unless_told_to(in_folder: Path, finished_run: Path, sentopt: Run) -> None:
    write_csv(in_folder / "in.csv", [("great great", "x")], ("text", "id"))
    (in_folder / "out.csv").write_text("mine")
    (in_folder / ".tmp-out.csv").write_text("mine, too")
    before = state(in_folder)
    command = ["predict", "--run-dir", finished_run, "--input", "in.csv", "--output"]
    for output, said in (
        ("out.csv", "out.csv is there already"),
        (".", "is a folder"),
        ("in.csv/x.csv", "not a folder"),
    ):
        code, out, err = sentopt(*command, output)
        assert (code, out) == (1, "")
        assert said in err
        assert state(in_folder) == before
    assert sentopt(*command, "out.csv", "--overwrite")[0] == 0
    assert [row["label"] for row in tables.read_rows(in_folder / "out.csv")] == ["positive"]
    assert (in_folder / ".tmp-out.csv").read_text() == "mine, too"
    assert sorted(path.name for path in in_folder.iterdir()) == [".tmp-out.csv", "in.csv", "out.csv"]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "parquet"])
def test_an_input_is_never_its_own_output(in_folder: Path, finished_run: Path, sentopt: Run, suffix: str) -> None:
    source = in_folder / f"in.{suffix}"
    with RowWriter(source, ["text"]) as writer:
        writer.write([{"text": "great"}])
    (in_folder / f"link.{suffix}").symlink_to(source)
    os.link(source, in_folder / f"hard.{suffix}")
    before = state(in_folder)
    for name in ("in", "link", "hard", "./../" + in_folder.name + "/in"):
        command = [
            "predict",
            "--run-dir",
            finished_run,
            "--input",
            source,
            "--output",
            f"{name}.{suffix}",
            "--overwrite",
        ]
        code, _, err = sentopt(*command)
        assert code == 1
        assert "would overwrite itself" in err
        assert state(in_folder) == before


@pytest.mark.parametrize("column", ["label", "score", "p_neutral"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_columns_of_the_table_are_kept(
    in_folder: Path, finished_run: Path, sentopt: Run, column: str, suffix: str
) -> None:
    source = in_folder / f"in.{suffix}"
    with RowWriter(source, ["text", column]) as writer:
        writer.write([{"text": "great great", column: "mine"}])
    code, _, err = sentopt("predict", "--run-dir", finished_run, "--input", source, "--output", "out.csv")
    (row,) = tables.read_rows(in_folder / "out.csv")
    assert code == 0
    renamed = ["predicted_label", "predicted_score", *(f"predicted_p_{x}" for x in ("negative", "neutral", "positive"))]
    assert list(row) == ["text", column, *renamed]
    assert (row[column], row["predicted_label"]) == ("mine", "positive")
    assert row["predicted_score"] == row["predicted_p_positive"]
    assert f"note: {source} has columns of such names already; the answers are in {', '.join(renamed)}\n" in err


def test_columns_are_refused_when_the_other_names_are_taken_too(
    in_folder: Path, finished_run: Path, sentopt: Run
) -> None:
    write_csv(in_folder / "in.csv", [("great", "x", "y")], ("text", "label", "predicted_score"))
    before = state(in_folder)
    code, _, err = sentopt("predict", "--run-dir", finished_run, "--input", "in.csv", "--output", "out.csv")
    assert code == 1
    assert "in.csv: the columns 'predicted_score' exist already" in err
    assert state(in_folder) == before


def test_every_column_of_json_lines_is_kept(in_folder: Path, finished_run: Path, sentopt: Run) -> None:
    rows = [{"text": "great great"}, {"text": "terrible", "stars": 1, "label": "mine"}, {"stars": 2}]
    (in_folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert sentopt("predict", "--run-dir", finished_run, "--input", "in.jsonl", "--output", "out.jsonl")[0] == 0
    scored = list(tables.read_rows(in_folder / "out.jsonl"))
    assert [{key: row[key] for key in row if not key.startswith("predicted_")} for row in scored] == rows
    assert [row["predicted_label"] for row in scored] == ["positive", "negative", None]


def test_texts_inside_of_columns_are_scored_into_every_format(
    in_folder: Path, finished_run: Path, sentopt: Run
) -> None:
    rows = [{"data": {"text": "great great"}, "n": 2**70}, {"data": None}, {"n": 1}]
    (in_folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["predict", "--run-dir", finished_run, "--input", "in.jsonl", "--text-column", "data.text", "--output"]
    for name in ("out.jsonl", "out.csv", "out.parquet"):
        code, _, err = sentopt(*command, name)
        assert code == 0
        assert "note: 2 row(s) had no text and got no answer\n" in err
        scored = list(tables.read_rows(in_folder / name))
        assert [row["label"] or None for row in scored] == ["positive", None, None]
        assert str(scored[0]["n"]) == str(2**70)
    code, _, err = sentopt(*command[:5], "--output", "other.csv")
    assert code == 1
    assert err.endswith(
        "in.jsonl has no column 'text' (did you mean 'data.text'?); it has 'data', 'n', 'data.text'. "
        "Name it with --text-column\n"
    )
    assert not (in_folder / "other.csv").exists()


def test_python_callers_are_told_arguments(in_folder: Path, bundle: Path) -> None:
    (in_folder / "in.csv").write_text("review;n\ngreat;1\n")
    with pytest.raises(DataError, match=r"has no column 'text'; it has 'review', 'n'\. Name it with text_column=$"):
        score(bundle, "in.csv", "out.csv", progress=False)
    summary = score(bundle, "in.csv", "out.csv", text_column="review", progress=False)
    assert summary.notices == (
        "in.csv: the fields are separated by semicolons (';'); options=TableOptions(delimiter=',') if that is wrong",
    )
    (in_folder / "in.csv").write_bytes("text\nLe café à Paris été\n".encode() * 3 + b"caf\xe9\n")
    with pytest.raises(DataError, match=r"or name the file's encoding with options=TableOptions\(encoding='windows-1"):
        score(bundle, "in.csv", "other.csv", progress=False)


def test_the_text_may_be_in_a_column_called_label(in_folder: Path, finished_run: Path, sentopt: Run) -> None:
    write_csv(in_folder / "in.csv", [("great great",)], ("label",))
    command = [
        "predict",
        "--run-dir",
        finished_run,
        "--input",
        "in.csv",
        "--output",
        "out.csv",
        "--text-column",
        "label",
    ]
    assert sentopt(*command)[0] == 0
    (row,) = tables.read_rows(in_folder / "out.csv")
    assert (row["label"], row["predicted_label"]) == ("great great", "positive")


@pytest.mark.parametrize("wheel", [[], ["--wheel", "--name", "tiny-one"]])
def test_pack_does_not_replace_another_file(in_folder: Path, fp32_bundle: Path, sentopt: Run, wheel: list[str]) -> None:
    code, out, _ = sentopt("pack", fp32_bundle, *wheel, "--json")
    packed = in_folder / json.loads(out)["file"]
    assert code == 0
    before = state(in_folder)
    assert sentopt("pack", fp32_bundle, *wheel)[0] == 0  # the same bytes
    assert state(in_folder) == before
    good = packed.read_bytes()
    packed.write_bytes(b"mine")
    before = state(in_folder)
    code, _, err = sentopt("pack", fp32_bundle, *wheel)
    assert code == 1
    assert f"{packed.name} is there already; name another file, or replace it with --overwrite" in err
    assert state(in_folder) == before
    assert sentopt("pack", fp32_bundle, *wheel, "--overwrite")[0] == 0
    assert packed.read_bytes() == good


def test_pack_writes_nothing_into_the_bundle(bundle: Path, sentopt: Run) -> None:
    before = state(bundle)
    for arguments in (["--output", bundle / "x.tar.gz"], ["--wheel", "--name", "tiny", "--output", bundle / "onnx"]):
        code, _, err = sentopt("pack", bundle, *arguments)
        assert code == 1
        assert "is inside the bundle that is packed" in err
        assert state(bundle) == before


def test_recipes_are_written_without_replacing_anything(in_folder: Path, sentopt: Run) -> None:
    code, out, _ = sentopt("recipes", "quickstart", "--output", "mine.toml")
    assert (code, out) == (0, "mine.toml\n")
    assert (in_folder / "mine.toml").read_text() == sentopt("recipes", "quickstart")[1]
    (in_folder / "mine.toml").write_text('[run]\nname = "mine"  # and a remark\n')
    before = state(in_folder)
    for arguments, code, said in (
        (["quickstart", "--output", "mine.toml"], 1, "is there already"),
        (["mine.toml", "--output", "mine.toml", "--overwrite"], 1, "would overwrite itself"),
        (["--output", "other.toml"], 2, "--output goes with the name of a recipe"),
    ):
        found, out, err = sentopt("recipes", *arguments)
        assert (found, out) == (code, "")
        assert said in err
        assert state(in_folder) == before
    assert sentopt("recipes", "quickstart", "--output", "mine.toml", "--overwrite")[0] == 0
    assert "remark" not in (in_folder / "mine.toml").read_text()


def test_verbs_that_only_read_change_nothing(
    bundle: Path, in_folder: Path, sentopt: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(in_folder / "cache"))
    (in_folder / "cache" / "tuning").mkdir(parents=True)
    (in_folder / "cache" / "tuning" / "mine.json").write_text("mine")
    before = state(bundle)
    cached = (in_folder / "cache" / "tuning" / "mine.json").read_bytes()
    for arguments in (["check", bundle], ["predict", "--bundle", bundle, "x"], ["push", "a/b", bundle, "--card-only"]):
        assert sentopt(*arguments)[0] == 0
    assert sentopt("tune", bundle)[0] == 0
    assert state(bundle) == before
    assert (in_folder / "cache" / "tuning" / "mine.json").read_bytes() == cached


@pytest.mark.parametrize(
    ("content", "accepted"),
    [
        ('{"text": "a", "label": "b", "score": 0.5}\n', True),
        ('{"text": "a", "label": "b", "score": 0.5}\n{"text": "cut o', True),
        ("", True),
        ("text,label\nmine,positive\n", False),
        ('{"text": "a", "label": "b"}\n', False),
        ('{"text": "a", "label": "b", "score": 0.5}\nsomething else\n', False),
        ("[1, 2]\n", False),
        ("\x00\x01", False),
    ],
)
def test_texts_are_only_added_to_a_log_of_texts(tmp_path: Path, content: str, accepted: bool) -> None:
    text_log = pytest.importorskip("sentopt.demo.text_log")
    answer = Prediction("b", 0.5, {"b": 0.5}, truncated=False)
    log = tmp_path / "log.jsonl"
    log.write_text(content)
    before = state(tmp_path)
    if accepted:
        with text_log.TextLog.open(log) as opened:
            assert opened.add(["next"], [answer])
        line = '{"text": "next", "label": "b", "score": 0.5}\n'
        assert log.read_text().removeprefix(content) in (line, f"\n{line}")
        return
    with (
        pytest.raises(ServingError, match="exists and is no log of texts and answers"),
        text_log.TextLog.open(log),
    ):
        pass
    assert state(tmp_path) == before


def test_the_demo_leaves_another_file_alone(finished_run: Path, in_folder: Path, sentopt: Run) -> None:
    pytest.importorskip("sentopt.demo.server")
    write_csv(in_folder / "data.csv", [("mine", "positive")])
    before = state(in_folder)
    code, _, err = sentopt("demo", "--run-dir", finished_run, "--port", "0", "--log-texts", "data.csv")
    assert code == 1
    assert "data.csv exists and is no log" in err
    assert state(in_folder) == before


def test_a_killed_first_stage_is_known_again(in_folder: Path, tiny_options: list[str], sentopt: Run) -> None:
    code = (
        "import os, sys\nfrom sentopt.data import store\nstore.write = lambda *a, **k: os._exit(9)\n"
        "from sentopt.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    command = ["train", *tiny_options, "--run-dir", "x", "--set", "train.max_steps=1"]
    root = str(Path(cli.__file__).parents[2])
    killed = subprocess.run(
        [sys.executable, "-c", code, *command], check=False, env={**os.environ, "PYTHONPATH": root}, capture_output=True
    )
    assert killed.returncode == 9
    assert manifest.read(RunDir(in_folder / "x").manifest).stages == {}
    assert sentopt(*command)[0] == 0
