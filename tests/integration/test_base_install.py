"""The wheel, installed alone into an empty environment: what an application gets."""

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from sentopt.backends import emulation

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

MEASURE = """
import json, sys, time
start = time.perf_counter()
from sentopt import Classifier
clf = Classifier.load(sys.argv[1])
label = clf("great great day").label
seconds = time.perf_counter() - start
peak = int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) * 1024
modules = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps({"label": label, "seconds": seconds, "peak": peak, "modules": modules}))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with nothing but the built wheel, its dependencies, and pip."""
    folder = tmp_path_factory.mktemp("base")
    source = folder / "source"
    not_source = shutil.ignore_patterns(".venv*", ".git", "exports", "node_modules", "build", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=not_source)
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", folder, source)
    venv.create(folder / "venv", with_pip=True)
    interpreter = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    pip(interpreter, "install", "-c", ROOT / "constraints.txt", wheel)
    return interpreter


def pip(interpreter: object, *arguments: object) -> None:
    """These tests need a package index: without one they are skipped, except in CI, which must have it."""
    command = [interpreter, "-m", "pip", "--quiet", "--retries", "1", *arguments]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
    unreachable = "No matching distribution" in done.stderr or "Could not find a version" in done.stderr
    if unreachable and not os.environ.get("CI"):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def run(*command: object, cwd: Path | None = None) -> str:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_size_on_disk(python: Path) -> None:
    size = sum(path.stat().st_size for path in python.parents[1].rglob("*") if path.is_file() and not path.is_symlink())
    bare = sum(p.stat().st_size for p in (python.parents[1] / "lib").rglob("pip/**/*") if p.is_file())
    print(f"base install: {(size - bare) / 2**20:.0f} MiB")
    assert size - bare < 200 * 2**20


def test_first_prediction_is_quick_and_light(python: Path, bundle: Path, tmp_path: Path) -> None:
    found = [json.loads(run(python, "-c", MEASURE, bundle, cwd=tmp_path)) for _ in range(3)]
    best = min(found, key=lambda f: f["seconds"])
    print(f"first prediction: {best['seconds']:.2f} s, {best['peak'] / 2**20:.0f} MiB")
    assert best["label"] == "positive"
    assert best["seconds"] < 0.6
    assert best["peak"] < 250 * 2**20
    assert not {"torch", "transformers", "datasets", "gradio", "tqdm"} & set(best["modules"])


def test_verbs_of_the_runtime_work_and_the_others_name_their_extra(
    python: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    command = python.parent / "sentopt"
    assert run(command, "predict", "--bundle", bundle, "great great", cwd=tmp_path).startswith("positive")
    (tmp_path / "in.csv").write_text("text\ngreat great\nterrible terrible\n")
    run(command, "predict", "--bundle", bundle, "--input", "in.csv", "--output", "out.jsonl", cwd=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["positive", "negative"]
    checked = run(command, "check", bundle, cwd=tmp_path)
    if not emulation.problem("EPYC-Milan"):
        elsewhere = run(command, "check", bundle, "--cpu", "EPYC-Milan", cwd=tmp_path)
        assert elsewhere.splitlines()[:3] == checked.splitlines()[:3]
    assert "kept for this machine" in run(command, "tune", bundle, cwd=tmp_path)
    run(command, "recipes", cwd=tmp_path)
    run(command, "env", cwd=tmp_path)
    for verb, extra in (("train", "train"), ("demo", "demo")):
        arguments = [str(command), verb, *(["--bundle", str(bundle)] if verb == "demo" else [])]
        done = subprocess.run(arguments, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert f'"sentopt[{extra}]"' in done.stderr
        assert "Traceback" not in done.stderr
