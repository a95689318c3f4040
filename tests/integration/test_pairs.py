"""Pairs of texts from a table to a bundle that answers pairs."""

import numpy as np
import pair_data
import pytest

from sentopt import Classifier, cli
from sentopt.data import store
from sentopt.run_dir import RunDir

PAIRS = ["--set", "data.pair_column=aspect"]


@pytest.fixture(scope="module")
def paired(tmp_path_factory: pytest.TempPathFactory, tiny_options: list[str]) -> RunDir:
    """A finished run on pairs. Do not change it."""
    data = pair_data.write(tmp_path_factory.mktemp("aspects"))
    root = tmp_path_factory.mktemp("exports") / "pairs"
    options = ["--data", str(data), *tiny_options[2:], *PAIRS]
    assert cli.main(["run", *options, "--run-dir", str(root)]) == 0
    return RunDir(root)


def test_a_run_ends_in_a_bundle_that_answers_pairs(paired: RunDir) -> None:
    classifier = Classifier.load(paired.bundle, check=True)
    examples = store.read_split(paired, "test")
    answers = [classifier.labels.index(answer.label) for answer in classifier.predict(examples.texts)]
    assert np.mean(np.array(answers) == examples.labels) > 0.9
