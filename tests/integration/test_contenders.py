"""Contenders of a benchmark, each in a process of its own: what passes between them and the parent, and what fails."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from sentopt.backends import worker
from sentopt.backends.opening import Candidate
from sentopt.errors import WorkerError
from sentopt.run_dir import RunDir
from sentopt.variants import VARIANTS

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
    last = r"ended \(1\):\n(?s:.*)line 39\n(?s:.*)RuntimeError: no such engine"
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
        with pytest.raises(WorkerError, match=r"ended \(-9\)"):
            child.single(["a"])


def test_the_process_ends_with_the_block() -> None:
    with worker.start("-c", CHILD) as child:
        [[number]] = child.probabilities(["who"])
        os.kill(int(number), 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(number), 0)


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
