"""A user's script is checked by pyright, strictly."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sentopt

SCRIPT = Path(__file__).parents[1] / "typed" / "user_script.py"


@pytest.mark.slow
def test_a_users_script_is_typed(tmp_path: Path) -> None:
    """pyright fetches itself from the npm registry once; where that is not there, mypy alone is what checks."""
    shutil.copyfile(SCRIPT, tmp_path / SCRIPT.name)
    settings: dict[str, object] = {"include": [SCRIPT.name], "typeCheckingMode": "strict", "pythonVersion": "3.11"}
    settings["extraPaths"] = [str(Path(sentopt.__file__).parents[1])]  # an editable install is none that pyright finds
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    try:
        found = json.loads(done.stdout)
    except ValueError:
        pytest.skip(f"pyright cannot be run here: {done.stderr.strip()[-200:]}")
    problems = [f"{d['range']['start']['line'] + 1}: {d['message']}" for d in found["generalDiagnostics"]]
    assert not problems
    assert found["summary"]["filesAnalyzed"] >= 1
