"""A stronger model teaches the one that ships: from `sentopt train` to the report, with models of two layers."""

import itertools
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from csv_files import LABELS, read_csv, write_csv

import sentopt
from sentopt import cli, manifest, progress, recipe
from sentopt.data import store
from sentopt.errors import DataError, RecipeError, RunDirError
from sentopt.pipeline import forecast
from sentopt.results import PrepareResult, TeachingGain, TeachResult, TrainResult
from sentopt.run_dir import RunDir
from sentopt.training import soft_labels


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of its own for each test: answers are kept there."""
    monkeypatch.setenv("SENTOPT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def train(options: list[str], run_dir: Path, *settings: str) -> int:
    given = [argument for setting in settings for argument in ("--set", setting)]
    return cli.main(["train", *options, "--run-dir", str(run_dir), *given])


def taught(run_dir: Path) -> TeachResult:
    return manifest.read(RunDir(run_dir).manifest).result("teach", TeachResult)


def gain(run_dir: Path) -> TeachingGain:
    return manifest.read(RunDir(run_dir).manifest).result("gain", TeachingGain)


def forecast_of_teaching(run_dir: Path, *, teacher_copies: int = 1, again: bool = False) -> float:
    """Seconds of the stage `teach`."""
    settings = recipe.load(str(run_dir / "recipe.toml"), {"train.teacher_copies": teacher_copies})
    prepared = manifest.read(run_dir / "run.json").result("prepare", PrepareResult)
    return forecast.measure(settings, RunDir(run_dir), prepared, depth=None, again=again).seconds["teach"]


def weights(run_dir: Path) -> bytes:
    return (run_dir / "checkpoint" / "model.safetensors").read_bytes()


def database(cache: Path) -> list[Path]:
    return sorted((cache / "answers").glob("*.sqlite"))


@pytest.fixture
def teacher_losses(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    import teacher_losses

    return teacher_losses


@pytest.fixture(scope="session")
def teacher(finished_run: Path) -> str:
    return f"train.teacher={finished_run}"


COUNTED = ("train: tokens", "train", "train: validation split", "train: test split")


class Told(progress.Lines):
    """Remembers what is forecast and what is counted, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str] = []
        self.expected: dict[str, float] = {}
        self.steady: list[str] = []

    def count(self, what: str, total: int, unit: str = "", *, done: int = 0) -> Any:
        self.counted.append(what)
        return super().count(what, total, unit, done=done)

    def expect(self, seconds: Mapping[str, float], steady: Collection[str] = ()) -> None:
        if seconds:
            self.expected, self.steady = {**seconds}, [*steady]


QUICK = ("train.epochs=1", "train.without_teacher=false")


def test_a_run_teaches_by_its_fastest_verified_graph(
    tiny_options: list[str], finished_run: Path, teacher: str, tmp_path: Path, cache: Path, capfd: pytest.CaptureFixture
) -> None:
    root = tmp_path / "student"
    settings = (teacher, "train.teacher_copies=1", "train.epochs=1")
    assert train(tiny_options, root, *settings) == 0
    printed = capfd.readouterr()
    assert "forecast: teach" in printed.err
    assert "without teacher: train ..." in printed.err
    assert "With the teacher, test accuracy is" in printed.out
    result = taught(root)
    assert (result.texts, result.copies, result.unlabelled) == (240, 240, 0)
    (told,) = result.teachers
    verdicts = json.loads((finished_run / "run.json").read_text(encoding="utf-8"))["stages"]["verify"]["result"]
    passed = {verdict["variant"] for verdict in verdicts["verdicts"] if verdict["passed"]}
    assert told.variant in passed - {"torch"}
    assert told.answered > 400
    answers = soft_labels.read(root / "soft-labels")
    assert len(answers.texts) == 240
    assert answers.logits.shape == (480, 3)
    reference = np.load(finished_run / "reference.npy")
    assert np.abs(soft_labels.on_test(root / "soft-labels") - reference).max() < 0.1 * np.abs(reference).max()
    assert manifest.read(root / "run.json").result("train", TrainResult).steps == 480 / 8
    compared = gain(root)
    assert compared.texts == compared.against_teacher.n == 120
    assert compared.against_baseline is not None
    without = RunDir(root).without_teacher
    assert np.load(without.reference).shape == (120, 3)
    assert weights(root) != weights(without.root)
    report = (root / "report.md").read_text(encoding="utf-8")
    assert "## The teacher" in report
    assert "this model without the teacher" in report

    before = (root / "run.json").read_bytes()
    assert train(tiny_options, root, *settings) == 0
    assert not re.search(r"^(teach|train|without.*) \.\.\.", capfd.readouterr().err, re.MULTILINE)
    assert (root / "run.json").read_bytes() == before

    # A text is answered once, whatever run asks.
    assert train(tiny_options, tmp_path / "other", teacher, *QUICK) == 0
    assert taught(tmp_path / "other").teachers[0].answered == 0
    assert not RunDir(tmp_path / "other").without_teacher.root.exists()
    assert gain(tmp_path / "other").baseline is None
    assert len(database(cache)) == 1
    # Nor is it forecast to be, unless it is asked for again.
    assert forecast_of_teaching(root) == 0.0
    assert 0.0 < forecast_of_teaching(root, teacher_copies=2) < forecast_of_teaching(root, again=True)
    shutil.rmtree(cache)
    assert forecast_of_teaching(root) > 0.0
    assert not cache.exists()  # a forecast keeps nothing


def test_parts_of_the_loss_are_measured_beside_the_recipe_as_it_is(
    tiny_options: list[str],
    teacher: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    teacher_losses: ModuleType,
) -> None:
    root = tmp_path / "taught"
    quick = ("train.epochs=2", "train.without_teacher=false", "train.learning_rate=0.003", "train.ema_decay=0")
    assert train(tiny_options, root, teacher, *quick) == 0
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    of_logits = teacher_losses.TeacherLoss.of
    values = ["--weights", "1", "--temperatures", "4", "--hidden", "1", "--alone"]
    monkeypatch.setattr(sys, "argv", ["teacher_losses.py", str(root), *values])
    capsys.readouterr()
    teacher_losses.main()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]
    changed = ["weight 1", "temperature 4", "hidden states, weight 1", "labels alone"]
    assert [row[0] for row in rows] == ["weight 0.7, temperature 2", *changed]
    trained = manifest.read(root / "run.json").result("train", TrainResult)
    assert rows[0][1] == rows[-1][1] == str(trained.steps)
    assert rows[0][2] == f"{trained.validation.accuracy:.4f}"
    assert rows[0][3].startswith(f"{trained.test.accuracy:.4f} (")
    assert all("gained" in row[4] for row in rows[1:])
    assert len({tuple(row[2:4]) for row in rows}) > 1, "what is varied has no effect"
    assert teacher_losses.TeacherLoss.of is of_logits
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_the_loss_on_hidden_states_is_that_of_the_first_token(teacher_losses: ModuleType) -> None:
    import tiny_models
    import torch

    model, loss = tiny_models.build("bert").train(), teacher_losses.TeacherLoss(0.7, 2.0)
    ids = torch.tensor(tiny_models.texts([9, 9], seed=3))
    labels, logits, states = torch.tensor([0, 1]), torch.randn(2, model.config.num_labels), torch.randn(2, 5)
    before = torch.get_rng_state()
    with teacher_losses.learning_states(model, 0.5, 5, model.config.num_labels):
        assert torch.equal(torch.get_rng_state(), before), "dropout would draw other masks"
        answered = model(input_ids=ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        found = loss.of(answered.logits, labels, torch.cat([logits, states], dim=1))
        mapped = model.state_map(answered.hidden_states[-1][:, 0])
    apart = 1.0 - torch.nn.functional.cosine_similarity(mapped, states)
    assert found.item() == pytest.approx((loss.of(answered.logits, labels, logits) + 0.5 * apart.mean()).item())


def test_hidden_states_of_what_is_no_run_are_refused(
    tiny_options: list[str],
    finished_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    teacher_losses: ModuleType,
) -> None:
    monkeypatch.setattr(sys, "argv", ["teacher_losses.py", str(finished_run), "--hidden", "1"])
    with pytest.raises(SystemExit, match="trained with a teacher"):
        teacher_losses.main()
    folder = finished_run / "checkpoint"
    assert train(tiny_options, tmp_path / "taught", f"train.teacher=['{finished_run}', '{folder}']", *QUICK) == 0
    monkeypatch.setattr(sys, "argv", ["teacher_losses.py", str(tmp_path / "taught"), "--hidden", "1"])
    with pytest.raises(SystemExit, match="expected one teacher that is a run, found"):
        teacher_losses.main()


def test_a_backbone_is_tuned_first_on_the_same_splits(
    tiny_options: list[str], backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    other = shutil.copytree(backbone, tmp_path / "strong")
    config = json.loads((other / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertModel"]
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    root = tmp_path / "student"
    often = ("train.eval_strategy=steps", "train.eval_steps=10")
    assert train(tiny_options, root, f"train.teacher={other}", *QUICK, *often) == 0
    said = capfd.readouterr().err
    assert f"teach: {other}: train ..." in said
    assert "is not used" not in said  # the recipe of the teacher is not the user's
    (nested,) = (root / "teachers").iterdir()
    assert store.read_split(RunDir(nested), "train") == store.read_split(RunDir(root), "train")
    assert store.read_split(RunDir(nested), "test") == store.read_split(RunDir(root), "test")
    assert recipe.load(str(nested / "recipe.toml")).train.learning_rate == 3e-5
    assert taught(root).teachers[0].variant == "lean-fp32"  # 240 answers are not worth the verification of INT8
    assert np.allclose(soft_labels.on_test(root / "soft-labels"), np.load(nested / "reference.npy"), atol=1e-4)


def test_what_is_forecast_is_what_is_counted(tiny_options: list[str], backbone: Path, tmp_path: Path) -> None:
    """By its name, so that its rate corrects the forecast."""
    strong = with_config(shutil.copytree(backbone, tmp_path / "strong"), architectures=["BertModel"])
    told = Told()
    given = arguments(tiny_options)
    given["overrides"] = {**given["overrides"], "train.teacher": [str(strong)], "train.epochs": 1}
    sentopt.train(**given, run_dir=tmp_path / "run", progress=told)
    assert [*told.expected] == [
        *(f"teach: {strong}: {what}" for what in COUNTED),
        f"teach: {strong}",
        *COUNTED,
        *(f"without teacher: {what}" for what in COUNTED),
    ]
    assert {*told.expected} <= {*told.counted}
    assert {*told.steady} == {f"teach: {strong}: train", "train", "without teacher: train"}
    in_order = [what for what in dict.fromkeys(told.counted) if what in told.expected]
    assert in_order == [*told.expected]


def test_labels_are_matched_by_name(finished_run: Path, tiny_options: list[str], tmp_path: Path) -> None:
    """A classifier that has the labels in another order and case, and several teachers as one."""
    import torch
    from safetensors.torch import load_file, save_file

    turned = shutil.copytree(finished_run / "checkpoint", tmp_path / "turned")
    config = json.loads((turned / "config.json").read_text(encoding="utf-8"))
    names = [config["id2label"][str(i)] for i in (2, 0, 1)]
    config["id2label"] = {str(i): name.upper() for i, name in enumerate(names)}
    config["label2id"] = {name.upper(): i for i, name in enumerate(names)}
    (turned / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tensors = load_file(turned / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        tensors[name] = tensors[name][torch.tensor([2, 0, 1])].contiguous()
    save_file(tensors, turned / "model.safetensors", metadata={"format": "pt"})
    straight, both = tmp_path / "straight", tmp_path / "both"
    assert train(tiny_options, straight, f"train.teacher={turned}", *QUICK) == 0
    answers = soft_labels.on_test(straight / "soft-labels")
    assert np.allclose(answers, np.load(finished_run / "reference.npy"), atol=1e-4)
    copied = shutil.copytree(finished_run / "checkpoint", tmp_path / "copied")
    assert train(tiny_options, both, f"train.teacher=['{turned}', '{copied}']", *QUICK) == 0
    mean = soft_labels.on_test(both / "soft-labels")
    assert np.allclose(np.exp(mean).sum(axis=1), 1.0, atol=1e-3)
    assert np.array_equal(mean.argmax(axis=1), answers.argmax(axis=1))
    assert [one.variant for one in taught(both).teachers] == ["lean-fp32", "lean-fp32"]

    config["id2label"] = {str(i): f"LABEL_{i}" for i in range(3)}
    (turned / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(DataError, match="have no names"):
        sentopt.train(**arguments(tiny_options), run_dir=tmp_path / "x", teacher=turned, progress=False)
    config["id2label"] = {"0": "bad", "1": "so-so", "2": "positive"}
    (turned / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(DataError, match="without a match: 'negative'"):
        sentopt.train(**arguments(tiny_options), run_dir=tmp_path / "y", teacher=turned, progress=False)


def test_a_classifier_on_the_hub_is_pinned(
    tiny_options: list[str], finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def snapshot(hub_id: str, revision: str) -> Path:
        asked.append((hub_id, revision))
        return finished_run / "checkpoint"

    monkeypatch.setattr("sentopt.backbones.hub.snapshot", snapshot)
    revision = 20 * "ab"
    assert train(tiny_options, tmp_path / "x", f"train.teacher=owner/model@{revision}", *QUICK) == 0
    assert set(asked) == {("owner/model", revision)}
    assert taught(tmp_path / "x").teachers[0].name == f"owner/model@{revision}"


def arguments(options: list[str]) -> dict[str, Any]:
    """The command's options as those of `sentopt.train`."""
    settings = [value for name, value in itertools.pairwise(options) if name == "--set"]
    return {"data": options[1], "model": options[3], "overrides": recipe.parse_settings(settings)}


def test_a_run_that_saw_test_texts_does_not_teach(
    tiny_options: list[str], teacher: str, reviews: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    mixed = shutil.copytree(reviews, tmp_path / "mixed")
    rows = [(row["text"], row["label"]) for row in read_csv(reviews / "test.csv")]
    seen = [(row["text"].upper(), row["label"]) for row in read_csv(reviews / "train.csv")[:3]]
    write_csv(mixed / "test.csv", [*rows, *seen])
    options = ["--data", str(mixed), *tiny_options[2:]]
    assert train(options, tmp_path / "x", teacher) == 1
    assert "was trained on 3 of the 123 test texts" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mpnett", "no known backbone 'mpnett' (did you mean 'mpnet'?)"),
        ("./missing", "train.teacher: there is no folder"),
        ("owner/model", "owner/model@COMMIT_HASH"),
        (f"owner/model@{40 * 'a'}", "train.teacher: "),
    ],
)
def test_what_is_no_teacher_is_said_before_anything_is_trained(
    tiny_options: list[str], tmp_path: Path, name: str, message: str, capfd: pytest.CaptureFixture
) -> None:
    assert train(tiny_options, tmp_path / "x", f"train.teacher={name}") != 0
    error = capfd.readouterr().err
    assert message in error
    assert "train ..." not in error


def test_a_tuned_model_has_no_teacher(tiny_options: list[str], finished_run: Path, tmp_path: Path) -> None:
    given = arguments(tiny_options)
    with pytest.raises(RecipeError, match="not trained again"):
        sentopt.optimize(
            finished_run / "checkpoint", given["data"], run_dir=tmp_path / "x", overrides={"train.teacher": ["mpnet"]}
        )


def test_texts_without_labels_are_taught_and_are_no_evidence(
    tiny_options: list[str], finished_run: Path, tmp_path: Path
) -> None:
    more = tmp_path / "more.txt"
    more.write_text("".join(f"great great film number {i}\n" for i in range(50)), encoding="utf-8")
    given = arguments(tiny_options)
    teacher = sentopt.open(finished_run)
    root = tmp_path / "student"
    given["overrides"] = {**given["overrides"], "train.without_teacher": False}
    again = {**given, "run_dir": root, "teacher": teacher, "unlabelled": more, "progress": False}
    run = sentopt.train(**again)
    assert (taught(root).unlabelled, len(soft_labels.read(root / "soft-labels").texts)) == (50, 50)
    assert run.teaching is not None
    assert run.teaching.baseline is None
    result = run.optimize(variants=["lean-int8"], progress=False).manifest.stages["verify"].result
    assert result["unlabelled_texts"] == 0
    more.write_text("another text\n", encoding="utf-8")
    with pytest.raises(RunDirError, match=r"data\.unlabelled: .*more\.txt has changed"):
        sentopt.train(**again)


def test_a_training_that_was_stopped_goes_on_with_the_same_lessons(
    tiny_options: list[str], teacher: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sentopt.training.callbacks import StopOnSignal

    settings = (teacher, "train.teacher_copies=1", *QUICK)
    assert train(tiny_options, tmp_path / "whole", *settings) == 0
    on_step_end = StopOnSignal.on_step_end

    def stop(self: StopOnSignal, args: object, state: object, control: object, **given: object) -> None:
        self.requested = self.requested or state.global_step == 20  # type: ignore[attr-defined]
        on_step_end(self, args, state, control, **given)

    with monkeypatch.context() as patch:
        patch.setattr(StopOnSignal, "on_step_end", stop)
        assert train(tiny_options, tmp_path / "parts", *settings) == 130
    assert train(tiny_options, tmp_path / "parts", *settings) == 0
    trained = manifest.read(tmp_path / "parts" / "run.json").result("train", TrainResult)
    assert trained.resumed_from_step == 20
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


def test_another_teacher_replaces_no_checkpoint(
    tiny_options: list[str], teacher: str, finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    root = tmp_path / "student"
    assert train(tiny_options, root, teacher, *QUICK) == 0
    assert train(tiny_options, root, *QUICK) == 1
    assert "train.teacher:" in capfd.readouterr().err
    assert train(tiny_options, root, f"train.teacher={root}", *QUICK) == 1
    assert "which the run is to read" in capfd.readouterr().err


def test_a_damaged_store_of_answers_costs_time_only(
    tiny_options: list[str], teacher: str, tmp_path: Path, cache: Path
) -> None:
    assert train(tiny_options, tmp_path / "a", teacher, *QUICK) == 0
    (path,) = database(cache)
    with sqlite3.connect(path) as stored:
        (rows,) = stored.execute("SELECT COUNT(*) FROM answers").fetchone()
    assert rows == 360
    path.write_bytes(b"no database")
    assert train(tiny_options, tmp_path / "b", teacher, *QUICK) == 0
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_taught_runs_can_be_averaged(tiny_options: list[str], teacher: str, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        assert train(tiny_options, tmp_path / name, teacher, *QUICK, f"train.seed={seed}") == 0
    runs = [str(tmp_path / name) for name in ("a", "b")]
    assert cli.main(["average", *runs, "--run-dir", str(tmp_path / "mean")]) == 0
    assert recipe.load(str(tmp_path / "mean" / "recipe.toml")).train.teacher == ()


def with_config(folder: Path, **values: Any) -> Path:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **values}), encoding="utf-8")
    return folder


@pytest.fixture
def copied(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "teacher")


def test_a_teacher_that_is_verified_later_replaces_nothing(
    tiny_options: list[str], copied: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    """Its weights decide, not which variant answered; and neither does the path."""
    written = json.loads((copied / "run.json").read_text(encoding="utf-8"))
    stages = written["stages"]
    only = {**written, "stages": {name: stages[name] for name in ("prepare", "train")}}
    (copied / "run.json").write_text(json.dumps(only), encoding="utf-8")
    root = tmp_path / "student"
    assert train(tiny_options, root, f"train.teacher={copied}", *QUICK) == 0
    assert taught(root).teachers[0].variant == "lean-fp32"
    before = weights(root)
    (copied / "run.json").write_text(json.dumps(written), encoding="utf-8")
    moved = copied.rename(tmp_path / "moved")
    capfd.readouterr()
    assert train(tiny_options, root, f"train.teacher={moved}", *QUICK) == 0
    assert " ...\n" not in capfd.readouterr().err.replace("report ...", "")
    assert weights(root) == before


def test_the_baseline_can_be_added_and_left_out(tiny_options: list[str], teacher: str, tmp_path: Path) -> None:
    root = tmp_path / "student"
    assert train(tiny_options, root, teacher, *QUICK) == 0
    before = weights(root)
    assert train(tiny_options, root, teacher, "train.epochs=1") == 0
    assert gain(root).baseline is not None
    assert gain(root).baseline_steps == gain(root).steps == 30
    assert weights(root) == before


def test_without_its_teacher_a_run_says_nothing_of_one(tiny_options: list[str], teacher: str, tmp_path: Path) -> None:
    root = tmp_path / "student"
    assert train(tiny_options, root, teacher, *QUICK) == 0
    given = [argument for setting in QUICK for argument in ("--set", setting)]
    assert cli.main(["train", *tiny_options, "--run-dir", str(root), *given, "--force"]) == 0
    assert "teacher" not in (root / "report.md").read_text(encoding="utf-8")
    assert not {"teach", "gain"} & manifest.read(root / "run.json").stages.keys()


def test_other_weights_of_the_loss_leave_the_teacher_alone(
    tiny_options: list[str],
    backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture,
) -> None:
    """A training that was stopped is started with another weight: the backbone is not tuned again for it."""
    strong = with_config(shutil.copytree(backbone, tmp_path / "strong"), architectures=["BertModel"])
    root = tmp_path / "student"
    from sentopt.stages import train as stage

    def fail(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        fit = stage.fit
        patch.setattr(stage, "fit", lambda *given, **named: (fail if named["soft_labels"] else fit)(*given, **named))
        assert train(tiny_options, root, f"train.teacher={strong}", *QUICK) == 130
    capfd.readouterr()
    assert train(tiny_options, root, f"train.teacher={strong}", *QUICK, "train.teacher_weight=0.3") == 0
    assert f"teach: {strong}: train ..." not in capfd.readouterr().err


def test_labels_without_names_are_those_of_the_run(
    tiny_options: list[str], reviews: Path, backbone: Path, tmp_path: Path
) -> None:
    numbered = tmp_path / "numbered"
    numbered.mkdir()
    for split in ("train", "validation", "test"):
        rows = [(row["text"], f"LABEL_{LABELS.index(row['label'])}") for row in read_csv(reviews / f"{split}.csv")]
        write_csv(numbered / f"{split}.csv", rows)
    strong = with_config(shutil.copytree(backbone, tmp_path / "strong"), architectures=["BertModel"])
    options = ["--data", str(numbered), *tiny_options[2:]]
    assert train(options, tmp_path / "x", f"train.teacher={strong}", *QUICK) == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_of_any_precision_answer(
    tiny_options: list[str], finished_run: Path, tmp_path: Path, dtype: str
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(finished_run / "checkpoint", tmp_path / dtype)
    tensors = {
        name: tensor.to(getattr(torch, dtype)) for name, tensor in load_file(folder / "model.safetensors").items()
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert train(tiny_options, tmp_path / "x", f"train.teacher={folder}", *QUICK) == 0
    answers = soft_labels.on_test(tmp_path / "x" / "soft-labels")
    reference = np.load(finished_run / "reference.npy")
    assert np.abs(answers - reference).max() < 0.05 * np.abs(reference).max()


def test_classifiers_that_sentopt_does_not_take_are_refused(
    tiny_options: list[str], finished_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    folder = shutil.copytree(finished_run / "checkpoint", tmp_path / "several")
    with_config(folder, problem_type="multi_label_classification")
    assert train(tiny_options, tmp_path / "x", f"train.teacher={folder}", *QUICK) == 1
    error = capfd.readouterr().err
    assert "train.teacher: " in error
    assert "multi" in error
    with_config(folder, problem_type="single_label_classification", auto_map={"AutoModel": "code.Model"})
    assert train(tiny_options, tmp_path / "x", f"train.teacher={folder}", *QUICK) == 1
    assert "train.teacher: " in capfd.readouterr().err


def test_a_teacher_may_know_more_labels(
    tiny_options: list[str], teacher: str, reviews: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    two, four = tmp_path / "two", tmp_path / "four"
    for folder in (two, four):
        folder.mkdir()
    for split in ("train", "validation", "test"):
        rows = [(row["text"], row["label"]) for row in read_csv(reviews / f"{split}.csv")]
        write_csv(two / f"{split}.csv", [row for row in rows if row[1] != "neutral"])
        write_csv(four / f"{split}.csv", [(t, "mixed" if i % 10 == 0 else y) for i, (t, y) in enumerate(rows)])
    assert train(["--data", str(two), *tiny_options[2:]], tmp_path / "x", teacher, *QUICK) == 0
    assert soft_labels.read(tmp_path / "x" / "soft-labels").logits.shape == (160, 2)
    assert taught(tmp_path / "x").test.accuracy > 0.9
    assert train(["--data", str(four), *tiny_options[2:]], tmp_path / "y", teacher, *QUICK) == 1
    assert "without a match: 'mixed'" in capfd.readouterr().err


def test_a_damaged_or_deleted_teacher_is_named(
    tiny_options: list[str], copied: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    teacher = f"train.teacher={copied}"
    assert train(tiny_options, tmp_path / "x", teacher, *QUICK) == 0
    weights_file = copied / "checkpoint" / "model.safetensors"
    content = weights_file.read_bytes()
    weights_file.write_bytes(content[:-4] + b"\x00\x00\x00\x01")
    assert train(tiny_options, tmp_path / "y", teacher, *QUICK) == 1
    assert "is not what its training wrote" in capfd.readouterr().err
    shutil.rmtree(copied)
    assert train(tiny_options, tmp_path / "x", teacher, *QUICK) == 1
    assert "there is no folder" in capfd.readouterr().err


def test_a_checkpoint_of_a_run_is_that_run(
    tiny_options: list[str], copied: Path, reviews: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    mixed = shutil.copytree(reviews, tmp_path / "mixed")
    rows = [(row["text"], row["label"]) for name in ("test", "train") for row in read_csv(reviews / f"{name}.csv")]
    write_csv(mixed / "test.csv", rows[:130])
    options = ["--data", str(mixed), *tiny_options[2:]]
    assert train(options, tmp_path / "x", f"train.teacher={copied / 'checkpoint'}", *QUICK) == 1
    assert "was trained on 10 of the 130 test texts" in capfd.readouterr().err


def test_splits_that_share_validation_and_test_may_teach_each_other(
    tiny_options: list[str], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    options = [*tiny_options, "--set", "data.validation=test"]
    assert train(options, tmp_path / "a", "train.epochs=1") == 0
    assert train(options, tmp_path / "b", f"train.teacher={tmp_path / 'a'}", *QUICK) == 0


def test_a_dry_run_trains_nothing(
    tiny_options: list[str], backbone: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    strong = with_config(shutil.copytree(backbone, tmp_path / "my model"), architectures=["BertModel"])
    assert train([*tiny_options, "--dry-run"], tmp_path / "x", f"train.teacher={strong}") == 0
    assert "forecast: teach" in capfd.readouterr().err
    assert not (tmp_path / "x" / "teachers").exists()


def test_rows_in_memory_are_taught(finished_run: Path, reviews: Path, backbone: Path, tmp_path: Path) -> None:
    rows = {
        split: [(row["text"], row["label"]) for row in read_csv(reviews / f"{split}.csv")]
        for split in ("train", "validation", "test")
    }
    data = {split: ([text for text, _ in pairs], [label for _, label in pairs]) for split, pairs in rows.items()}
    strong = with_config(shutil.copytree(backbone, tmp_path / "strong"), architectures=["BertModel"])
    run = sentopt.train(
        data,
        model=backbone,
        run_dir=tmp_path / "x",
        teacher=[sentopt.open(finished_run), strong],
        epochs=1,
        max_length=48,
        precision="fp32",
        progress=False,
    )
    assert run.teaching is not None
    assert run.teaching.baseline is not None
    assert len(taught(tmp_path / "x").teachers) == 2


def test_two_folders_of_one_name_are_two_teachers(tiny_options: list[str], backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a/modèle", "b/modèle"):
        with_config(shutil.copytree(backbone, tmp_path / name), architectures=["BertModel"])
    both = [str(tmp_path / name) for name in ("a/modèle", "b/modèle")]
    assert train(tiny_options, tmp_path / "x", f"train.teacher={both}", *QUICK) == 0
    assert len(list((tmp_path / "x" / "teachers").iterdir())) == 2


@pytest.mark.parametrize("name", ["mpnet@" + 40 * "a", "owner/model@main", "~nobody-here/x", "a:b", "owner/m@"])
def test_odd_names_are_explained(
    tiny_options: list[str], tmp_path: Path, name: str, capfd: pytest.CaptureFixture
) -> None:
    assert train(tiny_options, tmp_path / "x", f"train.teacher={name}") == 1
    error = capfd.readouterr().err
    assert "train.teacher: " in error
    assert "Traceback" not in error
