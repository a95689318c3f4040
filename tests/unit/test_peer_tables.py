"""The tables of the peer comparison: accuracy beside speed, the ratio to the pipeline, results of older versions."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
NAMES = ("hf-pipeline", "model2vec", "sentopt lean-int8", "sentopt student-int8")
COSTS = {"load_ms": 500.0, "first_ms": 1.0, "peak_memory_bytes": 2**30, "bytes": 1_000_000}
SINGLE = {"mean": 3.0, "p50": 2.0, "p95": 7.0, "p99": 9.0, "samples": 900}
RESULT: dict[str, Any] = {
    "versions": {"torch": "2.13.0"},
    "texts": 300,
    "threads": {
        "1": {
            "1x16": {"optimum-int8": 4.0, "sentopt lean-int8": 2.0},
            "16x32": {"optimum-int8": 40.0, "sentopt lean-int8": 30.0},
        }
    },
    "answers": {
        "hf-pipeline": {"texts": 1000, "accuracy": 0.9, "interval": [0.88, 0.917], "agreement": 1.0},
        "model2vec": {"texts": 1000, "accuracy": 0.8, "interval": [0.774, 0.824], "agreement": 0.85, "proven": False},
        "sentopt lean-int8": {"texts": 1000, "accuracy": 0.9, "interval": [0.88, 0.917], "agreement": 0.99},
        "sentopt student-int8": {"texts": 1000, "accuracy": 0.85, "interval": [0.827, 0.871], "agreement": 0.9},
    },
    "single": dict.fromkeys(NAMES, SINGLE),
    "throughput": {
        "test split": {
            "hf-pipeline": {"batch 1": 60.0, "batch 32": 50.0},
            "model2vec": {"batch 32": 9_000.0, "all": 30_000.0},
            "sentopt lean-int8": {"many": 900.0},
            "sentopt student-int8": {"many": 2_000.0},
        }
    },
    "training": {"model2vec": {"seconds": 81.4, "texts": 10_734}, "sentopt lean-int8": {"seconds": 210.0, "texts": 1}},
    "costs": dict.fromkeys(NAMES, COSTS),
    "skipped": {"sentopt cascade-int8": "this run has no variants/cascade-int8/model.onnx"},
    "ceiling": {
        "size": 1024,
        "gmacs_per_second": {"onnxruntime": 100.0},
        "one_text": {
            "16": {"million_macs": 143.0, "floor_ms": 1.0},
            "128": {"million_macs": 1134.0, "floor_ms": 8.0},
        },
    },
}
for name, proven in (("hf-pipeline", True), ("sentopt lean-int8", True), ("sentopt student-int8", False)):
    RESULT["answers"][name]["proven"] = proven
for answers in RESULT["answers"].values():
    answers["margin"] = 1.0


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import peer_tables

    return peer_tables


def rows_of(text: str, heading: str) -> dict[str, list[str]]:
    """The cells of the first table that has `heading`, by their first cell."""
    lines = text[text.index(heading) :].splitlines()
    table = [line for line in lines if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return {row[0]: row[1:] for row in cells}


def test_accuracy_stands_beside_the_percentiles_and_the_texts_per_second(tables: ModuleType) -> None:
    rows = rows_of(tables.summary("MiniLM", RESULT), "| contender")
    headings = ["accuracy", "95 % interval", "mean ms", "p50", "p95", "p99"]
    assert rows["contender (its better way)"] == [
        *headings,
        "texts/s, test split",
        "times the pipeline",
        "training s",
    ]
    speed = ["3.00", "2.00", "7.00", "9.00"]
    assert rows["model2vec (all)"] == ["0.8000", "0.774 to 0.824", *speed, "30000", "500.0", "81"]
    assert rows["hf-pipeline (batch 1)"] == ["0.9000", "0.880 to 0.917", *speed, "60", "1.0", "-"]


def test_what_is_printed_is_what_is_stored(tables: ModuleType) -> None:
    stored = "\n\n".join(tables.sections("MiniLM", RESULT, "plot.png"))
    for part in tables.side_by_side(RESULT):
        assert part in stored
        assert part in tables.summary("MiniLM", RESULT)


def test_only_a_proven_accuracy_counts_against_the_pipeline(tables: ModuleType) -> None:
    [line] = tables.pipeline_ratios(RESULT)
    assert line == (
        "Raw text, test split: sentopt lean-int8 900 texts/s, hf-pipeline 60, 15.0 times; "
        "accuracy proven within 1 points of PyTorch's."
    )
    without_answers = {**RESULT, "answers": {}}
    [line] = tables.pipeline_ratios(without_answers)
    assert line == "Raw text, test split: sentopt student-int8 2000 texts/s, hf-pipeline 60, 33.3 times."


def test_no_ratio_without_the_pipeline_or_without_a_proven_contender(tables: ModuleType) -> None:
    rates = RESULT["throughput"]["test split"]
    alone = {"test split": {name: ways for name, ways in rates.items() if name != "hf-pipeline"}}
    assert list(tables.pipeline_ratios({**RESULT, "throughput": alone})) == []
    assert "times the pipeline" not in tables.summary("MiniLM", {**RESULT, "throughput": alone})
    unproven = copy.deepcopy(RESULT)
    unproven["answers"]["sentopt lean-int8"]["proven"] = False
    assert list(tables.pipeline_ratios(unproven)) == []


def test_the_summary_says_who_was_left_out_and_how_much_memory_all_take(tables: ModuleType) -> None:
    text = tables.summary("MiniLM", RESULT)
    assert "Not measured: sentopt cascade-int8 (this run has no variants/cascade-int8/model.onnx)" in text
    assert "Peak memory of all 4 contenders together: 4.0 GiB" in text


def test_a_shape_that_the_model_does_not_read_is_no_error(tables: ModuleType) -> None:
    rows = rows_of(tables.ceiling_table(RESULT), "| texts x tokens")
    assert rows["1 x 16"] == ["143", "1.00", "2.00 (50%)"]
    assert rows["1 x 128"] == ["1134", "8.00", "-"]


def test_only_trained_contenders_have_no_table_of_shapes(tables: ModuleType) -> None:
    text = "\n\n".join(tables.sections("MiniLM", {**RESULT, "threads": {"1": {}}}, "plot.png"))
    assert "Milliseconds per call by texts x tokens" not in text


def test_results_of_older_versions_are_read(tables: ModuleType) -> None:
    answers = {name: {"texts": 1000, "accuracy": 0.9, "agreement": 1.0} for name in RESULT["answers"]}
    older = {key: value for key, value in RESULT.items() if key not in ("single", "texts", "training")}
    text = "\n\n".join(tables.sections("MiniLM", {**older, "answers": answers}, "plot.png"))
    rows = rows_of(text, "| contender (its better way)")
    assert rows["sentopt lean-int8 (many)"] == ["0.9000", "0.880 to 0.917", "900", "15.0"]


def test_tables_and_plots_are_written_between_the_markers(tables: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    results = tmp_path / "results"
    results.mkdir()
    document = {"machine": "a CPU, 2 cores", "models": {"MiniLM": RESULT}}
    (results / "cpu.json").write_text(json.dumps(document))
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n")
    tables.write(results, readme)
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text.split(tables.BEGIN)[1][:10]
    assert "| model2vec (all) |" in text
    assert (results / "cpu-0.png").stat().st_size > 1_000


def test_families_of_random_weights_stand_in_one_table(tables: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    names = ("optimum-int8", "sentopt lean-int8")
    grid = {"1x16": dict(zip(names, (4.0, 2.0), strict=True)), "16x32": dict(zip(names, (40.0, 32.0), strict=True))}
    rates = {names[0]: {"batch 1": 60.0, "batch 32": 50.0}, names[1]: {"many": 90.0}}
    result = {
        **{"versions": {"onnxruntime": "1.31.1"}, "threads": {"1": grid, "2": grid}, "texts": 300, "skipped": {}},
        **{"answers": {}, "single": dict.fromkeys(names, SINGLE), "throughput": {"test split": rates}},
        **{"costs": dict.fromkeys(names, COSTS), "ceiling": RESULT["ceiling"]},
    }
    results = tmp_path / "results"
    results.mkdir()
    shorter = {**result, "threads": {"1": {"1x16": grid["1x16"], "1x32": {names[1]: 3.0}}}}
    models = {
        **{"XLM-R (random weights)": shorter, "BERT (random weights)": result},
        "GPT-2 (random weights)": {**result, "costs": {names[1]: COSTS}},
    }
    (results / "cpu.json").write_text(json.dumps({"machine": "a CPU, 2 cores", "models": models}))
    readme = tmp_path / "README.md"
    readme.write_text(f"{tables.BEGIN}\n{tables.END}\n")
    tables.write(results, readme)
    text = readme.read_text()
    lines = text[text.index("| family | threads") :].splitlines()
    assert lines[0] == "| family | threads | 1 x 16 | 1 x 32 | 16 x 32 |"
    assert lines[2] == "| XLM-R | 1 | 4.00 / 2.00 = 2.00 | - | - |"
    assert lines[3:5] == [f"| BERT | {n} | 4.00 / 2.00 = 2.00 | - | 40.00 / 32.00 = 1.25 |" for n in (1, 2)]
    [row] = [line for line in lines if line.startswith("| BERT | 60 ")]
    assert row == "| BERT | 60 | 90 | 1.0 | 1.0 | 1024 | 1024 | 72% | - |"  # 143 million at 100 GMAC/s, in 2 ms
    assert "### BERT" not in text, "what the table of families says is not said again"
    assert "### GPT-2 (random weights)" in text, "nothing to compare it with"
    assert "16 x 32" in tables.summary("BERT (random weights)", result)
