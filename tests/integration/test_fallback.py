"""An INT8 bundle that carries an FP32 graph, for CPUs that answer its golden texts differently."""

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from sentopt import Classifier, cli
from sentopt.errors import BundleError, BundleIntegrityError

pytestmark = pytest.mark.versions

Edit = Callable[..., None]
TEXTS = ["great great day", "terrible food", "the shop opens at nine"]


@pytest.fixture(scope="module")
def made(
    finished_run: Path,
    fastest: Callable[[str], AbstractContextManager[None]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The run again; that INT8 is chosen is arranged, because which variant is the fastest of tiny ones is chance."""
    root = shutil.copytree(finished_run, tmp_path_factory.mktemp("fallback") / "tiny")
    settings = ("export.fp32_fallback=true", "export.variants=['lean-fp32', 'lean-int8']")
    options = [part for setting in settings for part in ("--set", setting)]
    with fastest("lean-int8"):
        assert cli.main(["export", "--run-dir", str(root), *options]) == 0
    return root / "bundle"


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "bundle")


def test_both_graphs_answer(bundle: Path) -> None:
    int8, fp32 = Classifier.load(bundle, check=True), Classifier.load(bundle, check=True, fallback=True)
    assert int8.description is not None
    assert fp32.description is not None
    assert (int8.description.variant, fp32.description.variant) == ("lean-int8", "lean-fp32")
    assert [p.label for p in int8.predict(TEXTS)] == [p.label for p in fp32.predict(TEXTS)]
    assert not np.array_equal(int8.predict_proba(TEXTS), fp32.predict_proba(TEXTS))


def test_a_cpu_that_answers_differently_gets_the_fp32_graph(bundle: Path, edit_description: Edit) -> None:
    edit_description(golden_tolerance=0.0)
    with pytest.warns(UserWarning, match="FP32 graph that the bundle carries is used instead"):
        classifier = Classifier.load(bundle, check=True)
    assert classifier.description is not None
    assert classifier.description.variant == "lean-fp32"
    assert classifier("great great day").label == "positive"


def test_nothing_is_hidden_where_both_differ(bundle: Path, edit_description: Edit) -> None:
    facts = json.loads((bundle / "sentopt.json").read_text())
    edit_description(golden_tolerance=0.0, fallback={**facts["fallback"], "golden_tolerance": 0.0})
    with pytest.warns(UserWarning, match="used instead"), pytest.raises(BundleIntegrityError, match="differently"):
        Classifier.load(bundle, check=True)


def test_without_one_it_says_how_to_get_it(fp32_bundle: Path) -> None:
    with pytest.raises(BundleError, match=r"carries no FP32 graph; make it again with: sentopt export --set"):
        Classifier.load(fp32_bundle, fallback=True)


def test_a_fallback_that_is_not_hashed_is_refused(bundle: Path, edit_description: Edit) -> None:
    facts = json.loads((bundle / "sentopt.json").read_text())
    edit_description(fallback={**facts["fallback"], "model_file": "config.txt"})
    with pytest.raises(BundleError, match="not among the hashed files"):
        Classifier.load(bundle)
