"""Every verb, for real, in processes that see what Windows and macOS have: see `other_systems/sitecustomize.py`."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import demo_server
import pytest

ROOT = Path(__file__).parents[2]
SYSTEMS = ("windows", "macos")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="for processes on Linux")]
Sentopt = Callable[..., subprocess.CompletedProcess[str]]


def environment(system: str) -> dict[str, str]:
    """What makes a Python process see the other system."""
    return {
        "SENTOPT_TEST_SYSTEM": system,
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "other_systems"), str(ROOT)]),
        "PYTHONWARNDEFAULTENCODING": "1",
    }


REFUSED_ON_WINDOWS = {
    "ModuleNotFoundError": ["import fcntl", "import resource", "import termios", "import uvloop"],
    "AttributeError": ["os.fork", "os.geteuid", "os.sched_getaffinity", "os.O_DIRECTORY", "signal.SIGKILL"],
    "FileNotFoundError": ["open('/proc/self/status', encoding='ascii')"],
    "PermissionError": ["os.replace(here, there)", "os.unlink(here)", "os.open('.', os.O_RDONLY)"],
    "OSError": ["os.fsync(os.open(here, os.O_RDONLY))"],
    "TypeError": ["ctypes.CDLL(None)"],
    "EncodingWarning": ["open(here)"],
}


@pytest.mark.parametrize(
    ("error", "code"), [(error, code) for error, codes in REFUSED_ON_WINDOWS.items() for code in codes]
)
def test_code_of_sentopt_meets_what_windows_refuses(error: str, code: str, tmp_path: Path) -> None:
    """So that the tests below can fail."""
    probe = (
        "import os, signal, ctypes\nhere, there = 'here', 'there'\nheld = open(here, 'w', encoding='utf-8')\n"
        f"try:\n    {code}\nexcept {error}:\n    print('refused')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"exec({probe!r}, {{'__name__': 'sentopt.probe', '__package__': 'sentopt'}})"],
        capture_output=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={**os.environ, **environment("windows")},
        check=False,
    )
    assert done.stdout == "refused\n", done.stderr


@pytest.fixture(params=SYSTEMS, scope="module")
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def sentopt(system: str) -> Sentopt:
    """Run a verb there; it must end as expected, and without a traceback."""

    def run(*arguments: object, code: int = 0, given: str = "") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "sentopt", *map(str, arguments)],
            input=given,
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, **environment(system)},
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == code, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def run_dir(sentopt: Sentopt, tiny_options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train → export → bench."""
    folder = tmp_path_factory.mktemp("elsewhere") / "Läufe"
    few = ("--set", "export.variants=['torch', 'lean-fp32', 'lean-int8']")
    sentopt("train", *tiny_options, *few, "--run-dir", folder)
    sentopt("export", "--run-dir", folder)
    sentopt("bench", "--run-dir", folder)
    return folder


def test_a_whole_run_leaves_what_a_run_on_linux_leaves(run_dir: Path, finished_run: Path) -> None:
    def names(root: Path) -> set[str]:
        found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
        left_out = ("bundle/onnx", "variants/onnx", ".lock")  # one of them ships; not made here; Windows removes it
        ships = "/mistakes.csv"  # of each variant that was once the fastest
        return {name for name in found if not name.startswith(left_out) and not name.endswith(ships)}

    assert names(run_dir) == names(finished_run)
    assert list(run_dir.glob("variants/*/mistakes.csv"))
    rows = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["stages"]["bench"]["result"]["rows"]
    assert all(row["peak_memory_bytes"] > 2**24 for row in rows)


def test_the_machine_is_described(sentopt: Sentopt, run_dir: Path, system: str) -> None:
    measured = json.loads((run_dir / "bundle" / "sentopt.json").read_text(encoding="utf-8"))["measured"]["hardware"]
    here = json.loads(sentopt("env", "--json").stdout)["hardware"]
    assert here == measured
    assert here["memory_bytes"] > 2**30
    assert here["cpu"] == {"windows": "Processor of a test", "macos": "Apple M3"}[system]
    assert set(here["isa"]) >= {"windows": {"avx2", "avx512f"}, "macos": {"asimd", "asimddp", "i8mm", "bf16"}}[system]


def test_paths_are_stored_with_slashes(run_dir: Path) -> None:
    record = json.loads((run_dir / "run.json").read_text(encoding="utf-8"))
    artefacts = [each["path"] for stage in record["stages"].values() for each in stage["outputs"]]
    assert artefacts
    assert not any("\\" in path or Path(path).is_absolute() for path in artefacts)


def test_predict_reads_and_writes_utf8_in_any_code_page(sentopt: Sentopt, run_dir: Path, tmp_path: Path) -> None:
    texts = ["great great 👍", "schön こんにちは"]
    done = sentopt("predict", "--run-dir", run_dir, given="\n".join(["\ufeff" + texts[0], texts[1]]))
    assert [line.split("\t")[2] for line in done.stdout.splitlines()] == texts
    assert done.stdout.startswith("positive\t")
    (tmp_path / "Übersicht.csv").write_text("text\n" + "\n".join(texts) + "\n", encoding="utf-8")
    scored = tmp_path / "scored.jsonl"
    sentopt("predict", "--run-dir", run_dir, "--input", tmp_path / "Übersicht.csv", "--output", scored)
    assert [json.loads(line)["text"] for line in scored.read_text(encoding="utf-8").splitlines()] == texts


def test_a_bundle_is_checked_tuned_and_packed(
    sentopt: Sentopt, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    assert json.loads(sentopt("check", "--run-dir", run_dir, "--json").stdout)["same_instruction_set"]
    sentopt("tune", "--run-dir", run_dir)
    packed = tmp_path / "packed.tar.gz"
    sentopt("pack", "--run-dir", run_dir, "--output", packed)
    sentopt("pack", "--run-dir", run_dir, "--wheel", "--self-contained", "--name", "mine", "--output", tmp_path)
    assert packed.is_file()
    assert list(tmp_path.glob("mine-*.whl"))
    sentopt("report", "--run-dir", run_dir)
    sentopt("push", "me/mine", "--run-dir", run_dir, "--card-only")


def test_a_stage_is_done_again_where_its_files_are_replaced(sentopt: Sentopt, run_dir: Path) -> None:
    before = (run_dir / "bundle" / "sentopt.json").stat().st_mtime_ns
    sentopt("export", "--run-dir", run_dir, "--force")
    assert (run_dir / "bundle" / "sentopt.json").stat().st_mtime_ns > before


def test_a_run_directory_is_held_by_one_process(sentopt: Sentopt, run_dir: Path, system: str) -> None:
    holding = (
        "import sys; from pathlib import Path; from sentopt.run_dir import RunDir\n"
        "with RunDir(Path(sys.argv[1])).locked(): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holding, str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **environment(system)},
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        refused = sentopt("export", "--run-dir", run_dir, code=1)
        assert "is in use by another sentopt process" in refused.stderr
        other.kill()
    sentopt("export", "--run-dir", run_dir)


def test_the_demo_answers_and_has_its_port_for_itself(sentopt: Sentopt, run_dir: Path, system: str) -> None:
    bundle = str(run_dir / "bundle")
    with demo_server.serving("--bundle", bundle, environment=environment(system)) as server:
        request = urllib.request.Request(
            f"{server.address}/predict",
            json.dumps({"text": "great great 👍"}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request) as reply:
            assert json.load(reply)["label"] == "positive"
        second = sentopt("demo", "--bundle", bundle, "--port", server.port, code=1)
        assert "Choose another port with --port" in second.stderr
