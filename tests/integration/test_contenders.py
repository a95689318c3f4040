"""Contenders of a benchmark, each in a process of its own: what passes between them and the parent, and what fails."""

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import small_cascades
import tiny_models

from sentopt import recipe
from sentopt.backends import worker
from sentopt.backends.opening import Candidate
from sentopt.data import store
from sentopt.errors import WorkerError
from sentopt.graph import cascade, families
from sentopt.graph.products import FloatProducts
from sentopt.run_dir import RunDir
from sentopt.runtime.threshold import Threshold
from sentopt.stages import bench
from sentopt.variants import VARIANTS

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MISSING = "raise ModuleNotFoundError(\"No module named 'setfit'\", name='setfit')"
CHILD = """
import os, sys
from sentopt.backends import worker

class Loud:
    def predict_proba(self, texts):
        print("a library says hello")
        os.write(1, b"and so does its C code\\n")
        if "die" in texts:
            raise ValueError("cannot answer this")
        if "who" in texts:
            return Rows([[float(os.getpid())]])
        return Rows([[float(len(text)), 0.0] for text in texts])

    def logits(self, texts, batch_size):
        print(texts, batch_size)

    def logits_of(self, tokens):
        print(tokens)

class Rows(list):
    def tolist(self):
        return list(self)

def opened():
    print("a library greets while it is loaded")
    if sys.argv[1:] == ["fail"]:
        for i in range(40):
            print("line", i, file=sys.stderr)
        raise RuntimeError("no such engine")
    return Loud()

worker.serve(opened)
"""


def test_what_libraries_print_does_not_come_between() -> None:
    with worker.start("-c", CHILD) as child:
        assert child.started.load_ms >= 0
        assert child.started.first_ms >= 0
        assert child.probabilities(["", "four"]) == [[0.0, 0.0], [4.0, 0.0]]
        assert len(child.single(["a", "b", "c"])) == 3
        assert len(child.many(["a", "b", "c"])) == len(child.many(["a"], batch_size=2)) == 1
        assert len(child.tokens([[1, 2], [3]], repeat=4)) == 4
        assert child.probabilities(["naïve\n“line”"]) == [[12.0, 0.0]]
        assert child.peak_memory_bytes() > 2**20


def test_a_contender_that_does_not_open_says_why() -> None:
    last = r"\(exit code 1\):\n(?s:.*)line 39\n(?s:.*)RuntimeError: no such engine"
    with pytest.raises(WorkerError, match=last) as caught, worker.start("-c", CHILD, "fail"):
        pass
    assert "line 0\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_a_contender_that_ends_in_the_middle_says_why() -> None:
    with pytest.raises(WorkerError, match="ValueError: cannot answer this"), worker.start("-c", CHILD) as child:
        child.single(["a", "die"])


def test_a_contender_that_ended_between_two_tasks_says_so() -> None:
    with worker.start("-c", CHILD) as child:
        [[number]] = child.probabilities(["who"])
        os.kill(int(number), signal.SIGKILL)
        with pytest.raises(WorkerError, match=r"exit code -9"):
            child.single(["a"])


def test_the_process_ends_with_the_block() -> None:
    with worker.start("-c", CHILD) as child:
        [[number]] = child.probabilities(["who"])
        os.kill(int(number), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)


def test_a_contender_loads_nothing_that_reads_data() -> None:
    """Its start and its memory are measured."""
    code = (
        "import sys\nimport sentopt.backends.worker, sentopt.backends.opening\n"
        "print(*{'sentopt.data.store', 'sentopt.data.splits', 'pyarrow', 'pandas', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", ["torch", "onnx-fp32", "lean-int8"])
def test_a_variant_answers_in_its_own_process_as_here(finished_run: Path, name: str) -> None:
    candidate = candidate_of(finished_run, name)
    assert Candidate.from_json(candidate.to_json()) == candidate
    texts = ["great great day", "the the shop", ""]
    with worker.start("-m", "sentopt.backends.worker", candidate.to_json(), "1") as child:
        found = np.array(child.probabilities(texts))
        assert len(child.tokens([[5, 6, 7]], repeat=2)) == 2
        assert len(child.tokenize(texts)) == 3
        assert child.peak_memory_bytes() > 10 * 2**20
    assert np.abs(found - candidate.open(threads=1).predict_proba(texts)).max() < 1e-5


def test_a_variant_without_its_file_is_named(run_copy: Path) -> None:
    candidate = candidate_of(run_copy, "lean-int8")
    candidate.model.unlink()
    command = ("-m", "sentopt.backends.worker", candidate.to_json(), "1")
    with pytest.raises(WorkerError, match=r"BundleError: (?s:.*)lean-int8/model\.onnx"), worker.start(*command):
        pass


def candidate_of(root: Path, name: str) -> Candidate:
    labels = json.loads((root / "data" / "labels.json").read_text())
    return Candidate.of(VARIANTS[name], RunDir(root), labels, 48)


def write_cascade(root: Path, quantile: float) -> list[bool]:
    """A cascade of the run's model and its first layer, and which of the test texts it defers: that share of them."""
    full = families.read(root / "checkpoint")
    student = cascade.Student(replace(full, blocks=full.blocks[:1]), FloatProducts())
    path = RunDir(root).model("cascade-fp32")
    path.parent.mkdir(parents=True)
    onnx.save_model(cascade.write_student(student), path)
    texts = [e.text for e in store.read_split(RunDir(root), "test")]
    alone = candidate_of(root, "cascade-fp32").open(threads=1)
    sure = np.array([alone.predict_proba([text]).max() for text in texts])
    lengths = np.array([len(tokens.ids) for tokens in alone.encoder.encode(texts)])
    threshold = small_cascades.deferring(sure, lengths, quantile)
    onnx.save_model(cascade.write(student, full, FloatProducts(), threshold), path)
    return threshold.defers(sure, lengths).tolist()


def test_a_cascade_says_which_texts_it_defers_and_what_is_none_defers_nothing(run_copy: Path) -> None:
    expected = write_cascade(run_copy, 0.3)
    texts = [e.text for e in store.read_split(RunDir(run_copy), "test")]
    for name, routes in (("cascade-fp32", expected), ("lean-fp32", [False] * len(texts))):
        command = ("-m", "sentopt.backends.worker", candidate_of(run_copy, name).to_json(), "1")
        with worker.start(*command) as child:
            found = child.routes(texts)
        differ = sum(a != b for a, b in zip(found, routes, strict=True))
        assert differ <= 1, "the text at the threshold itself"


@pytest.mark.parametrize("share", [0.3, 0.0])
def test_texts_that_a_cascade_defers_are_timed_by_themselves(run_copy: Path, share: float) -> None:
    deferred = sum(write_cascade(run_copy, share))
    run_dir = RunDir(run_copy)
    loaded = recipe.load(str(run_dir.recipe))
    specs = [VARIANTS["lean-fp32"], VARIANTS["cascade-fp32"]]
    plain, row = bench.run(loaded, run_dir, specs=specs, depth="quick").rows
    samples = json.loads(run_dir.samples.read_text())
    assert set(samples["single_text"]) == {"lean-fp32", "cascade-fp32"}
    assert plain.deferred_latency is None
    assert plain.latency.mean == pytest.approx(np.mean(samples["single_text"]["lean-fp32"]))
    if not share:
        assert (deferred, row.deferred_latency) == (0, None)
        assert "deferred_text" not in samples
        return
    assert deferred > 10
    assert row.deferred_latency is not None
    assert row.deferred_latency.samples == len(samples["deferred_text"]["cascade-fp32"]) == 5 * 2, "texts x rounds"
    assert row.deferred_latency.mean == pytest.approx(np.mean(samples["deferred_text"]["cascade-fp32"]))


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of benchmarks, whose programs import one another."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return BENCHMARKS


def program(name: str) -> Any:
    return importlib.import_module(name)


@pytest.fixture
def trained_run(backbone: Path, reviews: Path, tmp_path: Path) -> Path:
    """As much of a run as peers need: data, recipe, a checkpoint. Nobody trained it."""
    from csv_files import read_csv

    root = tmp_path / "run"
    (root / "data").mkdir(parents=True)
    labels = ["negative", "neutral", "positive"]
    (root / "data" / "labels.json").write_text(json.dumps(labels))
    for split in ("train", "validation", "test"):
        rows = read_csv(reviews / f"{split}.csv")
        lines = [json.dumps({"text": row["text"], "label": labels.index(row["label"])}) for row in rows]
        (root / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    shutil.copytree(backbone, root / "checkpoint")
    path = json.dumps(str(backbone))
    (root / "recipe.toml").write_text(f'[run]\nname = "tiny"\n[model]\nbackbone = {path}\nmax_length = 32\n')
    return root


def train_peer(name: str, run: Path, folder: Path) -> dict[str, str]:
    """Train one peer, or skip the test where its packages are missing."""
    trained_peers = program("trained_peers")
    for package in trained_peers.PACKAGES[name]:
        pytest.importorskip(package)
    return dict(trained_peers.prepare(run, folder, [name], lambda what: None))


@pytest.mark.parametrize("name", ["tfidf-lr", "model2vec", "setfit"])
def test_a_cheap_peer_learns_and_answers_in_its_own_process(
    benchmarks: Path, trained_run: Path, tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "peers"
    assert train_peer(name, trained_run, folder) == {}
    training = program("trained_peers").recorded_training(folder, name)
    assert training.texts == 240
    assert training.seconds > 0
    assert training.peak_memory_bytes > 10 * 2**20
    assert not list(folder.rglob("*.pkl")) + list(folder.rglob("*.joblib"))
    assert program("trained_peers").bytes_of(folder, name) > 1_000
    texts = ["great great day", "terrible terrible day", ""]
    with worker.start(str(benchmarks / "trained_peers.py"), "serve", name, str(folder), "1") as child:
        found = np.array(child.probabilities(texts))
        assert len(child.single(texts)) == 3
        assert len(child.many(texts)) == len(child.many(texts, batch_size=2)) == 1
    assert found.shape == (3, 3)
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    if name == "tfidf-lr":  # the backbone of the others is random and knows nothing
        assert found.argmax(axis=1)[:2].tolist() == [2, 0]
        here = program("trained_peers").open_trained(name, folder, 1)
        assert np.allclose(found, here.predict_proba(texts, batch_size=1), atol=1e-5)
        assert np.allclose(np.exp(here.logits(texts)), found, atol=1e-5)


def test_a_trained_peer_is_trained_again_only_for_other_data(
    benchmarks: Path, trained_run: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "peers"
    train_peer("tfidf-lr", trained_run, folder)
    written = (folder / "tfidf-lr" / "training.json").stat().st_mtime_ns
    train_peer("tfidf-lr", trained_run, folder)
    assert (folder / "tfidf-lr" / "training.json").stat().st_mtime_ns == written
    train = trained_run / "data" / "train.jsonl"
    train.write_text("".join(train.read_text().splitlines(keepends=True)[:200]))
    train_peer("tfidf-lr", trained_run, folder)
    assert program("trained_peers").recorded_training(folder, "tfidf-lr").texts == 200


def test_a_peer_without_its_package_is_left_out_with_a_word(
    benchmarks: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "setfit.py").write_text(MISSING)
    path = os.pathsep.join([str(tmp_path / "modules"), *filter(None, [os.environ.get("PYTHONPATH")])])
    monkeypatch.setenv("PYTHONPATH", path)
    skipped = program("trained_peers").prepare(trained_run, tmp_path / "peers", ["setfit"], lambda what: None)
    assert skipped == {"setfit": "ModuleNotFoundError: No module named 'setfit'"}
    assert program("trained_peers").recorded_training(tmp_path / "peers", "setfit") is None


def test_a_label_that_no_training_text_had_has_probability_0(benchmarks: Path) -> None:
    peer = program("trained_peers").TextPeer(lambda texts, size: np.array([[0.25, 0.75]]), [0, 2], ["a", "b", "c"])
    assert peer.predict_proba(["x"]).tolist() == [[0.25, 0.0, 0.75]]
    assert np.isfinite(peer.logits(["x"])).all()


def test_a_model_of_another_family_takes_the_place_of_a_run_s_own(
    benchmarks: Path, trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    full_size, peers = program("full_size"), program("peers")
    monkeypatch.setitem(full_size.SIZES, "albert", ("Albert", {**small, "embedding_size": 16, "vocab_size": 100}))
    labels = ("negative", "neutral", "positive")
    made = peers.random_model("albert", RunDir(trained_run), labels)
    assert made.root == trained_run.with_name("run-albert")
    config = json.loads((made.checkpoint / "config.json").read_text())
    assert config["vocab_size"] == 600, "the tokenizer of the run has more tokens than the family's"
    assert list(config["id2label"].values()) == list(labels)
    for name in ("lean-fp32", "lean-int8"):
        candidate = Candidate.of(VARIANTS[name], made, labels, 32)
        assert candidate.open(threads=1).predict_proba(["great great day"]).shape == (1, 3)
    written = made.model("lean-int8").stat().st_mtime_ns
    assert peers.random_model("albert", RunDir(trained_run), labels).model("lean-int8").stat().st_mtime_ns == written


def test_models_of_full_size_are_compared_with_pytorch(benchmarks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_size = program("full_size")
    assert set(full_size.SIZES) == set(full_size.NAMES)
    small = {**tiny_models.BERT_LIKE, "vocab_size": 100}
    monkeypatch.setitem(full_size.SIZES, "bert", ("Bert", small))
    monkeypatch.setattr(full_size, "SHAPES", ((3,), (9, 4)))
    found = full_size.compare("bert")
    assert 0.0 < found["difference"] < 1e-5
    assert found["spread"] > 1e-3


def test_small_models_of_families_are_trained_and_their_int8_compared(
    benchmarks: Path,
    backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = program("family_agreement")
    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    few = {"train.max_steps": 3, "data.train_limit": 90, "data.validation_limit": 60, "data.test_limit": 60}
    monkeypatch.setattr(found, "SMALL", small)
    monkeypatch.setattr(found, "TRAINING", {**found.TRAINING, **few, "verify.allow_weak_reference": True})
    monkeypatch.setattr(found, "TOKENIZER", str(backbone))
    monkeypatch.setattr(sys, "argv", ["family_agreement.py", "bert", "--folder", str(tmp_path)])
    found.main()
    row = capsys.readouterr().out.splitlines()[-1]
    assert row.startswith("| BERT | 0.")
    assert all(0.0 <= float(cell) <= 1.0 for cell in row.strip("| ").split(" | ")[1:])
    monkeypatch.setattr(sys, "argv", ["family_agreement.py", "bart"])
    with pytest.raises(SystemExit, match="unknown: bart; the families are bert, "):
        found.main()


def test_files_of_peers_are_written_once_for_a_checkpoint(
    benchmarks: Path, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer_engines, steps = program("peer_engines"), []

    def step(name: str, *_: object) -> None:
        if name == "openvino-int8":
            raise ModuleNotFoundError("No module named 'nncf'", name="nncf")
        steps.append(name)

    monkeypatch.setattr(peer_engines, "prepare_peer", step)
    checkpoint, names = trained_run / "checkpoint", ["torch", "optimum-fp32", "optimum-int8", "openvino-int8"]
    for _ in range(2):
        skipped = peer_engines.prepare(checkpoint, tmp_path / "peers", ["a text"], 32, ["a", "b"], names)
        assert skipped == {"openvino-int8": "not installed: nncf"}
    assert steps == ["export", "optimum-int8"]
    (checkpoint / "model.safetensors").write_bytes(b"other weights")
    peer_engines.prepare(checkpoint, tmp_path / "peers", ["a text"], 32, ["a", "b"], names)
    assert steps == ["export", "optimum-int8"] * 2


def test_variants_that_a_run_lacks_are_left_out_with_a_word(benchmarks: Path, trained_run: Path) -> None:
    peers = program("peers")
    wanted = ["sentopt lean-int8", "sentopt student-int8", "sentopt cascade-int8"]
    model = RunDir(trained_run).model("lean-int8")
    model.parent.mkdir(parents=True)
    model.write_bytes(b"a graph")
    labels = ("negative", "neutral", "positive")
    bench = peers.Bench(RunDir(trained_run), labels, 32, trained_run / "peers", wanted)
    bench.prepare(trained=True)
    assert bench.contenders == ["sentopt lean-int8"]
    file = Path("variants") / "cascade-int8" / "model.onnx"
    assert bench.skipped["sentopt cascade-int8"] == f"this run has no {file}"
    assert set(bench.skipped) == set(wanted[1:])


def test_only_contenders_that_compute_the_whole_model_from_ids_are_measured_by_shape(benchmarks: Path) -> None:
    peers = program("peers")
    left_out = {name for name in peers.EVERYBODY if not peers.takes_tokens(name)}
    cheap = {"tfidf-lr", "model2vec", "setfit"}
    assert left_out == {"hf-pipeline", "sentopt student-int8", "sentopt cascade-int8"} | cheap
    assert peers.fitting_shapes(32) == [(1, 16), (1, 32), (16, 32)]


def test_accuracy_comes_with_its_interval_and_the_proof_of_the_margin(benchmarks: Path) -> None:
    from sentopt.recipe import VerifySection

    truth = np.arange(1_000) % 2
    reference = np.where(np.arange(1_000) < 900, truth, 1 - truth)
    worse = np.where(np.arange(1_000) < 850, truth, 1 - truth)
    same = program("peers").score(reference, truth, reference, VerifySection())
    assert (same["accuracy"], same["agreement"], same["proven"]) == (0.9, 1.0, True)
    assert same["interval"] == pytest.approx([0.880, 0.917], abs=1e-3)
    assert program("peers").score(worse, truth, reference, VerifySection())["proven"] is False


def write_stages(run: RunDir) -> None:
    """A student of one layer, and a cascade that is sure of nothing, in place of those that a run distils."""
    import dataclasses

    import onnx

    from sentopt.graph import cascade, families
    from sentopt.graph.products import FloatProducts

    full = families.read(run.checkpoint)
    student = cascade.Student(dataclasses.replace(full, blocks=full.blocks[:1]), FloatProducts())
    for name, graph in {
        "student-int8": cascade.write_student(student),
        "cascade-int8": cascade.write(student, full, FloatProducts(), Threshold(1.0, 1)),
    }.items():
        run.variant(name).mkdir(parents=True, exist_ok=True)
        onnx.save(graph, run.model(name))


def test_the_command_prints_accuracy_beside_speed_and_the_ratio_to_the_pipeline(
    benchmarks: Path, finished_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(finished_run, tmp_path / "tiny")
    write_stages(RunDir(run))
    ours = ["sentopt student-int8", "sentopt cascade-int8"]
    contenders = ["hf-pipeline", "tfidf-lr", "sentopt lean-fp32", *ours]
    before = {path: path.stat().st_mtime_ns for path in (benchmarks / "README.md", benchmarks / "results")}
    command = [sys.executable, str(benchmarks / "peers.py"), str(run), "--print-only", "--texts", "5"]
    done = subprocess.run(
        [*command, "--contenders", *contenders],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(benchmarks.parent)},
    )
    assert done.returncode == 0, done.stderr
    assert "| accuracy | 95 % interval | mean ms | p50 | p95 | p99 | texts/s, test split | times the pipeline |" in (
        done.stdout
    )
    rows = {line.split(" (")[0].removeprefix("| "): line.split(" | ") for line in done.stdout.splitlines()}
    assert set(contenders) <= set(rows)
    assert rows["sentopt cascade-int8"][1:3] == rows["hf-pipeline"][1:3]  # everything went through the full model
    assert "Raw text, test split: sentopt " in done.stdout
    assert "Not measured" not in done.stdout
    assert before == {path: path.stat().st_mtime_ns for path in before}
