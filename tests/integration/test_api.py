"""The whole of sentopt from Python: a live Trainer, data in memory, and a caller to whom nothing happens."""

import asyncio
import copy
import ipaddress
import json
import logging
import os
import random
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
import torch
import transformers
from csv_files import read_csv

import sentopt
from sentopt import Run
from sentopt.errors import BackboneError, BundleError, DataError, RecipeError, RunDirError, ServingError

pytestmark = pytest.mark.versions

FAST = {
    "train.epochs": 3,
    "train.learning_rate": 0.003,
    "train.precision": "fp32",
    "train.batch_size": 8,
    "model.max_length": 48,
}
VERIFIED = {
    "verify.margin": 5,
    "verify.recall_margin": 15,
    "verify.max_changed": 15,
    "verify.cpu_texts": 0,
    "bench.rounds": 1,
    "bench.texts": 3,
    "bench.throughput_texts": 10,
    "bench.grid": [[1, 8]],
    "export.variants": ["torch", "onnx-fp32", "lean-fp32", "lean-int8"],
}


@pytest.fixture(scope="module")
def frames(reviews: Path) -> dict[str, pandas.DataFrame]:
    return {split: pandas.DataFrame(read_csv(reviews / f"{split}.csv")) for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def dataset(frames: dict[str, pandas.DataFrame]) -> datasets.DatasetDict:
    """As the hub has it: numbers that have names."""
    found = datasets.DatasetDict({split: datasets.Dataset.from_pandas(frame) for split, frame in frames.items()})
    return found.class_encode_column("label")


@pytest.fixture(scope="module")
def trainer(dataset: datasets.DatasetDict, backbone: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a notebook has after `trainer.train()`."""
    names = dataset["train"].features["label"].names
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        backbone, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)}
    )
    encoded = dataset.map(lambda rows: tokenizer(rows["text"], truncation=True, max_length=48), batched=True)
    made = transformers.Trainer(
        model,
        transformers.TrainingArguments(
            str(tmp_path_factory.mktemp("trainer")),
            num_train_epochs=3,
            learning_rate=0.003,
            report_to="none",
            save_strategy="no",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=tokenizer,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda p: {"right": float((p.predictions.argmax(-1) == p.label_ids).mean())},
    )
    made.train()
    return made


def state_of_the_caller(trainer: Any) -> dict[str, Any]:
    """Everything that a training in the same process could change."""
    return {
        "weights": {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()},
        "config": trainer.model.config.to_dict(),
        "attributes": sorted(vars(trainer.model.config)),
        "mode": trainer.model.training,
        "tokenizer": trainer.processing_class.backend_tokenizer.to_str(),
        "tokenizer settings": copy.deepcopy(trainer.processing_class.init_kwargs),
        "arguments": trainer.args.to_dict(),
        "log": copy.deepcopy(trainer.state.log_history),
        "python": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "environment": dict(os.environ),
        "folder": Path.cwd(),
        "levels": {name: logging.getLogger(name).level for name in ("", "transformers", "datasets", "sentopt")},
        "disabled": logging.root.manager.disable,
        "verbosity": transformers.logging.get_verbosity(),
        "bars": transformers.utils.logging.is_progress_bar_enabled(),
        "accelerate": dict(vars(trainer.accelerator.state)),
    }


def assert_unchanged(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert before.keys() == after.keys()
    for name, value in before.items():
        if name == "weights":
            assert all(torch.equal(tensor, after[name][key]) for key, tensor in value.items())
        elif name == "torch":
            assert torch.equal(value, after[name])
        else:
            assert value == after[name], name


@pytest.fixture(scope="module")
def optimized(trainer: Any, dataset: datasets.DatasetDict, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The line that a notebook adds; nothing of the notebook may have changed."""
    before = state_of_the_caller(trainer)
    run = sentopt.optimize(
        trainer,
        test=dataset["test"],
        run_dir=tmp_path_factory.mktemp("live") / "run",
        overrides=VERIFIED,
        progress=False,
    )
    assert_unchanged(before, state_of_the_caller(trainer))
    return run


def test_a_live_trainer_becomes_a_verified_bundle(optimized: Run, trainer: Any, dataset: datasets.DatasetDict) -> None:
    assert optimized.selection.variant is not None
    assert optimized.bundle == optimized.path / "bundle"
    classifier = optimized.classifier(check=True)
    assert classifier.labels == ("negative", "neutral", "positive")
    texts = dataset["test"]["text"][:20]
    encoded = trainer.processing_class(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")
    with torch.inference_mode():
        expected = trainer.model.eval()(**encoded).logits.softmax(-1).numpy()
    assert classifier.predict_proba(texts) == pytest.approx(expected, abs=0.1)


def test_the_trainers_arguments_and_metrics_are_recorded(optimized: Run) -> None:
    recorded = json.loads((optimized.path / "trainer.json").read_text(encoding="utf-8"))
    assert recorded["arguments"]["num_train_epochs"] == 3
    assert not any("token" in key for key in recorded["arguments"])
    assert recorded["metrics"]["right"] == pytest.approx(optimized.training.test.accuracy)
    assert any("train_loss" in entry for entry in recorded["log"])


def test_results_are_typed_and_read_alike_in_a_terminal_a_notebook_and_a_data_frame(optimized: Run) -> None:
    frame = optimized.table.to_pandas()
    assert list(frame["variant"]) == ["torch", "onnx-fp32", "lean-fp32", "lean-int8"]
    assert frame.loc[frame["ships"], "variant"].tolist() == [optimized.selection.variant]
    assert (frame["accuracy_low"] <= frame["accuracy"]).all()
    assert (frame["accuracy"] <= frame["accuracy_high"]).all()
    assert [verdict.variant for verdict in optimized.verdicts] == [row.variant for row in optimized.table]
    assert optimized.selection.reason in str(optimized)
    for row in optimized.table:
        assert row.variant in repr(optimized)
        assert row.variant in optimized._repr_html_()
    assert str(optimized.report).startswith("# ")
    assert optimized.report.html.is_file()


def test_the_same_model_and_data_are_not_done_again(
    optimized: Run, trainer: Any, dataset: datasets.DatasetDict
) -> None:
    told: list[str] = []
    again = sentopt.optimize(
        trainer, test=dataset["test"], run_dir=optimized.path, overrides=VERIFIED, progress=told.append
    )
    assert again.manifest == optimized.manifest
    assert not [line for line in told if line.endswith("...")]


def test_another_model_is_refused_in_the_same_directory(optimized: Run, trainer: Any, dataset: Any) -> None:
    other = copy.deepcopy(trainer.model)
    with torch.no_grad():
        other.classifier.bias += 1.0
    with pytest.raises(RunDirError, match="holds a checkpoint that was trained otherwise"):
        sentopt.optimize((other, trainer.processing_class), dataset["test"], run_dir=optimized.path, progress=False)
    assert sentopt.open(optimized.path).manifest == optimized.manifest


def test_a_pair_and_a_folder_give_the_same_model(
    optimized: Run, trainer: Any, dataset: datasets.DatasetDict, tmp_path: Path
) -> None:
    pair = sentopt.api.runs.take_over(
        (trainer.model, trainer.processing_class),
        (dataset["test"]["text"], dataset["test"]["label"]),
        run_dir=tmp_path / "pair",
        overrides=VERIFIED,
        progress=False,
    )
    folder = sentopt.api.runs.take_over(
        optimized.path / "checkpoint",
        {"test": dataset["test"]},
        run_dir=tmp_path / "folder",
        overrides=VERIFIED,
        progress=False,
    )
    expected = optimized.training.test
    assert (pair.training.test, folder.training.test) == (expected, expected)


@pytest.mark.parametrize("kind", ["frame", "dict of frames", "dataset", "lists"])
def test_six_lines(
    kind: str, frames: Any, dataset: Any, backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pandas.concat(list(frames.values()))
    data = {
        "frame": whole,
        "dict of frames": frames,
        "dataset": dataset,
        "lists": (whole["text"].tolist(), whole["label"].tolist()),
    }[kind]
    monkeypatch.chdir(tmp_path)
    run = sentopt.train(data, model=backbone, overrides=FAST, progress=False)
    assert re.fullmatch(r"exports/data-[0-9a-f]{8}", str(run.path))
    assert run.training.test.accuracy > 0.8
    assert run.data.labels == ("negative", "neutral", "positive")
    again = sentopt.train(data, model=backbone, overrides=FAST, progress=False)
    assert again.manifest.stages["train"] == run.manifest.stages["train"]


def test_a_trained_run_goes_on(frames: Any, backbone: Path, tmp_path: Path) -> None:
    before = random.getstate(), torch.get_rng_state(), dict(os.environ), torch.get_num_threads()
    run = sentopt.train(frames, model=backbone, run_dir=tmp_path / "run", overrides=FAST, progress=False)
    with pytest.raises(RunDirError, match=r"have not been measured: call optimize\(\)"):
        _ = run.table
    with pytest.raises(BundleError, match=r"has no bundle: call optimize\(\)"):
        run.classifier()
    run = run.optimize(overrides=VERIFIED, progress=False)
    assert run.bundle is not None
    packed = run.pack(tmp_path / "my.tar.gz")
    assert packed.stat().st_size > 1000
    after = random.getstate(), torch.get_rng_state(), dict(os.environ), torch.get_num_threads()
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])
    assert before[2:] == after[2:]
    assert sentopt.open(tmp_path / "run").classifier()("great great stuff").label == "positive"


def test_settings_have_names_of_the_field(frames: Any, backbone: Path, tmp_path: Path) -> None:
    run = sentopt.train(
        frames,
        model=backbone,
        run_dir=tmp_path / "run",
        num_train_epochs=1,
        per_device_train_batch_size=16,
        max_length=32,
        precision="fp32",
        progress=False,
    )
    assert (run.recipe.train.epochs, run.recipe.train.batch_size, run.recipe.model.max_length) == (1.0, 16, 32)


def test_refusals(frames: Any, trainer: Any, optimized: Run, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"learning_rte.*learning_rate"):
        sentopt.train(frames, learning_rte=1, run_dir=tmp_path / "run", progress=False)
    with pytest.raises(RecipeError, match=r"epochs: given twice"):
        sentopt.train(frames, epochs=1, overrides={"epochs": 2}, run_dir=tmp_path / "run", progress=False)
    with pytest.raises(DataError, match="give labelled texts that it was not tuned on with test="):
        sentopt.optimize(trainer)
    with pytest.raises(BackboneError, match="comes without a tokenizer"):
        sentopt.optimize(trainer.model, (["a"], [0]), run_dir=tmp_path / "run", progress=False)
    with pytest.raises(BackboneError, match="list is no transformers model"):
        sentopt.optimize([1], (["a"], [0]), run_dir=tmp_path / "run", progress=False)
    texts, labels = [f"text number {i}" for i in range(400)], ["awful", "positive"] * 200
    with pytest.raises(DataError, match=r"the data has the label.* awful"):
        sentopt.optimize(trainer, (texts, labels), run_dir=tmp_path / "other", progress=False)
    with pytest.raises(RecipeError, match="decide the checkpoint"):
        optimized.optimize(epochs=7, progress=False)
    with pytest.raises(RunDirError, match="is a bundle, not a run"):
        sentopt.open(optimized.bundle or "")
    with pytest.raises(RunDirError, match="holds no run"):
        sentopt.open(tmp_path)


def test_a_run_of_data_in_memory_says_so_where_it_is_needed_again(optimized: Run, tmp_path: Path) -> None:
    text = optimized.run_dir.recipe.read_text(encoding="utf-8")
    (tmp_path / "recipe.toml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"given from Python and is not stored"):
        sentopt.train(recipe=tmp_path / "recipe.toml", run_dir=tmp_path / "run", progress=False)


def test_public_names_are_there_and_importing_is_light() -> None:
    code = (
        "import sys, time\nstart = time.perf_counter()\nimport sentopt\nseconds = time.perf_counter() - start\n"
        "heavy = {'numpy', 'torch', 'transformers', 'datasets', 'onnxruntime', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy\nassert all(hasattr(sentopt, name) for name in sentopt.__all__)\n"
        "assert not {'torch', 'transformers', 'datasets', 'gradio', 'sklearn'} & set(sys.modules), 'api'\n"
        "assert set(sentopt.__all__) <= set(dir(sentopt))\nprint(seconds)"
    )
    timings = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(3)
    ]
    assert min(timings) < 0.05


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Gradio leaves event loops in threads
@pytest.mark.parametrize("where", ["a notebook", "a script that goes on"])
def test_a_demo_in_the_background(where: str, fp32_bundle: Path) -> None:
    pytest.importorskip("sentopt.demo.server")

    async def in_a_notebook() -> Any:
        return sentopt.serve(fp32_bundle, port=0, say=lambda line: None)

    if where == "a notebook":
        demo = asyncio.run(in_a_notebook())
    else:
        demo = sentopt.serve(fp32_bundle, port=0, say=lambda line: None, block=False)
    assert demo is not None
    request = urllib.request.Request(
        f"{demo.address}/predict", json.dumps({"text": "great"}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        assert json.load(response)["label"] in ("negative", "neutral", "positive")
    with pytest.raises(ServingError, match="cannot serve on"):
        sentopt.serve(fp32_bundle, port=int(demo.address.rpartition(":")[2]), say=lambda line: None, block=False)
    demo.stop()
    assert not demo.thread.is_alive()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Gradio leaves event loops in threads
def test_a_demo_in_the_background_knows_the_clients_of_a_proxy(fp32_bundle: Path) -> None:
    pytest.importorskip("sentopt.demo.server")
    demo = sentopt.serve(
        fp32_bundle,
        port=0,
        rate=0.5,
        trusted_proxies=[ipaddress.ip_network("127.0.0.0/8")],
        allowed_hosts="demo.example",
        root_path="/sentiment/",
        say=lambda line: None,
        block=False,
    )
    assert demo is not None

    def status(client: str) -> int:
        named = {"Content-Type": "application/json", "Host": "demo.example", "X-Forwarded-For": client}
        request = urllib.request.Request(f"{demo.address}/sentiment/predict", b'{"text": "great"}', named)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    assert [status(client) for client in ("203.0.113.1", "203.0.113.1", "203.0.113.2")] == [200, 429, 200]
    demo.stop()


def test_force_redoes_every_stage_once(frames: Any, backbone: Path, tmp_path: Path) -> None:
    sentopt.train(frames, model=backbone, run_dir=tmp_path / "run", overrides=FAST, progress=False)
    told: list[str] = []
    run = sentopt.train(
        frames, model=backbone, run_dir=tmp_path / "run", overrides=FAST, force=True, progress=told.append
    )
    run.optimize(overrides=VERIFIED, force=True, progress=told.append)
    begun = [line.removesuffix(" ...") for line in told if line.endswith(" ...")]
    optimized = ["export", "quantize", "verify", "bench", "select", "examine", "bundle", "report"]
    assert begun == ["prepare", "train", "report", *optimized]


def test_a_run_that_was_moved_goes_on(optimized: Run, tmp_path: Path) -> None:
    moved = sentopt.open(shutil.copytree(optimized.path, tmp_path / "elsewhere"))
    shutil.rmtree(tmp_path / "elsewhere" / "live")
    assert moved.reference == optimized.reference
    again = moved.optimize(overrides={**VERIFIED, "select.objective": "throughput"}, progress=False)
    assert again.selection.objective == "throughput"
    assert again.classifier().labels == ("negative", "neutral", "positive")


def test_runs_of_data_in_memory_can_be_averaged(frames: Any, backbone: Path, tmp_path: Path) -> None:
    runs = [
        sentopt.train(
            frames,
            model=backbone,
            run_dir=tmp_path / name,
            overrides={**FAST, "train.learning_rate": 5e-4, "train.seed": seed},
            progress=False,
        )
        for name, seed in (("a", 1), ("b", 2))
    ]
    average, soup = sentopt.average(runs, run_dir=tmp_path / "average", progress=False)
    assert len(soup.scores) == 2
    assert average.data.labels == runs[0].data.labels
    assert average.path == tmp_path / "average"


def test_what_a_tuned_model_would_ignore_is_refused(optimized: Run, dataset: Any, tmp_path: Path) -> None:
    for settings in ({"epochs": 5}, {"tuned": False}):
        with pytest.raises(RecipeError, match="is not trained again"):
            sentopt.optimize(
                optimized.path / "checkpoint", dataset["test"], run_dir=tmp_path / "run", progress=False, **settings
            )


def test_a_revision_goes_with_the_model(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="at 0123456789ab"):
        sentopt.train(model="owner/name", revision="0123456789abcdef", run_dir=tmp_path / "run", progress=False)


def test_unknown_variants_are_refused_before_the_training(frames: Any, backbone: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="lean-int9"):
        sentopt.train(
            frames,
            model=backbone,
            run_dir=tmp_path / "run",
            overrides={"export.variants": ["lean-int9"]},
            progress=False,
        )


def test_a_dry_run_replaces_nothing(optimized: Run, frames: Any, backbone: Path, tmp_path: Path) -> None:
    run = sentopt.train(frames, model=backbone, run_dir=tmp_path / "run", overrides=FAST, progress=False)
    with pytest.raises(RunDirError, match="was trained otherwise"):
        sentopt.train(
            (["a b", "c d"] * 50, ["x", "y"] * 50),
            model=backbone,
            run_dir=tmp_path / "run",
            force=True,
            dry_run=True,
            progress=False,
        )
    assert sentopt.open(run.path).manifest == run.manifest


class _Arguments:
    batch_eval_metrics = False

    def to_dict(self) -> dict[str, Any]:
        return {"learning_rate": float("nan"), "hub_token": "secret"}


@pytest.mark.parametrize(
    ("compute", "preprocess", "recorded"),
    [
        (lambda p: {"right": (p.predictions == p.label_ids).mean()}, lambda x, y: x.argmax(-1), {"right": 1.0}),
        (lambda p: {"each": np.array([0.1, 0.2]), "n": np.int64(2), "nan": float("nan")}, None, {"n": 2}),
        (lambda p: None, None, {}),
        (lambda p: 1 / 0, None, {}),
    ],
)
def test_what_a_trainer_computes_ends_nothing(
    compute: Any, preprocess: Any, recorded: dict[str, float], optimized: Run, trainer: Any, tmp_path: Path
) -> None:
    from sentopt.run_dir import RunDir
    from sentopt.training import live

    run_dir = RunDir(shutil.copytree(optimized.path, tmp_path / "run"))
    fake = SimpleNamespace(
        args=_Arguments(),
        state=SimpleNamespace(log_history=[{"grad_norm": float("nan")}]),
        compute_metrics=compute,
        preprocess_logits_for_metrics=preprocess,
    )
    live.record(live.LiveModel(trainer.model, trainer.processing_class, fake), run_dir)
    document = json.loads(run_dir.trainer_record.read_text(), parse_constant=lambda name: pytest.fail(name))
    assert document["metrics"].keys() == recorded.keys()
    assert document["arguments"] == {"learning_rate": None}
    if recorded == {"right": 1.0}:
        assert document["metrics"]["right"] == pytest.approx(optimized.training.test.accuracy)


class Compiled(torch.nn.Module):
    """As torch.compile wraps a model."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._orig_mod = model


def test_models_that_are_wrapped_adapted_or_no_classifiers(trainer: Any) -> None:
    from sentopt.training import live

    pair = (SimpleNamespace(_orig_mod=trainer.model), trainer.processing_class)
    assert live.of(pair).digest == live.of((trainer.model, trainer.processing_class)).digest
    both = (torch.nn.DataParallel(Compiled(trainer.model)), trainer.processing_class)
    assert live.of(both).model is trainer.model
    adapted = copy.deepcopy(trainer.model)
    adapted.peft_config = {}  # what a merge leaves behind
    assert live.of((adapted, trainer.processing_class)).model is adapted
    adapted.classifier = type("Linear", (torch.nn.Identity,), {"__module__": "peft.tuners.lora.layer"})()
    with pytest.raises(BackboneError, match="merge_and_unload"):
        live.of((adapted, trainer.processing_class))
    config = copy.deepcopy(trainer.model.config)
    config.problem_type = "regression"
    with pytest.raises(BackboneError, match="expected a classifier that gives each text one of two or more labels"):
        live.of((SimpleNamespace(state_dict=dict, modules=list, config=config), trainer.processing_class))


def test_a_model_without_names_and_data_that_lacks_a_label(trainer: Any, dataset: Any, tmp_path: Path) -> None:
    model = copy.deepcopy(trainer.model)
    model.config.id2label = {i: f"LABEL_{i}" for i in range(3)}
    model.config.label2id = {name: i for i, name in model.config.id2label.items()}
    rows = [row for split in dataset.values() for row in split if row["label"] != 1]
    data = ([row["text"] for row in rows], [float(row["label"]) for row in rows])
    run = sentopt.api.runs.take_over(
        (model, trainer.processing_class), data, run_dir=tmp_path / "run", overrides=VERIFIED, progress=False
    )
    assert run.data.labels == ("0", "LABEL_1", "2")
    assert run.training.test.accuracy > 0.8


def test_the_columns_of_the_recipe_count_for_data_in_memory(frames: Any, backbone: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('[run]\nname = "mine"\n[data]\ntext_column = "review"\n')
    data = {split: frame.rename(columns={"text": "review"}).assign(text="x") for split, frame in frames.items()}
    run = sentopt.train(
        data, recipe=tmp_path / "mine.toml", model=backbone, run_dir=tmp_path / "run", overrides=FAST, progress=False
    )
    assert run.training.test.accuracy > 0.8


def test_an_empty_name_is_no_data(optimized: Run) -> None:
    for call in (lambda: sentopt.train(""), lambda: sentopt.optimize(optimized.path / "checkpoint", test="")):
        with pytest.raises(DataError, match="the data is an empty string"):
            call()
