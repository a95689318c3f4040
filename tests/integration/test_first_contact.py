"""What a new user is told: a forecast before the training, progress in every stage, and neither changes a result."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from sentopt import cli, progress, recipe
from sentopt.pipeline import Pipeline, forecast
from sentopt.run_dir import RunDir
from sentopt.training.rehearsal import rehearse


def tiny_recipe(tiny_options: list[str], **settings: object) -> recipe.Recipe:
    data, model = tiny_options[1], tiny_options[3]
    folder = {f"data.{split}": f"{data}/{split}.csv" for split in ("train", "validation", "test")}
    given = recipe.parse_settings(tiny_options[5::2])
    return recipe.load("quickstart", {"data.dataset": "files", "model.backbone": model, **folder, **given, **settings})


def test_a_run_is_foreseen_and_counted_where_nobody_looks_at_a_terminal(
    tmp_path: Path, tiny_options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    root = tmp_path / "run"
    assert cli.main(["run", *tiny_options, "--set", "train.epochs=2", "--run-dir", str(root)]) in (0, 3)
    said = capsys.readouterr().err
    assert "\r" not in said
    for counted in (
        r"train, \d+ of 60 steps, loss [\d.]+",
        r"train: evaluation, 1 of 1 batches",
        r"train: validation split, 60 of 60 texts",
        r"train: test split, 120 of 120 texts",
        r"export, 2 of 2 graphs",
        r"quantize, 1 of 1 traced graphs",
        r"quantize: calibration, \d+ of \d+ texts",
        r"quantize: calibration, \d+ of \d+ products",
        r"verify: onnx-int8, 360 of 360 answers",
        r"verify: lean-fp32, 120 of 360 answers",
        r"bench: start, 5 of 5 variants",
        r"bench, (\d+) of \1 answers",
    ):
        assert re.search(f"^  {counted}", said, re.MULTILINE), counted
    paragraph = said[said.index("prepare: ") : said.index("train ...")]
    assert "data: 240 training, 60 validation and 120 test texts" in paragraph
    stages = "forecast: train .*, export .*, quantize .*, verify .*, bench .*: about .* in all, with up to .* GB"
    assert re.search(stages, paragraph)
    assert re.search(r"measured on this machine in .*, from \d of 60 training steps and 60 answers", paragraph)

    plain = Pipeline(recipe.load(str(root / "recipe.toml")), RunDir(tmp_path / "plain"))
    plain.train()
    weights = [folder / "checkpoint" / "model.safetensors" for folder in (root, tmp_path / "plain")]
    assert weights[0].read_bytes() == weights[1].read_bytes()

    assert cli.main(["run", *tiny_options, "--set", "train.epochs=2", "--run-dir", str(root)]) in (0, 3)
    assert "forecast:" not in capsys.readouterr().err  # nothing is trained


def test_a_rehearsal_leaves_everything_as_it_was(tmp_path: Path, tiny_options: list[str]) -> None:
    run_dir = RunDir(tmp_path / "run")
    given = tiny_recipe(tiny_options)
    Pipeline(given, run_dir).prepare()
    files = {path: path.read_bytes() for path in run_dir.root.rglob("*") if path.is_file()}

    def state() -> tuple[object, ...]:
        return (
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            transformers.logging.get_verbosity(),
            transformers.utils.logging.is_progress_bar_enabled(),
        )

    before = state()
    found = rehearse(given, run_dir)
    assert state() == before
    assert {path: path.read_bytes() for path in run_dir.root.rglob("*") if path.is_file()} == files
    assert found.training is not None
    assert found.training.steps == 6
    assert 0.0 < found.training.seconds < 60.0
    assert found.resident_bytes < found.training.peak_bytes < 100 * 10**9
    assert found.parameters > found.embeddings > 0


def test_hints_are_in_the_forecast_and_in_the_result(tmp_path: Path, tiny_options: list[str]) -> None:
    settings = {"model.max_length": 12, "train.epochs": 1.0, "train.min_steps": 40}
    said: list[str] = []
    run = Pipeline(tiny_recipe(tiny_options, **settings), RunDir(tmp_path / "run"), say=said.append)
    foreseen = run.forecast(None)
    assert foreseen is not None
    assert list(foreseen.seconds) == ["train"]
    assert foreseen.steps == 60
    assert re.match(
        r"about \d+% of the 240 training texts are cut at 12 tokens: --set model.max_length=", foreseen.hints[0]
    )
    assert foreseen.hints[1].startswith("small data: 2 epochs instead of 1, to make 60 steps")
    result = run.train()
    assert result.steps == 60
    assert set(foreseen.hints) <= set(result.notices)
    assert all(said.count(f"note: {hint}") == 1 for hint in foreseen.hints)
    assert run.forecast(None) is None


def test_a_tuned_model_is_taken_over_and_not_trained(
    tmp_path: Path, finished_run: Path, tiny_options: list[str]
) -> None:
    said: list[str] = []
    settings = {"model.backbone": str(finished_run / "checkpoint"), "model.tuned": True}
    run = Pipeline(tiny_recipe(tiny_options, **settings), RunDir(tmp_path / "run"), say=said.append)
    foreseen = run.forecast("quick")
    assert foreseen is not None
    assert foreseen.steps == 0
    assert "from 60 answers" in forecast.in_words(foreseen)[-1]
    run.train()
    assert "taking over the tuned model ..." in said
    assert "train ..." not in said
