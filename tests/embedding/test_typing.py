"""An application passes the strict modes of type checkers, and a mistake in it does not."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
APP = Path(__file__).with_name("typed_app.py")
PYRIGHT = ROOT / "demo" / "embed" / "javascript" / "node_modules" / "pyright" / "index.js"


def mypy(right: Path, wrong: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("mypy")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--follow-imports=silent",
        f"--cache-dir={right.parent}",
        str(right),
        str(wrong),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def pyright(right: Path, wrong: Path) -> subprocess.CompletedProcess[str]:
    if not PYRIGHT.is_file() or not shutil.which("node"):
        pytest.skip("pyright is not there; `npm ci` in demo/embed/javascript installs it")
    settings = {"include": [right.name, wrong.name], "typeCheckingMode": "strict", "extraPaths": [str(ROOT)]}
    (right.parent / "pyrightconfig.json").write_text(json.dumps(settings))
    command = ["node", str(PYRIGHT), "--pythonpath", sys.executable]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=right.parent)


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_strict(checker, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """Both at once, since a checker reads the package for each."""
    right, wrong = tmp_path / "app.py", tmp_path / "mistaken.py"
    shutil.copyfile(APP, right)
    wrong.write_text(APP.read_text().replace("prediction.label,", "prediction.labl,"))
    done = checker(right, wrong)
    assert done.returncode != 0
    errors = [line for line in done.stdout.splitlines() if re.search(r"\berror:", line)]
    assert any("labl" in line for line in errors), done.stdout
    assert all("mistaken.py" in line for line in errors), done.stdout


def test_it_runs(fp32_bundle: Path) -> None:
    done = subprocess.run([sys.executable, APP, fp32_bundle], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("positive ")
    assert done.stdout.endswith("InputError\n")
