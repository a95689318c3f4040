"""A full disk ends every verb in one line, and the same command goes on once there is space."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sentopt import cli
from sentopt.data.row_writer import RowWriter
from sentopt.files import atomic, durable
from sentopt.runtime.classifier import Classifier

LINE = re.compile(r"sentopt: no space left on the disk \(.+\); free some and run the same command again")
Mount = Callable[[str], Path]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Mount]:
    """Mount a small disk, or mount it again with other options; without the right to do so, the test is skipped."""
    root = tmp_path / "disk"

    def mount(options: str) -> Path:
        again = root.is_mount()
        root.mkdir(exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"{'remount,' if again else ''}{options}", "tmpfs", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("mount") else None
        if done is None or done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip() if done else 'no mount'}")
        return root

    yield mount
    if root.is_mount():
        subprocess.run(["umount", "-l", str(root)], check=True)


def last_line(captured: str) -> str:
    """What stderr ends with, progress bars apart."""
    assert "Traceback" not in captured
    return re.split(r"[\r\n]+", captured.strip())[-1]


def short(tiny_options: list[str]) -> list[str]:
    """A run of seconds."""
    values = ("train.epochs=1", "bench.rounds=1", "bench.texts=2", "bench.throughput_texts=4")
    return [*tiny_options, *(argument for value in values for argument in ("--set", value))]


@pytest.mark.parametrize("size", ["16k", "64k", "250k", "520k"])
def test_training_on_a_disk_that_is_too_small(
    disk: Mount, tiny_options: list[str], capsys: pytest.CaptureFixture[str], size: str
) -> None:
    """Splits, the Trainer's checkpoints, the checkpoint, logits and reports do not fit, one after the other."""
    command = ["train", *short(tiny_options), "--run-dir", str(disk(f"size={size}") / "run")]
    assert cli.main(command) == 1
    captured = capsys.readouterr()
    assert LINE.fullmatch(last_line(captured.err)), captured.err
    root = disk("size=20m") / "run"
    assert cli.main(command) == 0
    assert not list(root.rglob(".tmp-*"))
    assert not (root / "trainer").exists()


@pytest.mark.parametrize("left", [4, 40, 150])
def test_export_on_a_disk_that_is_nearly_full(
    disk: Mount, finished_run: Path, capsys: pytest.CaptureFixture[str], left: int
) -> None:
    """Graphs of both kinds, verdicts, samples, bundle and reports do not fit, one after the other."""
    root = shutil.copytree(finished_run, disk("size=20m") / "run")
    full = subprocess.run(["du", "-sk", root.parent], capture_output=True, text=True, check=True)
    disk(f"size={int(full.stdout.split()[0]) + left}k")
    bundle = {path: path.read_bytes() for path in (root / "bundle").rglob("*") if path.is_file()}
    command = ["export", "--run-dir", str(root), "--force"]
    assert cli.main(command) == 1
    captured = capsys.readouterr()
    assert LINE.fullmatch(last_line(captured.err)), captured.err
    assert {path: path.read_bytes() for path in bundle} == bundle
    Classifier.load(root / "bundle", check=True)
    disk("size=20m")
    assert cli.main(command) == 0
    assert not list(root.rglob(".tmp-*"))


def test_outputs_on_a_full_disk(
    disk: Mount, fp32_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in.csv"
    with RowWriter(source, ["text"]) as writer:
        writer.write([{"text": f"great {i}"} for i in range(400)])
    root = disk("size=8k")
    (root / "mine.txt").write_text("mine")
    for arguments in (
        ["predict", "--bundle", str(fp32_bundle), "--input", str(source), "--output", str(root / "out.csv")],
        ["predict", "--bundle", str(fp32_bundle), "--input", str(source), "--output", str(root / "out.csv.gz")],
        ["predict", "--bundle", str(fp32_bundle), "--input", str(source), "--output", str(root / "out.parquet")],
        ["pack", str(fp32_bundle), "--output", str(root / "x.tar.gz")],
        ["pack", str(fp32_bundle), "--wheel", "--name", "tiny", "--output", str(root / "wheels")],
    ):
        assert cli.main(arguments) == 1
        assert LINE.fullmatch(last_line(capsys.readouterr().err))
        assert [path.name for path in root.rglob("*") if path.is_file()] == ["mine.txt"]
    (root / "mine.toml").write_text("x" * 4096)
    assert cli.main(["recipes", "quickstart", "--output", str(root / "other.toml")]) == 1
    assert LINE.fullmatch(last_line(capsys.readouterr().err))


def test_a_disk_that_cannot_be_written(
    disk: Mount, finished_run: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = disk("size=20m")
    shutil.copytree(finished_run, root / "run")
    (root / "empty").mkdir()
    disk("ro,size=20m")
    for name, arguments in (
        ("run", ["export", "--force", "--run-dir"]),
        ("run", ["train", *tiny_options, "--force", "--run-dir"]),
        ("new", ["train", *tiny_options, "--run-dir"]),
        ("empty", ["train", *tiny_options, "--run-dir"]),
        ("x.tar.gz", ["pack", str(finished_run / "bundle"), "--output"]),
        ("x.toml", ["recipes", "quickstart", "--output"]),
    ):
        assert cli.main([*arguments, str(root / name)]) == 1
        line = last_line(capsys.readouterr().err)
        assert re.search(r"cannot write in .*Read-only file system; choose another --run-dir|read-only", line), line


def test_standard_output_on_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    root = str(Path(cli.__file__).parents[2])
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            ["python3", "-c", "import sys; from sentopt.cli import main; sys.exit(main(['recipes', 'quickstart']))"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": root},
        )
    assert done.returncode == 1
    assert LINE.fullmatch(done.stderr.strip())


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("onnx.save", RuntimeError("unexpected pos 64 vs 0")),
        (
            "sentopt.training.ema.save_file",
            ValueError("Error while serializing: I/O error: No space left on device"),
        ),
        ("sentopt.stages.quantize.onnx.save", OSError(122, "Disk quota exceeded", "model.onnx")),
        ("matplotlib.figure.Figure.savefig", OSError(28, "No space left on device", "loss.png")),
    ],
)
def test_every_library_that_writes(
    where: str,
    what: Exception,
    run_copy: Path,
    tiny_options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where no small disk can be mounted, this is what they raise."""

    def fails(*args: object, **kwargs: object) -> None:
        raise what

    with monkeypatch.context() as patch:
        patch.setattr(where, fails)
        patch.setattr(durable, "has_no_space", lambda path: True)
        verb = ["train", *short(tiny_options)] if "training" in where else ["export"]
        assert cli.main([*verb, "--force", "--run-dir", str(run_copy)]) == 1
        assert LINE.fullmatch(last_line(capsys.readouterr().err))
    assert not list(run_copy.rglob(".tmp-*"))
    assert cli.main([*verb, "--force", "--run-dir", str(run_copy)]) == 0


def test_training_does_not_start_again_where_only_the_logits_did_not_fit(
    tiny_options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write = atomic.write_bytes

    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".npy":
            raise OSError(28, "No space left on device", str(path))
        write(path, content)

    command = ["train", *short(tiny_options), "--run-dir", str(tmp_path / "run")]
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_bytes", full)
        assert cli.main(command) == 1
    assert LINE.fullmatch(last_line(capsys.readouterr().err))
    assert cli.main([*command, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)["train"]
    assert said["resumed_from_step"] == said["steps"] == 30
    assert not (tmp_path / "run" / "trainer").exists()
