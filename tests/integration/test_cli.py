"""Every verb as a person types it, and every wrong input with its exit code and message."""

import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from csv_files import write_csv

from sentopt import __version__, cli
from sentopt.data import tables
from sentopt.data.row_writer import RowWriter

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sentopt(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command; returns exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        try:
            code = cli.main([str(a) for a in arguments])
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_version_and_help(sentopt: Run) -> None:
    assert sentopt("--version") == (0, f"sentopt {__version__}\n", "")
    code, out, _ = sentopt("--help")
    assert code == 0
    for verb in ("train", "export", "bench", "run", "predict", "demo", "check", "tune", "data", "report", "env"):
        assert f"\n    {verb}" in out
        code, help_text, _ = sentopt(verb, "--help")
        assert code == 0
        assert verb == "report" or "\ne.g. sentopt " in help_text


def test_help_takes_less_than_a_fifth_of_a_second() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "sentopt", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    assert any(seconds() < 0.2 for _ in range(20))  # of what may be a busy machine, the best


def test_export_after_train_without_arguments(in_folder: Path, tiny_options: list[str], sentopt: Run) -> None:
    code, out, _ = sentopt("train", *tiny_options)
    assert code == 0
    assert "beats the majority baseline of 0.3333" in out
    assert re.search(r"sample text +before training +after training", out)
    code, out, err = sentopt("export")
    assert code == 0
    assert re.search(r"^> (onnx|lean)-(fp32|int8) ", out, re.MULTILINE)
    assert "Classifier.load('exports/" in out
    assert "run: exports/" in err
    code, out, _ = sentopt("predict", "great great")
    assert (code, out.split("\t")[0]) == (0, "positive")
    code, out, _ = sentopt("check", "--json")
    assert (code, json.loads(out)["same_instruction_set"]) == (0, True)
    assert sentopt("bench")[0] == 0
    code, out, _ = sentopt("report")
    assert code == 0
    assert "report.html" in out


def test_predict_texts_and_json(finished_run: Path, sentopt: Run) -> None:
    code, out, err = sentopt("predict", "--run-dir", finished_run, "--json", "great great", "the the " + "shop " * 99)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert rows[0]["label"] == "positive"
    assert [row["truncated"] for row in rows] == [False, True]
    assert "1 text(s) were longer than 48 tokens" in err


def test_predict_lines_of_stdin(finished_run: Path, sentopt: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["great great\n", "\n", *(f"terrible terrible {i}\n" for i in range(600)), "the the\r\n"]
    monkeypatch.setattr("sys.stdin", io.StringIO("".join(lines)))
    code, out, _ = sentopt("predict", "--run-dir", finished_run)
    rows = [line.split("\t") for line in out.splitlines()]
    assert code == 0
    assert len(rows) == 603
    assert [row[2] for row in rows[:3]] == ["great great", "", "terrible terrible 0"]
    assert rows[-1][::2] == ["neutral", "the the"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_predict_a_table(finished_run: Path, tmp_path: Path, sentopt: Run, suffix: str) -> None:
    rows = [{"id": i, "review": f"{'great great' if i % 2 else 'terrible terrible'} {i}"} for i in range(1100)] + [
        {"id": 9, "review": None}
    ]
    source, target = tmp_path / f"in.{suffix}", tmp_path / "out.csv"
    with RowWriter(source, ["id", "review"]) as writer:
        writer.write(rows)
    code, out, err = sentopt(
        "predict", "--run-dir", finished_run, "--input", source, "--text-column", "review", "--output", target
    )
    scored = list(tables.read_rows(target))
    assert code == 0
    assert len(scored) == 1101
    assert [row["id"] for row in scored[:3]] == ["0", "1", "2"]
    assert scored[1]["label"] == "positive"
    assert float(scored[1]["p_positive"]) == float(scored[1]["score"])
    assert "1101 rows scored" in out
    assert "1 row(s) had no text" in err
    assert "1.10k" in err  # the progress bar


def test_recipes_can_be_printed_and_read_back(sentopt: Run, tmp_path: Path) -> None:
    assert "quickstart" in sentopt("recipes")[1]
    code, out, _ = sentopt("recipes", "quickstart")
    (tmp_path / "mine.toml").write_text(out)
    assert code == 0
    assert sentopt("recipes", tmp_path / "mine.toml")[1] == out
    assert json.loads(sentopt("recipes", "--json")[1])[0]["name"]


def test_env(sentopt: Run) -> None:
    code, out, _ = sentopt("env", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["hardware"]["cores"] >= 1
    assert "onnxruntime" in found["versions"]
    assert "cores" in sentopt("env")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Try: sentopt --help"),
        (["trian"], 2, "invalid choice: 'trian'"),
        (["predict", "--threads", "0", "x"], 2, "expected 1 to 1024"),
        (["demo", "--port", "99999"], 2, "expected 0 to 65535"),
        (["train", "nosuch"], 2, "shipped recipes: "),
        (["train", "--data", ""], 2, "--data: expected a value, found ''"),
        (["train", "--model", " "], 2, "--model: expected a value, found ' '"),
        (["check", "b", "--cpu", ""], 2, "--cpu: expected a value, found ''"),
        (["check", "b", "--run-dir", "r"], 2, "give a bundle (b) or a run with --run-dir (r), not both"),
        (
            ["predict", "--bundle", "b", "--run-dir", "r", "x"],
            2,
            "give a bundle (b) or a run with --run-dir (r), not both",
        ),
        (["train", "--set", "data.unlabelled=missing.txt"], 1, "data.unlabelled: no such file: missing.txt"),
        (["train", "a", "--recipe", "b"], 2, "two recipes are named"),
        (["train", "--set", "train.epoch=1"], 2, "did you mean 'train.epochs'?"),
        (["train", "--data", "missing.csv"], 1, "no such file: missing.csv"),
        (["train", "--data", "tweetz"], 1, "did you mean 'tweets'?"),
        (["train", "--data", "."], 1, "holds no train file"),
        (["train", "--model", "./missing"], 1, "there is no folder"),
        (["export"], 1, "start one with `sentopt train`"),
        (["bench", "--run-dir", "nowhere"], 1, "holds no run"),
        (["report"], 1, "no run found"),
        (["predict", "x"], 1, "no run found"),
        (["predict", "--bundle", "nowhere", "x"], 1, "is not a bundle"),
        (["check", "nowhere"], 1, "is not a bundle"),
        (["tune", "nowhere"], 1, "is not a bundle"),
        (["predict", "x", "--input", "f.csv"], 2, "not both"),
        (["predict", "--input", "f.csv"], 2, "needs --output"),
        (["predict", "--output", "f.csv", "x"], 2, "goes with --input"),
    ],
)
@pytest.mark.usefixtures("in_folder")
def test_wrong_usage(sentopt: Run, arguments: list[str], code: int, message: str) -> None:
    found, out, err = sentopt(*arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


def test_a_folder_named_like_a_dataset(in_folder: Path, sentopt: Run) -> None:
    (in_folder / "sst2").mkdir()
    code, _, err = sentopt("train", "--data", "sst2")
    assert code == 1
    assert "the folder sst2 holds no train file" in err
    assert "--set data.dataset=sst2" in err


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("good", "yes")] * 5, ("review", "label"), "has no column 'text'; it has 'review', 'label'"),
        ([("good", "yes")] * 5, ("text", "labels"), "has no column 'label' (did you mean 'labels'?)"),
        ([(f"t{i}", "yes") for i in range(50)], ("text", "label"), "one class only (yes)"),
        ([("", "yes"), ("", "no")], ("text", "label"), "no text to train on"),
        ([], ("text", "label"), "no text to train on"),
        (
            [(f"t{i}", ("yes", "no", "")[i % 3]) for i in range(50)],
            ("text", "label"),
            "16 row(s) have no label: data.csv line 4, data.csv line 7, ",
        ),
    ],
)
def test_data_that_cannot_be_learned_from(
    in_folder: Path, backbone: Path, sentopt: Run, rows: list[tuple[str, str]], header: tuple[str, str], message: str
) -> None:
    path = write_csv(in_folder / "data.csv", rows, header)
    code, _, err = sentopt("train", "--data", path, "--model", backbone)
    assert code == 1
    assert message in err
    assert "Traceback" not in err


def test_how_a_file_was_read_is_said_where_it_is_not_understood(in_folder: Path, backbone: Path, sentopt: Run) -> None:
    (in_folder / "data.csv").write_bytes("text,label\ncaf\xe9,yes\n".encode("latin-1"))
    code, _, err = sentopt("train", "--data", in_folder / "data.csv", "--model", backbone)
    assert code == 1
    assert "one class only (yes)" in err
    assert "note: data.csv is not UTF-8 (byte 0xe9 in line 2): read as windows-1252, which is a guess" in err


def test_training_keys_are_refused_after_training(finished_run: Path, sentopt: Run) -> None:
    code, _, err = sentopt("export", "--run-dir", finished_run, "--set", "train.epochs=9")
    assert code == 2
    assert "decide the checkpoint" in err


def test_a_checkpoint_that_changed_is_refused(run_copy: Path, sentopt: Run) -> None:
    (run_copy / "checkpoint" / "config.json").write_text("{}")
    code, _, err = sentopt("export", "--run-dir", run_copy)
    assert code == 1
    assert "run `sentopt train` again" in err


def test_a_full_disk_is_named(run_copy: Path, sentopt: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr("os.fsync", full)
    before = (run_copy / "run.json").read_bytes()
    code, _, err = sentopt("export", "--run-dir", run_copy, "--force")
    assert code == 1
    assert "no space left on the disk" in err
    assert (run_copy / "run.json").read_bytes() == before


def test_a_missing_extra_is_named(run_copy: Path, sentopt: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("gradio", "sentopt.demo"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    code, _, err = sentopt("demo", "--run-dir", run_copy)
    assert code == 1
    assert '"sentopt[demo]"' in err


def test_bundle_with_a_flipped_byte(bundle: Path, sentopt: Run) -> None:
    path = bundle / "tokenizer_config.json"
    path.write_bytes(path.read_bytes().replace(b"[", b"(", 1))
    code, _, err = sentopt("check", bundle)
    assert code == 1
    assert "tokenizer_config.json: content differs" in err


def test_output_may_not_be_the_input(finished_run: Path, tmp_path: Path, sentopt: Run) -> None:
    path = write_csv(tmp_path / "a.csv", [("x", "y")])
    code, _, err = sentopt("predict", "--run-dir", finished_run, "--input", path, "--output", path)
    assert code == 1
    assert "overwrite itself" in err


def test_a_closed_pipe_is_not_an_error(finished_run: Path) -> None:
    command = f"yes 'great great' | head -5000 | {sys.executable} -m sentopt predict --run-dir {finished_run} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("positive")
    assert "Traceback" not in done.stderr
    assert shutil.which("bash")
