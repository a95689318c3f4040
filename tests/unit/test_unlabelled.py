"""How many texts without labels are used, and when their number makes a run another one."""

from dataclasses import replace
from pathlib import Path

import pytest

from sentopt import recipe
from sentopt.data import unlabelled
from sentopt.errors import RunDirError
from sentopt.manifest import Manifest
from sentopt.pipeline import continuation, limits
from sentopt.recipe import DataSection
from sentopt.run_dir import RunDir


@pytest.fixture
def data(tmp_path: Path) -> DataSection:
    """Names a file of 50 texts."""
    path = tmp_path / "more.txt"
    path.write_text("".join(f"text number {i}\n" for i in range(50)), encoding="utf-8")
    return DataSection(unlabelled=str(path))


def test_a_limit_takes_a_repeatable_sample_and_says_so(data: DataSection) -> None:
    few = replace(data, unlabelled_limit=10)
    first, again = (unlabelled.load(few, [], seed=1) for _ in range(2))
    assert first == again
    assert len({*first.texts}) == 10
    assert first.texts != unlabelled.load(few, [], seed=2).texts
    assert "50 of 50 rows are distinct texts that are in no split; 10 of them are used" in first.notice


@pytest.mark.parametrize("limit", [0, 50, 20_000])
def test_no_text_is_left_out_within_the_limit(data: DataSection, limit: int) -> None:
    loaded = unlabelled.load(replace(data, unlabelled_limit=limit), [], seed=1)
    assert len(loaded.texts) == 50
    assert "used" not in loaded.notice


def test_another_limit_gives_other_texts_to_all_that_depends_on_them(data: DataSection) -> None:
    usual = unlabelled.depends(data)
    assert usual != unlabelled.depends(replace(data, unlabelled_limit=10))
    assert len(usual) == 5  # as before the key existed, so that what older runs made stays current
    assert unlabelled.depends(replace(data, unlabelled="", unlabelled_limit=10)) == []


@pytest.mark.parametrize(("teacher", "more"), [(False, True), (True, False), (True, True)])
def test_a_limit_decides_a_checkpoint_only_where_a_teacher_answers_the_texts(
    data: DataSection, tmp_path: Path, teacher: bool, more: bool
) -> None:
    settings = recipe.load("quickstart", {"train.teacher": ["minilm"] if teacher else []})
    settings = replace(settings, data=replace(settings.data, unlabelled=data.unlabelled if more else ""))
    run_dir = RunDir(tmp_path / "run")
    run_dir.checkpoint.mkdir(parents=True)
    continuation.remember(run_dir, settings)
    changed = recipe.with_overrides(settings, {"data.unlabelled_limit": 10}, source="test")
    if not (teacher and more):
        continuation.check(run_dir, Manifest(), changed)
        return
    with pytest.raises(RunDirError, match=r"data\.unlabelled_limit: 20000 -> 10"):
        continuation.check(run_dir, Manifest(), changed)


def test_a_limit_of_nothing_is_mentioned() -> None:
    _, notices = limits.within_model(recipe.load("quickstart", {"data.unlabelled_limit": 10}), fetch=False)
    assert "data.unlabelled_limit is not used: it needs data.unlabelled" in notices
