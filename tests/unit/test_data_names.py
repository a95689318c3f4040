"""What a user names as data becomes recipe keys and the name of a run."""

from pathlib import Path

import pytest
from csv_files import write_csv

from sentopt import recipe
from sentopt.data import names
from sentopt.errors import DataError, RecipeError


def test_a_lone_test_file_is_all_the_data_of_a_tuned_model(tmp_path: Path) -> None:
    write_csv(tmp_path / "test.csv", [("fine", "good"), ("awful", "bad")])
    with pytest.raises(DataError, match="holds no train file"):
        names.overrides(str(tmp_path))
    keys = names.overrides(str(tmp_path), tuned=True)
    assert (keys["data.train"], keys["data.validation"], keys["data.test"]) == (str(tmp_path / "test.csv"), "", "")


def test_a_test_file_stays_one_where_there_are_others(tmp_path: Path) -> None:
    for split in ("train", "test"):
        write_csv(tmp_path / f"{split}.csv", [("fine", "good"), ("awful", "bad")])
    assert names.overrides(str(tmp_path), tuned=True) == names.overrides(str(tmp_path))


def test_a_validation_file_alone_is_refused_for_a_tuned_model_too(tmp_path: Path) -> None:
    write_csv(tmp_path / "dev.csv", [("fine", "good"), ("awful", "bad")])
    with pytest.raises(DataError, match="holds no train file"):
        names.overrides(str(tmp_path), tuned=True)


@pytest.mark.parametrize("name", ["con", "NUL", "aux", "com1"])
def test_a_run_is_never_named_as_a_device_of_windows(name: str) -> None:
    assert names.run_name(name) == f"run-{name}"
    with pytest.raises(RecipeError, match="a folder name"):
        recipe.load("quickstart", {"run.name": name})
