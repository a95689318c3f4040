"""Training by torchrun over two nodes: two agents on this machine, each with one process, as two machines have them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from ports import free_port
from safetensors import safe_open

from sentopt import manifest
from sentopt.results import TrainResult

LIMIT = 240.0  # seconds; the tests take a tenth where nothing else runs


class Node:
    """One agent of torchrun, with one process, in its own process group; `said` is its stderr so far."""

    def __init__(self, port: int, *arguments: str, restarts: int = 0, **environment: str) -> None:
        command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", str(port)]
        command += ["--max-restarts", str(restarts), "-m", "sentopt", *arguments]
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", "GLOO_SOCKET_IFNAME": "lo", **environment}
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=variables, start_new_session=True
        )
        self.said = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr
        with self.process.stderr:
            for line in self.process.stderr:
                self.said += line

    def end(self) -> int:
        code = self.process.wait(timeout=LIMIT)
        self._reader.join(timeout=10)
        return code

    @property
    def rank(self) -> int | None:
        """Of its process, which the two agents agree on; None while it has none."""
        with contextlib.suppress(psutil.Error, IndexError):
            return int(self.worker.environ()["RANK"])
        return None

    @property
    def worker(self) -> psutil.Process:
        """The process that trains."""
        return psutil.Process(self.process.pid).children()[0]

    def kill(self) -> None:
        """As where the machine loses its power: the agent, and what it started."""
        with contextlib.suppress(psutil.Error):
            for each in psutil.Process(self.process.pid).children(recursive=True):
                each.kill()
        self.process.kill()


@contextlib.contextmanager
def two_nodes(*arguments: str, restarts: int = 0, **environment: str) -> Iterator[list[Node]]:
    """Both agents."""
    port = free_port()
    nodes = [Node(port, *arguments, restarts=restarts, **environment) for _ in range(2)]
    try:
        yield nodes
    finally:
        for node in nodes:
            node.kill()
            node.end()


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def weights(root: Path) -> dict[str, list[float]]:
    with safe_open(root / "checkpoint" / "model.safetensors", "np") as tensors:
        return {name: tensors.get_tensor(name).ravel().tolist() for name in tensors.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def options(tiny_options: list[str]) -> list[str]:
    return [*tiny_options, "--set", "train.epochs=2"]


@pytest.fixture(scope="module")
def one_node(options: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training by two processes of one agent."""
    root = tmp_path_factory.mktemp("one") / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "sentopt"]
    variables = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, "train", *options, "--run-dir", str(root)], check=True, timeout=LIMIT, env=variables)
    return root


def test_two_nodes_give_the_weights_of_two_processes_on_one(options: list[str], one_node: Path, tmp_path: Path) -> None:
    root = tmp_path / "two"
    with two_nodes("train", *options, "--run-dir", str(root)) as nodes:
        assert [node.end() for node in nodes] == [0, 0], nodes[0].said + nodes[1].said
    assert manifest.read(root / "run.json").result("train", TrainResult).processes == 2
    assert weights(root) == weights(one_node)
    assert not (root / ".ranks").exists()


def test_a_folder_that_one_node_does_not_see_is_refused_before_the_training(
    options: list[str], backbone: Path, tmp_path: Path
) -> None:
    """A machine that does not share the file system has neither what rank 0 writes nor a local backbone."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(HIDING, encoding="utf-8")
    root = tmp_path / "run"
    path = os.pathsep.join([str(hidden), os.environ.get("PYTHONPATH", "")])
    with two_nodes("train", *options, "--run-dir", str(root), HIDDEN=str(root.resolve()), PYTHONPATH=path) as nodes:
        assert 0 not in [node.end() for node in nodes]
    for node in nodes:  # each machine has a log of its own
        assert node.said.count("sentopt: ") == 1, node.said
        assert (
            f"rank 1 on {socket.gethostname()}: it does not see what rank 0 writes into {root.resolve()}" in node.said
        )
        assert "--run-dir SHARED_FOLDER" in node.said
    assert not (root / "trainer").exists()
    assert not (root / "checkpoint").exists()


HIDING = """
import builtins, io, os, sys
if os.environ.get("RANK") == "1":
    def hide(event, args):
        if event == "open" and str(args[0]).startswith(os.environ["HIDDEN"]):
            raise FileNotFoundError(args[0])
    sys.addaudithook(hide)
"""


def test_a_node_that_dies_ends_the_other_and_the_training_goes_on(
    options: list[str], one_node: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    with two_nodes("train", *options, "--run-dir", str(root)) as nodes:
        until(lambda: list((root / "trainer").glob("checkpoint-*/trainer_state.json")))
        dead = next(node for node in nodes if node.rank == 1)
        left = nodes[1 - nodes.index(dead)]
        dead.kill()
        start = time.monotonic()
        assert left.end() != 0
        assert time.monotonic() - start < 60
    if "RendezvousConnectionError" not in left.said:  # else torchrun's store was with the dead one
        assert "the training lost another of its 2 processes" in left.said
        assert "The same command continues from the last checkpoint" in left.said
    with two_nodes("train", *options, "--run-dir", str(root)) as nodes:
        assert [node.end() for node in nodes] == [0, 0], nodes[0].said + nodes[1].said
    assert manifest.read(root / "run.json").result("train", TrainResult).resumed_from_step > 0
    assert weights(root) == weights(one_node)


def test_a_node_that_no_longer_answers_is_given_up(options: list[str], tmp_path: Path) -> None:
    """As where the network is cut: the connection stays open, and nothing comes."""
    with two_nodes(
        "train", *options, "--set", "train.epochs=200", "--run-dir", str(tmp_path / "run"), SENTOPT_RANK_TIMEOUT="10"
    ) as nodes:
        until(lambda: list((tmp_path / "run" / "trainer").glob("checkpoint-*/trainer_state.json")))
        silent = next(node for node in nodes if node.rank == 1)
        left = nodes[1 - nodes.index(silent)]
        silent.worker.suspend()
        assert left.end() != 0
    assert "the training lost another of its 2 processes" in left.said


def test_an_elastic_restart_goes_on_from_the_checkpoint(options: list[str], one_node: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    with two_nodes("train", *options, "--run-dir", str(root), restarts=1) as nodes:
        until(lambda: list((root / "trainer").glob("checkpoint-*/trainer_state.json")))
        agent = next(node for node in nodes if node.rank == 1)
        agent.worker.kill()
        assert [node.end() for node in nodes] == [0, 0], nodes[0].said + nodes[1].said
    assert manifest.read(root / "run.json").result("train", TrainResult).resumed_from_step > 0
    assert weights(root) == weights(one_node)
