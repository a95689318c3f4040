"""The notebook runs from top to bottom, on few texts and a small model, and is committed with its outputs."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from pages import ROOT

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
NOTEBOOK = ROOT / "docs/notebooks/trainer.ipynb"
_SMALL = "TRAIN_ROWS, TEST_ROWS, EPOCHS, RATE = 240, 120, 4, 3e-3"


def test_it_runs(backbone: Path, reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    for pattern, small in ((r"^TRAIN_ROWS, .*$", _SMALL), (r"^DATA = .*$", f"DATA = Path({str(reviews)!r})")):
        parameters.source, count = re.subn(pattern, small, parameters.source, flags=re.M)
        assert count == 1
    monkeypatch.setenv("SENTOPT_MODEL_DIR", str(backbone))
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    there = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, startup_timeout=180, resources=there).execute()
    (run,) = (tmp_path / "exports").iterdir()
    assert (run / "bundle/sentopt.json").is_file()
    assert not (run / "plots/loss.png").exists(), "it was trained elsewhere: there is no loss to show"


def test_it_is_committed_with_its_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    errors = [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"]
    assert errors == []
    (shown,) = (cell for cell in code if "sentopt.optimize(" in "".join(cell["source"]))
    html = "".join("".join(output.get("data", {}).get("text/html", "")) for output in shown["outputs"])
    assert "lean-int8" in html


def test_its_outputs_name_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(root|home|tmp|work)/", text)
