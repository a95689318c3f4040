"""Search of hyperparameters, with tiny random models: what is tried, pruned, kept, continued and refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import sentopt
from sentopt import cli, errors, manifest, progress, recipe
from sentopt.data import store
from sentopt.files import journal
from sentopt.results import TrainResult
from sentopt.run_dir import RunDir

pytest.importorskip("optuna")
TRIALS = 6


@pytest.fixture(scope="module")
def options(tiny_options: list[str]) -> list[str]:
    """With a learning rate that is too low to be the best."""
    values = ("train.ema_decay=0", "train.learning_rate=0.001", "train.epochs=2", "train.batch_size=16")
    return [*tiny_options, *(argument for value in values for argument in ("--set", value))]


@pytest.fixture(scope="module")
def searched(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished search. Do not change it."""
    folder = tmp_path_factory.mktemp("searched") / "search"
    assert cli.main(["search", *options, "--trials", str(TRIALS), "--folder", str(folder)]) == 0
    return folder


def found_in(folder: Path, options: list[str], capsys: pytest.CaptureFixture[str], trials: int = TRIALS) -> Any:
    """What a search of as many trials as there are says, which trains nothing."""
    capsys.readouterr()
    assert cli.main(["search", *options, "--trials", str(trials), "--folder", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_best_recipe_trains_to_the_score_that_it_was_chosen_for(
    options: list[str], searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = found_in(searched, options, capsys)
    scores = [trial["score"] for trial in found["trials"]]
    assert len(scores) == TRIALS
    assert None in scores  # some were ended early
    assert scores[0] is not None  # not the recipe itself
    best = Path(found["recipe_file"])
    assert best.read_text(encoding="utf-8").startswith(f"# Found by `sentopt search` in {TRIALS} trials")
    assert recipe.load(str(best)).run.name.endswith("-searched")
    assert cli.main(["train", str(best), "--run-dir", str(tmp_path / "best")]) == 0
    trained = manifest.read(tmp_path / "best" / "run.json").result("train", TrainResult)
    assert trained.best_metric == max(score for score in scores if score is not None)
    assert trained.best_metric >= scores[0]


@pytest.mark.parametrize("at", [{1: 1, 3: 4}, {15: 1}], ids=["within an epoch", "at the end of an epoch"])
def test_evaluations_at_rungs_leave_the_training_as_it_is(
    at: dict[int, int], searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A DataLoader draws random numbers, and so does dropout: what follows a rung would be another training."""
    import torch

    from sentopt.hyperparameters import trial

    ends: list[list[torch.Tensor]] = []

    class Watched(trial.Judge):
        def on_train_end(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            ends.append([parameter.detach().clone() for parameter in model.parameters()])

    monkeypatch.setattr(trial, "Judge", Watched)
    prepared = RunDir(searched / "prepared")
    tried = recipe.with_overrides(
        recipe.load(str(searched / "best.toml")),
        {"train.encoder_dropout": True, "train.epochs": 2, "train.batch_size": 16, "train.eval_strategy": "epoch"},
        source="a test",
    )
    for steps in (dict[int, int](), at):
        trial.run(tried, prepared, steps, lambda rung, score: True, progress.SILENT)
    assert all(torch.equal(without, beside) for without, beside in zip(*ends, strict=True))


def test_an_interrupted_search_goes_on_as_if_nothing_had_happened(
    options: list[str],
    searched: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from sentopt.hyperparameters import trial

    command = ["search", *options, "--trials", "3", "--folder", str(tmp_path / "search")]
    evaluated = trial.Judge.on_evaluate
    steps: list[int] = []

    def interrupt(judge: Any, args: Any, state: Any, control: Any, **more: Any) -> None:
        evaluated(judge, args, state, control, **more)
        steps.append(state.global_step)
        if steps != sorted(steps):  # the second trial has come to its first rung
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(trial.Judge, "on_evaluate", interrupt)
        assert cli.main(command) == 130
    assert len(found_in(tmp_path / "search", options, capsys, trials=1)["trials"]) == 1
    assert (
        found_in(tmp_path / "search", options, capsys, trials=3)["trials"]
        == (found_in(searched, options, capsys)["trials"][:3])
    )


def test_a_trial_that_always_ends_its_process_is_given_up(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentopt.hyperparameters import trial

    folder = tmp_path / "search"
    command = ["search", *options, "--trials", "2", "--folder", str(folder)]

    def dies(changed: recipe.Recipe, *_: Any) -> float:
        if changed.train.learning_rate == 0.001:  # the recipe's own
            return 0.5
        raise RuntimeError("killed")

    monkeypatch.setattr(trial, "run", dies)
    for _ in range(3):
        assert cli.main(command) == 1
    monkeypatch.setattr(trial, "run", lambda changed, *_: 0.6)
    assert cli.main(command) == 0
    assert "did not end in 3 attempts" in capsys.readouterr().err
    assert [one["score"] for one in found_in(folder, options, capsys, trials=2)["trials"]] == [0.5, 0.6]


def test_a_search_of_another_recipe_is_refused(
    options: list[str], searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["search", *options, "--set", "train.weight_decay=0.1", "--folder", str(searched)]
    assert cli.main(command) == 1
    said = capsys.readouterr().err
    assert "holds the search of another recipe" in said
    assert "train.weight_decay: 0.01 -> 0.1" in said
    assert "--folder NEW_FOLDER" in said


def test_a_search_of_an_older_sentopt_goes_on(
    options: list[str], searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    older = shutil.copytree(searched, tmp_path / "older")
    known = journal.facts(older)["search"]
    assert not {"data.unlabelled", "data.unlabelled_limit"} & {*known}  # nothing here is trained on them
    keys = {key: value for key, value in known.items() if key not in {"train.peft", "data.pair_column"}}
    journal.remember(older, search={**keys, "data.unlabelled": "more.txt"})
    assert found_in(older, options, capsys)["trials"]
    assert (
        cli.main(["search", *options, "--set", "data.unlabelled_limit=7", "--trials", "1", "--folder", str(older)]) == 0
    )
    assert cli.main(["search", *options, "--set", "train.peft=lora", "--trials", "1", "--folder", str(older)]) == 1
    assert "train.peft: none -> lora" in capsys.readouterr().err


def test_python_does_what_the_verb_does(options: list[str], searched: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(searched, tmp_path / "search")
    overrides = recipe.parse_settings([value for value in options[4:] if value != "--set"])
    given: dict[str, Any] = {"model": options[3], "trials": TRIALS, "folder": folder, "progress": False}
    found = sentopt.search(options[1], overrides=overrides, **given)
    assert found.recipe_file == folder / "best.toml"
    assert found.best in found.trials
    assert found.trials[0].values["train.learning_rate"] == 0.001
    assert str(found).count("the recipe as it was") == 1


def test_a_dry_run_prepares_and_forecasts(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "search"
    assert cli.main(["search", *options, "--dry-run", "--folder", str(folder)]) == 0
    assert "for 20 trials" in capsys.readouterr().out
    assert (folder / "prepared" / "data").is_dir()
    assert not (folder / "study.db").exists()


def test_no_trial_reads_the_test_split(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sentopt.hyperparameters import trial

    prepared = RunDir(searched / "prepared")
    read = store.read_split

    def guarded(run_dir: RunDir, split: Any) -> Any:
        assert split != "test"
        return read(run_dir, split)

    monkeypatch.setattr(store, "read_split", guarded)
    loaded = recipe.load(str(prepared.recipe))
    assert trial.run(loaded, prepared, {1: 1}, lambda rung, score: False, progress.SILENT) is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"validation": "test"}, "nothing to judge its choice by"),
        ({"teacher": "mpnet"}, "search without the teacher"),
    ],
)
def test_what_cannot_be_searched_is_refused(settings: dict[str, str], said: str, tmp_path: Path) -> None:
    with pytest.raises(errors.RecipeError, match=said):
        sentopt.search(folder=tmp_path / "search", progress=False, **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "search").exists()


def test_a_folder_with_other_files_is_left_alone(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    assert cli.main(["search", *options, "--folder", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
